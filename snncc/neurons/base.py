"""What every kind of neuron has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from snncc.graph import Array

State = dict[str, Array]

# How a function body spreads a current [1 or T, C, *spatial] over T steps: I, its first step, and zeros of its shape.
# Gather by t mod lead and not Expand: onnxruntime loses the rank of an Expand to a computed shape, and Scan then fails.
_OVER_TIME = """
  none = Constant <value_ints: ints = []> ()
  zero = Constant <value_int: int = 0> ()
  unit = Constant <value_int: int = 1> ()
  steps = Reshape (T, none)
  t = Range (zero, steps, unit)
  lead = Shape <start: int = 0, end: int = 1> (current)
  row = Mod (t, lead)
  I_gather = Gather <axis: int = 0> (current, row)
  I = {cast}
  first = Gather <axis: int = 0> (I, zero)
  zeros = Sub (first, first)"""
OVER_TIME = _OVER_TIME.format(cast="CastLike (I_gather, theta)")
OVER_TIME_TYPED = _OVER_TIME.format(cast="Cast <to: int = @type> (I_gather)")


class Neuron(ABC):
    """A kind of neuron with its parameters.

    `op` is its operator in the ONNX domain `ai.snncc` and `function` the body of that operator in ONNX's own text
    form: the one specification that every engine is tested against. `initial` and `step` say the same in NumPy for
    the reference engine; they work on int32 or float32 states alike, over [C, *spatial].

    fires: does it emit spikes? signed: can they be negative? levels: a spike's value is below 2^levels, and each bit of
    it is one event (multi-threshold neurons; 1 for the others). base: 1 in a rate code; 2 in a radix code, where each
    step weighs half as much as the one before it: V <- base * V + I. A kind that `waits` emits nothing while it
    integrates, and then its whole train from `emit`.
    """

    op: ClassVar[str]
    function: ClassVar[str]
    fires: ClassVar[bool] = True
    waits: ClassVar[bool] = False
    signed: bool = False
    levels: int = 1
    base: int = 1

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
        """One step: changes `state` and gives spikes int8, |s| < 2^levels, shape (C, *spatial)."""

    def extra_state(self, most: int) -> str:
        """What it needs in hardware beyond a membrane and a compare, "" if nothing; most: the largest number that its
        train of spikes says."""
        return ""

    def emit(self, state: State, timesteps: int) -> Array:
        """The train int8 [T, C, *spatial] of a kind that waits, after its last step."""
        raise TypeError(f"{self.op} does not wait")


def per_channel(values: Array, rank: int) -> Array:
    """[C] -> [C, 1, ...] so that it broadcasts over `rank` dimensions in all; a map [C, *spatial] stays as it is."""
    return values if values.ndim > 1 else values.reshape(values.shape[:1] + (1,) * (rank - 1))


def total_count(base: int, step: int) -> int:
    """N_t = base * N_(t-1) + 1: what t spikes in a row stand for; t in a rate code, 2^t - 1 in a radix code."""
    return step if base == 1 else (1 << step) - 1
