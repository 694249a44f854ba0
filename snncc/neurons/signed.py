"""Signed integrate and fire: spikes in {-1, 0, 1}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME, Neuron, State, per_channel

NO_DIP = np.zeros(0, np.float32)


class WithDip(Neuron):
    """theta, v0 and dip (levels.py); dip is 0 unless given."""

    theta: Array
    v0: Array
    dip: Array

    def __post_init__(self) -> None:
        if self.dip.size == 0:
            object.__setattr__(self, "dip", np.zeros_like(self.theta))

    def parameters(self) -> Mapping[str, Array]:
        return {"theta": self.theta, "v0": self.v0, "dip": self.dip}


@dataclass(frozen=True, eq=False)
class Signed(WithDip):
    """v += I; s = +1 where v >= theta, -1 where v < 0 (with `memory`: and the net count n > 0); v -= theta*s; n += s.

    With memory the count never falls below zero, which repairs the over-firing of a rectifier (Wang et al., 2022);
    free, the population carries a signed value: what relays need. A dip > 0 makes it a leaky rectifier: below zero a
    spike costs theta + 2 dip, and n falls below zero where v < -dip, comes back where v >= theta + dip (levels.py).
    theta, dip: [C]; v0: [C] or [C, *spatial]; int32 or float32.
    """

    theta: Array
    v0: Array
    memory: bool = True
    dip: Array = field(default_factory=lambda: NO_DIP)

    op = "Signed"
    signed = True
    function = """
Signed <memory> (current, theta, v0, dip, T) => (spikes)
{""" + OVER_TIME + """
  v_start = Add (zeros, v0)
  nothing = CastLike (zero, theta)
  keep = Constant <value_int: int = @memory> ()
  free = Equal (keep, zero)
  back = Add (theta, dip)
  wide = Add (back, dip)
  deep = Neg (dip)
  v_end, n_end, spikes = Scan <num_scan_inputs: int = 1, body: graph = step (v, n, i) => (v_next, n_next, s) {
    charged = Add (v, i)
    negative = Less (n, nothing)
    positive = Greater (n, nothing)
    up_at = Where (negative, back, theta)
    up = GreaterOrEqual (charged, up_at)
    down_at = Where (positive, nothing, deep)
    below = Less (charged, down_at)
    allowed = Or (positive, free)
    down = And (below, allowed)
    rise = CastLike (up, theta)
    fall = CastLike (down, theta)
    rise_width = Where (negative, wide, theta)
    fall_width = Where (positive, theta, wide)
    spent = Mul (rise, rise_width)
    refund = Mul (fall, fall_width)
    paid = Sub (charged, spent)
    v_next = Add (paid, refund)
    net = Sub (rise, fall)
    n_next = Add (n, net)
    s = Cast <to: int = 1> (net)
  }> (v_start, zeros, I)
}"""

    def attributes(self) -> Mapping[str, Any]:
        return {"memory": int(self.memory)}

    def extra_state(self, most: int) -> str:
        dips = bool(self.dip.any())
        counter = f", a counter of {most.bit_length() + dips} bits a neuron" if self.memory or dips else ""
        return f"negative events{counter}"

    def initial(self, shape: tuple[int, ...]) -> State:
        v = np.broadcast_to(per_channel(self.v0, len(shape)), shape).copy()
        return {"v": v, "n": np.zeros_like(v)}

    def step(self, state: State, current: Array) -> Array:
        v, n = state["v"], state["n"]
        theta, dip = per_channel(self.theta, v.ndim), per_channel(self.dip, v.ndim)
        v += current
        up = v >= np.where(n < 0, theta + dip, theta)
        down = v < np.where(n > 0, 0, -dip)
        if self.memory:
            down &= n > 0
        wide = theta + dip + dip
        v -= np.where(n < 0, wide, theta) * up
        v += np.where(n > 0, theta, wide) * down
        net = up.astype(np.int8) - down.astype(np.int8)
        n += net
        return net
