"""Settled neuron: integrates the whole window, then sends its number of spikes: a quantised ReLU with T levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME, State, per_channel, total_count
from snncc.neurons.levels import LEVEL, WIDTHS, level
from snncc.neurons.signed import NO_DIP, WithDip

# V after the window, then n = clip(level(V + v0), -N or 0, N), N = base^0 + ... + base^(T-1); {emit} sends it.
TEXT = """
{op} <negative> (current, theta, v0, dip, T) => (spikes)
{{""" + OVER_TIME + WIDTHS + """
  base_constant = Constant <value_int: int = {base}> ()
  base = CastLike (base_constant, theta)
  V = Scan <num_scan_inputs: int = 1, body: graph = step (v, i) => (v_next) {{
    v_mul = Mul (v, base)
    v_next = Add (v_mul, i)
  }}> (zeros, I)
  U = Add (V, v0)""" + LEVEL + """
  T_wide = Cast <to: int = 11> (steps)
  one_wide = CastLike (unit, T_wide){most}
  sign_constant = Constant <value_int: int = @negative> ()
  sign = CastLike (sign_constant, T_wide)
  lo_mul = Mul (N, sign)
  lo = Neg (lo_mul)
  n_max = Max (L, lo)
  n = Min (n_max, N)
  direction = Sign (n)
  left = Abs (n)
  left_end, power_end, spikes = Scan <num_scan_inputs: int = 1, body: graph = send (m, p, k) => (m_next, p_next, s) {{
    enough = GreaterOrEqual (m, p)
    sent = CastLike (enough, p)
    spent = Mul (sent, p)
    m_next = Sub (m, spent)
    p_next = {shrink}
    s_wide = Mul (sent, direction)
    s = Cast <to: int = 1> (s_wide)
  }}> (left, power, t)
}}"""


@dataclass(frozen=True, eq=False)
class Settled(WithDip):
    """V = the sum of its currents over all T steps; n = clip(floor((V + v0) / theta), 0, T); a spike at steps 1..n.

    negative: n in [-T, T], a spike has its sign (levels.py for dip). Latency is depth * T steps; what a readout says
    before its last step means nothing.
    """

    theta: Array
    v0: Array
    negative: bool = False
    dip: Array = field(default_factory=lambda: NO_DIP)

    op = "Settled"
    waits = True
    function = TEXT.format(
        op=op,
        base=1,
        most="\n  N = Identity (T_wide)\n  power = Identity (one_wide)",
        shrink="Identity (p)",
    )

    @property
    def signed(self) -> bool:  # type: ignore[override]
        return self.negative

    def attributes(self) -> Mapping[str, Any]:
        return {"negative": int(self.negative)}

    def extra_state(self, most: int) -> str:
        events = ", negative events" if self.negative else ""
        return f"a second membrane, for the next window; skips buffered ({most.bit_length()} bits a neuron){events}"

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"V": np.zeros(shape, self.theta.dtype)}

    def step(self, state: State, current: Array) -> Array:
        state["V"] = state["V"] * state["V"].dtype.type(self.base) + current
        return np.zeros(current.shape, np.int8)

    def numbers(self, state: State, timesteps: int) -> Array:
        """n, float64 [C, *spatial]."""
        most = total_count(self.base, timesteps)
        total = state["V"] + per_channel(self.v0, state["V"].ndim)
        return np.clip(level(total, self.theta, self.dip), -most if self.negative else 0, most)

    def emit(self, state: State, timesteps: int) -> Array:
        n = self.numbers(state, timesteps)
        return np.stack([np.sign(n) * (np.abs(n) >= t) for t in range(1, timesteps + 1)]).astype(np.int8)
