"""Transposed convolution, any rank, stride, dilation, pads, output padding and groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse


@dataclass(frozen=True, eq=False)
class ConvTranspose(Synapse):
    """weight [Cin, Cout / groups, *kernel]; input i meets o = i * stride + k * dilation - pad through index k."""

    weight: Array
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    output_padding: tuple[int, ...]
    group: int = 1
    shift: Array | None = None

    kind = "conv_transpose"

    @property
    def groups(self) -> int:
        return self.group

    def _size(self, axis: int, size: int) -> int:
        rank = len(self.stride)
        reach = self.dilation[axis] * (self.weight.shape[2 + axis] - 1) + 1
        full: int = self.stride[axis] * (size - 1) + self.output_padding[axis] + reach
        return full - self.pads[axis] - self.pads[rank + axis]

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return (self.weight.shape[1] * self.group, *(self._size(a, n) for a, n in enumerate(pre[1:])))

    def taps(self, axis: int, size: int) -> Array:
        o = np.arange(self._size(axis, size))[:, None]
        k = np.arange(self.weight.shape[2 + axis])[None, :]
        scaled = o + self.pads[axis] - k * self.dilation[axis]
        i = scaled // self.stride[axis]
        return np.where((scaled % self.stride[axis] == 0) & (i >= 0) & (i < size), i, -1)

    def kernel_weights(self, rank: int) -> Array:
        return np.moveaxis(self.weight, (0, 1), (-2, -1))

    def _grouped(self) -> Array:
        """[g, Cin / g, Cout / g, *kernel]"""
        cin, per_group = self.weight.shape[:2]
        return self.weight.reshape(self.group, cin // self.group, per_group, *self.weight.shape[2:])

    def scaled(self, pre: Array, post: Array) -> Synapse:
        grouped = self._grouped()
        spatial = (1,) * (self.weight.ndim - 2)
        weight = grouped * pre.reshape(self.group, -1, 1, *spatial) * post.reshape(self.group, 1, -1, *spatial)
        return replace(self, weight=weight.reshape(self.weight.shape))

    def rows(self) -> Array:
        grouped = np.swapaxes(self._grouped(), 1, 2)
        return grouped.reshape(self.group * self.weight.shape[1], -1)

    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        grouped = self._grouped()
        swapped = rows.reshape(grouped.shape[0], grouped.shape[2], grouped.shape[1], *grouped.shape[3:])
        return replace(self, weight=np.swapaxes(swapped, 1, 2).reshape(self.weight.shape), shift=shift)

    def attributes(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "dilation": self.dilation,
            "pads": self.pads,
            "output_padding": self.output_padding,
            "group": self.group,
        }
