"""Leaky integrate and fire; its leak is a ratio of integers, so that it exists in an integer network too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.integrate_fire import TEXT, IntegrateFire

DIVISOR = 256


@dataclass(frozen=True, eq=False)
class Leaky(IntegrateFire):
    """v <- multiplier * v / 256, toward zero for integers; then as `IntegrateFire`.

    fire_first: the spike is decided by the v before the leak (v <- leak * v + I - theta * s, Rathi et al., 2020).
    """

    multiplier: int = DIVISOR

    op = "Leaky"
    function = TEXT.format(
        op=op,
        attributes=", multiplier",
        constants=f"""
  m_constant = Constant <value_int: int = @multiplier> ()
  m = CastLike (m_constant, theta)
  d_constant = Constant <value_int: int = {DIVISOR}> ()
  d = CastLike (d_constant, theta)""",
        leak="\n    u_mul = Mul (v, m)\n    u = Div (u_mul, d)",
    )

    def attributes(self) -> Mapping[str, Any]:
        return {**super().attributes(), "multiplier": int(self.multiplier)}

    def extra_state(self, most: int) -> str:
        return "a multiplication by the leak at each step"

    def leaked(self, v: Array) -> Array:
        product = v * v.dtype.type(self.multiplier)
        if v.dtype.kind == "f":
            return np.asarray(product / v.dtype.type(DIVISOR))
        return np.asarray(np.sign(product) * (np.abs(product) // DIVISOR), v.dtype)
