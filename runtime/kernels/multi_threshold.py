"""Multi-threshold neurons: neurons/multi_threshold.py for one tile of positions and several steps."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled


@compiled
def level(total: float, theta: float, dip: float) -> float:
    """neurons/levels.py; float64 divides int32 and float32 without rounding across a whole number."""
    if total < 0:
        return float(np.floor((total + dip) / (theta + 2 * dip)))
    return float(np.floor(total / theta))


@compiled
def multi_threshold(
    current: Array, constant: Array, shared: bool, total: Array, net: Array, theta: Array, dip: Array,
    memory: bool, planes: Array, t0: int, start: int, events: Array,
) -> None:  # fmt: skip
    """As in integrate_fire.py; total [n, channels] is all charge so far, net int32 [n, channels] the sum of the spikes.

    planes uint16 [levels, T, 1 or 2 signs, positions, channels / 16]: bit k of a spike's size goes to level k.
    """
    steps, n, channels = current.shape
    levels, signs = planes.shape[0], planes.shape[2]
    most = (1 << levels) - 1
    least = -most if signs == 2 else 0
    for s in range(steps):
        fired = 0
        for i in range(n):
            for c in range(channels):
                charge = current[s, i, c] + constant[c if shared else i * channels + c]
                total[i, c] += charge
                wanted = level(np.float64(total[i, c]), np.float64(theta[c]), np.float64(dip[c]))
                if memory:
                    wanted = max(wanted, 0.0)
                spike = int(min(max(wanted - net[i, c], least), most))
                if spike:
                    net[i, c] += spike
                    size, sign = abs(spike), int(spike < 0)
                    for k in range(levels):
                        if size >> k & 1:
                            planes[k, t0 + s, sign, start + i, c // 16] |= np.uint16(1 << (c % 16))
                            fired += 1
        events[t0 + s] += np.uint64(fired)
