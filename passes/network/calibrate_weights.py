"""Integer weights fitted to what the spiking network really sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from snncc.errors import OptionError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons.base import total_count
from snncc.passes.network.neurons import inverse
from snncc.passes.network.probes import PROBE, spikes_probe
from snncc.passes.network.quantize import Quantize
from snncc.passes.network.regression import (
    Moved,
    chosen,
    clipped,
    fed_back,
    gram,
    influence,
    logistic,
    on_grid,
    patches,
    regressed,
    ridge,
)
from snncc.pipeline import Context
from snncc.rows import Rows
from snncc.synapses import Conv, ConvTranspose, Dense
from snncc.synapses.apply import apply
from snncc.synapses.routing import apply_all

FULL = (Conv, ConvTranspose, Dense)  # a weight of its own for each pair of channels
RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)  # times the mean square of an input
OPEN = 0.8  # of the positions
CLIPS = np.arange(20, 8, -1) / 20  # of a row's largest weight


@dataclass(frozen=True)
class CalibrateWeights(Quantize):
    """in place of quantize: integer weights and biases by least squares on the spikes that calibration data cause

    Layer after layer, with the layers before it in integers already: W, b = argmin sum (W s + b - (W0 a + b0))^2 +
    ridge |W - W0|^2 over `positions` neurons, s what the spikes before it say, a the teacher's activations, the ridge
    by held-out samples. Errors where both sides are below zero, or above what a neuron can say, do not count; logits
    are compared through their sigmoid. Then each row gets the scale (its largest weights may be clipped) and the
    integers with error feedback. Weights of sums, relays and of groups that cut differently stay as they are; the
    others make up for what these do wrong.
    """

    positions: int = 16384

    name: ClassVar[str] = "calibrate-weights"
    instead_of: ClassVar[str] = "quantize"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions < 1:
            raise OptionError(f"calibrate-weights: positions={self.positions}", remedy="1 or more")

    def _rows(self, network: Network, population: Population, done: Network, context: Context) -> Rows:
        layer = _Layer(network, population, done, self.most)
        seen, target, offset = layer.collected(context, self.positions, self.name)
        exact = layer.weights()
        metrics = []
        for k, part in enumerate(layer.parts):
            x, own = seen[:, k], offset[:, part]
            wanted, hessian = target[:, part] - own, gram(x, x)
            inverse = np.linalg.inv(hessian + ridge(hessian, chosen(x, wanted, exact[part], RIDGES)))
            exact[part] = regressed(x, wanted, exact[part], inverse, *layer.loss(wanted, own))
            metrics.append((part, *influence(np.linalg.inv(hessian + ridge(hessian, RIDGES[0])))))
        rows = layer.rows(exact, self._clip(layer, exact, metrics))
        step = layer.steps(rows)
        for part, order, factor in metrics:
            exact[part] = fed_back(exact[part], step[part], self.most, order, factor)
        rows.exchange(*layer.split(exact))
        return rows

    def _clip(self, layer: _Layer, exact: Array, metrics: list[tuple[slice, Array, Array]]) -> Array:
        """[C]: the part of each row's largest weight with the least error of rounding."""
        costs = np.zeros((len(CLIPS), len(exact)))
        for k, clip in enumerate(CLIPS):
            step = layer.steps(layer.rows(exact, clip))
            for part, order, factor in metrics:
                errors = exact[part] - on_grid(exact[part], step[part], self.most)
                costs[k, part] = (errors[:, order] ** 2 / np.diag(factor) ** 2).sum(1)
        return np.asarray(CLIPS[costs.argmin(0)])


class _Layer:
    """One population and what it sees."""

    def __init__(self, network: Network, population: Population, done: Network, most: int):
        self.network, self.population, self.done, self.most = network, population, done, most
        self.incoming = network.incoming(population)
        groups = {j.synapse.groups for j in self.incoming if isinstance(j.synapse, FULL)}
        self.fitted = [j for j in self.incoming if isinstance(j.synapse, FULL) and len(groups) == 1]
        self.fixed = [j for j in self.incoming if j not in self.fitted]
        size = population.channels // (groups.pop() if self.fitted else 1)
        self.parts = [slice(k, k + size) for k in range(0, population.channels, size)]
        self.bias = np.zeros(population.channels) if population.bias is None else population.bias.astype(np.float64)
        rank = len(population.shape)
        self.map = self.bias if self.bias.ndim == rank > 1 else np.zeros((population.channels, *(1,) * (rank - 1)))

    def loss(self, target: Array, offset: Array) -> tuple[Moved | None, int]:
        """What errors of the current beside `offset` count: for regression.regressed."""
        kind, top = self.population.kind, (1 << self.network.levels(self.population)) - 1.0
        if self.is_logit(self.population):
            return logistic(target), 40
        if self.population.is_readout:
            return None, 0
        rectifies = getattr(kind, "memory", not getattr(kind, "signed", False))
        return clipped(target, (0.0 if rectifies else -np.inf) - offset, top - offset), 4

    def weights(self) -> Array:
        """[C, columns and 1]: the fitted projections' side by side, and the bias."""
        bias = self.bias if self.bias.ndim == 1 else np.zeros(len(self.bias))
        return np.column_stack([*(np.asarray(j.synapse.rows(), np.float64) for j in self.fitted), bias])

    def split(self, weights: Array) -> tuple[dict[Projection, Array], Array]:
        """The inverse: (weights of each projection, bias)."""
        ends = np.cumsum([j.synapse.rows().shape[1] for j in self.fitted])
        *parts, bias = np.split(weights, ends, axis=1)
        bias = bias[:, 0] if self.bias.ndim == 1 else self.map + bias.reshape(-1, *(1,) * (self.map.ndim - 1))
        return dict(zip(self.fitted, parts, strict=True)), bias

    def rows(self, weights: Array, clip: Array | float) -> Rows:
        rows, bias = self.split(weights)
        return Rows(replace(self.population, bias=bias), self.incoming, self.done, self.most, rows, clip)

    def steps(self, rows: Rows) -> Array:
        """[C, columns and 1]: from one weight to the next; 0 for the bias."""
        steps = [np.broadcast_to(rows.step(j)[:, None], rows.rows[j].shape) for j in self.fitted]
        return np.column_stack([*steps, np.zeros(self.population.channels)])

    def collected(self, context: Context, positions: int, why: str) -> tuple[Array, Array, Array]:
        """Of neurons at random positions: (what they see, [n, groups, columns and 1] float32; the current that the
        teacher has there [n, C]; the part of theirs that is not fitted [n, C]), in units of lambda per step."""
        rng = np.random.default_rng(0)
        names = dict.fromkeys(j.pre for j in self.incoming)
        logits = [p for p in self.network.readouts if self.is_logit(p) and len(p.shape) == len(self.population.shape)]
        spatial = self.population.shape[1:]
        spiking = [self.done[name] for name in names if self.network[name].fires]
        part = spikes_probe(self.done, spiking)
        samples = self.network.meta["calibration"]["samples"]
        share = -(-positions // samples)
        layers = [p.name for p in self.network.populations if not (p.is_encoder or p.is_gate)]
        before, total = layers.index(self.population.name) * samples, total_count(self.done.base, context.timesteps)
        found: list[tuple[Array, Array, Array]] = []
        for k, feeds in enumerate(context.stream(why), 1):
            said = context.values(feeds, [*(self.network[name] for name in names), *logits])
            teacher = {name: self._in_units(name, said[name]) for name in names}
            counted = context.potentials(part, feeds, context.timesteps) if spiking else {}
            spikes = teacher | {p.name: counted[f"{PROBE} {p.name}"] / np.float32(total) for p in spiking}
            chance = self._chance([said[p.name] for p in logits], spatial)
            drawn = rng.choice(len(chance), min(share, len(chance)), replace=False, p=chance)
            at = np.unravel_index(drawn, spatial) if spatial else ()
            found.append(self._seen(teacher, spikes, at))
            context.progress(why, before + k, len(layers) * samples)
        seen, target, offset = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return seen, target, offset

    def is_logit(self, population: Population) -> bool:
        """Is it a readout that a sigmoid reads, and nothing else?"""
        epilogue = self.network.epilogue
        users = epilogue.users(population.value) if population.is_readout and epilogue else ()
        return {node.op for node in users} == {"Sigmoid"}

    def _chance(self, logits: list[Array], spatial: tuple[int, ...]) -> Array:
        """The chance of each position to be drawn: OPEN of it where outputs at the same place can still go either way,
        by the slope of their sigmoid; the rest evenly."""
        chance = np.full(prod(spatial), 1 / prod(spatial))
        for z in logits:
            slope = (1 - np.tanh(z.astype(np.float64) / 2) ** 2).max(0)
            for axis, n in enumerate(spatial):
                slope = np.take(slope, np.arange(n) * slope.shape[axis] // n, axis)
            chance += OPEN / (1 - OPEN) * slope.ravel() / max(slope.sum(), 1e-9)
        return np.asarray(chance / chance.sum())

    def _seen(
        self, teacher: dict[str, Array], spikes: dict[str, Array], at: tuple[Array, ...]
    ) -> tuple[Array, Array, Array]:
        here: Any = (slice(None), *at)
        channels = self.population.channels
        offset = np.broadcast_to(self.map, self.population.shape)[here].reshape(channels, -1).T.copy()
        target = offset.copy()
        for j in self.fixed:
            for x, total in ((teacher, target), (spikes, offset)):
                total += apply(j.synapse, self._routed(j, x))[here].reshape(channels, -1).T
        ones = np.ones((len(target), len(self.parts), 1), np.float32)
        a, s = (
            np.concatenate([*(patches(j.synapse, self._routed(j, x), at) for j in self.fitted), ones], 2)
            for x in (teacher, spikes)
        )
        weights = self.weights()
        for k, part in enumerate(self.parts):
            target[:, part] += a[:, k] @ weights[part].T.astype(np.float32)
        return s, target, offset

    def _routed(self, j: Projection, values: dict[str, Array]) -> Array:
        return apply_all(j.routing, values[j.pre].astype(np.float32), self.network[j.pre].shape)

    def _in_units(self, name: str, x: Array) -> Array:
        unit = self.network[name].unit
        assert unit is not None
        return x * inverse(unit).reshape(-1, *(1,) * (x.ndim - 1)).astype(np.float32)
