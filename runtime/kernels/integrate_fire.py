"""Integrate and fire: neurons/integrate_fire.py and, with a leak, neurons/leaky.py."""

from __future__ import annotations

from typing import Any

from snncc.graph import Array
from snncc.neurons.leaky import DIVISOR
from snncc.runtime.kernels import inlined
from snncc.runtime.kernels.vectors import divide, load, ones_in, put, select, splat, store


@inlined
def integrate_fire(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, theta. Reset by subtraction."""
    v, theta = state
    charge, drop = load(v, at, drive) + drive, load(theta, channel, drive)
    mask = charge >= drop
    store(v, at, select(mask, charge - drop, charge))
    put(train, to, mask)
    return ones_in(mask)


@inlined
def leaky(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, theta, multiplier, to_zero, fire_first. The leak is multiplier / DIVISOR, toward zero for int32."""
    v, theta, multiplier, to_zero, fire_first = state
    before, drop = load(v, at, drive), load(theta, channel, drive)
    charge = before
    if multiplier != DIVISOR:  # else the product need not fit int32
        charge = divide(before * multiplier, splat(DIVISOR, drive))
    charge = charge if fire_first else charge + drive
    mask = (before if fire_first else charge) >= drop
    charge = select(mask, splat(0, drive) if to_zero else charge - drop, charge)
    store(v, at, charge + drive if fire_first else charge)
    put(train, to, mask)
    return ones_in(mask)
