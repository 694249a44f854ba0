"""Integrate and fire with a leak, reset to zero or firing first: neurons/leaky.py and the variants of integrate_fire.py
for one tile of positions and several steps."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled


@compiled
def leaky(
    current: Array, constant: Array, shared: bool, v: Array, theta: Array, multiplier: float, divisor: float,
    whole: bool, to_zero: bool, fire_first: bool, planes: Array, t0: int, start: int, events: Array,
) -> None:  # fmt: skip
    """As in integrate_fire.py. The leak is multiplier / divisor, a power of two, and rounds toward zero if `whole`: in
    float64 the product and quotient of an int32 or float32 are exact, so they are rounded once, as the rule says."""
    steps, n, channels = current.shape
    for s in range(steps):
        fired = 0
        for i in range(n):
            for word in range(channels // 16):
                bits = 0
                for lane in range(16):
                    c = 16 * word + lane
                    before = v[i, c]
                    leaked = np.float64(before) * multiplier / divisor
                    after = v.dtype.type(np.trunc(leaked) if whole else leaked)
                    charge = current[s, i, c] + constant[c if shared else i * channels + c]
                    if not fire_first:
                        after = v.dtype.type(after + charge)
                    if (before if fire_first else after) >= theta[c]:
                        after = v.dtype.type(0) if to_zero else v.dtype.type(after - theta[c])
                        bits |= 1 << lane
                        fired += 1
                    v[i, c] = after + charge if fire_first else after
                planes[t0 + s, 0, start + i, word] = bits
        events[t0 + s] += np.uint64(fired)
