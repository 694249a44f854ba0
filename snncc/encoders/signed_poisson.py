"""Poisson rate code with the sign of the value: spikes in {-1, 0, 1} (Yue et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snncc.encoders.poisson import TEXT, Poisson
from snncc.graph import Array


@dataclass(frozen=True)
class SignedPoisson(Poisson):
    """s = sign(x) with probability min(|x| / top, 1), drawn as in `Poisson`."""

    op = "SignedPoisson"
    signed = True
    function = TEXT.format(
        op=op, size="Abs (x)", spikes="direction = Sign (x)\n  spikes = Mul (ones_drawn, direction)"
    )

    def encode(self, x: Array, step: int = 1, seed: int = 0) -> Array:
        drawn = super().encode(np.abs(x), step, seed)
        return np.asarray(drawn * np.sign(x), np.int8)

    def clipped(self, x: Array) -> int:
        return super().clipped(np.abs(x))
