"""Readout: neurons/readout.py. What waits for the whole window integrates in the same way."""

from __future__ import annotations

from typing import Any

from snncc.graph import Array
from snncc.runtime.kernels import inlined
from snncc.runtime.kernels.vectors import load, store


@inlined
def integrate(drive: Any, state: Any, at: int, channel: int, train: Array, to: int) -> Any:
    """state: v, base (1 or 2), history [T, positions, channels] for V after each step, or empty. V <- base * V + I."""
    v, base, history = state
    charge = load(v, at, drive)
    charge = (charge + charge if base == 2 else charge) + drive
    store(v, at, charge)
    if history.size:
        store(history, 16 * to, charge)
    return 0
