"""The one definition of event, synapse, SynOp and MAC, and their closed forms.

- event: one spike of one neuron at one step, whatever its sign. A multi-threshold neuron's spike is one event for each
  of its levels that fires: for each bit of its value.
- synapse: a distinct (pre neuron, post neuron) pair of one projection, however many paths join them; a pair counts
  whatever its weight. A max gate has one per (pre neuron, window).
- synops: (event, synapse) pairs. synops_nonzero leaves out pairs of effective weight 0; synops_paths counts every path
  (what tools count that see upsampling and convolution apart).
- macs: (analog value, synapse) pairs of constant currents, once an inference, and those of prologue and epilogue.
- neuron_updates: one per neuron with a membrane (readouts included) and step. bias_adds: one per neuron with a bias
  or a constant current, and step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.synapses.routing import apply_all, split
from snncc.synapses.taps import Taps, taps


def events_of(spikes: Array) -> Array:
    """int64: the events of each spike value (int8)."""
    return np.bitwise_count(np.abs(spikes).astype(np.uint8)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class FanOut:
    """Synapses per pre neuron, each an int64 map of the pre population's shape."""

    synapses: Array
    nonzero: Array
    paths: Array


def fan_out(network: Network, projection: Projection) -> FanOut:
    """Closed form: per axis, how many outputs each input meets through each class; combined over axes and channels."""
    pre = network[projection.pre]
    relayout, spatial = split(projection.routing, pre.shape)
    index = apply_all(relayout, np.arange(pre.size).reshape(pre.shape) + 1, pre.shape) - 1  # 0 pads become -1
    inner = index.shape
    table = taps(projection.synapse, spatial, inner)
    maps = (_all(table, inner), _nonzero(table, inner), _paths(table, inner))
    return FanOut(*(_back(m, index, pre) for m in maps))


def _back(routed: Array, index: Array, pre: Population) -> Array:
    flat = np.zeros(pre.size, np.int64)
    kept = index >= 0
    np.add.at(flat, index[kept], routed[kept])
    return flat.reshape(pre.shape)


def _outer(per_axis: list[Array]) -> Array:
    return np.asarray(reduce(np.multiply.outer, per_axis, np.ones((), np.int64)))


def _all(table: Taps, shape: tuple[int, ...]) -> Array:
    space = _outer([a.pairs_of_source(n).sum(0) for a, n in zip(table.axes, shape[1:], strict=True)])
    return np.broadcast_to(space * table.weight.shape[-1], shape).astype(np.int64)


def _nonzero(table: Taps, shape: tuple[int, ...]) -> Array:
    live: Array = np.count_nonzero(table.weight, axis=-1).astype(np.int64)  # [*classes, Cin]
    for axis, size in zip(table.axes, shape[1:], strict=True):
        live = np.tensordot(live, axis.pairs_of_source(size), axes=(0, 0))
    return np.asarray(live.reshape(shape), np.int64)


def _paths(table: Taps, shape: tuple[int, ...]) -> Array:
    weights = [np.array([len(c) for c in a.classes], np.int64) for a in table.axes]
    space = _outer(
        [w @ a.pairs_of_source(n) for w, a, n in zip(weights, table.axes, shape[1:], strict=True)]
    )
    return np.broadcast_to(space * table.weight.shape[-1], shape).astype(np.int64)


@dataclass(eq=False)
class Counts:
    """What a run executed. uint64, per step; additive over samples.

    events: population -> [T]; synops, synops_nonzero, synops_paths: projection name -> [T]; macs: projection name ->
    int.
    """

    timesteps: int
    events: dict[str, Array] = field(default_factory=dict)
    synops: dict[str, Array] = field(default_factory=dict)
    synops_nonzero: dict[str, Array] = field(default_factory=dict)
    synops_paths: dict[str, Array] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    samples: int = 1

    def __add__(self, other: Counts) -> Counts:
        if self.timesteps != other.timesteps:
            raise ValueError("counts of different numbers of steps do not add")

        def both(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
            return {k: a[k] + b[k] for k in a}

        return Counts(
            self.timesteps,
            both(self.events, other.events),
            both(self.synops, other.synops),
            both(self.synops_nonzero, other.synops_nonzero),
            both(self.synops_paths, other.synops_paths),
            both(self.macs, other.macs),
            self.samples + other.samples,
        )

    def same(self, other: Counts) -> bool:
        """Equal in every number."""
        return self.timesteps == other.timesteps and all(
            a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
            for a, b in (
                (self.events, other.events),
                (self.synops, other.synops),
                (self.synops_nonzero, other.synops_nonzero),
                (self.synops_paths, other.synops_paths),
                (self.macs, other.macs),
            )
        )


def closed_form(network: Network, spikes: dict[str, Array]) -> Counts:
    """Counts from recorded spikes: population -> int8 [T, *shape] for every population that fires."""
    steps = next(iter(spikes.values())).shape[0] if spikes else 0
    counts = Counts(steps)
    planes = {name: events_of(s).reshape(steps, -1) for name, s in spikes.items()}
    for name, plane in planes.items():
        counts.events[name] = plane.sum(1).astype(np.uint64)
    for projection in network.projections:
        fans = fan_out(network, projection)
        name = projection.name
        if network.analog(projection):
            counts.macs[name] = int(fans.synapses.sum())
            continue
        plane = planes[projection.pre]
        counts.synops[name] = (plane @ fans.synapses.ravel()).astype(np.uint64)
        counts.synops_nonzero[name] = (plane @ fans.nonzero.ravel()).astype(np.uint64)
        counts.synops_paths[name] = (plane @ fans.paths.ravel()).astype(np.uint64)
    return counts


def neuron_updates(network: Network) -> int:
    """Membrane updates of one step."""
    return sum(p.size for p in network.populations if not p.is_encoder and not p.is_gate)


def bias_adds(network: Network) -> int:
    """Constant addends (a bias, a constant current) of one step."""
    fed = {j.post for j in network.projections if network.analog(j)}
    return sum(
        p.size
        for p in network.populations
        if not p.is_encoder and (p.name in fed or (p.bias is not None and bool(np.any(p.bias))))
    )
