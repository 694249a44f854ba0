"""Constant current: the analog value itself, on a grid of integers, the same at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snncc.encoders.base import Encoder
from snncc.graph import Array

_PART = 1 << 16  # values at a time, so that what is computed on the way stays in the caches


@dataclass(frozen=True)
class Constant(Encoder):
    """q = clip(round(x * levels), low, high), round half to even. One step of the grid stands for 1 / levels.

    levels = 0 leaves x as it is (free float32 networks).
    """

    levels: float = 0.0
    low: int = 0
    high: int = 0

    op = "ConstantCurrent"
    fires = False
    function = """
ConstantCurrent <levels, low, high> (x) => (current)
{
  scale = Constant <value_float: float = @levels> ()
  lo = Constant <value_float: float = @low> ()
  hi = Constant <value_float: float = @high> ()
  zero = Constant <value_float: float = 0.0> ()
  grid_mul = Mul (x, scale)
  grid_round = Round (grid_mul)
  grid = Clip (grid_round, lo, hi)
  free = Equal (scale, zero)
  current = Where (free, x, grid)
}"""

    def attributes(self) -> Mapping[str, float]:
        return {"levels": float(self.levels), "low": float(self.low), "high": float(self.high)}

    def encode(self, x: Array, step: int = 1, seed: int = 0) -> Array:
        if not self.levels:
            return x.astype(np.float32)
        grid = np.rint(x.astype(np.float32) * np.float32(self.levels))
        return np.asarray(np.clip(grid, np.float32(self.low), np.float32(self.high)), np.float32)

    def clipped(self, x: Array) -> int:
        if not self.levels:
            return 0
        found, flat = 0, x.reshape(-1)
        for start in range(0, x.size, _PART):
            grid = np.rint(flat[start : start + _PART].astype(np.float32) * np.float32(self.levels))
            found += int(np.count_nonzero((grid < self.low) | (grid > self.high)))
        return found
