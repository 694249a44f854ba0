"""The reference engine: NumPy, short, slow. It imports neither numba nor onnxruntime: it is the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from snncc.counting import Counts, events_of
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import MaxGate, Neuron
from snncc.neurons.base import per_channel
from snncc.runtime.trace import Trace, checked_value
from snncc.synapses import Pool
from snncc.synapses.apply import apply
from snncc.synapses.routing import Route, apply_all, split


class ReferenceEngine:
    """Runs a network population by population, each over all its steps."""

    def __init__(self, network: Network):
        self.network = network
        self.integer = str(network.meta.get("precision", "")).startswith("int")
        self._reach: dict[str, tuple[list[Array], Array]] = {}

    def run(
        self,
        values: Mapping[str, Array],
        timesteps: int,
        *,
        seed: int = 0,
        record: bool = False,
        prefixes: bool = False,
    ) -> Trace:
        """See snncc.runtime.trace.Engine."""
        counts = Counts(timesteps)
        spikes: dict[str, Array] = {}
        analog: dict[str, Array] = {}
        potentials: dict[str, Array] = {}
        for population in self.network.populations:
            name, kind = population.name, population.kind
            if not isinstance(kind, Neuron):
                x = checked_value(values, population, timesteps)
                if kind.fires:
                    spikes[name] = np.stack([kind.encode(x, t, seed) for t in range(1, timesteps + 1)]).astype(np.int8)
                else:
                    analog[name] = kind.encode(x, 1, seed)
                continue
            state = kind.initial(population.shape)
            constant = self._constant(population, analog, counts)
            out, history = [], []
            for t in range(timesteps):
                current = self._current(population, constant, spikes, t, counts)
                out.append(kind.step(state, current))
                if population.is_readout and prefixes:
                    history.append(state["V"].copy())
            if kind.waits:
                out = list(kind.emit(state, timesteps))
            if population.is_readout:
                potentials[name] = np.stack(history) if prefixes else state["V"]
            else:
                spikes[name] = np.stack(out)
        for name, train in spikes.items():
            counts.events[name] = events_of(train).reshape(timesteps, -1).sum(1).astype(np.uint64)
        return Trace(potentials, spikes if record else {}, counts)

    def _dtype(self) -> type:
        return np.int32 if self.integer else np.float32

    def _constant(self, population: Population, analog: Mapping[str, Array], counts: Counts) -> dict[str, Array]:
        """Analog currents, by projection, and the bias under the name ""."""
        out: dict[str, Array] = {}
        for projection in self.network.incoming(population):
            if projection.pre not in analog:
                continue
            pre = self.network[projection.pre]
            current = apply(projection.synapse, apply_all(projection.routing, analog[pre.name], pre.shape))
            if projection.synapse.shift is not None:
                factor = 2.0 ** per_channel(projection.synapse.shift.astype(np.float64), current.ndim)
                current = np.floor(current * factor + 0.5)
            out[projection.name] = current.astype(self._dtype())
            counts.macs[projection.name] = int(self._delivered(projection, np.ones(pre.shape, np.int64))[0])
        bias = population.bias if population.bias is not None else np.zeros(population.channels)
        if bias.ndim == 1:
            bias = per_channel(bias, len(population.shape))
        out[""] = np.broadcast_to(bias, population.shape).astype(self._dtype())
        return out

    def _current(
        self, population: Population, constant: Mapping[str, Array], spikes: Mapping[str, Array], t: int, counts: Counts
    ) -> Array:
        total: Array = np.zeros(population.shape, self._dtype())
        for projection in self.network.incoming(population):
            if projection.name in constant:
                total = total + constant[projection.name]
                continue
            pre = self.network[projection.pre]
            train = spikes[projection.pre]
            numbers = self._delivered(projection, events_of(train[t]))
            for store, number in zip((counts.synops, counts.synops_nonzero, counts.synops_paths), numbers, strict=True):
                store.setdefault(projection.name, np.zeros(counts.timesteps, np.uint64))[t] = number
            if isinstance(population.kind, MaxGate):
                return self._window_max(projection, _number(train[: t + 1], population.kind.base), pre)
            current = apply(projection.synapse, apply_all(projection.routing, train[t], pre.shape))
            if projection.synapse.shift is not None:
                current = current * 2.0 ** per_channel(projection.synapse.shift.astype(np.float64), current.ndim)
            total = total + current.astype(self._dtype())
        return np.asarray(total + constant[""], self._dtype())

    def _window_max(self, projection: Projection, n: Array, pre: Population) -> Array:
        """max over each window of the running counts n [C, *spatial] int32."""
        x = apply_all(projection.routing, n, pre.shape)
        window = projection.synapse
        assert isinstance(window, Pool)
        for axis in range(x.ndim - 1):
            table = window.taps(axis, x.shape[1 + axis])
            lowest = np.full((*x.shape[: 1 + axis], 1, *x.shape[2 + axis :]), np.iinfo(np.int32).min, np.int32)
            padded = np.concatenate([x, lowest], axis=1 + axis)  # index -1: padding, which never wins
            x = np.take(padded, table, axis=1 + axis).max(axis=2 + axis)
        return np.asarray(x)

    # -- counting: events are walked to the posts they reach, one axis after the other ---------------------------------

    def _delivered(self, projection: Projection, events: Array) -> tuple[int, int, int]:
        """(pairs, pairs of effective weight != 0, paths) of these events [C, *spatial] over one projection."""
        shape = self.network[projection.pre].shape
        relayout, spatial = split(projection.routing, shape)
        moved = apply_all(relayout, events, shape)
        if projection.name not in self._reach:
            met = [_met(projection, spatial, axis, size) for axis, size in enumerate(moved.shape[1:])]
            self._reach[projection.name] = met, _nonzero_fan(projection, moved.shape, met)
        met, nonzero = self._reach[projection.name]
        fan = projection.synapse.kernel_weights(len(moved.shape) - 1).shape[-1]
        pairs, paths = moved.sum(0), moved.sum(0)
        for which in met:
            pairs = np.tensordot(pairs, which.any(2).astype(np.int64), axes=(0, 1))
            paths = np.tensordot(paths, which.sum(2), axes=(0, 1))
        return int(pairs.sum()) * fan, int((nonzero * moved).sum()), int(paths.sum()) * fan


def _number(train: Array, base: int) -> Array:
    """What the spikes so far [t, C, *spatial] say, int32: n <- base * n + s."""
    n = np.zeros(train.shape[1:], np.int32)
    for spikes in train:
        n = base * n + spikes
    return n


def _met(projection: Projection, spatial: tuple[Route, ...], axis: int, size: int) -> Array:
    """bool [out, in, K]: does kernel index k join input i to output o along this axis?"""
    source: Array | None = np.arange(size)
    for route in spatial:
        assert source is not None
        source = route.along(axis, source)
    assert source is not None
    table = projection.synapse.taps(axis, len(source))
    which = np.zeros((table.shape[0], size, table.shape[1]), bool)
    o, k = np.nonzero(table >= 0)
    i = source[table[o, k]]
    which[o[i >= 0], i[i >= 0], k[i >= 0]] = True
    return which


def _nonzero_fan(projection: Projection, shape: tuple[int, ...], met: list[Array]) -> Array:
    """[C, *spatial]: posts that each pre neuron reaches with weights that do not add up to zero over their paths."""
    kernel = np.asarray(projection.synapse.kernel_weights(len(shape) - 1), np.float64)
    sets = [np.unique(which.reshape(-1, which.shape[2]), axis=0) for which in met]
    fan = np.zeros(shape, np.int64)
    for chosen in product(*sets):
        if not all(c.any() for c in chosen):
            continue
        weight = kernel[np.ix_(*chosen)] if chosen else kernel[None]
        live = np.count_nonzero(weight.reshape(-1, *kernel.shape[-2:]).sum(0), axis=-1)
        reach = np.ones((), np.int64)
        for which, c in zip(met, chosen, strict=True):
            reach = np.multiply.outer(reach, (which == c).all(2).sum(0))
        fan += np.multiply.outer(live, reach)
    return fan
