"""Multi-threshold neuron: a cascade of thresholds, each crossed at most once a step (Li et al., 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME, State, per_channel
from snncc.neurons.levels import LEVEL, WIDTHS, level
from snncc.neurons.signed import NO_DIP, WithDip


@dataclass(frozen=True, eq=False)
class MultiThreshold(WithDip):
    """Thresholds theta * 2^(k-1), ..., 2 theta, theta, tried from the highest down; each that fires is one event.

    A spike thus is a number s of k bits: with U the charge since the start (v0 included), L its level (levels.py) and n
    the sum of the spikes so far, s = clip(L - n, 0, 2^k - 1), which is what the cascade on v = U - theta * n gives.
    negative: s may fall to -(2^k - 1); with `memory` n never falls below zero. k = 1 is `IntegrateFire` or `Signed`.
    """

    theta: Array
    v0: Array
    levels: int = 2
    negative: bool = False
    memory: bool = True
    dip: Array = field(default_factory=lambda: NO_DIP)

    op = "MultiThreshold"
    function = """
MultiThreshold <most, negative, memory> (current, theta, v0, dip, T) => (spikes)
{""" + OVER_TIME + WIDTHS + """
  U_start = Add (zeros, v0)
  n_start = Cast <to: int = 11> (zeros)
  hi_constant = Constant <value_int: int = @most> ()
  sign = Constant <value_int: int = @negative> ()
  lo_mul = Mul (hi_constant, sign)
  lo_neg = Neg (lo_mul)
  hi = Cast <to: int = 11> (hi_constant)
  lo = Cast <to: int = 11> (lo_neg)
  keep = Constant <value_int: int = @memory> ()
  kept = Greater (keep, zero)
  U_end, n_end, spikes = Scan <num_scan_inputs: int = 1, body: graph = step (U_last, n, i) => (U_next, n_next, s) {
    U = Add (U_last, i)""" + LEVEL + """
    L_bounded = Max (L, none_wide)
    target = Where (kept, L_bounded, L)
    wanted = Sub (target, n)
    low = Max (wanted, lo)
    out = Min (low, hi)
    n_next = Add (n, out)
    U_next = Identity (U)
    s = Cast <to: int = 1> (out)
  }> (U_start, n_start, I)
}"""

    @property
    def signed(self) -> bool:  # type: ignore[override]
        return self.negative

    @property
    def most(self) -> int:
        return (1 << self.levels) - 1

    def attributes(self) -> Mapping[str, Any]:
        return {"most": self.most, "negative": int(self.negative), "memory": int(self.memory)}

    def extra_state(self, most: int) -> str:
        counts = self.negative and (self.memory or bool(self.dip.any()))
        counter = f", a counter of {most.bit_length() + bool(self.dip.any())} bits a neuron" if counts else ""
        return f"{'signed ' if self.negative else ''}events of {self.levels} bits, {self.levels} compares{counter}"

    def initial(self, shape: tuple[int, ...]) -> State:
        total = np.broadcast_to(per_channel(self.v0, len(shape)), shape).copy()
        return {"U": total, "n": np.zeros(shape, np.float64)}

    def step(self, state: State, current: Array) -> Array:
        state["U"] += current
        wanted = level(state["U"], self.theta, self.dip)
        if self.memory:
            wanted = np.maximum(wanted, 0)
        spikes = np.clip(wanted - state["n"], -self.most if self.negative else 0, self.most)
        state["n"] += spikes
        return np.asarray(spikes, np.int8)
