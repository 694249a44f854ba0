"""Pooling: weighted sums (average pooling) and the weightless window of a max gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse, conv_size, conv_taps


@dataclass(frozen=True, eq=False)
class Pool(Synapse):
    """Sum over a window, times weight [C]. Zero padding counts as zeros (count_include_pad)."""

    weight: Array
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    dilation: tuple[int, ...]
    shift: Array | None = None

    kind = "pool"

    @property
    def groups(self) -> int:
        return len(self.weight)

    def _axis(self, axis: int) -> tuple[int, int, int, int, int]:
        rank = len(self.kernel)
        return self.kernel[axis], self.stride[axis], self.dilation[axis], self.pads[axis], self.pads[rank + axis]

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return (pre[0], *(conv_size(n, *self._axis(a)) for a, n in enumerate(pre[1:])))

    def taps(self, axis: int, size: int) -> Array:
        return conv_taps(size, *self._axis(axis))

    def kernel_weights(self, rank: int) -> Array:
        channels = len(self.weight)
        return np.broadcast_to(self.weight[:, None], (*self.kernel, channels, 1))

    def scaled(self, pre: Array, post: Array) -> Synapse:
        return replace(self, weight=self.weight * pre * post)

    def rows(self) -> Array:
        return np.repeat(self.weight[:, None], prod(self.kernel), axis=1)

    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        return replace(self, weight=rows[:, 0].copy(), shift=shift)

    def attributes(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "stride": self.stride, "dilation": self.dilation, "pads": self.pads}


@dataclass(frozen=True, eq=False)
class Window(Pool):
    """The windows of a max gate: its weight is all ones and means nothing; padding never wins."""

    kind = "window"

    def scaled(self, pre: Array, post: Array) -> Synapse:
        return self
