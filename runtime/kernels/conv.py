"""Projections in which every pre channel meets every post channel: convolutions and dense layers (groups = 1).

Output-stationary: for a line of outputs, the events of all input lines that it needs are listed, position by position;
then each block of outputs walks the part of the list that lies in its receptive field and adds one row of weights an
event, the sums staying in vector registers. runtime/gather.py makes the tables, docs/kernels.md draws them.

A list holds the offsets of weight rows in bytes: (place of the input position * rows of a place + slot * padded Cin +
channel) * row size. Where neighbouring inputs meet an output through neighbouring classes, the row is at that offset
plus a constant, and the whole stretch of inputs is one range of the list.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled, inlined
from snncc.runtime.kernels.memory import (
    joined,
    load_at,
    load_pieces,
    part,
    peek,
    set_bits,
    store_pieces,
)
from snncc.runtime.kernels.vectors import (
    add,
    choose,
    item,
    load,
    load_like,
    multiply,
    ones_in,
    scale_up,
    shift_right,
    splat,
    store,
    subtract,
    widen,
    zeros,
)

Arrays = tuple[Array, ...]


def word_of(channels: int) -> int:
    """The widest word that `channels`, a multiple of 16, are made of."""
    return next(word for word in (64, 32, 16) if channels % word == 0)


def _lister(word: int) -> Any:
    """Lists events from words of `word` channels."""
    half = min(word, 32)
    second = word - half

    def list_events(
        sources: Array, slots: int, words: int, visit: Array, place: Array, unit: int, row: int,
        ids: Array, at: int, ptr: Array, first: int,
    ) -> int:  # fmt: skip
        """Lists the events of one output line.

        sources int64 [slots]: addresses of input lines, `words` words a position; unit: bytes of a place; row: log2 of
        the bytes of a row. ids int32 gets the offsets, from `at`; ptr[first + k] is the start of the k-th visited
        position. Up to 64 entries behind the end are overwritten. Returns the end.
        """
        stride = words * word // 8
        bits = np.int32(row)
        for k in range(len(visit)):
            ptr[first + k] = at
            base = item(place, k) * unit
            x = item(visit, k) * stride
            for j in range(slots):
                line = item(sources, j) + x
                for w in range(words):
                    mask = peek(line + w * (word // 8), word)
                    found = set_bits(mask)
                    start = splat(np.int32(base), part(found, 0, half))
                    store(ids, at, add(scale_up(part(found, 0, half), bits), start))
                    n = ones_in(mask)
                    if second and n > half:
                        store(ids, at + half, add(scale_up(part(found, second, half), bits), start))
                    at += n
                    base += word << row
        ptr[first + len(visit)] = at
        return at

    list_events.__name__ = list_events.__qualname__ = f"list_events_{word}"
    return compiled(list_events)


def _row(lanes: int, packed: bool) -> Any:
    """The row of weights at an address, as lanes that may be added up."""
    half = lanes // 2
    if packed:

        def row(weights: Array, address: int) -> Any:
            pairs = load_at(weights, address, half)
            return joined(pairs, shift_right(pairs, np.int16(8)))
    else:

        def row(weights: Array, address: int) -> Any:
            return load_at(weights, address, lanes)

    row.__name__ = row.__qualname__ = f"row_{lanes}{'_packed' * packed}"
    return inlined(row)


def _total(lanes: int, packed: bool) -> Any:
    """What the sum of n rows is worth."""
    half = lanes // 2
    if packed:

        def total(rows: Any, n: int) -> Any:
            # low bytes + 256 * high bytes in one half, high bytes in the other, each byte 128 too high; modulo 2^16
            raised = splat(np.int16(128 * n), part(rows, 0, half))
            high = part(rows, half, half)
            low = subtract(part(rows, 0, half), scale_up(high, np.int16(8)))
            return joined(subtract(low, raised), subtract(high, raised))
    else:

        def total(rows: Any, n: int) -> Any:
            return rows

    total.__name__ = total.__qualname__ = f"total_{lanes}{'_packed' * packed}"
    return inlined(total)


@cache
def gatherer(lanes: int, by: int, bx: int, packed: bool, word: int, rule: Any = None) -> Any:
    """The kernel for a Form and words of `word` channels.

    With the `rule` of a kind of neuron (kernels/neurons.py) the currents go to the neurons without being stored.
    """
    list_events, row_at, worth = _lister(word), _row(lanes, packed), _total(lanes, packed)
    fused, two_lines = rule is not None, by == 2
    piece, width_of_chunk = lanes // by, lanes // (by * bx)
    second = lanes - piece
    respond = rule if fused else _row(lanes, packed)  # never called

    def gather(
        planes: Array, t0: int, low_block: int, high_block: int,
        slot_start: Array, slot_line: Array, phase: Array, weight_at: Array, unit: Array, x_classes: int, chunks: int,
        visit: Array, place: Array, runs: Arrays, row: int, weights: Array, scale: Array, scaled: bool,
        current: Array, first: bool, group: int, ids: Array, ptr: Array, silence: Array,
        constant: Array, stride: int, state: Any, train: Array, start: int, events: Array,
    ) -> int:  # fmt: skip
        """Adds (first: writes) one gather's current for lines of blocks low..high, for steps t0...; or, with a rule,
        adds it to what `current` holds (first: to nothing) and lets the neurons respond.

        planes uint8 [T, signs, positions, bytes] (buffers.py); ids int32 [group * most events of a line + 64] and ptr
        int32 [group * (X + 1)] are scratch for `group` lines; silence: an input line without events; current int32 |
        float32 [steps, lines, Xout, channels], channels a multiple of 16; constant to events: as in
        kernels/neurons.py, but what is per channel stands there bx times. Returns the rows added.
        """
        run_start, run_first, run_stop, run_shift = runs
        steps, lines, width, channels = current.shape
        blocks, xs, size = high_block - low_block, len(run_start) - 1, len(visit)
        line_bytes, words = size * planes.shape[3], planes.shape[3] * 8 // word
        origin, base, silent = planes.ctypes.data, weights.ctypes.data, silence.ctypes.data
        step_bytes = planes.shape[1] * planes.shape[2] * planes.shape[3]
        to_step, to_words = train.shape[2] * train.shape[3] * train.shape[4], train.shape[4]
        sources = np.empty(np.max(slot_start[1:] - slot_start[:-1]) + 1, np.int64)
        met = 0
        for done in range(0, steps * blocks, group):
            listed = min(group, steps * blocks - done)
            at = 0
            for g in range(listed):
                s, b = (done + g) // blocks, low_block + (done + g) % blocks
                slots = slot_start[b + 1] - slot_start[b]
                for j in range(slots):
                    line = slot_line[slot_start[b] + j]
                    sources[j] = origin + (t0 + s) * step_bytes + line * line_bytes if line >= 0 else silent
                at = list_events(
                    sources, slots, words, visit, place, unit[phase[b]], row, ids, at, ptr, g * (size + 1)
                )
            for chunk in range(chunks):
                factor, channel = load(scale, chunk * lanes, lanes), chunk * width_of_chunk
                for g in range(listed):
                    s, b = (done + g) // blocks, (done + g) % blocks
                    place_bytes = unit[phase[low_block + b]]
                    kernel = base + weight_at[phase[low_block + b]] + chunk * x_classes * place_bytes
                    i, q = b * by * width, g * (size + 1)
                    to = (t0 + s) * to_step + start * to_words + channel // 16
                    fired = np.int64(0)
                    for x in range(xs):
                        sum0 = sum1 = sum2 = sum3 = zeros(weights, lanes)
                        n = np.int64(0)
                        for r in range(item(run_start, x), item(run_start, x + 1)):
                            e = np.int64(item(ptr, q + item(run_first, r)))
                            end = np.int64(item(ptr, q + item(run_stop, r)))
                            rows = kernel + item(run_shift, r) * place_bytes
                            n += end - e
                            while e + 4 <= end:
                                sum0 = add(sum0, row_at(weights, rows + item(ids, e)))
                                sum1 = add(sum1, row_at(weights, rows + item(ids, e + 1)))
                                sum2 = add(sum2, row_at(weights, rows + item(ids, e + 2)))
                                sum3 = add(sum3, row_at(weights, rows + item(ids, e + 3)))
                                e += 4
                            # the rest without a branch: what is not there is the row of zeros
                            sum0 = add(sum0, row_at(weights, choose(e < end, rows + item(ids, e), base)))
                            sum1 = add(sum1, row_at(weights, choose(e + 1 < end, rows + item(ids, e + 1), base)))
                            sum2 = add(sum2, row_at(weights, choose(e + 2 < end, rows + item(ids, e + 2), base)))
                        met += n
                        total = widen(worth(add(add(sum0, sum1), add(sum2, sum3)), n))
                        if scaled:
                            total = multiply(total, factor)
                        target = (s * lines * width + i) * channels + channel
                        if not first:
                            total = add(total, load_pieces(current, target, total, by, width * channels))
                        if fused:
                            now = part(total, 0, piece)
                            now = add(now, load_like(constant, i * stride + channel, now))
                            fired += respond(now, state, i * channels + channel, channel, train, to + i * to_words)
                            if two_lines:
                                j = i + width
                                now = part(total, second, piece)
                                now = add(now, load_like(constant, j * stride + channel, now))
                                fired += respond(now, state, j * channels + channel, channel, train, to + j * to_words)
                        else:
                            store_pieces(current, target, total, by, width * channels)
                        i += bx
                    events[t0 + s] += np.uint64(fired)
        return met

    name = f"gather_{lanes}_{by}_{bx}_{word}{'_packed' * packed}"
    gather.__name__ = gather.__qualname__ = f"{name}_{rule.py_func.__name__}" if fused else name
    return compiled(gather)
