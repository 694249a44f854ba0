"""How good outputs are: against labels, against target images, or against the teacher."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from snncc.cli.data import ARRAYS, Case
from snncc.cli.preprocess import Preprocess
from snncc.cli.volumes import PNG, Volume, labels_of, read_volume, suffix_of
from snncc.errors import DataError, FormatError, OptionError, SnnccError
from snncc.graph import Array

METRICS = ("dice", "iou", "accuracy", "psnr", "agreement")
MOST = 255  # labels of outputs that are labels themselves; 255 often stands for none
NO_THRESHOLD = 'say it: --preprocess \'{"labels": {"threshold": 0.5}}\''
Index = tuple[Any, ...]


@dataclass(frozen=True)
class Metric:
    """A score that adds up over samples.

    Args:
        name: dice, iou: of the foreground, or the mean over all classes above 0 that occur (a label
            beyond the outputs' classes counts as 0); accuracy: share of right labels; agreement: the same against the
            teacher; psnr: 10 log10(peak^2 / mean squared error).
        threshold: of one-channel outputs.
        foreground: labels that count as one class; (): all above 0 for one-channel outputs, else each by itself.
        peak: of psnr; None: the largest magnitude in the target.
    """

    name: str
    threshold: float | None = None
    foreground: tuple[int, ...] = ()
    peak: float | None = 1.0

    def counts(self, output: Array, target: Array) -> Array:
        """Numbers that add up, for outputs [N, C, *S] and labels or values of N targets."""
        if self.name == "psnr":
            if output.size != target.size:
                raise DataError(f"targets of shape {target.shape} for outputs of shape {output.shape}")
            error = float(np.square(output.astype(np.float64) - target.reshape(output.shape)).mean())
            peak = self.peak or float(np.abs(target).max()) or 1.0
            return np.array([10 * np.log10(peak * peak / error) if error else np.inf, 1.0])
        found = labels_of(output, self.threshold)
        if found is None:
            raise OptionError("one output channel, and no threshold that makes labels of it", remedy=NO_THRESHOLD)
        if found.size != target.size:
            remedy = "give labels of the size of the input: one for each sample, or one for each position"
            raise DataError(f"labels of shape {target.shape} for outputs of shape {output.shape}", remedy=remedy)
        target = target.reshape(found.shape)
        classes = MOST if np.issubdtype(output.dtype, np.integer) else output.shape[1]
        if classes == 1 or self.foreground:
            found = found > 0 if classes == 1 else np.isin(found, self.foreground)
            target = np.isin(target, self.foreground) if self.foreground else target > 0
            classes = 2
        if self.name in ("accuracy", "agreement"):
            return np.array([np.count_nonzero(found == target), found.size], np.float64)
        f, t = (np.where((x > 0) & (x < classes), x, 0).ravel().astype(np.int64) for x in (found, target))
        return np.stack([np.bincount(x, minlength=classes)[1:] for x in (f[f == t], f, t)], 1).astype(np.float64)

    def target(self, output: Array) -> Array:
        """What outputs are scored against where these are right: the labels they say, or themselves."""
        labels = None if self.name == "psnr" else labels_of(output, self.threshold)
        return output if labels is None else labels

    def value(self, counts: Array) -> float:
        """The score of counts, of one sample or added up; 1 where there is nothing to find and nothing was found."""
        if counts.ndim == 1:
            return float(counts[0] / counts[1])
        both, sizes = counts[:, 0], counts[:, 1] + counts[:, 2]
        below = sizes if self.name == "dice" else sizes - both
        scores = (2 if self.name == "dice" else 1) * both[sizes > 0] / below[sizes > 0]
        return float(scores.mean()) if len(scores) else 1.0


@dataclass(frozen=True, eq=False)
class Truth:
    """Targets of one case: a volume or image on the grid of the input, or one entry a sample."""

    volume: Volume | None = None
    entries: Array | None = None

    @property
    def stack(self) -> Array:
        """[N, ...]: all of them."""
        found = self.entries if self.volume is None else self.volume.stack
        assert found is not None
        return found

    def sample(self, k: int) -> tuple[Array, Index]:
        """The target of sample k, and the part of the output [1, C, *S] that it is for."""
        if self.volume is None:
            return np.asarray(self.stack[k]), (...,)
        n, tile = divmod(k, len(self.volume.windows))
        outer, inner = self.volume.windows[tile]
        return self.volume.stack[n][(slice(None), *outer)], (..., *inner)


class Targets:
    """The files with labels or target images, found by the names of the data; or one file with an entry a sample.

    Args:
        source: a folder; or a .npy, .npz or .csv with one entry for each sample of all data, in order; or an array.
        prepare: the preprocessing of the inputs. values: are targets values (of outputs that are images), not labels?
    """

    def __init__(self, source: Path | Array, prepare: Preprocess, values: bool):
        self.values = values
        self._folder = source if isinstance(source, Path) and source.is_dir() else None
        self._all = None if self._folder else _entries(source) if isinstance(source, Path) else np.asarray(source)
        self._prepare = prepare if values else replace(prepare, percentiles=None)
        self._next = 0

    def check(self, files: Sequence[Mapping[str, Path]]) -> None:
        """Raises DataError, before anything runs, where one has none."""
        for paths in files if self._folder else ():
            self._file(next(iter(paths.values())))

    def _file(self, image: Path) -> Path:
        assert self._folder is not None
        stem = image.name.removesuffix(suffix_of(image))
        same = [self._folder / image.name, *(self._folder / f"{stem}{suffix}" for suffix in (*ARRAYS, ".csv", *PNG))]
        found = next((path for path in same if path.is_file()), None)
        if found is None:
            remedy = f"each image needs a file of its name in {self._folder}"
            raise DataError("there are no labels for it", file=str(image), remedy=remedy)
        return found

    def of(self, case: Case) -> Truth:
        """Raises DataError where they do not fit the case."""
        image = case.volume
        if self._folder is None:
            assert self._all is not None
            first, self._next = self._next, self._next + case.count
            if len(self._all) < self._next:
                what = f"{len(self._all)} labels for {self._next} samples or more"
                raise DataError(what, remedy="give one for each sample, in the order of the data")
            return Truth(entries=self._all[first : self._next])
        file = self._file(next(iter(case.parts.values())).path)
        try:
            if image is None or suffix_of(file) in (*ARRAYS, ".csv"):
                entries = _entries(file)
                entries = entries[None] if case.count == 1 and len(entries) != 1 else entries
                if len(entries) != case.count:
                    raise DataError(f"{len(entries)} labels for {case.count} samples", remedy="give one for each")
                return Truth(entries=entries)
            return Truth(self._volume(file, image))
        except SnnccError as error:
            raise error.at(file) from None

    def _volume(self, file: Path, image: Volume) -> Volume:
        shape = (1, image.stack.shape[1] if self.values else 1, *image.target)
        if suffix_of(file) in PNG and not self.values:
            found = Volume(file, _indices(file), image.target)
        else:
            found = read_volume(file, shape, self._prepare)
        if found.grid != image.grid:
            what = f"a grid of {found.grid}, and its image one of {image.grid} (slices, rows, ...)"
            raise DataError(what, remedy="give labels on the grid of the image")
        return found if self.values else replace(found, stack=np.rint(found.stack).astype(np.int64))


def _indices(path: Path) -> Array:
    """[1, 1, H, W]: the numbers in a PNG; a palette's indices, not its colours."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image)
    if pixels.ndim != 2:
        raise DataError("an image in colours", remedy="save labels as one number a pixel")
    return pixels[None, None].astype(np.float32)


def _entries(path: Path) -> Array:
    """One entry a sample. Raises FormatError or DataError."""
    try:
        if suffix_of(path) == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                return np.array([int(row[-1]) for row in csv.reader(file) if row])
        if path.is_file() and suffix_of(path) not in ARRAYS:
            raise OptionError("neither a folder nor an array of labels", remedy="a folder, .npy, .npz or .csv")
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            if len(found.files) != 1:
                raise DataError(f"arrays {', '.join(found.files) or 'none'}", remedy="give one array")
            return np.asarray(found[found.files[0]])
    except SnnccError as error:
        raise error.at(path) from None
    except FileNotFoundError:
        raise FormatError("there is no such file or folder", file=str(path), remedy="check its path") from None
    except Exception as error:  # numpy raises ValueError, EOFError, zipfile.BadZipFile, ... for damaged files
        text = (str(error).splitlines() or [type(error).__name__])[0]
        what = f"no labels can be read from it: {text}"
        raise FormatError(what, file=str(path), remedy="give integers, one a sample") from None


@dataclass(frozen=True)
class Wish:
    """What was asked for, see `Metric`; name None: what suits the targets."""

    name: str | None
    foreground: tuple[int, ...]
    prepare: Preprocess


def metric_for(wish: Wish, truth: Truth | None, output: Array) -> Metric:
    """The metric that was asked for, or the usual one for such targets; without any for outputs like this one.

    Raises:
        OptionError: it needs targets of another kind.
    """
    name, prepare = wish.name, wish.prepare
    plain = Metric(name or "agreement", prepare.threshold, wish.foreground)
    if truth is None:
        if name not in (None, "agreement", "psnr"):
            raise OptionError(f"the metric {name} needs labels", remedy="--labels FOLDER")
        classes = prepare.labels and labels_of(output, prepare.threshold) is not None
        return replace(plain, name=name or ("agreement" if classes else "psnr"), foreground=(), peak=None)
    target = truth.sample(0)[0]
    usual = "psnr" if target.dtype.kind == "f" else "accuracy" if target.size == 1 else "dice"
    if name == "agreement" or (name is not None and (name == "psnr") != (usual == "psnr")):
        raise OptionError(f"the metric {name} for targets of dtype {target.dtype}", remedy=f"leave it out: {usual}")
    return replace(plain, name=name or usual)
