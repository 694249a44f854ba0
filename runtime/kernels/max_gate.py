"""Max gate: neurons/max_gate.py on bit-planes, tile by tile of output lines.

A tile keeps the running counts of the inputs that its windows read and goes through all steps: the spikes, as masks,
change the counts; the largest count of a column of lines goes to `high`, the largest of those along x is the window's.
Counts are as narrow as the largest one allows. Tiles that share inputs each count them for themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels import vectors as vec

Arrays = tuple[Array, ...]


def _steps_of(lanes: int) -> tuple[Any, Any, Any]:
    """The three steps for blocks of `lanes` channels; each returns where it stopped: less than a block is left."""

    def count(words: Array, first: int, n: Array, at: int, stop: int, base: int, worth: int) -> int:
        """n[at:stop] <- base * n + worth * spikes; words[first] holds the spikes of n[0:16]."""
        while at + lanes <= stop:
            old = new = vec.load(n, at, lanes)
            for _ in range(base - 1):  # there is no product of int8 lanes
                new = vec.add(new, old)
            more = vec.add(new, vec.splat(n.dtype.type(worth), new))
            vec.store(n, at, vec.select(vec.load_mask(words, first + at // 16, lanes), more, new))
            at += lanes
        return at

    def column(n: Array, lines: Array, meets: int, least: int, high: Array, at: int, stop: int) -> int:
        """high[at:stop]: the largest of n over the lines that begin at lines[:meets], and `least`."""
        while at + lanes <= stop:
            best = vec.splat(n.dtype.type(least), vec.load(high, at, lanes))
            for j in range(meets):
                best = vec.maximum(best, vec.load(n, vec.item(lines, j) + at, lanes))
            vec.store(high, at, best)
            at += lanes
        return at

    def fire(
        high: Array, x_start: Array, x_source: Array, x_floor: Array, least: int, base: int, top: Array, at: int,
        out: Array, t: int, target: int, c: int, channels: int,
    ) -> tuple[int, int]:  # fmt: skip
        """One line of windows, channels c...: what the maximum gained is sent. (where it stopped, events)"""
        levels, signs, events = out.shape[0], out.shape[2], 0
        size = out.shape[3]
        while c + lanes <= channels:
            for x in range(x_start.size - 1):
                old = vec.load(top, at + x * channels + c, lanes)
                best = vec.zeros(top, lanes) if x_floor[x] else vec.splat(top.dtype.type(least), old)
                for j in range(vec.item(x_start, x), vec.item(x_start, x + 1)):
                    best = vec.maximum(best, vec.load(high, vec.item(x_source, j) * channels + c, lanes))
                vec.store(top, at + x * channels + c, best)
                change = best
                for _ in range(base):
                    change = vec.subtract(change, old)
                for p in range(signs):
                    for level in range(levels - 1, -1, -1):
                        bit = vec.splat(top.dtype.type(1 << level), change)
                        spikes = vec.at_least(change, bit)
                        change = vec.select(spikes, vec.subtract(change, bit), change)
                        plane = ((level * out.shape[1] + t) * signs + p) * size
                        vec.put(out, plane + target + (x * channels + c) // 16, spikes)
                        events += vec.ones_in(spikes)
                    change = vec.subtract(vec.zeros(top, lanes), change)  # what is left is not positive
            c += lanes
        return c, events

    for step in (count, column, fire):  # as in conv.py: Numba names compiled code by the function's name
        step.__name__ = step.__qualname__ = f"{step.__name__}_of_{lanes}"
    return compiled(count), compiled(column), compiled(fire)


_count64, _column64, _fire64 = _steps_of(64)
_, _, _fire32 = _steps_of(32)
_count16, _column16, _fire16 = _steps_of(16)


@compiled
def _tile(
    words: Array, base: int, z: int, y0: int, y1: int, in_y: int, in_x: int, channels: int,
    axis_z: Arrays, axis_y: Arrays, axis_x: Arrays, like: Array, out: Array, events: Array,
) -> None:  # fmt: skip
    """Output lines y0..y1 of plane z."""
    z_start, z_source, z_floor = axis_z
    y_start, y_source, y_floor = axis_y
    x_start, x_source, x_floor = axis_x
    levels, steps, signs, size = words.shape
    read = y_source[y_start[y0] : y_start[y1]]
    low, height = (read.min(), read.max() + 1 - read.min()) if read.size > 0 else (0, 0)
    z0, slabs, width, per = z_start[z], z_start[z + 1] - z_start[z], x_start.size - 1, channels // 16
    lanes = in_x * channels  # of an input line; `slab` of all lines that a plane z gives
    slab = height * lanes
    n, high = np.zeros(slabs * slab, like.dtype), np.empty(lanes, like.dtype)
    top = np.zeros((y1 - y0) * width * channels, like.dtype)
    lines = np.empty(slabs * height, np.int64)
    for t in range(steps):
        fired = 0
        for plane in range(levels * signs):
            level, sign = plane // signs, plane % signs
            from_, worth = ((level * steps + t) * signs + sign) * size, (1 - 2 * sign) << level
            for a in range(slabs):
                first = from_ + (z_source[z0 + a] * in_y + low) * in_x * per
                grown, part = base if plane == 0 else 1, n[a * slab : (a + 1) * slab]
                at = _count64(words, first, part, 0, slab, grown, worth)
                _count16(words, first, part, at, slab, grown, worth)
        for y in range(y0, y1):
            meets = 0
            for a in range(slabs):
                for b in range(y_start[y], y_start[y + 1]):
                    lines[meets] = a * slab + (y_source[b] - low) * lanes
                    meets += 1
            least = 0 if z_floor[z] or y_floor[y] else -(1 << (8 * like.itemsize - 1))
            at = _column64(n, lines, meets, least, high, 0, lanes)
            _column16(n, lines, meets, least, high, at, lanes)
            row = (y - y0) * width * channels
            target = (z * (y_start.size - 1) + y) * width * per
            window = (high, x_start, x_source, x_floor, least, base, top, row, out, t, target)
            c, more = _fire64(*window, 0, channels)
            fired += more
            c, more = _fire32(*window, c, channels)
            fired += more
            c, more = _fire16(*window, c, channels)
            fired += more
        events[t] += np.uint64(fired)


@compiled
def max_gate(
    words: Array, base: int, start: int, stop: int, rows: int, in_y: int, in_x: int, channels: int,
    axis_z: Arrays, axis_y: Arrays, axis_x: Arrays, like: Array, out: Array, events: Array,
) -> None:  # fmt: skip
    """Output lines start..stop (z * Y + y) over all steps, in tiles of at most `rows` lines.

    words uint16 [levels, T, 1 or 2 signs, positions * channels / 16]; out alike, of the windows. An axis is (start,
    source, floor), floor bool [outputs]: does an output there touch zeros that routing put in, or nothing at all?
    like: an array of the dtype of counts. events uint64 [T].
    """
    height = axis_y[0].size - 1
    while start < stop:
        z, y = start // height, start % height
        end = min(y + rows, height, y + stop - start)
        _tile(words, base, z, y, end, in_y, in_x, channels, axis_z, axis_y, axis_x, like, out, events)
        start += end - y
