"""What every kind of neuron has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from snncc.graph import Array

State = dict[str, Array]

# How a function body spreads a current [1 or T, C, *spatial] over T steps: I, in the type of theta, and its first step.
# Gather by t mod lead and not Expand: onnxruntime loses the rank of an Expand to a computed shape, and Scan then fails.
OVER_TIME = """
  none = Constant <value_ints: ints = []> ()
  zero = Constant <value_int: int = 0> ()
  unit = Constant <value_int: int = 1> ()
  steps = Reshape (T, none)
  t = Range (zero, steps, unit)
  lead = Shape <start: int = 0, end: int = 1> (current)
  row = Mod (t, lead)
  I_gather = Gather <axis: int = 0> (current, row)
  I = CastLike (I_gather, theta)
  first = Gather <axis: int = 0> (I, zero)"""


class Neuron(ABC):
    """A kind of neuron with its parameters.

    `op` is its operator in the ONNX domain `ai.snncc` and `function` the body of that operator in ONNX's own text
    form: the one specification that every engine is tested against. `initial` and `step` say the same in NumPy for
    the reference engine; they work on int32 or float32 states alike, over [C, *spatial].
    """

    op: ClassVar[str]
    function: ClassVar[str]
    fires: ClassVar[bool] = True
    signed: ClassVar[bool] = False

    def parameters(self) -> Mapping[str, Array]:
        """Per-channel parameters [C] in the order of the function's inputs (after the current)."""
        return {}

    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the ONNX node."""
        return {}

    @abstractmethod
    def initial(self, shape: tuple[int, ...]) -> State:
        """State before the first step, for a population of this shape (C, *spatial)."""

    @abstractmethod
    def step(self, state: State, current: Array) -> Array:
        """One step: changes `state` and gives spikes int8 in {-1, 0, 1}, shape (C, *spatial)."""


def per_channel(values: Array, rank: int) -> Array:
    """[C] -> [C, 1, ...] so that it broadcasts over `rank` dimensions in all; a map [C, *spatial] stays as it is."""
    return values if values.ndim > 1 else values.reshape(values.shape[:1] + (1,) * (rank - 1))
