"""Signed integrate and fire: neurons/signed.py."""

from __future__ import annotations

from typing import Any

from snncc.graph import Array
from snncc.runtime.kernels import inlined
from snncc.runtime.kernels.vectors import load, ones_in, put, select, splat, store, without


@inlined
def signed(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, net, theta, dip, dipped, memory. net int32 is the running count (unused without dip and memory);
    dipped: some dip is not 0, so that the width of a level depends on the count's sign."""
    v, net, theta, dip, dipped, memory = state
    charge, drop = load(v, at, drive) + drive, load(theta, channel, drive)
    rise, fall, up_at, down_at = drop, drop, drop, splat(0, drive)
    if dipped or memory:
        count = load(net, at, drive)
        idle = count < 1
        if dipped:
            low = load(dip, channel, drive)
            wide, negative = drop + low + low, count < 0
            up_at, down_at = select(negative, drop + low, drop), select(idle, down_at - low, down_at)
            rise, fall = select(negative, wide, drop), select(idle, wide, drop)
    up, down = charge >= up_at, charge < down_at  # never both
    if memory:
        down = without(down, idle)
    store(v, at, select(up, charge - rise, select(down, charge + fall, charge)))
    if dipped or memory:
        store(net, at, select(up, count + 1, select(down, count - 1, count)))
    put(train, to, up)
    put(train, to + train.shape[3] * train.shape[4], down)
    return ones_in(up) + ones_in(down)
