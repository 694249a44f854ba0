"""Each population's spikes against the teacher's activation, over any number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snncc.comparison.teacher import Teacher
from snncc.graph import Array
from snncc.macs import NonzeroMacs
from snncc.model import Model
from snncc.network import Population
from snncc.neurons.base import per_channel, total_count
from snncc.pipeline import Feeds
from snncc.run_counts import RunCounts
from snncc.runtime.calibration import Evaluator

POINTS, EACH = 2048, 128  # kept of a population for a plot: in all, and of one sample


@dataclass(frozen=True, eq=False)
class Layer:
    """One population that fires, over all samples.

    Args:
        correlation, bias, error: Pearson's, mean error and relative 2-norm of the error of what its spikes say (the
            number they say x unit / the largest that T steps say) against the teacher's activation; None where the
            teacher has no such value, or where it does not vary.
        rate: events per neuron and step. synops: of its events.
        points: [n, 2] activations and what spikes said, a random part.
    """

    name: str
    neurons: int
    correlation: float | None
    bias: float | None
    error: float | None
    rate: float
    synops: int
    points: Array

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "points"}


class Layers:
    """Adds up what `Layer` says, and the teacher's MACs without those of zeros, in memory that does not grow."""

    def __init__(self, model: Model, teacher: Teacher):
        self.network, self.graph = model.network, teacher.graph
        self._moments = {
            p.name: _Moments() for p in self.network.populations if p.fires and p.watched[0] in teacher.graph.types
        }
        self._readers: dict[str, list[Population]] = {}
        for name in self._moments:
            self._readers.setdefault(self.network[name].watched[0], []).append(self.network[name])
        self._evaluator = Evaluator()
        self.nonzero = NonzeroMacs(teacher.graph)

    def add(self, analog: Feeds, spikes: Mapping[str, Array]) -> dict[str, Array]:
        """One sample, as the teacher takes it; gives the teacher's outputs."""
        made = {*self._readers, *self.network.outputs, *self.nonzero.watch} - set(analog)
        outputs: dict[str, Array] = {}
        for name, x in (*analog.items(), *self._evaluator.each(self.graph, analog, sorted(made))):
            if name in self.network.outputs:
                outputs[name] = x
            if name in self.nonzero.watch:
                self.nonzero.watch[name](x)
            for population in self._readers.get(name, ()):
                exact = x[0][population.watched[1]].reshape(population.shape)
                self._moments[population.name].add(exact, self._said(population, spikes[population.name]))
        return outputs

    def _said(self, population: Population, train: Array) -> Array:
        """The analog value of a train [T, C, *spatial], float64."""
        number = np.zeros(train.shape[1:], np.int32)
        for spikes in train:
            number = self.network.base * number + spikes
        assert population.unit is not None
        return number * per_channel(population.unit, number.ndim) / total_count(self.network.base, len(train))

    def result(self, counts: RunCounts) -> tuple[Layer, ...]:
        """With rates and operations from the counts of the same samples."""
        synops = counts.leaving("synops")
        return tuple(
            Layer(p["name"], p["neurons"], *m.result(), p["rate"], synops[p["name"]], m.points)
            for p in counts.populations
            for m in (self._moments.get(p["name"], _Moments()),)
        )


@dataclass(eq=False)
class _Moments:
    """Sums over pairs (activation x, what spikes say y): 1, x, y, xx, yy, xy, (y - x)^2."""

    sums: Array = field(default_factory=lambda: np.zeros(7))
    points: Array = field(default_factory=lambda: np.zeros((0, 2)))

    def add(self, exact: Array, said: Array) -> None:
        x, y = exact.ravel().astype(np.float64), said.ravel()
        self.sums += [x.size, x.sum(), y.sum(), x @ x, y @ y, x @ y, np.square(y - x).sum()]
        if len(self.points) < POINTS:
            chosen = np.random.default_rng(len(self.points)).integers(x.size, size=EACH)
            self.points = np.concatenate([self.points, np.stack([x[chosen], y[chosen]], 1)])

    def result(self) -> tuple[float | None, float | None, float | None]:
        n, x, y, xx, yy, xy, wrong = (float(v) for v in self.sums)
        if not n:
            return None, None, None
        spread = (xx - x * x / n) * (yy - y * y / n)
        correlation = (xy - x * y / n) / spread**0.5 if spread > 0 else None
        return correlation, (y - x) / n, (wrong / xx) ** 0.5 if xx else None
