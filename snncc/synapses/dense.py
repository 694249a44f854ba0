"""All to all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from snncc.graph import Array
from snncc.synapses.base import Synapse


@dataclass(frozen=True, eq=False)
class Dense(Synapse):
    """weight [out, in], between populations of shape (in,) and (out,)."""

    weight: Array
    shift: Array | None = None

    kind = "dense"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return (self.weight.shape[0],)

    def taps(self, axis: int, size: int) -> Array:
        raise IndexError("a dense projection has no spatial axes")

    def kernel_weights(self, rank: int) -> Array:
        return self.weight.T

    def scaled(self, pre: Array, post: Array) -> Synapse:
        return replace(self, weight=self.weight * pre[None, :] * post[:, None])

    def rows(self) -> Array:
        return self.weight

    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        return replace(self, weight=rows, shift=shift)
