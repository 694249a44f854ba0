"""Counting what a projection delivers: its events by where they are, times what an event there meets.

Positions of an axis that meet their outputs in the same way are one class, so few numbers a channel say it all. The
kernels report how many rows of weights they added; the engine compares that with the rows that the census expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels.census import events_by_class
from snncc.runtime.layout import Axes, Shape3, padded


@dataclass(frozen=True, eq=False)
class Census:
    """Fan-outs of one projection.

    A line is read in words of 8 bytes, which hold 64 channels of one or more positions; words whose positions have the
    same classes are one class (at most 255 of them: they are counted in bytes).

    Args:
        line_class: int64 [Z * Y].
        order: int64 [words of a line], by class; start: int64 [classes of words + 1] into it.
        fans: float64 [4, classes of lines * classes of words * 64]: synapses, those of weight other than 0, paths
            and rows of weights that an event meets. Whole numbers, and so are all sums of them below 2^53.
    """

    line_class: Array
    order: Array
    start: Array
    fans: Array

    @classmethod
    def of(
        cls, axes: Axes, weight: Array, multiplicity: Array, size: Shape3, rows: dict[int, tuple[Array, Array, Array]]
    ) -> Census:
        """axes, weight [z, y, x classes, Cin, Cout / groups], multiplicity: as in Taps; rows: first pre channel of a
        gather -> per axis int64 [size], the product of which is the rows of weights that an event meets."""
        added = zip(*rows.values(), strict=True)
        joins = [np.vstack([a.pairs_of_source(n), *r]) for a, n, r in zip(axes, size, added, strict=True)]
        kinds, where = zip(*(np.unique(j, axis=1, return_inverse=True) for j in joins), strict=True)
        met = [k[: -len(rows)].astype(np.float64) for k in kinds]  # [tap classes, position classes] of each axis
        cin, cout = weight.shape[3:]
        gather = np.searchsorted(list(rows), np.arange(cin), "right") - 1  # of each channel

        def over(taps: Array) -> Array:
            """[z, y, x tap classes, ...] -> [z, y, x position classes, ...]"""
            for axis, matrix in enumerate(met):
                taps = np.moveaxis(np.tensordot(matrix, taps, axes=(0, axis)), 0, axis)
            return taps

        each = np.ones((*weight.shape[:3], cin))
        many = np.stack([reduce(np.multiply.outer, [k[g - len(rows)] for k in kinds]) for g in range(len(rows))], -1)
        fans = [over(each * cout), over(np.count_nonzero(weight, axis=4).astype(np.float64))]
        fans += [over(multiplicity[..., None] * each * cout), many[..., gather]]
        flat = np.zeros((4, *many.shape[:3], padded(cin)))
        flat[..., :cin] = np.stack(fans)
        assert flat.max() * np.prod(size) * cin < 2**53
        z, y, x = (w.ravel() for w in where)
        lines = np.add.outer(z * kinds[1].shape[1], y).ravel()
        return cls(lines.astype(np.int64), *_in_words(flat.reshape(4, -1, *flat.shape[3:]), x))

    def count(self, planes: Array) -> Array:
        """uint64 [4, T] of a train's level, uint8 [T, signs, positions, bytes] (buffers.py)."""
        steps, signs, positions, width = planes.shape
        lines, words = len(self.line_class), len(self.start) - 1
        size = positions // lines * width
        planes = planes.reshape(steps, signs, lines, size)
        if size % 8:
            planes = np.pad(planes, [(0, 0)] * 3 + [(0, -size % 8)])
        assert planes.shape[3] == 8 * len(self.order) and planes.flags.c_contiguous
        narrow = np.zeros((self.fans.shape[1] // (64 * words), words, 64), np.uint8)
        found = np.zeros((steps, *narrow.shape), np.int64)
        events_by_class(planes, self.line_class, self.order, self.start, narrow, found)
        counts = self.fans @ found.reshape(steps, -1).T.astype(np.float64)
        return np.asarray(np.rint(counts), np.uint64)


def _in_words(fans: Array, x_class: Array) -> tuple[Array, Array, Array]:
    """Census.order, start and fans. fans [4, classes of lines, classes along x, padded Cin]; x_class [X]."""
    width = fans.shape[3] // 8
    byte = np.minimum(np.arange(-(-len(x_class) * width // 8) * 8), len(x_class) * width - 1).reshape(-1, 8)
    rows = np.hstack([x_class[byte // width], byte % width, np.arange(len(byte))[:, None] // 255])
    kinds, where = np.unique(rows, axis=0, return_inverse=True)
    where = where.ravel()
    order = np.argsort(where, kind="stable")
    start = np.searchsorted(where[order], np.arange(len(kinds) + 1))
    x, channel = np.repeat(kinds[:, :8], 8, axis=1), np.repeat(kinds[:, 8:16] * 8, 8, axis=1) + np.arange(64) % 8
    return order, start, fans[:, :, x, channel].reshape(4, -1)
