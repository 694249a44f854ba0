"""Integrate and fire, reset by subtraction (Rueckauer et al., 2017) or to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME, Neuron, State, per_channel

# op, further attributes, how a step begins (v -> u): Leaky differs in these alone.
TEXT = """
{op} <to_zero, fire_first{attributes}> (current, theta, v0, T) => (spikes)
{{""" + OVER_TIME + """
  v_start = Add (zeros, v0)
  nothing = CastLike (zero, theta)
  is_zeroing = Constant <value_int: int = @to_zero> ()
  zeroing = Greater (is_zeroing, zero)
  is_late = Constant <value_int: int = @fire_first> ()
  late = Greater (is_late, zero){constants}
  v_end, spikes = Scan <num_scan_inputs: int = 1, body: graph = step (v, i) => (v_next, s) {{{leak}
    charged = Add (u, i)
    decisive = Where (late, v, charged)
    fired = GreaterOrEqual (decisive, theta)
    open = Where (late, u, charged)
    drop_castlike = CastLike (fired, theta)
    drop = Mul (drop_castlike, theta)
    lowered = Sub (open, drop)
    cleared = Where (fired, nothing, open)
    left = Where (zeroing, cleared, lowered)
    caught_up = Add (left, i)
    v_next = Where (late, caught_up, left)
    s = Cast <to: int = 1> (fired)
  }}> (v_start, I)
}}"""


@dataclass(frozen=True, eq=False)
class IntegrateFire(Neuron):
    """v += I; s = [v >= theta]; v -= theta * s. theta: [C]; v0: [C] or [C, *spatial]; int32 or float32.

    to_zero: v = 0 where s = 1 instead. fire_first: s is decided before I is added, one step late (Rathi et al., 2020).
    """

    theta: Array
    v0: Array
    to_zero: bool = False
    fire_first: bool = False

    op = "IntegrateFire"
    function = TEXT.format(op=op, attributes="", constants="", leak="\n    u = Identity (v)")

    def parameters(self) -> Mapping[str, Array]:
        return {"theta": self.theta, "v0": self.v0}

    def attributes(self) -> Mapping[str, Any]:
        return {"to_zero": int(self.to_zero), "fire_first": int(self.fire_first)}

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"v": np.broadcast_to(per_channel(self.v0, len(shape)), shape).copy()}

    def leaked(self, v: Array) -> Array:
        """What is left of v at the next step."""
        return v

    def step(self, state: State, current: Array) -> Array:
        v = state["v"]
        theta = per_channel(self.theta, v.ndim)
        u = self.leaked(v)
        fired = (v if self.fire_first else u + current) >= theta
        left = u if self.fire_first else u + current
        left = np.where(fired, 0, left) if self.to_zero else left - fired * theta
        state["v"] = np.asarray(left + current if self.fire_first else left, v.dtype)
        return fired.astype(np.int8)
