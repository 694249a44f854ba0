"""Settled and radix neurons: neurons/settled.py, after readout.py has integrated them.

The rules, with V as `drive` and v0 as the constant, find the numbers; `send` says them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled, inlined
from snncc.runtime.kernels.multi_threshold import crossed, level, spikes
from snncc.runtime.kernels.vectors import load, select, share, splat, store


@inlined
def settle(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: numbers, widths (of `level`), least and most number that the steps can say."""
    numbers, widths, least, most = state
    store(numbers, at, level(drive, channel, widths, least, most, numbers))
    return 0


@inlined
def settle_digits(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """`settle` for int32, without dip and sign. state: numbers, theta, how many binary digits the largest number has;
    numbers may come out larger than that one."""
    numbers, theta, digits = state
    limit = load(theta, channel, drive)
    number = splat(0, drive)
    for k in range(digits - 1, -1, -1):
        mask, drive = crossed(drive, limit, k)
        number = select(mask, number + (1 << k), number)
    store(numbers, at, number)
    return 0


@compiled
def send(numbers: Array, digits: bool, train: Array, start: int, events: Array) -> None:
    """numbers int32 [n, channels]. train uint16 [1, T, 1 or 2 signs, positions, channels / 16] gets n spikes at steps
    1..n or, for `digits` (radix.py), the T last binary digits of n, the most significant first."""
    steps, planes, positions, words = train.shape[1:]
    for t in range(steps):
        fired = np.int64(0)
        for word in range(numbers.size // 16):
            number = load(numbers, 16 * word, 16)
            minus = number < 0
            size = select(minus, splat(0, number) - number, number)
            mask = share(size, splat(1 << min(steps - 1 - t, 31), size)) if digits else size >= t + 1
            fired += spikes(mask, minus, train, (t * planes * positions + start) * words + word)
        events[t] += np.uint64(fired)
