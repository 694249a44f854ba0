"""Stand-ins between `lower` and `neurons`: what a population must compute, before a kind of neuron is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from snncc.graph import Array
from snncc.neurons.base import Neuron, State


class _Ideal(Neuron):
    function = ""

    def initial(self, shape: tuple[int, ...]) -> State:
        raise TypeError(f"{self.op} has no dynamics: run the pass `neurons` first")

    def step(self, state: State, current: Array) -> Array:
        raise TypeError(f"{self.op} has no dynamics: run the pass `neurons` first")


@dataclass(frozen=True, eq=False)
class Rectifier(_Ideal):
    """min(max(0, x), ceiling): a ReLU of the teacher, or a Clip from 0 (ReLU6)."""

    ceiling: float = float("inf")

    op = "Rectifier"


@dataclass(frozen=True, eq=False)
class LeakyRectifier(_Ideal):
    """x where x >= 0, else slope * x; slope: [C], above 0 and at most 1: a LeakyReLU or PReLU of the teacher."""

    slope: Array

    op = "LeakyRectifier"


@dataclass(frozen=True, eq=False)
class Linear(_Ideal):
    """x itself: a signed relay between two linear maps that cannot be multiplied out."""

    op = "Linear"
