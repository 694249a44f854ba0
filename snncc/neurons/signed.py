"""Signed integrate and fire: spikes in {-1, 0, 1}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME, Neuron, State, per_channel


@dataclass(frozen=True, eq=False)
class Signed(Neuron):
    """v += I; s = +1 where v >= theta, -1 where v < 0 (with `memory`: and the net count n > 0); v -= theta*s; n += s.

    With memory the count never falls below zero, which repairs the over-firing of a rectifier (Wang et al., 2022);
    free, the population carries a signed value: what relays need. theta, v0: [C], int32 or float32.
    """

    theta: Array
    v0: Array
    memory: bool = True

    op = "Signed"
    signed = True
    function = """
Signed <memory> (current, theta, v0, T) => (spikes)
{""" + OVER_TIME + """
  zeros = Sub (first, first)
  v_start = Add (zeros, v0)
  nothing = CastLike (zero, theta)
  keep = Constant <value_int: int = @memory> ()
  free = Equal (keep, zero)
  v_end, n_end, spikes = Scan <num_scan_inputs: int = 1, body: graph = step (v, n, i) => (v_next, n_next, s) {
    charged = Add (v, i)
    up = GreaterOrEqual (charged, theta)
    below = Less (charged, nothing)
    allowed_greater = Greater (n, nothing)
    allowed = Or (allowed_greater, free)
    down = And (below, allowed)
    net_castlike = CastLike (up, theta)
    net_castlike2 = CastLike (down, theta)
    net = Sub (net_castlike, net_castlike2)
    v_next_mul = Mul (net, theta)
    v_next = Sub (charged, v_next_mul)
    n_next = Add (n, net)
    s = Cast <to: int = 1> (net)
  }> (v_start, zeros, I)
}"""

    def parameters(self) -> Mapping[str, Array]:
        return {"theta": self.theta, "v0": self.v0}

    def attributes(self) -> Mapping[str, Any]:
        return {"memory": int(self.memory)}

    def initial(self, shape: tuple[int, ...]) -> State:
        v = np.broadcast_to(per_channel(self.v0, len(shape)), shape).copy()
        return {"v": v, "n": np.zeros_like(v)}

    def step(self, state: State, current: Array) -> Array:
        v, n = state["v"], state["n"]
        theta = per_channel(self.theta, v.ndim)
        v += current
        down = v < 0
        if self.memory:
            down &= n > 0
        net = (v >= theta).astype(np.int8) - down.astype(np.int8)
        v -= net * theta
        n += net
        return net
