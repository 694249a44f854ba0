"""Integrate and fire, reset by subtraction (Rueckauer et al., 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME, Neuron, State, per_channel


@dataclass(frozen=True, eq=False)
class IntegrateFire(Neuron):
    """v += I; s = [v >= theta]; v -= theta * s. theta, v0: [C], int32 or float32."""

    theta: Array
    v0: Array

    op = "IntegrateFire"
    function = """
IntegrateFire (current, theta, v0, T) => (spikes)
{""" + OVER_TIME + """
  v_start_sub = Sub (first, first)
  v_start = Add (v_start_sub, v0)
  v_end, spikes = Scan <num_scan_inputs: int = 1, body: graph = step (v, i) => (v_next, s) {
    charged = Add (v, i)
    fired = GreaterOrEqual (charged, theta)
    drop_castlike = CastLike (fired, theta)
    drop = Mul (drop_castlike, theta)
    v_next = Sub (charged, drop)
    s = Cast <to: int = 1> (fired)
  }> (v_start, I)
}"""

    def parameters(self) -> Mapping[str, Array]:
        return {"theta": self.theta, "v0": self.v0}

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"v": np.broadcast_to(per_channel(self.v0, len(shape)), shape).copy()}

    def step(self, state: State, current: Array) -> Array:
        v = state["v"]
        theta = per_channel(self.theta, v.ndim)
        v += current
        fired = v >= theta
        v -= fired * theta
        return fired.astype(np.int8)
