"""Writes files so that none is ever half-written: a temporary one beside it, then a rename."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from snncc.errors import FormatError
from snncc.graph import Array

REMEDY = "name a folder that exists, may be written to and has space left"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, with the same suffixes, that takes the place of `path` at the end.

    Raises:
        FormatError: it cannot be written; an older file at `path` stays whole.
    """
    temporary = path.with_name(f".snncc-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as fault:
        raise _unwritten(path, fault) from None
    finally:
        temporary.unlink(missing_ok=True)


def _unwritten(path: Path, fault: OSError) -> FormatError:
    return FormatError(f"cannot write the file: {fault.strerror or fault}", file=str(path), remedy=REMEDY)


def write_json(path: Path, report: Any) -> None:
    text = json.dumps(report, indent=1) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """One array to .npy, one or several to .npz."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **{name: np.asarray(a) for name, a in arrays.items()})  # type: ignore[arg-type]
        else:
            (array,) = arrays.values()
            np.save(file, array)


class SpikeWriter:
    """Collects the spikes of many samples on disk, beside the .npz that `finish` makes of them."""

    def __init__(self, path: Path | None):
        self._path = path
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._samples = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._folder = tempfile.TemporaryDirectory(prefix=".snncc-", dir=self._path.parent)
        return self

    def __exit__(self, *fault: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def wanted(self) -> bool:
        return self._path is not None

    def _raw(self, name: str) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{list(self._shapes).index(name)}.raw"

    def add(self, spikes: Mapping[str, Array]) -> None:
        """One sample: population -> int8 [T, *shape]."""
        if self._path is None:
            return
        self._samples += 1
        try:
            for name, train in spikes.items():
                self._shapes.setdefault(name, train.shape)
                with self._raw(name).open("ab") as file:
                    file.write(np.ascontiguousarray(train, np.int8).tobytes())
        except OSError as fault:
            raise _unwritten(self._path, fault) from None

    def finish(self) -> None:
        """Write the .npz: population -> int8 [samples, T, *shape]."""
        if self._path is None:
            return
        with replacing(self._path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, shape in self._shapes.items():
                header = {"descr": "|i1", "fortran_order": False, "shape": (self._samples, *shape)}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member, self._raw(name).open("rb") as raw:
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(raw, member, 1 << 20)
