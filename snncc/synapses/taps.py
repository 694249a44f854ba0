"""A projection's routing and synapse as one table of taps per spatial axis.

Along each axis a pair (pre position i, post position o) is joined by a set of kernel indices: one index for plain
convolutions, several where nearest upsampling repeats i. The set is the pair's class; weights summed over a class are
the pair's effective weights, so each pair (one synapse by the definition in counting.py) is met exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse
from snncc.synapses.routing import Route


@dataclass(frozen=True, eq=False)
class AxisTaps:
    """Pairs of one axis, sorted by output then input: outputs o's pairs are start[o]:start[o + 1]."""

    start: Array  # int64 [n_out + 1]
    source: Array  # int64 [pairs]
    tap: Array  # int64 [pairs], index into classes
    classes: tuple[tuple[int, ...], ...]

    @property
    def outputs(self) -> int:
        return len(self.start) - 1

    def pairs_of_source(self, size: int) -> Array:
        """int64 [classes, size]: how many outputs input i meets through each class."""
        table = np.zeros((len(self.classes), size), np.int64)
        np.add.at(table, (self.tap, self.source), 1)
        return table


@dataclass(frozen=True, eq=False)
class Taps:
    """weight [*classes, Cin, Cout / groups]: effective weights; multiplicity [*classes]: paths per pair."""

    axes: tuple[AxisTaps, ...]
    weight: Array
    multiplicity: Array
    groups: int


def axis_taps(synapse: Synapse, routing: tuple[Route, ...], axis: int, size: int) -> AxisTaps:
    """The table of one axis. `routing` must be spatial (no reshape, no slice of channels)."""
    source = np.arange(size)
    for route in routing:
        moved = route.along(axis, source)
        assert moved is not None, "routing mixes axes"
        source = moved
    table = synapse.taps(axis, len(source))
    classes: dict[tuple[int, ...], int] = {}
    starts, sources, taps = [0], [], []
    for row in table:
        joined: dict[int, list[int]] = {}
        for k, position in enumerate(row):
            if position >= 0 and source[position] >= 0:
                joined.setdefault(int(source[position]), []).append(k)
        for i in sorted(joined):
            sources.append(i)
            taps.append(classes.setdefault(tuple(joined[i]), len(classes)))
        starts.append(len(sources))
    if not classes:
        classes[()] = 0
    return AxisTaps(
        np.array(starts, np.int64), np.array(sources, np.int64), np.array(taps, np.int64), tuple(classes)
    )


def taps(synapse: Synapse, routing: tuple[Route, ...], shape: tuple[int, ...]) -> Taps:
    """Tables and effective weights of a projection from a population of `shape`, `routing` being spatial."""
    axes = tuple(axis_taps(synapse, routing, a, n) for a, n in enumerate(shape[1:]))
    kernel = synapse.kernel_weights(len(shape) - 1)
    cin, cout = kernel.shape[-2:]
    dtype = np.int64 if np.issubdtype(kernel.dtype, np.integer) or _whole(kernel) else kernel.dtype
    weight = np.empty((*(len(a.classes) for a in axes), cin, cout), dtype)
    multiplicity = np.ones(weight.shape[:-2], np.int64)
    for index in product(*(range(len(a.classes)) for a in axes)):
        members = [a.classes[c] for a, c in zip(axes, index, strict=True)]
        weight[index] = sum((kernel[k] for k in product(*members)), np.zeros((cin, cout), dtype)).astype(dtype)
        multiplicity[index] = prod(len(m) for m in members)
    return Taps(axes, weight, multiplicity, synapse.groups)


def _whole(kernel: Array) -> bool:
    return bool(np.all(kernel == np.rint(kernel)))
