"""Counts what events meet by the closed form: the events of a position times the outputs that it has."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import item, load_mask, ones_in


@compiled
def met(
    words: Array, per: int, first: int, last: int, z_fan: Array, z_ways: Array, y_fan: Array, y_ways: Array,
    x_stop: Array, x_fan: Array, x_ways: Array, counts: Array,
) -> None:  # fmt: skip
    """Steps first..last of a train of `per` words a position: counts uint64 [3, T] += pairs, pairs, paths.

    words uint16 [levels, T, 1 or 2 signs, positions * per]. fan, ways int64: per input of an axis, its outputs and the
    paths to them; along x per stretch of inputs with as many of both, which ends at x_stop.
    """
    levels, steps, signs, size = words.shape
    for plane in range(levels * steps * signs):
        t, at = plane // signs % steps, plane * size
        if not first <= t < last:
            continue
        pairs, paths = 0, 0
        for line in range(z_fan.size * y_fan.size):
            z, y = line // y_fan.size, line % y_fan.size
            begin = at
            for r in range(x_stop.size):
                events, end = 0, begin + x_stop[r] * per
                while at + 4 <= end:
                    events += ones_in(load_mask(words, at, 64))
                    at += 4
                while at < end:
                    events += ones_in(item(words, at))
                    at += 1
                pairs += events * z_fan[z] * y_fan[y] * x_fan[r]
                paths += events * z_ways[z] * y_ways[y] * x_ways[r]
        counts[0, t] += np.uint64(pairs)
        counts[1, t] += np.uint64(pairs)
        counts[2, t] += np.uint64(paths)
