"""Convolution, any rank, stride, dilation, pads and groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse, conv_size, conv_taps


@dataclass(frozen=True, eq=False)
class Conv(Synapse):
    """weight [Cout, Cin / groups, *kernel]; pads are (before..., after...) as in ONNX."""

    weight: Array
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    group: int = 1
    shift: Array | None = None

    kind = "conv"

    @property
    def groups(self) -> int:
        return self.group

    def _axis(self, axis: int) -> tuple[int, int, int, int, int]:
        rank = len(self.stride)
        return (
            self.weight.shape[2 + axis],
            self.stride[axis],
            self.dilation[axis],
            self.pads[axis],
            self.pads[rank + axis],
        )

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return (self.weight.shape[0], *(conv_size(n, *self._axis(a)) for a, n in enumerate(pre[1:])))

    def taps(self, axis: int, size: int) -> Array:
        return conv_taps(size, *self._axis(axis))

    def kernel_weights(self, rank: int) -> Array:
        cout, per_group = self.weight.shape[0], self.weight.shape[1]
        kernel = self.weight.shape[2:]
        grouped = self.weight.reshape(self.group, cout // self.group, per_group, *kernel)
        # [g, cog, cig, *k] -> [*k, g * cig, cog]
        moved = np.moveaxis(grouped, (0, 2, 1), (-3, -2, -1))
        return moved.reshape(*kernel, self.group * per_group, cout // self.group)

    def scaled(self, pre: Array, post: Array) -> Synapse:
        cout, per_group = self.weight.shape[:2]
        per_row = np.repeat(pre.reshape(self.group, per_group), cout // self.group, axis=0)
        spatial = (1,) * (self.weight.ndim - 2)
        weight = self.weight * per_row.reshape(cout, per_group, *spatial) * post.reshape(cout, 1, *spatial)
        return replace(self, weight=weight)

    def rows(self) -> Array:
        return self.weight.reshape(self.weight.shape[0], -1)

    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        return replace(self, weight=rows.reshape(self.weight.shape), shift=shift)

    def attributes(self) -> dict[str, Any]:
        return {"stride": self.stride, "dilation": self.dilation, "pads": self.pads, "group": self.group}
