"""One to one: residual additions and relays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse


@dataclass(frozen=True, eq=False)
class Diagonal(Synapse):
    """weight [C]: each neuron to the neuron of the same channel and position."""

    weight: Array
    shift: Array | None = None

    kind = "diagonal"

    @property
    def groups(self) -> int:
        return len(self.weight)

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return pre

    def taps(self, axis: int, size: int) -> Array:
        return np.arange(size)[:, None]

    def kernel_weights(self, rank: int) -> Array:
        return self.weight.reshape((1,) * rank + (-1, 1))

    def scaled(self, pre: Array, post: Array) -> Synapse:
        return replace(self, weight=self.weight * pre * post)

    def rows(self) -> Array:
        return self.weight[:, None]

    def with_rows(self, rows: Array, shift: Array | None) -> Synapse:
        return replace(self, weight=rows[:, 0], shift=shift)
