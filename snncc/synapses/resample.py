"""Maps of each channel by one matrix per spatial axis: linear resizing, means over windows of changing size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from math import prod
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse
from snncc.synapses.routing import Route

MAX_TAPS, MAX_WEIGHTS = 1 << 24, 1 << 26


@dataclass(frozen=True, eq=False)
class Resample(Synapse):
    """y[c, o1, ...] = weight[c] * sum over i1, ... of matrices[0][o1, i1] * ... * x[c, i1, ...].

    Args:
        weight: [C]; holds what the matrices' common denominators divide by.
        matrices: whole numbers [out, in], one a spatial axis.

    Raises:
        ValueError: in use, for inputs of another shape, and for more different entries than engines have tables for.
    """

    weight: Array
    matrices: tuple[Array, ...]
    shift: Array | None = None

    kind = "resample"

    @property
    def groups(self) -> int:
        return len(self.weight)

    @cached_property
    def _columns(self) -> list[tuple[Array, Array]]:
        return [_columns(matrix) for matrix in self.matrices]

    @cached_property
    def _kernel(self) -> Array:
        if prod(len(values) for values, _ in self._columns) * len(self.weight) > MAX_WEIGHTS:
            raise ValueError("too many different products of entries")
        return np.asarray(reduce(np.multiply.outer, [values for values, _ in self._columns]))

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        if pre[1:] != tuple(m.shape[1] for m in self.matrices):
            raise ValueError(f"matrices for other sizes than {pre[1:]}")
        return (pre[0], *(len(m) for m in self.matrices))

    def taps(self, axis: int, size: int) -> Array:
        return self._columns[axis][1]

    def kernel_weights(self, rank: int) -> Array:
        return self._kernel[..., None, None] * self.weight[:, None]

    def scaled(self, pre: Array, post: Array) -> Synapse:
        return replace(self, weight=self.weight * pre * post)

    def rows(self) -> Array:
        return self.weight[:, None]

    def loads(self, rows: Array) -> Array:
        up, down = 1, 0  # bounds of the positive and the negative products of an output
        for matrix in self.matrices:
            p, n = int(np.maximum(matrix, 0).sum(1).max()), int(np.maximum(-matrix, 0).sum(1).max())
            up, down = up * p + down * n, up * n + down * p
        return np.asarray(rows * [up, -down])

    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        return replace(self, weight=rows[:, 0], shift=shift)

    def applied(self, x: Array) -> Array:
        """x [C, *in] float64 -> [C, *out] without shift."""
        for axis, matrix in enumerate(self.matrices, 1):
            x = np.moveaxis(np.tensordot(matrix.astype(np.float64), x, (1, axis)), 0, axis)
        return x * self.weight.reshape(-1, *(1,) * len(self.matrices))

    def then(self, route: Route) -> Resample:
        """With a route behind it that works on each axis alone."""
        chosen = [route.along(axis, np.arange(len(m))) for axis, m in enumerate(self.matrices)]
        rows = [(m, o[:, None]) for m, o in zip(self.matrices, chosen, strict=True) if o is not None]
        return replace(self, matrices=tuple(np.where(o >= 0, m[o[:, 0]], 0) for m, o in rows))

    def attributes(self) -> dict[str, Any]:
        return {"to": tuple(len(m) for m in self.matrices)}


def _columns(matrix: Array) -> tuple[Array, Array]:
    """Kernel indices of one axis: (entry [K], input position [out, K] or -1).

    A kernel index stands for one value of the entries; a value that a row has several times needs as many indices.
    """
    o, i = np.nonzero(matrix)
    values, which = np.unique(matrix[o, i], return_inverse=True)
    group = o * len(values) + which
    order = np.argsort(group, kind="stable")
    rank = np.empty_like(o)
    rank[order] = np.arange(len(o)) - np.searchsorted(group[order], group[order])
    needed = np.zeros(len(values), np.int64)
    np.maximum.at(needed, which, rank + 1)
    if len(matrix) * needed.sum() > MAX_TAPS:
        raise ValueError("too many different entries")
    table = np.full((len(matrix), needed.sum()), -1)
    table[o, (np.cumsum(needed) - needed)[which] + rank] = i
    return np.repeat(values, needed), table
