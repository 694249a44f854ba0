"""Signed integrate and fire: neurons/signed.py."""

from __future__ import annotations

from typing import Any

from snncc.graph import Array
from snncc.runtime.kernels import inlined
from snncc.runtime.kernels.vectors import (
    add,
    at_least,
    below,
    both,
    load_like,
    ones_in,
    put,
    select,
    splat,
    store,
    subtract,
)


@inlined
def signed(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, net, theta, dip, dipped, memory. net int32 is the running count (unused without dip and memory);
    dipped: some dip is not 0, so that the width of a level depends on the count's sign."""
    v, net, theta, dip, dipped, memory = state
    charge, drop = add(load_like(v, at, drive), drive), load_like(theta, channel, drive)
    rise, fall, up_at, down_at = drop, drop, drop, splat(0, drive)
    if dipped or memory:
        count = load_like(net, at, drive)
        positive = at_least(count, splat(1, count))
        if dipped:
            low = load_like(dip, channel, drive)
            wide, negative = add(add(drop, low), low), below(count, splat(0, count))
            up_at, down_at = select(negative, add(drop, low), drop), select(positive, down_at, subtract(down_at, low))
            rise, fall = select(negative, wide, drop), select(positive, drop, wide)
    up, down = at_least(charge, up_at), below(charge, down_at)  # never both
    if memory:
        down = both(down, positive)
    store(v, at, select(up, subtract(charge, rise), select(down, add(charge, fall), charge)))
    if dipped or memory:
        one = splat(1, count)
        store(net, at, select(up, add(count, one), select(down, subtract(count, one), count)))
    put(train, to, up)
    put(train, to + train.shape[3] * train.shape[4], down)
    return ones_in(up) + ones_in(down)
