"""The level that a total charge stands for: what signed, multi-threshold, settled and radix neurons share.

With v0 in the total U, the level is floor(U / theta) where U >= 0. Below zero one level is theta + 2 dip wide, and
begins where U < -dip: floor((U + dip) / (theta + 2 dip)). dip = 0 is a plain quantiser. dip = (theta / alpha - theta)
/ 2 makes the levels those of a leaky ReLU of slope alpha, rounded to the nearest on both sides if v0 = theta / 2.
"""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import per_channel

# U -> L in float64, which divides int32 and float32 without rounding across a whole number. Constants, then the rule.
WIDTHS = """
  theta_wide = Cast <to: int = 11> (theta)
  dip_wide = Cast <to: int = 11> (dip)
  two_dips = Add (dip_wide, dip_wide)
  below_wide = Add (theta_wide, two_dips)
  none_wide = CastLike (zero, theta_wide)"""
LEVEL = """
    U_wide = Cast <to: int = 11> (U)
    L_up_div = Div (U_wide, theta_wide)
    L_up = Floor (L_up_div)
    L_down_add = Add (U_wide, dip_wide)
    L_down_div = Div (L_down_add, below_wide)
    L_down = Floor (L_down_div)
    L_negative = Less (U_wide, none_wide)
    L = Where (L_negative, L_down, L_up)"""


def level(total: Array, theta: Array, dip: Array) -> Array:
    """float64 [C, *spatial], whole numbers. theta, dip: [C]."""
    u = total.astype(np.float64)
    step = per_channel(theta, u.ndim).astype(np.float64)
    low = per_channel(dip, u.ndim).astype(np.float64)
    return np.where(u < 0, np.floor((u + low) / (step + 2 * low)), np.floor(u / step))
