"""A spike train given as input, as from an event camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snncc.encoders.base import Encoder
from snncc.errors import DataError
from snncc.graph import Array


@dataclass(frozen=True)
class SpikeTrain(Encoder):
    """s_t = x_t: the input is the train itself, [T, C, *spatial] of 0 and 1, and -1 if `negative`.

    A spike at every step stands for 1: the teacher's input is the mean over T.
    """

    negative: bool = False

    op = "SpikeTrain"
    fires = True
    timed = True
    function = """
SpikeTrain <negative> (x, T) => (spikes)
{
  sign = Constant <value_int: int = @negative> ()
  floor_neg = Neg (sign)
  lo = CastLike (floor_neg, x)
  hi = Constant <value_float: float = 1.0> ()
  spikes = Clip (x, lo, hi)
}"""

    @property
    def signed(self) -> bool:  # type: ignore[override]
        return self.negative

    def attributes(self) -> Mapping[str, Any]:
        return {"negative": int(self.negative)}

    def encode(self, x: Array, step: int = 1, seed: int = 0) -> Array:
        """x: the whole train. Raises DataError for what is no spike."""
        spikes = x[step - 1]
        if not np.isin(spikes, (-1, 0, 1) if self.negative else (0, 1)).all():
            wanted = "-1, 0 and 1" if self.negative else "0 and 1"
            raise DataError(f"values that are no spikes, at step {step}", remedy=f"a train holds {wanted}")
        return np.asarray(spikes, np.int8)

    def clipped(self, x: Array) -> int:
        return 0
