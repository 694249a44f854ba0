"""Signed integrate and fire: neurons/signed.py for one tile of positions and several steps."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, at_least, below, load, ones_in, select, splat, store, subtract


@compiled
def signed(
    current: Array, constant: Array, shared: bool, v: Array, net: Array, theta: Array, dip: Array,
    dipped: bool, memory: bool, planes: Array, t0: int, start: int, events: Array,
) -> None:  # fmt: skip
    """As in integrate_fire.py; net int32 [n, channels] is the running count; planes [T, 2, ...] are plus, minus.

    dipped: some dip is not 0, so that the width of a level depends on the count's sign.
    """
    steps, n, channels = current.shape
    zero, one = v.dtype.type(0), np.int32(1)
    for s in range(steps):
        fired = 0
        for i in range(n):
            for word in range(channels // 16):
                c = 16 * word
                at = i * channels + c
                charge = add(load(current, s * n * channels + at, 16), load(constant, c if shared else at, 16))
                charge = add(load(v, at, 16), charge)
                drop = load(theta, c, 16)
                count = load(net, at, 16)
                positive = at_least(count, splat(one, count))
                rise, fall, up_at, down_at = drop, drop, drop, splat(zero, charge)
                if dipped:
                    low = load(dip, c, 16)
                    negative = below(count, splat(np.int32(0), count))
                    wide = add(add(drop, low), low)
                    up_at = select(negative, add(drop, low), drop)
                    down_at = select(positive, down_at, subtract(down_at, low))
                    rise, fall = select(negative, wide, drop), select(positive, drop, wide)
                up, down = at_least(charge, up_at), below(charge, down_at)
                if memory:
                    down &= positive
                charge = select(up, subtract(charge, rise), charge)
                store(v, at, select(down, add(charge, fall), charge))
                count = select(up, add(count, splat(one, count)), count)
                store(net, at, select(down, subtract(count, splat(one, count)), count))
                plus, minus = np.uint16(up & ~down), np.uint16(down & ~up)  # both: the spikes cancel
                planes[t0 + s, 0, start + i, word] = plus
                planes[t0 + s, 1, start + i, word] = minus
                fired += ones_in(plus) + ones_in(minus)
        events[t0 + s] += np.uint64(fired)
