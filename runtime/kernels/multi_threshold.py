"""Multi-threshold neurons: neurons/multi_threshold.py; and the level of a charge, which settled neurons share."""

from __future__ import annotations

from typing import Any

from snncc.graph import Array
from snncc.runtime.kernels import inlined
from snncc.runtime.kernels.vectors import (
    add,
    at_least,
    below,
    both,
    convert,
    divide,
    floor,
    has_bit,
    load_like,
    ones_in,
    put,
    scale_down,
    scale_up,
    select,
    splat,
    store,
    subtract,
    without,
)

FAR = 1 << 30  # a level that no sum of spikes comes near


@inlined
def level(total: Any, channel: int, widths: Any, least: int, most: int, whole: Array) -> Any:
    """neurons/levels.py, clipped to least..most, as vector of the type of `whole`: int32.

    widths: float64 [channels] theta, theta + 2 dip, dip; is any dip not 0. Division in float64, as the rule says: 16
    lanes take about as long as one scalar division.
    """
    above, beneath, dip, dipped = widths
    width = load_like(above, channel, total)
    charge = convert(total, width)
    if dipped:
        negative = below(charge, splat(0, charge))
        width = select(negative, load_like(beneath, channel, total), width)
        charge = select(negative, add(charge, load_like(dip, channel, total)), charge)
    number, low, high = floor(divide(charge, width)), splat(least, width), splat(most, width)
    number = select(below(number, low), low, number)
    return convert(select(below(high, number), high, number), whole)


@inlined
def multi_threshold(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, net, memory, widths (of `level`). v is all charge so far, net int32 the sum of the spikes: bit k of a
    spike's size goes to level k of the train."""
    v, net, memory, widths = state
    levels, signs = train.shape[0], train.shape[2]
    total, sent = add(load_like(v, at, drive), drive), load_like(net, at, drive)
    spike = subtract(level(total, channel, widths, 0 if memory else -FAR, FAR, net), sent)
    zero, most = splat(0, sent), splat((1 << levels) - 1, sent)
    minus = below(spike, zero)
    size = select(minus, subtract(zero, spike) if signs == 2 else zero, spike)
    size = select(below(size, most), size, most)
    store(v, at, total)
    store(net, at, select(minus, subtract(sent, size), add(sent, size)))
    fired = 0
    for k in range(levels):
        fired += spikes(has_bit(size, k), minus, train, to + k * apart(train))
    return fired


@inlined
def spikes(mask: Any, minus: Any, train: Array, to: int) -> Any:
    """Stores the spikes of some lanes, `minus` of which are negative; returns their number."""
    if train.shape[2] == 1:
        put(train, to, mask)
    else:
        put(train, to, without(mask, minus))
        put(train, to + train.shape[3] * train.shape[4], both(mask, minus))
    return ones_in(mask)


@inlined
def apart(train: Array) -> Any:
    """Words from one level to the next."""
    return train.shape[1] * train.shape[2] * train.shape[3] * train.shape[4]


@inlined
def cascade(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """`multi_threshold` for int32, without dip and sign. state: v, theta; v is what the spikes so far left of the
    charge."""
    v, theta = state
    levels = train.shape[0]
    charge, limit = add(load_like(v, at, drive), drive), load_like(theta, channel, drive)
    fired = 0
    for k in range(levels - 1, -1, -1):
        mask, charge = crossed(charge, limit, k)
        put(train, to + k * apart(train), mask)
        fired += ones_in(mask)
    store(v, at, charge)
    return fired


@inlined
def crossed(charge: Any, limit: Any, k: int) -> Any:
    """Where an int32 charge is at least limit * 2^k, which need not fit int32, and what is left without that."""
    mask = at_least(scale_down(charge, k), limit)
    return mask, select(mask, subtract(charge, scale_up(limit, k)), charge)
