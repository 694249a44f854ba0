"""Projections in which every pre channel meets every post channel: convolutions and dense layers (groups = 1).

Output-stationary: the events of the input lines that a tile of output lines needs are listed once a step; then each
output position walks the lists in its receptive field and adds one weight row an event, the sums staying in vector
registers. An event's id is x * Cin + channel. Where neighbouring inputs meet an output through neighbouring classes of
taps, the row is id + a constant and the whole stretch of inputs (a `run`) is one range of the list.

Shapes: planes uint8 [T, P, positions, bytes] (buffers.py); ids int32 [capacity]; ptr int32 [P, slots, X + 1], where a
slot is one listed input line; weights flat: for each block of `lanes` post channels [rows, lanes], rows = classes *
Cin; current int32 | float32 [steps, lines, Xout, channels], channels a multiple of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, item, load, multiply, splat, store, subtract, widen, zeros

Arrays = tuple[Array, ...]
Lists = tuple[Array, Array, Array, Array, int]

_BYTES = np.arange(256, dtype=np.uint8)[:, None]
_BITS = np.unpackbits(_BYTES, axis=1, bitorder="little")
ONES = _BITS.sum(1).astype(np.int32)  # [256] set bits of a byte
PLACES = np.argsort(1 - _BITS.astype(np.int8), axis=1, kind="stable").astype(np.int32)  # [256, 8] set bits first


@compiled
def list_events(
    plane: Array, line: int, size: int, cin: int, ones: Array, places: Array, ids: Array, at: int, ptr: Array
) -> int:
    """Lists the events of one line of `size` positions behind ids[at]; ptr [size + 1] marks each position's start.

    Branch-free: every byte writes its 8 possible places and moves on by the bits that are set, so up to 8 entries
    behind the end are overwritten.
    """
    count = plane.shape[1]
    for x in range(size):
        ptr[x] = at
        for b in range(count):
            byte = np.int64(item(plane, (line * size + x) * count + b))
            known = load(places, 8 * byte, 8)
            store(ids, at, add(known, splat(np.int32(x * cin + 8 * b), known)))
            at += item(ones, byte)
    ptr[size] = at
    return at


def _line(lanes: int) -> Any:
    """The kernel for one output line and one block of `lanes` post channels."""

    @compiled
    def line(
        lists: Lists, runs: Arrays, rows: Arrays, offset: int,
        current: Array, target: int, stride: int, scale: Array, channel: int, scaled: bool, first: bool, counts: Array,
    ) -> None:  # fmt: skip
        """lists: (ids, ptr, slots, bases, pairs); runs: start, first, stop, shift; rows: weights, nonzero, paths.

        counts int64 [3] += events, nonzero weights met, paths met (the last only where `paths` is not empty).
        """
        ids, ptr, slots, bases, pairs = lists
        run_start, run_first, run_stop, run_shift = runs
        weights, nonzero, paths = rows
        events, live, routes = 0, 0, 0
        count_paths = paths.size > 0
        planes, per_plane, per_slot = ptr.shape[0], ptr.shape[1] * ptr.shape[2], ptr.shape[2]
        for x in range(run_start.size - 1):
            total = zeros(weights, lanes)
            for p in range(pairs):
                for r in range(item(run_start, x), item(run_start, x + 1)):
                    base = item(bases, p) + item(run_shift, r)
                    mark = item(slots, p) * per_slot
                    for plane in range(planes):
                        low = np.int64(item(ptr, mark + item(run_first, r)))
                        high = np.int64(item(ptr, mark + item(run_stop, r)))
                        mark += per_plane
                        events += high - low
                        if plane == 0:
                            for e in range(low, high):
                                row = base + item(ids, e)
                                total = add(total, load(weights, offset + row * lanes, lanes))
                                live += item(nonzero, row)
                        else:
                            for e in range(low, high):
                                row = base + item(ids, e)
                                total = subtract(total, load(weights, offset + row * lanes, lanes))
                                live += item(nonzero, row)
                        if count_paths:
                            for e in range(low, high):
                                routes += item(paths, base + item(ids, e))
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

    return line


_line64 = _line(64)
_line32 = _line(32)
_line16 = _line(16)


@compiled
def gather(
    planes: Array, t0: int, z: int, y0: int, y1: int, in_y: int, in_x: int, cin: int, cout: int,
    z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array, y_classes: int,
    run_start: Array, run_first: Array, run_stop: Array, run_shift: Array, zy_rows: int,
    weights: Array, nonzero: Array, paths: Array, scale: Array, scaled: bool,
    current: Array, first: bool, ones: Array, places: Array, ids: Array, ptr: Array, counts: Array,
) -> None:  # fmt: skip
    """Adds (first: writes) one projection's current for output lines y0..y1 of plane z, for steps t0...

    zy_rows: weight rows of one (z, y) class. counts uint64 [3, T] += synops, synops_nonzero, synops_paths.
    """
    steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
    rows = nonzero.size
    runs, kernel = (run_start, run_first, run_stop, run_shift), (weights, nonzero, paths)
    z0, z1 = z_start[z], z_start[z + 1]
    low, high = in_y, 0  # input lines needed: low <= y < high
    for j in range(y_start[y0], y_start[y1]):
        low, high = min(low, y_source[j]), max(high, y_source[j] + 1)
    span = max(high - low, 0)
    slots = np.empty((z1 - z0) * span + 1, np.int64)
    bases = np.empty((z1 - z0) * span + 1, np.int64)
    tally, rest = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for s in range(steps):
        at = 0
        for p in range(planes.shape[1]):
            for a in range(z1 - z0):
                for y in range(span):
                    line = z_source[z0 + a] * in_y + low + y
                    at = list_events(planes[t0 + s, p], line, in_x, cin, ones, places, ids, at, ptr[p, a * span + y])
        tally[:] = 0
        for y in range(y0, y1):
            pairs = 0
            for a in range(z1 - z0):
                for j in range(y_start[y], y_start[y + 1]):
                    slots[pairs] = a * span + y_source[j] - low
                    bases[pairs] = (z_tap[z0 + a] * y_classes + y_tap[j]) * zy_rows
                    pairs += 1
            lists = (ids, ptr, slots, bases, pairs)
            target = (s * current.shape[1] + y - y0) * width * channels
            channel = 0
            while channel < channels:
                # what the first block meets is what every post channel meets
                seen = tally if channel == 0 else rest
                left = channels - channel
                offset = rows * channel
                if left >= 64:
                    _line64(
                        lists,
                        runs,
                        kernel,
                        offset,
                        current,
                        target + channel,
                        channels,
                        scale,
                        channel,
                        scaled,
                        first,
                        seen,
                    )
                    channel += 64
                elif left >= 32:
                    _line32(
                        lists,
                        runs,
                        kernel,
                        offset,
                        current,
                        target + channel,
                        channels,
                        scale,
                        channel,
                        scaled,
                        first,
                        seen,
                    )
                    channel += 32
                else:
                    _line16(
                        lists,
                        runs,
                        kernel,
                        offset,
                        current,
                        target + channel,
                        channels,
                        scale,
                        channel,
                        scaled,
                        first,
                        seen,
                    )
                    channel += 16
        counts[0, t0 + s] += np.uint64(tally[0] * cout)
        counts[1, t0 + s] += np.uint64(tally[1])
        counts[2, t0 + s] += np.uint64(tally[2] if paths.size > 0 else tally[0] * cout)


@compiled
def analog(
    values: Array, z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array,
    x_start: Array, x_source: Array, x_tap: Array, weights: Array, groups: int, out: Array, low: int, high: int,
) -> int:  # fmt: skip
    """out [Z, Y, X, Cout] = weighted sums of values [z, y, x, Cin] for output lines low..high (flat over z, y).

    weights [z, y, x classes, Cin, Cout / groups]. Returns the (value, synapse) pairs met, whatever their value.
    """
    cin, fan = weights.shape[3], weights.shape[4]
    per_group = cin // groups
    met = 0
    for line in range(low, high):
        z, y = line // out.shape[1], line % out.shape[1]
        for x in range(out.shape[2]):
            row = out[z, y, x]
            row[:] = 0
            for a in range(z_start[z], z_start[z + 1]):
                for b in range(y_start[y], y_start[y + 1]):
                    for c in range(x_start[x], x_start[x + 1]):
                        kernel = weights[z_tap[a], y_tap[b], x_tap[c]]
                        source = values[z_source[a], y_source[b], x_source[c]]
                        for i in range(cin):
                            q = source[i]
                            base = i // per_group * fan
                            for k in range(fan):
                                row[base + k] += q * kernel[i, k]
                        met += cin * fan
    return met
