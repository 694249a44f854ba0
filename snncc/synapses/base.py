"""What every kind of synapse has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from snncc.graph import Array


class Synapse(ABC):
    """A linear map from (Cin, *spatial) to (Cout, *spatial').

    Every kind is described to the engines and to the counting in the same way: per spatial axis a table of taps (which
    input position meets which output position through which kernel index) and one weight array
    [*kernel, Cin, Cout / groups]. `shift` is a power of two per post channel that the weighted sum is multiplied with
    (None: 1); for analog currents it may be negative, and the product is rounded half up.
    """

    kind: ClassVar[str]
    weight: Array
    shift: Array | None

    @abstractmethod
    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        """Post shape (C, *spatial) for a routed pre shape."""

    @abstractmethod
    def taps(self, axis: int, size: int) -> Array:
        """int64 [size_out, K]: the input position along spatial `axis` that output o meets through kernel index k;
        -1 where there is none (padding, or between the strides of a transposed convolution)."""

    @abstractmethod
    def kernel_weights(self, rank: int) -> Array:
        """[*kernel, Cin, Cout / groups] for inputs with `rank` spatial axes."""

    @abstractmethod
    def scaled(self, pre: Array, post: Array) -> Synapse:
        """With weights multiplied by pre [Cin] (per input channel) and by post [Cout] (per output channel)."""

    @abstractmethod
    def rows(self) -> Array:
        """Weights as [Cout, fan-in of one output channel], for scales, sums and proofs (every tap is included)."""

    @abstractmethod
    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        """The inverse of `rows`."""

    def loads(self, rows: Array) -> Array:
        """[Cout, n]: `rows` times the fixed factors of the map; sums of its positive and of its negative entries bound
        those of every output."""
        return rows

    def attributes(self) -> dict[str, Any]:
        """Geometry for text and file."""
        return {}

    @property
    def groups(self) -> int:
        return 1


def conv_taps(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> Array:
    """Taps of a convolution along one axis: i = o * stride + k * dilation - before."""
    outputs = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    o, k = np.arange(outputs)[:, None], np.arange(kernel)[None, :]
    i = o * stride + k * dilation - before
    return np.where((i >= 0) & (i < size), i, -1)


def conv_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
