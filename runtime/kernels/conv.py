"""Projections in which every pre channel meets every post channel: convolutions and dense layers (groups = 1).

Output-stationary: for each output line and step, the events of all input lines that it needs are listed, position by
position; then each output position walks the list over its receptive field and adds one weight row an event, the sums
staying in vector registers. Weight rows are [x classes, z and y classes, Cin]; an event's id is x * (rows of one x
class) + its line's class * Cin + channel. Where neighbouring inputs meet an output through neighbouring x classes, the
row is id + a constant, and the whole stretch of inputs (a `run`) is one range of the list. Lists are made anew for each
output line: an input line is listed several times, but its events are then met in one range instead of many.

Shapes: planes uint8 [T, P, positions, bytes] (buffers.py); ids int32 [capacity]; ptr int32 [P, X + 1]; weights flat:
for each block of `lanes` post channels [rows, lanes], the last row being zeros; current int32 | float32
[steps, lines, Xout, channels], channels a multiple of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, choose, item, load, multiply, splat, store, subtract, widen, zeros

Arrays = tuple[Array, ...]

_BYTES = np.arange(256, dtype=np.uint8)[:, None]
_BITS = np.unpackbits(_BYTES, axis=1, bitorder="little")
ONES = _BITS.sum(1).astype(np.int32)  # [256] set bits of a byte
PLACES = np.argsort(1 - _BITS.astype(np.int8), axis=1, kind="stable").astype(np.int32)  # [256, 8] set bits first


@compiled
def list_events(
    plane: Array, lines: Array, bases: Array, pairs: int, size: int, per_x: int,
    ones: Array, places: Array, ids: Array, at: int, ptr: Array,
) -> int:  # fmt: skip
    """Lists the events of some lines of `size` positions, merged by position, behind ids[at].

    An event's id is x * per_x + the base of its line + channel. ptr [size + 1] gets each position's start.
    Branch-free: every byte writes its 8 possible places and moves on by the bits that are set, so up to 8 entries
    behind the end are overwritten.
    """
    count = plane.shape[1]
    for x in range(size):
        ptr[x] = at
        for p in range(pairs):
            start = (item(lines, p) * size + x) * count
            base = x * per_x + item(bases, p)
            for b in range(count):
                byte = np.int64(item(plane, start + b))
                known = load(places, 8 * byte, 8)
                store(ids, at, add(known, splat(np.int32(base + 8 * b), known)))
                at += item(ones, byte)
    ptr[size] = at
    return at


def _line(lanes: int) -> Any:
    """The kernel for one output line and one block of `lanes` post channels."""

    def line(
        ids: Array, ptr: Array, runs: Arrays, rows: Arrays, offset: int,
        current: Array, target: int, stride: int, scale: Array, channel: int, scaled: bool, first: bool, counts: Array,
    ) -> None:  # fmt: skip
        """runs: start, first, stop, shift; rows: weights, nonzero, paths.

        counts int64 [3] += events, nonzero weights met, paths met (the last only where `paths` is not empty).
        """
        run_start, run_first, run_stop, run_shift = runs
        weights, nonzero, paths = rows
        events, live, routes = np.int64(0), np.int64(0), np.int64(0)
        count_paths = paths.size > 0
        silent = nonzero.size - 1
        for x in range(run_start.size - 1):
            total = zeros(weights, lanes)
            for r in range(item(run_start, x), item(run_start, x + 1)):
                base = item(run_shift, r)
                for plane in range(ptr.shape[0]):
                    low = ptr[plane, item(run_first, r)]
                    high = ptr[plane, item(run_stop, r)]
                    events += high - low
                    part = zeros(weights, lanes)
                    e = np.int64(low)
                    while e + 4 <= high:
                        for k in range(4):
                            row = base + item(ids, e + k)
                            part = add(part, load(weights, offset + row * lanes, lanes))
                            live += item(nonzero, row)
                        e += 4
                    for k in range(3):  # the rest; what is not there counts as the row of zeros
                        row = choose(e + k < high, base + item(ids, e + k), silent)
                        part = add(part, load(weights, offset + row * lanes, lanes))
                        live += item(nonzero, row)
                    total = add(total, part) if plane == 0 else subtract(total, part)
                    if count_paths:
                        for k in range(low, high):
                            routes += item(paths, base + item(ids, k))
            wide = widen(total)
            if scaled:
                wide = multiply(wide, load(scale, channel, lanes))
            if not first:
                wide = add(wide, load(current, target, lanes))
            store(current, target, wide)
            target += stride
        counts[0] += events
        counts[1] += live
        counts[2] += routes

    # Numba names compiled code by the function's name: under one name, kernels of two widths that came from the caches
    # of two processes could be taken for each other
    line.__name__ = line.__qualname__ = f"line_of_{lanes}"
    return compiled(line)


_line64 = _line(64)
_line32 = _line(32)
_line16 = _line(16)


@compiled
def gather(
    planes: Array, t0: int, z: int, y0: int, y1: int, in_y: int, in_x: int, cin: int, cout: int,
    z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array, y_classes: int,
    run_start: Array, run_first: Array, run_stop: Array, run_shift: Array, per_x: int,
    weights: Array, nonzero: Array, paths: Array, scale: Array, scaled: bool,
    current: Array, first: bool, ones: Array, places: Array, ids: Array, ptr: Array, counts: Array,
) -> None:  # fmt: skip
    """Adds (first: writes) one projection's current for output lines y0..y1 of plane z, for steps t0...

    per_x: weight rows of one x class. counts uint64 [3, T] += synops, synops_nonzero, synops_paths.
    """
    steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
    rows = nonzero.size
    runs, kernel = (run_start, run_first, run_stop, run_shift), (weights, nonzero, paths)
    z0, z1 = z_start[z], z_start[z + 1]
    most = (z1 - z0) * (y_start[y1] - y_start[y0]) + 1
    lines, bases = np.empty(most, np.int64), np.empty(most, np.int64)
    tally, rest = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for s in range(steps):
        tally[:] = 0
        for y in range(y0, y1):
            pairs = 0
            for a in range(z0, z1):
                for j in range(y_start[y], y_start[y + 1]):
                    lines[pairs] = z_source[a] * in_y + y_source[j]
                    bases[pairs] = (z_tap[a] * y_classes + y_tap[j]) * cin
                    pairs += 1
            at = 0
            for p in range(planes.shape[1]):
                at = list_events(planes[t0 + s, p], lines, bases, pairs, in_x, per_x, ones, places, ids, at, ptr[p])
            target = (s * current.shape[1] + y - y0) * width * channels
            channel = 0
            while channel < channels:
                # what the first block meets is what every post channel meets
                seen = tally if channel == 0 else rest
                left = channels - channel
                if left >= 64:
                    _line64(
                        ids, ptr, runs, kernel, rows * channel, current, target + channel, channels,
                        scale, channel, scaled, first, seen,
                    )  # fmt: skip
                    channel += 64
                elif left >= 32:
                    _line32(
                        ids, ptr, runs, kernel, rows * channel, current, target + channel, channels,
                        scale, channel, scaled, first, seen,
                    )  # fmt: skip
                    channel += 32
                else:
                    _line16(
                        ids, ptr, runs, kernel, rows * channel, current, target + channel, channels,
                        scale, channel, scaled, first, seen,
                    )  # fmt: skip
                    channel += 16
        counts[0, t0 + s] += np.uint64(tally[0] * cout)
        counts[1, t0 + s] += np.uint64(tally[1])
        counts[2, t0 + s] += np.uint64(tally[2] if paths.size > 0 else tally[0] * cout)
