"""Integrate and fire, reset by subtraction: neurons/integrate_fire.py for one tile of positions and several steps."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, at_least, load, ones_in, select, store, subtract


@compiled
def integrate_fire(
    current: Array, constant: Array, shared: bool, v: Array, theta: Array,
    planes: Array, t0: int, start: int, events: Array,
) -> None:  # fmt: skip
    """current, v: [steps, n, channels], [n, channels] with channels a multiple of 16.

    constant, flat [channels] (shared) or [n, channels], is added at every step. planes uint16 [T, 1, positions,
    channels / 16] gets the spikes of positions start..start + n; events uint64 [T] is counted up.
    """
    steps, n, channels = current.shape
    for s in range(steps):
        fired = 0
        for i in range(n):
            for word in range(channels // 16):
                c = 16 * word
                at = i * channels + c
                charge = add(load(current, s * n * channels + at, 16), load(constant, c if shared else at, 16))
                charge = add(load(v, at, 16), charge)
                drop = load(theta, c, 16)
                mask = at_least(charge, drop)
                store(v, at, select(mask, subtract(charge, drop), charge))
                planes[t0 + s, 0, start + i, word] = mask
                fired += ones_in(mask)
        events[t0 + s] += np.uint64(fired)
