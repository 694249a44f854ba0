"""Tables that kernels/max_gate.py and kernels/depthwise.py read."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.network import Projection
from snncc.synapses.routing import Route
from snncc.synapses.taps import AxisTaps


def floors(projection: Projection, routing: tuple[Route, ...], inner: tuple[int, ...]) -> dict[str, Array]:
    """Per axis, bool [outputs]: does a window there touch zeros that routing put in (they take part, unlike the
    window's padding), or nothing at all (its count stays 0)?"""
    found = [np.zeros(1, bool)] * (4 - len(inner))
    for axis, size in enumerate(inner[1:]):
        source = np.arange(size)
        for route in routing:
            moved = route.along(axis, source)
            assert moved is not None
            source = moved
        met = projection.synapse.taps(axis, len(source))
        found.append(np.any((met >= 0) & (source[met] < 0), axis=1) | np.all(met < 0, axis=1))
    return {f"{name}_floor": floor for name, floor in zip("zyx", found, strict=True)}


def wrapped(rows: Array) -> Array:
    """[..., padded channels] -> [..., padded channels + 48]: 64 lanes that begin at any word of channels."""
    channels = rows.shape[-1]
    return np.ascontiguousarray(rows[..., np.arange(channels + 48) % channels])


def alike(axis: AxisTaps) -> Array:
    """Stretches of outputs that meet inputs through the same classes, each a step further than the one before it.

    int64 [stretches, 2]: end, step. Greedy: a stretch takes as many outputs as it can.
    """
    met = [(axis.source[a:b], axis.tap[a:b]) for a, b in zip(axis.start[:-1], axis.start[1:], strict=True)]
    found: list[tuple[int, int]] = []
    steps: set[int] = set()  # of the stretch so far: at most one
    for o in range(1, axis.outputs):
        (before, same), (sources, classes) = met[o - 1], met[o]
        moved = set(sources - before) if np.array_equal(classes, same) else set()
        if len(moved) == 1 and len(moved | steps) == 1:
            steps = moved
        else:
            found.append((o, min(steps, default=1)))
            steps = set()
    return np.array([*found, (axis.outputs, min(steps, default=1))], np.int64)
