"""What every command has: --json, --debug, one error block, exit codes, and how arguments are read."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from snncc.cli.files import write_json
from snncc.errors import FormatError, OptionError, SnnccError

Emit = Callable[[Any], None]
REMEDY = 'for instance {"slice_axis": 1}, or a file that holds this'


def snncc_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A click command whose function gets `emit`, to be called once with what --json writes."""

    def wrap(function: Callable[..., None]) -> click.Command:
        @click.command(name)
        @click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write a report.")
        @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
        @functools.wraps(function)
        def guarded(json_file: Path | None, debug: bool, **options: Any) -> None:
            def emit(report: Any) -> None:
                if json_file is not None:
                    write_json(json_file, report)

            with error_block(debug, options.get("teacher") or options.get("model")), terminable():
                writable(json_file)
                function(emit, **options)

        return guarded

    return wrap


@contextmanager
def error_block(debug: bool, subject: Path | None = None) -> Iterator[None]:
    """Turn an error into one block on stderr and an exit code; a refusal names the file `subject`."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; no file was left half-written", err=True)
        sys.exit(130)
    except SnnccError as error:
        if subject is not None and (error.exit_code == 1 or isinstance(error, FormatError)):
            error.at(subject)
        _fail(error, error.exit_code, debug)
    except OSError as error:
        where = error.filename2 or error.filename
        remedy = "no file is half-written; is the place writable, and is there space left?"
        fault = OptionError(f"{error.strerror or error}", file=str(where or "") or None, remedy=remedy)
        _fail(fault, 2, debug, error)
    except MemoryError as error:
        _fail(OptionError("out of memory", remedy="use smaller inputs or fewer steps"), 1, debug, error)
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        fault = OptionError(f"a fault in snncc: {text}", remedy="run again with --debug, and report it")
        _fail(fault, 1, debug, error)


def _fail(error: SnnccError, code: int, debug: bool, cause: BaseException | None = None) -> None:
    if debug:
        raise cause or error
    click.echo(f"error: {error}", err=True)
    sys.exit(code)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that temporary files go away."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def writable(path: Path | None, *inputs: Path) -> None:
    """Raises OptionError at once, not after the work, where no file can be put at `path` or one of `inputs` stands."""
    if path is None:
        return
    if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
        raise OptionError("this would overwrite an input", file=str(path), remedy="give another name with -o")
    if path.is_dir():
        raise OptionError("this is a folder", file=str(path), remedy="name a file")
    if not path.absolute().parent.is_dir():
        raise OptionError("its folder does not exist", file=str(path), remedy=f"mkdir -p {path.parent}")
    if not os.access(path.absolute().parent, os.W_OK):
        raise OptionError("its folder may not be written to", file=str(path), remedy="name another folder")


def shapes_of(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`image=1x1x48x64` (or with commas) -> name and shape."""
    found = {}
    for text in texts:
        name, sign, dims = text.rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.replace(",", "x").split("x"))
        except ValueError:
            shape = ()
        if not sign or not name or not shape or min(shape) < 1:
            raise OptionError(f"--shape {text}", remedy="form: --shape image=1x1x48x64")
        found[name] = shape
    return found


def preprocess_of(text: str | None) -> dict[str, Any]:
    """`--preprocess`: JSON, or a file that holds it."""
    if text is None:
        return {}
    source = text
    if not text.lstrip().startswith("{"):
        try:
            source = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise OptionError("--preprocess is neither JSON nor a file", file=text, remedy=REMEDY) from None
    try:
        found = json.loads(source)
    except ValueError as error:
        raise OptionError(f"--preprocess is not JSON: {error}", remedy=REMEDY) from None
    if not isinstance(found, dict):
        raise OptionError("--preprocess is not a JSON object", remedy=REMEDY)
    return found


def pipeline_of(text: str | None) -> str | None:
    """`--pipeline`: a text, or a file that holds it (# starts a comment)."""
    if text is None:
        return text
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except OSError:  # not a file, or longer than a file name may be
        return text
    except UnicodeDecodeError:
        raise OptionError("--pipeline: not a text file", file=text, remedy="form: pass-a,pass-b{option=x}") from None
    return "".join(line.partition("#")[0].strip() for line in lines)
