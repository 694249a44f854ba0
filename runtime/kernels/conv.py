"""Projections in which every pre channel meets every post channel: convolutions and dense layers (groups = 1).

Output-stationary: for a line of outputs, the events of all input lines that it needs are listed, position by position;
then each block of outputs walks the part of the list that lies in its receptive field and adds one row of weights an
event, the sums staying in vector registers. runtime/gather.py makes the tables, docs/kernels.md draws them.

A list holds the offsets of weight rows in bytes: (place of the input position * rows of a place + slot * padded Cin +
channel) * row size. Where neighbouring inputs meet an output through neighbouring classes, the row is at that offset
plus a constant, and the whole stretch of inputs is one range of the list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import registry

from snncc.graph import Array
from snncc.runtime.kernels import compiled, inlined, once
from snncc.runtime.kernels.memory import (
    joined,
    load_at,
    load_pieces,
    part,
    peek,
    set_bits,
    store_pieces,
)
from snncc.runtime.kernels.vectors import choose, item, load, ones_in, store, widen, zeros

Arrays = tuple[Array, ...]
_, _, FEATURES = registry.cpu_target.target_context.codegen().magic_tuple()  # of the machine that is compiled for
COMPRESS = "+avx512vbmi2" in FEATURES
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.int8)
PLACES = np.argsort(1 - _BITS, axis=1, kind="stable").astype(np.int32).ravel()  # [256 * 8] the set bits of a byte first


def listed_as(channels: int) -> int:
    """The least number of channels, padded, that the same kernel lists."""
    return channels if channels in (16, 32) else 64 if channels % 64 == 0 else 48


def _mask(channels: int) -> Any:
    """The spikes of some slots of 16 or 32 channels, or of a word of one slot, as one mask."""

    def one(sources: Array, j: int, at: int) -> Any:
        return peek(item(sources, j) + at, 64)

    def two(sources: Array, j: int, at: int) -> Any:
        low, high = peek(item(sources, j) + at, 32), peek(item(sources, j + 1) + at, 32)
        return np.uint64(low) | np.uint64(high) << np.uint64(32)

    def four(sources: Array, j: int, at: int) -> Any:
        a, b = peek(item(sources, j) + at, 16), peek(item(sources, j + 1) + at, 16)
        c, d = peek(item(sources, j + 2) + at, 16), peek(item(sources, j + 3) + at, 16)
        low = np.uint32(a) | np.uint32(b) << np.uint32(16)
        high = np.uint32(c) | np.uint32(d) << np.uint32(16)
        return np.uint64(low) | np.uint64(high) << np.uint64(32)

    return inlined({64: one, 32: two, 16: four}[channels])


@once
def _lister(channels: int) -> Any:
    """Lists events from words of 64 channels: of one slot, of two that have 32, or of four that have 16; or, where
    slots are no such words, of 16 channels."""
    word, together = {16: (64, 4), 32: (64, 2), 64: (64, 1), 48: (16, 1)}[channels]
    taken = word // 8 if together == 1 else 8 // together
    half, compress = min(word, 32), COMPRESS
    second = word - half
    if word == 64:
        mask_at = _mask(64 // together)
    else:
        mask_at = inlined(lambda sources, j, at: peek(item(sources, j) + at, 16))

    def list_events(
        sources: Array, slots: int, used: int, stride: int, visit: Array, place: Array, unit: int, row: int,
        ids: Array, at: int, ptr: Array, first: int,
    ) -> int:  # fmt: skip
        """Lists the events of one output line.

        sources int64 [slots, rounded up to those taken together]: addresses of input lines, `used` of `stride` bytes
        a position; unit: bytes of a place; row: log2 of the bytes of a row. ids int32 gets the offsets, from `at`;
        ptr[first + k] is the start of the k-th visited position. Up to 64 entries behind the end are overwritten.
        Returns the end.
        """
        bits = np.int32(row)
        for k in range(len(visit)):
            ptr[first + k] = at
            base = item(place, k) * unit
            x = item(visit, k) * stride
            for j in range(0, slots, together):
                for w in range(0, used, taken):
                    mask = mask_at(sources, j, x + w)
                    if compress:
                        found = set_bits(mask)
                        store(ids, at, (part(found, 0, half) << bits) + np.int32(base))
                        n = ones_in(mask)
                        if second and n > half:
                            store(ids, at + half, (part(found, second, half) << bits) + np.int32(base))
                        at += n
                        base += word << row
                    else:
                        for _ in range(word // 8):
                            byte = np.int64(mask & 255)
                            store(ids, at, (load(PLACES, 8 * byte, 8) << bits) + np.int32(base))
                            at += ones_in(byte)
                            mask >>= 8
                            base += 8 << row
        ptr[first + len(visit)] = at
        return at

    list_events.__name__ = list_events.__qualname__ = f"list_events_{word}_{together}{'_compressed' * compress}"
    return compiled(list_events)


def _row(lanes: int, packed: bool) -> Any:
    """The row of weights at an address, as lanes that may be added up."""
    half = lanes // 2
    if packed:

        def row(weights: Array, address: int) -> Any:
            pairs = load_at(weights, address, half)
            return joined(pairs, pairs >> np.int16(8))
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
            # one half: low bytes, each 128 too high, + 256 * high bytes; the other: high bytes; all modulo 2^16
            high = part(rows, half, half)
            return joined(part(rows, 0, half) - (high << np.int16(8)) - np.int16(128 * n), high)
    else:

        def total(rows: Any, n: int) -> Any:
            return rows

    total.__name__ = total.__qualname__ = f"total_{lanes}{'_packed' * packed}"
    return inlined(total)


@once
def gatherer(lanes: int, by: int, bx: int, packed: bool, scaled: bool, channels_in: int, rule: Any = None) -> Any:
    """The kernel for a Form and pre populations that are `listed_as` so many channels.

    With the `rule` of a kind of neuron (kernels/neurons.py) the currents go to the neurons without being stored.
    """
    list_events, row_at, worth = _lister(channels_in), _row(lanes, packed), _total(lanes, packed)
    fused, two_lines = rule is not None, by == 2
    piece, width_of_chunk = lanes // by, lanes // (by * bx)
    second = lanes - piece
    respond = rule if fused else row_at  # never called

    def gather(
        planes: Array, t0: int, first_byte: int, used: int, first_channel: int, low_block: int, high_block: int,
        slot_start: Array, slot_line: Array, phase: Array, weight_at: Array, unit: Array, x_classes: int, chunks: int,
        visit: Array, place: Array, runs: Arrays, row: int, weights: Array, scale: Array,
        current: Array, shape: tuple[int, int, int, int], first: bool, group: int, ids: Array, ptr: Array,
        silence: Array, constant: Array, apart: int, state: Any, train: Array, start: int, events: Array,
    ) -> int:  # fmt: skip
        """Adds (first: writes) one gather's current for lines of blocks low..high, for steps t0...; or, with a rule,
        adds it to what `current` holds (first: to nothing) and lets the neurons respond.

        planes uint8 [T, signs, positions, bytes] (buffers.py); ids int32 [group * most events of a line + 64] and ptr
        int32 [group * (X + 1)] are scratch for `group` lines; silence: an input line without events; current int32 |
        float32, flat, of `shape` [steps, lines, Xout, channels], channels a multiple of 16; constant to events: as in
        kernels/neurons.py, but what is per channel stands there bx times. Returns the rows added.
        """
        run_start, run_first, run_stop, run_shift = runs
        steps, lines, width, channels = shape
        blocks, xs, size = high_block - low_block, len(run_start) - 1, len(visit)
        stride = planes.shape[3]
        line_bytes = size * stride
        origin, base, silent = planes.ctypes.data + first_byte, weights.ctypes.data, silence.ctypes.data
        step_bytes = planes.shape[1] * planes.shape[2] * planes.shape[3]
        to_step, to_words = train.shape[2] * train.shape[3] * train.shape[4], train.shape[4]
        sources = np.empty(np.max(slot_start[1:] - slot_start[:-1]) + 4, np.int64)
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
                sources[slots : slots + 3] = silent
                at = list_events(
                    sources, slots, used, stride, visit, place, unit[phase[b]], row, ids, at, ptr, g * (size + 1)
                )
            for chunk in range(chunks):
                factor, channel = load(scale, chunk * lanes, lanes), first_channel + chunk * width_of_chunk
                for g in range(listed):
                    s, b = (done + g) // blocks, (done + g) % blocks
                    place_bytes = unit[phase[low_block + b]]
                    kernel = base + weight_at[phase[low_block + b]] + chunk * x_classes * place_bytes
                    i, q = b * by * width, g * (size + 1)
                    to = (t0 + s) * to_step + start * to_words + channel // 16
                    fired = np.int64(0)
                    for x in range(xs):
                        even = odd = zeros(weights, lanes)
                        n = np.int64(0)
                        for r in range(item(run_start, x), item(run_start, x + 1)):
                            e = np.int64(item(ptr, q + item(run_first, r)))
                            end = np.int64(item(ptr, q + item(run_stop, r)))
                            rows = kernel + item(run_shift, r) * place_bytes
                            n += end - e
                            while e + 4 <= end:
                                even = even + row_at(weights, rows + item(ids, e))
                                odd = odd + row_at(weights, rows + item(ids, e + 1))
                                even = even + row_at(weights, rows + item(ids, e + 2))
                                odd = odd + row_at(weights, rows + item(ids, e + 3))
                                e += 4
                            # the rest without a branch: what is not there is the row of zeros
                            even = even + row_at(weights, choose(e < end, rows + item(ids, e), base))
                            odd = odd + row_at(weights, choose(e + 1 < end, rows + item(ids, e + 1), base))
                            even = even + row_at(weights, choose(e + 2 < end, rows + item(ids, e + 2), base))
                        met += int(n)
                        total = widen(worth(even + odd, n))
                        if scaled:
                            total = total * factor
                        target = (s * lines * width + i) * channels + channel
                        if not first:
                            total = total + load_pieces(current, target, total, by, width * channels)
                        if fused:
                            now = part(total, 0, piece)
                            now = now + load(constant, i * apart + channel, now)
                            fired += respond(now, state, i * channels + channel, channel, train, to + i * to_words)
                            if two_lines:
                                j = i + width
                                now = part(total, second, piece)
                                now = now + load(constant, j * apart + channel, now)
                                fired += respond(now, state, j * channels + channel, channel, train, to + j * to_words)
                        else:
                            store_pieces(current, target, total, by, width * channels)
                        i += bx
                    events[t0 + s] += np.uint64(fired)
        return met

    name = f"gather_{lanes}_{by}_{bx}_{_lister(channels_in).py_func.__name__}{'_packed' * packed}{'_scaled' * scaled}"
    gather.__name__ = gather.__qualname__ = f"{name}_{rule.py_func.__name__}" if fused else name
    return compiled(gather)
