"""Projections in groups: depthwise convolutions, pools, diagonals (one channel a group) and grouped convolutions.

Shapes as in conv.py, but weights [classes, Cin, Cout / groups] and the x axis has plain taps: no event lists are made.
"""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, load, multiply, ones_in, select, store, subtract, widen, zeros


@compiled
def depthwise(
    planes: Array, t0: int, z: int, y0: int, y1: int, in_y: int, in_x: int,
    z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array, y_classes: int,
    x_start: Array, x_source: Array, x_tap: Array, x_classes: int,
    weights: Array, live: Array, multiplicity: Array, scale: Array, scaled: bool,
    current: Array, first: bool, counts: Array,
) -> None:  # fmt: skip
    """Cin = Cout = groups: 16 channels at a time, the 16 spike bits of an input position being the mask of the sum.

    planes uint16 [T, P, positions, channels / 16]; weights [classes, channels]; live uint16 [classes, channels / 16]:
    which weights are not zero; multiplicity int64 [classes]; counts uint64 [3, T].
    """
    steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
    for s in range(steps):
        events, alive, paths = 0, 0, 0
        for y in range(y0, y1):
            for x in range(width):
                target = ((s * current.shape[1] + y - y0) * width + x) * channels
                for word in range(channels // 16):
                    total = zeros(weights, 16)
                    for a in range(z_start[z], z_start[z + 1]):
                        for b in range(y_start[y], y_start[y + 1]):
                            line = (z_source[a] * in_y + y_source[b]) * in_x
                            base = (z_tap[a] * y_classes + y_tap[b]) * x_classes
                            for c in range(x_start[x], x_start[x + 1]):
                                k = base + x_tap[c]
                                row = load(weights, k * channels + 16 * word, 16)
                                for p in range(planes.shape[1]):
                                    mask = planes[t0 + s, p, line + x_source[c], word]
                                    if p == 0:
                                        total = select(mask, add(total, row), total)
                                    else:
                                        total = select(mask, subtract(total, row), total)
                                    n = ones_in(mask)
                                    events += n
                                    paths += n * multiplicity[k]
                                    alive += ones_in(np.uint16(mask & live[k, word]))
                    wide = widen(total)
                    if scaled:
                        wide = multiply(wide, load(scale, 16 * word, 16))
                    if not first:
                        wide = add(wide, load(current, target + 16 * word, 16))
                    store(current, target + 16 * word, wide)
        counts[0, t0 + s] += np.uint64(events)
        counts[1, t0 + s] += np.uint64(alive)
        counts[2, t0 + s] += np.uint64(paths)


@compiled
def grouped(
    planes: Array, t0: int, z: int, y0: int, y1: int, in_y: int, in_x: int, cout: int, groups: int,
    z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array, y_classes: int,
    x_start: Array, x_source: Array, x_tap: Array, x_classes: int,
    weights: Array, nonzero: Array, multiplicity: Array, scale: Array, current: Array, first: bool, counts: Array,
) -> None:  # fmt: skip
    """Any groups: each event adds its Cout / groups weights to the channels of its group.

    planes uint8; weights [classes, Cin, Cout / groups]; nonzero int64 [classes, Cin].
    """
    steps, width = current.shape[0], current.shape[2]
    fan, per_group = weights.shape[2], weights.shape[1] // groups
    total = np.empty(cout, current.dtype)
    for s in range(steps):
        events, alive, paths = 0, 0, 0
        for y in range(y0, y1):
            for x in range(width):
                total[:] = 0
                for a in range(z_start[z], z_start[z + 1]):
                    for b in range(y_start[y], y_start[y + 1]):
                        line = (z_source[a] * in_y + y_source[b]) * in_x
                        base = (z_tap[a] * y_classes + y_tap[b]) * x_classes
                        for c in range(x_start[x], x_start[x + 1]):
                            k = base + x_tap[c]
                            for p in range(planes.shape[1]):
                                for j in range(planes.shape[3]):
                                    byte = planes[t0 + s, p, line + x_source[c], j]
                                    i = 8 * j
                                    while byte:
                                        if byte & np.uint8(1):
                                            g = i // per_group * fan
                                            for m in range(fan):
                                                if p == 0:
                                                    total[g + m] += weights[k, i, m]
                                                else:
                                                    total[g + m] -= weights[k, i, m]
                                            events += fan
                                            alive += nonzero[k, i]
                                            paths += fan * multiplicity[k]
                                        byte = np.uint8(byte >> np.uint8(1))
                                        i += 1
                row = current[s, y - y0, x]
                if first:
                    row[:] = 0
                for m in range(cout):
                    row[m] += total[m] * scale[m]
        counts[0, t0 + s] += np.uint64(events)
        counts[1, t0 + s] += np.uint64(alive)
        counts[2, t0 + s] += np.uint64(paths)
