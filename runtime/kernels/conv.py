"""Projections in which every pre channel meets every post channel: convolutions and dense layers (groups = 1).

Output-stationary: the events of the input lines that a tile of output lines needs are listed once a step; then each
output position walks the lists in its receptive field and adds one weight row an event, the sums staying in vector
registers. Weight rows are [x classes, z and y classes, Cin]; an event's id is x * (rows of one x class) + channel, plus
its line's class where lines are merged. Where neighbouring inputs meet an output through neighbouring x classes, the
row is id + a constant and the whole stretch of inputs (a `run`) is one range of the list.

Shapes: planes uint8 [T, P, positions, bytes] (buffers.py); ids int32 [capacity]; ptr int32 [P, slots, X + 1], where a
slot is one listed input line; weights flat: for each block of `lanes` post channels [rows, lanes], rows = classes *
Cin + 1, the last being zeros; current int32 | float32 [steps, lines, Xout, channels], channels a multiple of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, choose, item, load, multiply, splat, store, subtract, widen, zeros

Arrays = tuple[Array, ...]
Lists = tuple[Array, Array, Array, Array, int]

_BYTES = np.arange(256, dtype=np.uint8)[:, None]
_BITS = np.unpackbits(_BYTES, axis=1, bitorder="little")
ONES = _BITS.sum(1).astype(np.int32)  # [256] set bits of a byte
PLACES = np.argsort(1 - _BITS.astype(np.int8), axis=1, kind="stable").astype(np.int32)  # [256, 8] set bits first


@compiled
def list_events(
    plane: Array, lines: Array, bases: Array, pairs: int, size: int, cin: int, per_x: int,
    ones: Array, places: Array, ids: Array, at: int, ptr: Array, mark: int,
) -> int:  # fmt: skip
    """Lists the events of some lines of `size` positions, merged by position, behind ids[at].

    An event's id is x * per_x + the base of its line + channel. ptr, flat from `mark`, [size + 1], gets each position's
    start. Branch-free: every byte writes its 8 possible places and moves on by the bits that are set, so up to 8
    entries behind the end are overwritten.
    """
    count = plane.shape[1]
    for x in range(size):
        ptr[mark + x] = at
        for p in range(pairs):
            start = (item(lines, p) * size + x) * count
            base = x * per_x + item(bases, p)
            for b in range(count):
                byte = np.int64(item(plane, start + b))
                known = load(places, 8 * byte, 8)
                store(ids, at, add(known, splat(np.int32(base + 8 * b), known)))
                at += item(ones, byte)
    ptr[mark + size] = at
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
        silent = nonzero.size - 1
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
                        part = zeros(weights, lanes)
                        e = low
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
    run_start: Array, run_first: Array, run_stop: Array, run_shift: Array, per_x: int, merge: bool,
    weights: Array, nonzero: Array, paths: Array, scale: Array, scaled: bool,
    current: Array, first: bool, ones: Array, places: Array, ids: Array, ptr: Array, counts: Array,
) -> None:  # fmt: skip
    """Adds (first: writes) one projection's current for output lines y0..y1 of plane z, for steps t0...

    per_x: weight rows of one x class. merge: list the events of all input lines of an output line together, line by
    line, instead of once for the tile: longer ranges for more listing, which pays for few channels. counts uint64 [3, T] += synops, synops_nonzero, synops_paths.
    """
    steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
    rows = nonzero.size
    runs, kernel = (run_start, run_first, run_stop, run_shift), (weights, nonzero, paths)
    z0, z1 = z_start[z], z_start[z + 1]
    low, high = in_y, 0  # input lines needed: low <= y < high
    for j in range(y_start[y0], y_start[y1]):
        low, high = min(low, y_source[j]), max(high, y_source[j] + 1)
    span = max(high - low, 0)
    most = (z1 - z0) * span + 1
    slots, bases, lines = np.zeros(most, np.int64), np.zeros(most, np.int64), np.empty(most, np.int64)
    none, whole = np.zeros(1, np.int64), np.zeros(1, np.int64)
    marks = ptr.ravel()
    per_slot, per_plane = ptr.shape[2], ptr.shape[1] * ptr.shape[2]
    tally, rest = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for s in range(steps):
        at = 0
        if not merge:
            for p in range(planes.shape[1]):
                for a in range(z1 - z0):
                    for y in range(span):
                        whole[0] = z_source[z0 + a] * in_y + low + y
                        mark = p * per_plane + (a * span + y) * per_slot
                        at = list_events(
                            planes[t0 + s, p], whole, none, 1, in_x, cin, per_x, ones, places, ids, at, marks, mark
                        )
        tally[:] = 0
        for y in range(y0, y1):
            pairs = 0
            for a in range(z1 - z0):
                for j in range(y_start[y], y_start[y + 1]):
                    slots[pairs] = a * span + y_source[j] - low
                    bases[pairs] = (z_tap[z0 + a] * y_classes + y_tap[j]) * cin
                    lines[pairs] = z_source[z0 + a] * in_y + y_source[j]
                    pairs += 1
            if merge:  # one list holds all that the line needs
                at = 0
                for p in range(planes.shape[1]):
                    at = list_events(
                        planes[t0 + s, p], lines, bases, pairs, in_x, cin, per_x, ones, places, ids, at, marks,
                        p * per_plane,
                    )  # fmt: skip
                lists = (ids, ptr, none, none, 1)
            else:
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
