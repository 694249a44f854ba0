"""Projections computed densely: analog currents, and spikes that are too many to list.

An output line (z, y) is a small matrix product: rows are its positions, columns the post channels, and the inner
dimension runs over pairs of input lines, then x classes, then input channels. Outputs that meet the same x classes are
computed side by side (a `Phase`, runtime/dense.py): a panel of positions x post channels stays in registers while each
row of weights is loaded once for all positions.

Input lines have channels before positions, so neighbouring positions are neighbours in memory. Where outputs side by
side read inputs side by side, a panel reads the lines themselves, which have zeros on both sides; else they are
expanded first. Where int16 holds them, integers travel as two channels in an int32: one instruction multiplies 32 of
them and adds up the pairs, exactly.

Shapes: lines [lines, I, X or more], I being input channels or pairs of them; expanded [lines, x classes of the phase,
I, columns], columns a multiple of 16; weights flat [channels / 16, z and y classes, x classes of the phase, I, 16], or
16 times the two of a pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.products import floored, outer_add
from snncc.runtime.kernels.vectors import item, load, select, store, zeros

Arrays = tuple[Array, ...]
COLUMNS = 16  # positions of a panel, each with 16 post channels: 16 of the 32 vector registers
_PANEL = 16 * COLUMNS


@compiled
def unpack(planes: Array, base: int, first: int, cin: int, numbers: Array, lines: Array, pad: int) -> None:
    """What the spikes of the input lines from `first` say over some steps, n <- base * n + s, as values behind `pad`.

    planes uint16 [steps, P, positions, words]; numbers int16 [X, words * 16]: scratch; int16 holds every n.
    """
    steps, signs, positions, words = planes.shape
    size, paired = numbers.shape[0], lines.shape[1] < cin
    pairs = numbers.view(np.int32)
    for k in range(lines.shape[0]):
        start = (first + k) * size * words
        for i in range(size * words):
            n = zeros(numbers, 16)
            for t in range(steps):
                if base == 2:
                    n = n + n
                at = t * signs * positions * words + start + i
                n = select(item(planes, at), n + np.int16(1), n)
                if signs == 2:
                    n = select(item(planes, at + positions * words), n - np.int16(1), n)
            store(numbers, 16 * i, n)
        for c in range(lines.shape[1]):
            row = lines[k, c]
            for x in range(size):
                row[pad + x] = pairs[x, c] if paired else numbers[x, c]


@compiled
def line_pairs(
    z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array, y_classes: int,
    z: int, y0: int, y1: int,
) -> tuple[int, int, Array, Array, Array]:  # fmt: skip
    """What output lines y0..y1 of plane z read, if the lines low..low + span of each of its input planes are at hand:
    low, span, and (starts, slots, bases) as in `product`."""
    low, high = 1 << 62, 0
    for b in range(y_start[y0], y_start[y1]):
        low, high = min(low, y_source[b]), max(high, y_source[b] + 1)
    span = max(high - low, 0)
    planes = z_start[z + 1] - z_start[z]
    starts = np.zeros(y1 - y0 + 1, np.int64)
    slots = np.empty(planes * (y_start[y1] - y_start[y0]), np.int64)
    bases = np.empty_like(slots)
    n = 0
    for y in range(y0, y1):
        for a in range(planes):
            for b in range(y_start[y], y_start[y + 1]):
                slots[n] = a * span + y_source[b] - low
                bases[n] = z_tap[z_start[z] + a] * y_classes + y_tap[b]
                n += 1
        starts[y - y0 + 1] = n
    return (low if span else 0), span, starts, slots, bases


@compiled
def expand(lines: Array, first: int, source: Array, expanded: Array) -> None:
    """Each input line from `first` as the outputs of a phase meet it: class c of output j reads source[c, j] (-1:
    nothing)."""
    for k in range(expanded.shape[0]):
        for c in range(source.shape[0]):
            for i in range(lines.shape[1]):
                row, target = lines[first + k, i], expanded[k, c, i]
                for j in range(source.shape[1]):
                    target[j] = row[source[c, j]] if source[c, j] >= 0 else 0
                target[source.shape[1] :] = 0


def _product(fused: bool) -> Any:
    """The kernel for some output lines."""

    def product(
        lines: Array, size: int, columns: int, inner: int, offsets: Array, starts: Array, slots: Array, bases: Array,
        weights: Array, classes: int, row: int, finish: Arrays, rounds: bool, outputs: Array,
        current: Array, width: int, channels: int, first: bool, block: Array,
    ) -> None:  # fmt: skip
        """Adds (first: writes) the sums of the outputs of one phase to current, flat [lines, width, channels].

        lines: flat, or what `expand` makes of them; size: of one; inner: rows of `columns` values; the first that class
        c reads begins at offsets[c].

        starts [lines + 1]: where the pairs of each output line begin in slots and bases; classes: of z
        and y; row: weights of one inner index in one block; finish: scale, half, down, offset [channels]: of each sum J
        comes J * scale, if `rounds` its floor after half was added (and after a shift right by down, of integers); at
        last offset is added; block: scratch for one panel.
        """
        scale, half, down, offset = finish
        for line in range(starts.size - 1):
            for channel in range(0, channels, 16):
                for column in range(0, outputs.size, COLUMNS):
                    total = zeros(block, _PANEL)
                    for p in range(starts[line], starts[line + 1]):
                        weight = (channel // 16 * classes + bases[p]) * offsets.size * inner * row
                        for c in range(offsets.size):
                            at = slots[p] * size + offsets[c] + column
                            for _ in range(inner):
                                total = outer_add(total, lines, at, weights, weight, 16, fused)
                                at += columns
                                weight += row
                    store(block, 0, total)
                    for j in range(min(COLUMNS, outputs.size - column)):
                        value = load(block, j * 16, 16) * load(scale, channel, 16)
                        if rounds:
                            value = floored(value + load(half, channel, 16), load(down, channel, 16))
                        target = (line * width + outputs[column + j]) * channels + channel
                        if not first:
                            value = value + load(current, target, 16)
                        store(current, target, value + load(offset, channel, 16))

    product.__name__ = product.__qualname__ = f"product{'_fused' * fused}"  # see conv.py
    return compiled(product)


product, fused_product = _product(False), _product(True)
