"""A cascade of thresholds on a charge that never falls back: settled, radix and multi-threshold rectifiers in vectors.

floor(charge / theta), clipped to what the cascade can say, equals what these comparisons take from the charge
(neurons/levels.py without dip and sign); `settled` and `multi_threshold` are the general forms.
"""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import (
    add,
    at_least,
    load,
    multiply,
    ones_in,
    select,
    splat,
    store,
    subtract,
)


@compiled
def sent(v: Array, theta: Array, digits: bool, planes: Array, start: int, events: Array) -> None:
    """As `settled`, for int32, without dip and sign. theta << (steps - 1) must fit int32 if `digits`."""
    n, channels = v.shape
    steps = planes.shape[0]
    for i in range(n):
        for word in range(channels // 16):
            charge, limit = load(v, i * channels + 16 * word, 16), load(theta, 16 * word, 16)
            for t in range(steps):
                now = limit
                if digits:
                    now = multiply(limit, splat(np.int32(1 << (steps - 1 - t)), limit))
                mask = at_least(charge, now)
                charge = select(mask, subtract(charge, now), charge)
                planes[t, 0, start + i, word] = mask
                events[t] += np.uint64(ones_in(mask))


@compiled
def cascade(
    current: Array, constant: Array, shared: bool, v: Array, theta: Array, planes: Array, t0: int, start: int,
    events: Array,
) -> None:  # fmt: skip
    """As `multi_threshold`, for int32, without dip and sign; v is what the spikes so far left of the charge.
    theta << (levels - 1) must fit int32."""
    steps, n, channels = current.shape
    levels = planes.shape[0]
    for s in range(steps):
        fired = 0
        for i in range(n):
            for word in range(channels // 16):
                c = 16 * word
                at = i * channels + c
                charge = add(load(current, s * n * channels + at, 16), load(constant, c if shared else at, 16))
                charge, limit = add(load(v, at, 16), charge), load(theta, c, 16)
                for k in range(levels):
                    now = multiply(limit, splat(np.int32(1 << (levels - 1 - k)), limit))
                    mask = at_least(charge, now)
                    charge = select(mask, subtract(charge, now), charge)
                    planes[levels - 1 - k, t0 + s, 0, start + i, word] = mask
                    fired += ones_in(mask)
                store(v, at, charge)
        events[t0 + s] += np.uint64(fired)
