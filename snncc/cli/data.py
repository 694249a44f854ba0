"""Paths on the command line -> cases: one file for each network input, read sample by sample in bounded memory."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from snncc.cli.preprocess import Preprocess
from snncc.cli.volumes import NIFTI, PNG, Volume, read_volume, suffix_of
from snncc.errors import DataError, FormatError, OptionError, SnnccError
from snncc.graph import Array
from snncc.inputs import checked_array
from snncc.pipeline import Feeds

ARRAYS = (".npy", ".npz")
KNOWN = (*ARRAYS, *NIFTI, *PNG)
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """Preprocessed samples in a .npy (memory-mapped) or in a member of a .npz (streamed)."""

    path: Path
    name: str  # the network input
    shape: tuple[int, ...]  # of that input
    count: int
    read: Callable[[], Iterator[Array]]

    def samples(self) -> Iterator[Array]:
        """[1, C, *spatial]. Raises DataError for NaN."""
        for index, sample in enumerate(self.read()):
            try:
                yield checked_array(f"{self.name}, sample {index}", sample, self.shape)
            except SnnccError as error:
                raise error.at(self.path) from None


@dataclass(frozen=True, eq=False)
class Case:
    """One run of the user's: for each network input a file, with the same number of samples in all."""

    name: str
    parts: Mapping[str, ArrayFile | Volume]

    @property
    def count(self) -> int:
        return next(iter(self.parts.values())).count

    @property
    def volume(self) -> Volume | None:
        """The first input's, whose space the outputs take."""
        first = next(iter(self.parts.values()))
        return first if isinstance(first, Volume) else None

    def samples(self) -> Iterator[Feeds]:
        for values in zip(*(part.samples() for part in self.parts.values()), strict=True):
            yield dict(zip(self.parts, values, strict=True))


def path_stream(paths: Sequence[str], shapes: Shapes, preprocess: Mapping[str, Any]) -> Callable[[], Iterator[Feeds]]:
    """A function that reads all samples of `paths` anew at each call; nothing is opened before."""

    def stream() -> Iterator[Feeds]:
        prepare = Preprocess.of(preprocess)
        empty = True
        for files in bind(paths, shapes):
            for feeds in open_case(files, shapes, prepare).samples():
                empty = False
                yield feeds
        if empty:
            raise DataError("no calibration samples", file=", ".join(paths), remedy="give files with data")

    return stream


def bind(paths: Sequence[str], shapes: Shapes) -> list[dict[str, Path]]:
    """Files by input, one dict a case. `NAME=PATH` binds a named input; the n-th files of all names belong together."""
    named: dict[str, list[Path]] = {name: [] for name in shapes}
    plain: list[Path] = []
    for text in paths:
        name, sign, path = text.partition("=")
        if sign and name in shapes:
            named[name] += expand(Path(path))
        elif sign and not Path(text).exists():
            raise OptionError(f"{text}: no input is called {name!r}", remedy=f"the inputs are {', '.join(shapes)}")
        else:
            plain += expand(Path(text))
    if plain and any(named.values()):
        raise OptionError(f"{plain[0]}: which input is it for?", remedy="write NAME=PATH for every file")
    if plain:
        if len(shapes) > 1 and any(suffix_of(path) != ".npz" for path in plain):
            raise OptionError(f"the network has the inputs {', '.join(shapes)}", remedy="write NAME=PATH, or give .npz")
        return [dict.fromkeys(shapes, path) for path in plain]
    lengths = {name: len(files) for name, files in named.items()}
    if len(set(lengths.values())) != 1:
        raise OptionError(f"files by input: {lengths}", remedy="give as many for each input")
    return [dict(zip(named, files, strict=True)) for files in zip(*named.values(), strict=True)]


def expand(path: Path, depth: int = 0) -> list[Path]:
    """A folder as its data files, sorted; a .txt as the paths it lists (relative to its own folder)."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if suffix_of(p) in KNOWN and not p.name.startswith("."))
        if not found:
            raise DataError("no data files in this folder", file=str(path), remedy=f"known: {' '.join(KNOWN)}")
        return found
    if not path.is_file():
        raise FormatError("there is no such file", file=str(path), remedy="check its path")
    if path.suffix.lower() == ".txt":
        if depth == 3:
            raise FormatError("a list in a list in a list", file=str(path), remedy="list data files")
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError):
            raise FormatError("not a list of paths", file=str(path), remedy="write one path a line") from None
        found = [p for line in lines if line for p in expand(path.parent / line, depth + 1)]
        if not found:
            raise DataError("this list names no file", file=str(path), remedy="write one path a line")
        return found
    if suffix_of(path) not in KNOWN:
        raise FormatError("unknown kind of file", file=str(path), remedy=f"known: {' '.join(KNOWN)}, a folder, .txt")
    return [path]


def open_case(files: Mapping[str, Path], shapes: Shapes, preprocess: Preprocess) -> Case:
    """Open the files of one case; volumes are read, arrays are not. Raises DataError if they do not go together.

    Volumes of a registration may differ in size if each fits into the network's input.
    """
    parts: dict[str, ArrayFile | Volume] = {}
    moving = preprocess.displacement[1] if preprocess.displacement else ""
    for name, path in sorted(files.items(), key=lambda item: item[0] == moving):  # outputs lie in the first one's space
        arrays = suffix_of(path) in ARRAYS
        parts[name] = open_array(path, name, shapes[name]) if arrays else read_volume(path, shapes[name], preprocess)
    first, *others = parts.values()
    for other in others:
        grids = [part.grid if isinstance(part, Volume) else part.count for part in (first, other)]
        apart = moving and all(isinstance(part, Volume) and part.count == 1 for part in (first, other))
        if grids[0] != grids[1] and not apart and not (isinstance(first, Volume) and grids[1] == first.count):
            raise DataError(
                f"{first.path.name} and {other.path.name} differ in size: {grids[0]} and {grids[1]}",
                file=str(other.path), remedy="give inputs on one grid",
            )  # fmt: skip
    return Case(first.path.name, parts)


def open_array(path: Path, name: str, shape: tuple[int, ...]) -> ArrayFile:
    """Check header, shape and dtype. Raises FormatError or DataError."""
    try:
        found, dtype, read = _npz(path, name) if suffix_of(path) == ".npz" else _npy(path)
    except SnnccError as error:
        raise error.at(path) from None
    except Exception as error:  # numpy raises ValueError, EOFError, zipfile.BadZipFile, ... for damaged files
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"not a NumPy file: {text}", file=str(path), remedy="is it complete?") from None
    timed = shape[0] == 0  # a sample is a spike train, with its time axis
    many = len(found) == len(shape) + timed
    one = found[many:]
    if one[timed:] != shape[1:] or (timed and not one[0]):
        wanted = f"(T, {str(shape[1:])[1:]}" if timed else str(shape[1:])
        raise DataError(
            f"an array of shape {found}",
            file=str(path),
            remedy=f"input {name} wants {wanted} for one sample or (samples, {wanted[1:]} for many",
        )
    if dtype.kind != "f" and not (timed and dtype.kind in "iu"):
        raise DataError(f"an array of dtype {dtype}", file=str(path), remedy="scale it as in training, to float32")
    return ArrayFile(path, name, shape, found[0] if many else 1, lambda: read(many))


_Read = Callable[[bool], Iterator[Array]]


def _npy(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], _Read]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.shape, array.dtype, lambda many: iter(array) if many else iter((array,))


def _npz(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any], _Read]:
    with zipfile.ZipFile(path) as archive:
        members = [m.removesuffix(".npy") for m in archive.namelist() if m.endswith(".npy")]
        key = name if name in members else members[0] if len(members) == 1 else None
        if key is None:
            raise DataError(f"arrays {', '.join(members) or 'none'}", remedy=f"call one of them {name}")
        with archive.open(f"{key}.npy") as member:
            shape, fortran, dtype = _header(member)

    def read(many: bool) -> Iterator[Array]:
        one = shape[1:] if many and not fortran else shape
        size = prod(one) * dtype.itemsize
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
                _header(member)
                for _ in range(shape[0] if many and not fortran else 1):
                    array = np.frombuffer(member.read(size), dtype)
                    if fortran:
                        array = array.reshape(one, order="F")
                        yield from array if many else (array,)
                    else:
                        yield array.reshape(one)
        except (ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
            raise FormatError(f"the file is damaged: {error}", file=str(path), remedy="copy it again") from None

    return shape, dtype, read


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(member)
    if dtype.hasobject:
        raise DataError("Python objects", remedy="save a plain float32 array")
    return shape, fortran, dtype
