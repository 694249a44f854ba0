"""Readout (neurons/readout.py): V <- base * V + I for one tile of positions and several steps."""

from __future__ import annotations

from snncc.graph import Array
from snncc.runtime.kernels import compiled


@compiled
def integrate(
    current: Array, constant: Array, shared: bool, v: Array, base: int, history: Array, keep: bool, t0: int
) -> None:
    """Arguments as in integrate_fire.py, v flat; keep: V goes to history [T, n, channels] at each step.

    Kinds that wait for the whole window integrate in the same way.
    """
    steps, n, channels = current.shape
    for s in range(steps):
        for i in range(n):
            for c in range(channels):
                at = i * channels + c
                v[at] = base * v[at] + (current[s, i, c] + constant[c if shared else at])
                if keep:
                    history[t0 + s, i, c] = v[at]
