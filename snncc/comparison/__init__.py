"""What a compiled network loses against its teacher, and where: `snncc.compare`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from snncc.bounds import check_steps
from snncc.cli.data import ArrayFile, Case, bind, open_case
from snncc.cli.inference import Collector
from snncc.cli.preprocess import Preprocess
from snncc.comparison.causes import Attribution, Progress, Sample, attribute
from snncc.comparison.layers import Layer, Layers
from snncc.comparison.metrics import METRICS, Metric, Targets, Truth, Wish, metric_for
from snncc.comparison.teacher import Teacher
from snncc.crossover import crossover
from snncc.errors import DataError, OptionError, SnnccError
from snncc.graph import Array
from snncc.model import Model, load
from snncc.network import Network
from snncc.run_counts import RunCounts

PathLike = str | os.PathLike[str]
SAMPLES = 16
WAITS = "neurons wait for their whole window: only the last step has a value"


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Args:
        metric: its name; teacher, spiking: its mean over all cases. A case is a volume or image, or a sample of an
            array. By psnr against itself the teacher has inf.
        cases, samples: how many; some of the samples, `attribution` was measured on.
        prefixes: the metric over those samples at steps 1, ..., T of one run; None: `note` says why.
        layers: each population that fires, against the teacher's activation.
        counts: what the run over all samples executed. nonzero: the teacher's MACs on them without those of zeros.
    """

    metric: str
    teacher: float
    spiking: float
    cases: int
    samples: int
    layers: tuple[Layer, ...]
    attribution: Attribution
    counts: RunCounts
    nonzero: int
    prefixes: tuple[float, ...] | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-like; what is not finite is None."""
        found = self.attribution
        metric = {"name": self.metric, "teacher": self.teacher, "spiking": self.spiking, "cases": self.cases}
        sampled = {"samples": self.samples, "teacher": found.teacher, "spiking": found.metric, "error": found.error}
        metric |= {"prefixes": self.prefixes, "note": self.note, "sampled": sampled}
        return _finite({  # type: ignore[no-any-return]
            "metric": metric,
            "populations": [layer.to_dict() for layer in self.layers],
            "causes": [cause.to_dict() for cause in found.causes],
            "summary": [cause.to_dict() for cause in found.summary],
            "timesteps": self.counts.timesteps,
            "latency": self.counts.latency,
            "totals": self.counts.totals,
            "crossover": crossover(self.counts, self.nonzero),
        })  # fmt: skip


def _finite(value: Any) -> Any:
    """With None in place of infinity and NaN, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def compare(
    teacher: PathLike | onnx.ModelProto,
    model: PathLike | Network | Model,
    data: PathLike | Sequence[PathLike] | Array,
    labels: PathLike | Array | None = None,
    *,
    metric: str | None = None,
    foreground: Sequence[int] = (),
    samples: int = SAMPLES,
    timesteps: int | None = None,
    seed: int = 0,
    threads: int = 1,
    preprocess: Mapping[str, Any] | None = None,
    passes: Sequence[str] = (),
    progress: Progress = lambda label, done, total: None,
) -> Comparison:
    """Run teacher and compiled network on data and say what is lost where.

    Args:
        teacher, model: of each other; files, or what is in them.
        data: paths as for `snncc run`, or one array [samples, C, *spatial].
        labels: a folder with files of the data's names, a .npy, .npz or .csv with one entry a sample, or an array.
        metric: dice, iou, accuracy, psnr or agreement; None: what suits the labels.
        foreground: labels that count as one class; (): all above 0 for one output channel, else each by itself.
        samples: how many of all samples (drawn at random, seed 0) the causes and prefixes are measured on.
        passes: `file.py:Class` of passes that the model was compiled with and that are neither built in nor installed.
        progress: called with (label, done, total).

    Raises:
        DataError: labels are missing or do not fit; the model is of another teacher.
        SnnccError: anything else a user can act on.
    """
    if metric is not None and metric not in METRICS:
        raise OptionError(f"there is no metric {metric!r}", remedy=f"one of {', '.join(METRICS)}")
    if samples < 1:
        raise OptionError(f"samples = {samples}", remedy="1 or more")
    model = model if isinstance(model, Model) else load(model, threads=threads)
    network, trains = model.network, any(p.timed for p in model.network.encoders)
    steps = None if trains and timesteps is None else check_steps(timesteps, model.network)
    prepare = Preprocess.of({**network.meta.get("preprocess", {}), **(preprocess or {})})
    origin = Teacher.of(teacher, network, passes)
    cases = _cases(data, model, prepare)
    study = _Study(model, origin, steps, seed, samples, Wish(metric, tuple(foreground), prepare))
    study.run(cases, _targets(labels, prepare, metric, cases), progress)
    drawn = study.drawn
    assert study.metric is not None and study.counts is not None
    found = attribute(
        network, origin, drawn, study.metric, timesteps=study.counts.timesteps, seed=seed, threads=threads,
        progress=progress,
    )  # fmt: skip
    note = WAITS if network.interlude or any(p.waits for p in network.populations) else ""
    return Comparison(
        study.metric.name, *study.scores(), study.cases, len(drawn), study.layers.result(study.counts), found,
        study.counts, study.layers.nonzero.total, None if note else study.prefixes(progress), note,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Source:
    """Cases to come: the files of each, or one array."""

    files: Sequence[Mapping[str, Path]]
    open: Callable[[Mapping[str, Path]], Case]


def _cases(data: Any, model: Model, prepare: Preprocess) -> _Source:
    shapes = model.input_shapes
    if not isinstance(data, np.ndarray):
        paths = [data] if isinstance(data, str | os.PathLike) else data
        return _Source(bind([os.fspath(p) for p in paths], shapes), lambda files: open_case(files, shapes, prepare))
    (name, shape), *others = shapes.items()
    if others or data.ndim != len(shape) + (shape[0] == 0):
        wanted = ", ".join(f"{n} {s}" for n, s in shapes.items())
        raise DataError(f"an array of shape {data.shape} for {wanted}", remedy="give [samples, C, *spatial], or paths")
    file = ArrayFile(Path("data"), name, shape, len(data), lambda: iter(data))
    return _Source([{name: file.path}], lambda files: Case("data", {name: file}))


def _targets(labels: Any, prepare: Preprocess, metric: str | None, source: _Source) -> Targets | None:
    """Raises DataError where an input has none."""
    if labels is None:
        return None
    values = metric == "psnr" or (metric is None and not prepare.labels)
    found = Targets(labels if isinstance(labels, np.ndarray) else Path(labels), prepare, values)
    found.check(source.files)
    return found


class _Study:
    """Runs teacher and network over all samples: scores, layers, counts, and some samples drawn for what costs more."""

    def __init__(self, model: Model, origin: Teacher, steps: int | None, seed: int, samples: int, wish: Wish):
        self.model, self.steps, self.seed, self.most, self._wish = model, steps, seed, samples, wish
        self.layers = Layers(model, origin)
        self.output = model.network.outputs[0]
        self.drawn: list[Sample] = []
        self.metric: Metric | None = None
        self.counts: RunCounts | None = None
        self._scores: list[tuple[float, float]] = []
        self._rng, self._seen = np.random.default_rng(0), 0

    @property
    def cases(self) -> int:
        return len(self._scores)

    def scores(self) -> tuple[float, float]:
        """Of the teacher and of the network: the mean over all cases."""
        teacher, spiking = np.mean(self._scores, 0)
        return float(teacher), float(spiking)

    def run(self, source: _Source, targets: Targets | None, progress: Progress) -> None:
        for k, files in enumerate(source.files):
            case = source.open(files)
            progress("inputs", k, len(source.files))
            try:
                self._case(case, targets.of(case) if targets else None, progress)
            except SnnccError as error:
                raise error.at(next(iter(files.values()))) from None
        if self._seen == 0:
            raise DataError("no samples in the data", remedy="give files with data")
        progress("inputs", len(source.files), len(source.files))

    def _case(self, case: Case, truth: Truth | None, progress: Progress) -> None:
        whole = [Collector(case), Collector(case)]
        trains = {name for name, shape in self.model.input_shapes.items() if shape[0] == 0}
        for k, feeds in enumerate(case.samples()):
            analog = {name: x.mean(0, keepdims=True) if name in trains else x for name, x in feeds.items()}
            result = self.model.run(feeds, self.steps, seed=self.seed, record=True)
            pair = self.layers.add(analog, result.spikes)[self.output], result.outputs[self.output]
            self.metric = self.metric or metric_for(self._wish, truth, pair[0])
            target, part = truth.sample(k) if truth else (self.metric.target(pair[0])[0], (...,))
            sample = Sample(feeds, analog, target, part)
            for collector, output in zip(whole, pair, strict=True) if case.volume else ():
                collector.add({self.output: output})
            if not whole[0].images:
                if truth and truth.volume:
                    what = f"outputs of shape {pair[0].shape} are no images of the input's size"
                    raise DataError(what, remedy="give labels as .npy or .csv, one a sample")
                self._score([sample.counts(self.metric, output) for output in pair])
            assert result.counts.counts is not None
            self.counts = self.counts or RunCounts(self.model.facts, self.model.engine, result.counts.timesteps)
            self.counts.add(result.counts.counts, input=case.name, index=k)
            self._draw(sample)
            progress(case.name, k + 1, case.count)
        if whole[0].images:
            assert self.metric is not None
            images = [collector.images[self.output].result() for collector in whole]
            target = truth.stack if truth else self.metric.target(images[0])
            self._score([self.metric.counts(image, target) for image in images])

    def _score(self, pair: Sequence[Array]) -> None:
        assert self.metric is not None
        teacher, spiking = (self.metric.value(counts) for counts in pair)
        self._scores.append((teacher, spiking))

    def _draw(self, sample: Sample) -> None:
        """Reservoir sampling: each sample is equally likely to be kept."""
        self._seen += 1
        if len(self.drawn) < self.most:
            self.drawn.append(sample)
        elif (place := int(self._rng.integers(self._seen))) < self.most:
            self.drawn[place] = sample

    def prefixes(self, progress: Progress) -> tuple[float, ...]:
        """The metric over the drawn samples after each step of one run."""
        assert self.metric is not None
        total: list[Array] = []
        for k, sample in enumerate(self.drawn):
            along = self.model.run(sample.feeds, self.steps, seed=self.seed, over_time=True).over_time[self.output]
            counts = [sample.counts(self.metric, now) for now in along]
            total = [a + b for a, b in zip(total, counts, strict=True)] if total else counts
            progress("prefixes", k + 1, len(self.drawn))
        return tuple(self.metric.value(counts) for counts in total)
