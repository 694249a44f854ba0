"""Data for `snncc finetune`: the samples and targets of all cases, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np

from snncc.cli.data import bind, open_case
from snncc.comparison.metrics import Metric, Targets, Truth, Wish, metric_for
from snncc.comparison.teacher import Teacher
from snncc.errors import DataError, OptionError, SnnccError
from snncc.graph import Array
from snncc.network import Network
from snncc.pipeline import Feeds
from snncc.runtime.host import HostSession

Target = dict[str, Array]  # truth, inside, teacher
Sample = tuple[dict[str, Array], Target]
Progress = Callable[[str, int, int | None], None]
Teach = Callable[[Feeds], tuple[Array, Array]]  # one sample -> the teacher's output, and its value that is distilled


@dataclass
class Samples:
    """A data set for torch: sample k is (inputs by name [C, *spatial], target); `cases` says which case it is of.

    Of a target, `truth` is what losses read: labels or values [c, *spatial], 0 outside the volume; `inside` [rank, 2]:
    where the volume lies in it; `teacher`: the teacher's value, where it is wanted.
    """

    samples: list[Sample] = field(default_factory=list)
    cases: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, k: int) -> Sample:
        return self.samples[k]

    def part(self, cases: Sequence[int]) -> Self:
        """Those of some cases, in order."""
        chosen = [k for k, case in enumerate(self.cases) if case in set(cases)]
        return type(self)([self.samples[k] for k in chosen], [self.cases[k] for k in chosen])

    def split(self, fraction: float, seed: int) -> tuple[Self, Self]:
        """(training, validation): a fraction of all cases, at random, is for validation. Raises DataError."""
        every = sorted(set(self.cases))
        if not 0 < fraction < 1:
            raise OptionError(f"--val-fraction {fraction}", remedy="above 0 and below 1")
        if len(every) < 2:
            raise DataError("one case cannot be split", remedy="give more data, or --val-data")
        order = np.random.default_rng(seed).permutation(every).tolist()
        size = min(max(round(fraction * len(order)), 1), len(order) - 1)
        return self.part(order[size:]), self.part(order[:size])

    @property
    def sha256(self) -> str:
        """Of all inputs and truths."""
        found = sha256()
        for inputs, target in self.samples:
            for array in (*inputs.values(), target["truth"]):
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class Cropped:
    """A metric on the part of a sample where the volume lies."""

    metric: Metric

    def counts(self, output: Array, target: Target) -> Array:
        where: Any = (..., *(slice(a, b) for a, b in target["inside"]))
        return self.metric.counts(output[where], target["truth"][where])

    def value(self, counts: Array) -> float:
        return self.metric.value(counts)


class Reader:
    """Reads data and targets as `snncc compare` does. A case is a volume or image, or a sample of an array.

    Args:
        teach: None where no teacher is wanted; without labels its output is the target.
        wish: see `metric_for`; the metric is known after the first case.
    """

    def __init__(self, network: Network, wish: Wish, teach: Teach | None, progress: Progress):
        self.shapes, self.wish, self.teach, self.progress = network.input_shapes, wish, teach, progress
        self.output = _output(network)
        self.metric: Metric | None = None
        self.steps: int | None = None  # of spike trains

    def read(self, paths: Sequence[str], labels: Path | None) -> Samples:
        """Raises SnnccError where data or labels cannot be read or do not fit."""
        files, found, prepare = bind(paths, self.shapes), Samples(), self.wish.prepare
        values = self.wish.name == "psnr" or (self.wish.name is None and not prepare.labels)
        targets = None if labels is None else Targets(labels, prepare, values)
        if targets is not None:
            targets.check(files)
        for k, parts in enumerate(files):
            self.progress("reading", k, len(files))
            case = open_case(parts, self.shapes, prepare)
            try:
                truth = targets.of(case) if targets else None
                for n, feeds in enumerate(case.samples()):
                    new = n == 0 or case.volume is None
                    found.cases.append(found.cases[-1] + new if found.cases else 0)
                    found.samples.append(self._sample(feeds, truth, n))
            except SnnccError as error:
                raise error.at(next(iter(parts.values()))) from None
        self.progress("reading", len(files), len(files))
        if not found.samples:
            raise DataError("no samples in the data", remedy="give files with data")
        return found

    def metric_of(self, data: Samples) -> Metric:
        """The metric of data that were read."""
        assert self.metric is not None and data.samples
        one = self.output.ndim < 2 or self.output.shape[1] == 1  # then truths are 0 and 1
        return replace(self.metric, foreground=()) if one else self.metric

    def _sample(self, feeds: Feeds, truth: Truth | None, n: int) -> Sample:
        inputs = {name: np.array(x if self.shapes[name][0] == 0 else x[0]) for name, x in feeds.items()}
        for length in (len(x) for name, x in inputs.items() if self.shapes[name][0] == 0):
            self.steps = self.steps or length
            if length != self.steps:
                raise DataError(f"spike trains of {self.steps} and of {length} steps", remedy="train on one length")
        self.metric = self.metric or metric_for(self.wish, truth, self.output)
        output, value = self.teach(feeds) if self.teach else (None, None)
        if truth is not None:
            target, part = truth.sample(n)
        else:
            assert output is not None
            target, part = self.metric.target(output)[0], (...,)
        whole, inside = self._placed(self._classes(target), part)
        found = {"truth": whole, "inside": inside}
        return inputs, found if value is None else {**found, "teacher": value[0]}

    def _classes(self, target: Array) -> Array:
        """float32 values, or of one output channel 0 and 1; int64 classes."""
        if target.dtype.kind == "f":
            return target.astype(np.float32)
        if self.output.ndim > 1 and self.output.shape[1] > 1:
            return target.astype(np.int64)
        chosen = self.wish.foreground
        return (np.isin(target, chosen) if chosen else target > 0).astype(np.float32)

    def _placed(self, target: Array, part: tuple[Any, ...]) -> tuple[Array, Array]:
        """(the target in the size of the network's output, where it lies there)"""
        size, places = self.output.shape[2:], part[1:]
        if places:
            whole = np.zeros((*target.shape[: -len(places)], *size), target.dtype)
            whole[part] = target
            return whole, np.array([(place.start, place.stop) for place in places])
        fits = target.shape[max(target.ndim - len(size), 0) :] == size
        return target, np.array([(0, n) for n in size] if fits else [], np.int64).reshape(-1, 2)


def _output(network: Network) -> Array:
    """Zeros of the shape and type of the first output."""
    name, part = network.outputs[0], network.epilogue
    if part is not None and part.producer(name) is not None:
        return np.zeros(part.types[name].shape, part.types[name].dtype)
    (readout,) = (p for p in network.populations if p.is_readout and p.value == name)
    return np.zeros((1, *readout.shape), np.float32)


def teacher(path: Path, network: Network, value: str, passes: Sequence[str]) -> Teach:
    """What gives a teacher's output, and its `value` of the same sample. Raises, and takes passes, as `Teacher.of`."""
    graph, output = Teacher.of(path, network, passes).graph, network.outputs[0]
    if value not in graph.types:
        raise OptionError(f"the teacher has no value {value}", file=str(path), remedy="leave --teacher out")
    session = HostSession(graph, list(dict.fromkeys((output, value))))
    trains = {name for name, shape in network.input_shapes.items() if shape[0] == 0}

    def run(feeds: Feeds) -> tuple[Array, Array]:
        found = session.run({name: x.mean(0, keepdims=True) if name in trains else x for name, x in feeds.items()})
        return found[output], found[value]

    return run
