"""Multi-threshold neurons: neurons/multi_threshold.py; and the level of a charge, which settled neurons share."""

from __future__ import annotations

from typing import Any

from snncc.graph import Array
from snncc.runtime.kernels import inlined
from snncc.runtime.kernels.vectors import cast, divide, floor, load, ones_in, put, select, share, splat, store, without

FAR = 1 << 30  # a level that no sum of spikes comes near


@inlined
def level(total: Any, channel: int, widths: Any, least: int, most: int, whole: Array) -> Any:
    """neurons/levels.py, clipped to least..most, as vector of the type of `whole`: int32.

    widths: float64 [channels] theta, theta + 2 dip, dip; is any dip not 0. Division in float64, as the rule says: 16
    lanes take about as long as one scalar division.
    """
    above, beneath, dip, dipped = widths
    width = load(above, channel, total)
    charge = cast(total, width)
    if dipped:
        negative = charge < 0
        width = select(negative, load(beneath, channel, total), width)
        charge = select(negative, charge + load(dip, channel, total), charge)
    number, low, high = floor(divide(charge, width)), splat(least, width), splat(most, width)
    number = select(number < low, low, number)
    return cast(select(high < number, high, number), whole)


@inlined
def multi_threshold(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, net, memory, widths (of `level`). v is all charge so far, net int32 the sum of the spikes: bit k of a
    spike's size goes to level k of the train."""
    v, net, memory, widths = state
    levels, signs = train.shape[0], train.shape[2]
    total, sent = load(v, at, drive) + drive, load(net, at, drive)
    spike = level(total, channel, widths, 0 if memory else -FAR, FAR, net) - sent
    zero, most = splat(0, sent), splat((1 << levels) - 1, sent)
    minus = spike < zero
    size = select(minus, zero - spike if signs == 2 else zero, spike)
    size = select(size < most, size, most)
    store(v, at, total)
    store(net, at, select(minus, sent - size, sent + size))
    fired = 0
    for k in range(levels):
        fired += spikes(share(size, splat(1 << k, size)), minus, train, to + k * apart(train))
    return fired


@inlined
def spikes(mask: Any, minus: Any, train: Array, to: int) -> Any:
    """Stores the spikes of some lanes, `minus` of which are negative; returns their number."""
    if train.shape[2] == 1:
        put(train, to, mask)
    else:
        plus = without(mask, minus)
        put(train, to, plus)
        put(train, to + train.shape[3] * train.shape[4], without(mask, plus))
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
    charge, limit = load(v, at, drive) + drive, load(theta, channel, drive)
    fired = 0
    for k in range(train.shape[0] - 1, -1, -1):
        mask, charge = crossed(charge, limit, k)
        put(train, to + k * apart(train), mask)
        fired += ones_in(mask)
    store(v, at, charge)
    return fired


@inlined
def crossed(charge: Any, limit: Any, k: int) -> Any:
    """Where an int32 charge is at least limit * 2^k, which need not fit int32, and what is left without that."""
    mask = charge >> k >= limit
    return mask, select(mask, charge - (limit << k), charge)
