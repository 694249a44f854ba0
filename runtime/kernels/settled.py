"""Settled neurons: neurons/settled.py for one tile of positions, after readout.py has integrated it."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.multi_threshold import level


@compiled
def settled(
    v: Array, theta: Array, dip: Array, digits: bool, most: int, planes: Array, start: int, events: Array
) -> None:
    """v [n, channels]: v0 and the sum of all currents; most: N, the largest number that T steps can say.

    planes uint16 [T, 1 or 2 signs, positions, channels / 16] gets n spikes at steps 1..n or, for `digits` (radix.py),
    the T binary digits of n, the most significant first.
    """
    n, channels = v.shape
    steps, signs = planes.shape[:2]
    least = -most if signs == 2 else 0
    for i in range(n):
        for c in range(channels):
            number = int(min(max(level(np.float64(v[i, c]), np.float64(theta[c]), np.float64(dip[c])), least), most))
            size, sign, bit = abs(number), int(number < 0), np.uint16(1 << (c % 16))
            for t in range(steps):
                if (size >> (steps - 1 - t) & 1) if digits else t < size:
                    planes[t, sign, start + i, c // 16] |= bit
                    events[t] += np.uint64(1)
