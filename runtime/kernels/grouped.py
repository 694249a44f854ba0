"""Projections in groups: depthwise convolutions, pools, diagonals (one channel a group) and grouped convolutions.

Shapes as in conv.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.fan_out import Arrays, delivered, reach
from snncc.runtime.kernels.vectors import (
    add, item, load, load_mask, multiply, ones_in, select, store, subtract, widen, zeros,
)  # fmt: skip


def _block(lanes: int) -> Any:
    """The kernel for blocks of `lanes` neighbouring channels and positions that meet the same taps."""

    def block(
        words: Array, first: int, planes: int, size: int, starts: Array, rows: Array, taps: int, step: int,
        weights: Array, live: Array, scale: Array, scaled: bool, channels: int,
        current: Array, target: int, add_to: bool, count: int, at: int, stop: int,
    ) -> tuple[int, int]:  # fmt: skip
        """Lanes at..stop of `count` outputs, the first one's from `target` on; each one's inputs begin `step` words
        behind the last one's. starts, rows: of each tap, where its inputs begin (words), and its row of weights.

        Returns where it stopped, less than a block before `stop`, and how many nonzero weights events met.
        """
        alive, padded, sparse, from_ = 0, channels + 48, live.size > 0, at
        for _ in range(count):
            at = from_
            while at + lanes <= stop:
                channel, word = at % channels, first + at // 16
                total = zeros(weights, lanes)
                for p in range(planes):
                    for j in range(taps):
                        spikes = load_mask(words, p * size + word + item(starts, j), lanes)
                        row = item(rows, j) * padded + channel
                        weight = load(weights, row, lanes)
                        total = select(spikes, add(total, weight) if p == 0 else subtract(total, weight), total)
                        if sparse:
                            alive += ones_in(spikes & load_mask(live, row // 16, lanes))
                wide = widen(total)
                if scaled:
                    wide = multiply(wide, load(scale, channel, lanes))
                if add_to:
                    wide = add(wide, load(current, target + at, lanes))
                store(current, target + at, wide)
                at += lanes
            first += step
            target += channels
        return at, alive

    block.__name__ = block.__qualname__ = f"block_of_{lanes}"  # see conv.py
    return compiled(block)


_block64 = _block(64)
_block32 = _block(32)
_block16 = _block(16)


@compiled
def depthwise(
    words: Array, t0: int, z: int, y0: int, y1: int, in_y: int, in_x: int,
    axis_z: Arrays, axis_y: Arrays, axis_x: Arrays, y_classes: int, x_classes: int, stretches: Arrays,
    weights: Array, live: Array, scale: Array, scaled: bool, current: Array, first: bool, counts: Array,
) -> None:  # fmt: skip
    """Cin = Cout = groups: the spike bits of the inputs that 64 lanes meet through a tap are the mask of its addition.

    words uint16 [T, P, positions, channels / 16]. axis_z, axis_y: (start, source, tap, paths of each pair); axis_x:
    (start, source, tap, [[end, step]]): outputs up to an end meet inputs alike, each `step` further than the last one.
    stretches: see fan_out.py. weights [classes, channels + 48], uint16 live [classes or none,
    (channels + 48) / 16] (which are not zero; none: all) and scale [channels + 48] begin anew behind the last channel.
    """
    z_start, z_source, z_tap, z_paths = axis_z
    y_start, y_source, y_tap, y_paths = axis_y
    x_start, x_source, x_tap, x_stretch = axis_x
    steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
    planes, per, sparse = words.shape[1], channels // 16, live.size > 0
    size = words.shape[2] * per
    lines = reach(y_start, y_source, y_paths, y0, y1)
    for s in range(steps):
        pairs, paths = 0, 0
        for p in range(planes):
            at = ((t0 + s) * planes + p) * size
            pair, path = delivered(words, at, z, (z_start, z_source, z_paths), lines, in_y, in_x, per, stretches)
            pairs += pair
            paths += path
        counts[0, t0 + s] += np.uint64(pairs)
        counts[1, t0 + s] += np.uint64(0 if sparse else pairs)
        counts[2, t0 + s] += np.uint64(paths)
    most = (z_start[z + 1] - z_start[z]) * np.diff(y_start).max() * np.diff(x_start).max()
    starts, rows = np.empty(most, np.int64), np.empty(most, np.int64)
    for y in range(y0, y1):
        x = 0
        for stop, step in x_stretch:
            taps = 0
            for a in range(z_start[z], z_start[z + 1]):
                for b in range(y_start[y], y_start[y + 1]):
                    line = (z_source[a] * in_y + y_source[b]) * in_x
                    base = (z_tap[a] * y_classes + y_tap[b]) * x_classes
                    for c in range(x_start[x], x_start[x + 1]):
                        starts[taps], rows[taps] = (line + x_source[c]) * per, base + x_tap[c]
                        taps += 1
            # inputs next to each other: the outputs are one
            count, lanes = (1, (stop - x) * channels) if step == 1 else (stop - x, channels)
            for s in range(steps):
                target = ((s * current.shape[1] + y - y0) * width + x) * channels
                inputs = (words, (t0 + s) * planes * size, planes, size, starts, rows, taps, step * per)
                outputs = (weights, live, scale, scaled, channels, current, target, not first, count)
                at, alive = 0, 0
                if lanes >= 64:
                    at, alive = _block64(*inputs, *outputs, 0, lanes)
                if lanes - at >= 32:
                    at, more = _block32(*inputs, *outputs, at, lanes)
                    alive += more
                if lanes > at:
                    at, more = _block16(*inputs, *outputs, at, lanes)
                    alive += more
                counts[1, t0 + s] += np.uint64(alive)
            x = stop


@compiled
def list_events(
    words: Array, first: int, positions: int, in_x: int, per: int, per_x: int, offset: Array,
    ids: Array, targets: Array, ptr: Array, at: int,
) -> int:  # fmt: skip
    """Lists the events of some positions, whose words begin at `first`, behind ids[at]: id = x * per_x + channel, and
    where its group's sums begin (offset [Cin]). ptr [positions + 1] gets each position's start."""
    for q in range(positions):
        ptr[q] = at
        for w in range(per):
            left = np.int64(item(words, first + q * per + w))
            while left:
                c = 16 * w + ones_in(~left & (left - 1))
                ids[at], targets[at] = q % in_x * per_x + c, offset[c]
                at += 1
                left &= left - 1
    ptr[positions] = at
    return at


def _grouped(lanes: int) -> Any:
    """The kernel for rows of weights whose length is a multiple of `lanes`."""

    def grouped(
        words: Array, t0: int, z: int, y0: int, y1: int, in_y: int, in_x: int,
        axis_z: Arrays, axis_y: Arrays, y_classes: int, stretches: Arrays, runs: Arrays, per_x: int,
        offset: Array, fan: int, weights: Array, nonzero: Array, scale: Array,
        current: Array, first: bool, counts: Array,
    ) -> None:  # fmt: skip
        """Any groups: each event adds its Cout / groups weights (fan) to the sums of its group, which stay in L1.

        The events of all input lines are listed once a step. Tables as in depthwise; runs: see plan.py; offset [Cin];
        weights [rows, fan rounded up], zeros behind; nonzero int64 [rows].
        """
        z_start, z_source, z_tap, z_paths = axis_z
        y_start, y_source, y_tap, y_paths = axis_y
        run_start, run_first, run_stop, run_shift = runs
        steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
        planes, per, cin, length = words.shape[1], words.shape[3], offset.size, weights.shape[1]
        size = words.shape[2] * per
        lines = reach(y_start, y_source, y_paths, y0, y1)
        low, z0, slabs = lines[0], z_start[z], z_start[z + 1] - z_start[z]
        slab = lines[1].size * in_x
        ids, targets = np.empty((2, planes * slabs * slab * cin), np.int32)
        ptr = np.empty((planes, slabs, slab + 1), np.int64)
        total = np.zeros(channels + length, weights.dtype)
        for s in range(steps):
            pairs, paths, alive, end = 0, 0, 0, 0
            for p in range(planes):
                at = ((t0 + s) * planes + p) * size
                pair, path = delivered(words, at, z, (z_start, z_source, z_paths), lines, in_y, in_x, per, stretches)
                pairs += pair
                paths += path
                for a in range(slabs):
                    line = at + (z_source[z0 + a] * in_y + low) * in_x * per
                    end = list_events(words, line, slab, in_x, per, per_x, offset, ids, targets, ptr[p, a], end)
            for y in range(y0, y1):
                for x in range(width):
                    total[:] = 0
                    for a in range(slabs):
                        for b in range(y_start[y], y_start[y + 1]):
                            line = (y_source[b] - low) * in_x
                            base = (z_tap[z0 + a] * y_classes + y_tap[b]) * cin
                            for r in range(run_start[x], run_start[x + 1]):
                                for p in range(planes):
                                    begin, stop = ptr[p, a, line + run_first[r]], ptr[p, a, line + run_stop[r]]
                                    for e in range(begin, stop):
                                        row, target = base + run_shift[r] + item(ids, e), np.int64(item(targets, e))
                                        alive += nonzero[row]
                                        for k in range(0, length, lanes):
                                            weight = load(weights, row * length + k, lanes)
                                            part = load(total, target + k, lanes)
                                            part = add(part, weight) if p == 0 else subtract(part, weight)
                                            store(total, target + k, part)
                    at = ((s * current.shape[1] + y - y0) * width + x) * channels
                    for c in range(0, channels, 16):
                        wide = multiply(widen(load(total, c, 16)), load(scale, c, 16))
                        store(current, at + c, wide if first else add(wide, load(current, at + c, 16)))
            counts[0, t0 + s] += np.uint64(pairs * fan)
            counts[1, t0 + s] += np.uint64(alive)
            counts[2, t0 + s] += np.uint64(paths * fan)

    grouped.__name__ = grouped.__qualname__ = f"grouped_of_{lanes}"
    return compiled(grouped)


GROUPED = {lanes: _grouped(lanes) for lanes in (8, 16, 32)}
