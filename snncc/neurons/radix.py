"""Radix neuron: sends its number as binary digits, the most significant first (T digits say 2^T - 1 levels)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import State
from snncc.neurons.settled import TEXT, Settled


@dataclass(frozen=True, eq=False)
class Radix(Settled):
    """V <- 2 V + I over T steps; n = clip(floor((V + v0) / theta), 0, 2^T - 1); at step t digit T - t of n.

    The same values as `Settled` over 2^T - 1 steps in T steps of each layer. negative: |n| in digits, with n's sign.
    """

    op = "Radix"
    base = 2
    function = TEXT.format(
        op=op,
        base=2,
        most="""
  two = Add (one_wide, one_wide)
  half = Div (one_wide, two)
  full = Pow (two, T_wide)
  N = Sub (full, one_wide)
  power = Mul (full, half)""",
        shrink="Mul (p, half)",
    )

    def extra_state(self, most: int) -> str:
        bits, events = most.bit_length(), ", negative events" if self.negative else ""
        return f"a shift-add membrane (+{bits} bits), {bits} compares; skips buffered ({bits} bits a neuron){events}"

    def emit(self, state: State, timesteps: int) -> Array:
        n = self.numbers(state, timesteps)
        digits = [np.floor(np.abs(n) / 2.0 ** (timesteps - t)) % 2 for t in range(1, timesteps + 1)]
        return np.stack([np.sign(n) * d for d in digits]).astype(np.int8)
