"""What can go wrong, in one tree. Every message says what is wrong, where, and what to do about it."""

from __future__ import annotations


class SnnccError(Exception):
    """A fault a user can act on.

    Args:
        message: what is wrong.
        file: the file it was found in.
        node: the teacher node, population or projection concerned.
        remedy: what the user can do.
    """

    exit_code = 2

    def __init__(self, message: str, *, file: str | None = None, node: str | None = None, remedy: str | None = None):
        super().__init__(message)
        self.message = message
        self.file = file
        self.node = node
        self.remedy = remedy

    def at(self, file: object) -> SnnccError:
        """The same error, naming `file` unless one is named already."""
        self.file = self.file or str(file)
        return self

    def __str__(self) -> str:
        lines = [self.message]
        for label, value in (("file", self.file), ("node", self.node), ("remedy", self.remedy)):
            if value:
                lines.append(f"  {label}: {value}")
        return "\n".join(lines)


class FormatError(SnnccError):
    """A file that cannot be read, or is not what it should be."""


class DataError(SnnccError):
    """Calibration data or an input of the wrong shape, type or content."""


class OptionError(SnnccError):
    """An option, pass name or pipeline text that means nothing."""


class UnsupportedError(SnnccError):
    """A teacher node that has no exact spiking counterpart."""

    exit_code = 1


class VerifyError(SnnccError):
    """An IR that is not well formed: a fault of a pass, not of the user's model."""

    exit_code = 1


class PassError(SnnccError):
    """A pass that could not do its work."""

    exit_code = 1


class PlanError(SnnccError):
    """A network that the chosen engine cannot run."""

    exit_code = 1
