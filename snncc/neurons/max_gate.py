"""Max pooling of spike trains, exact for counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import Neuron, State


@dataclass(frozen=True, eq=False)
class MaxGate(Neuron):
    """n <- base * n + s; s_out = M_t - base * M_{t-1}, M_t = max over the window of the running counts n_t.

    Its current at a step is M_t itself (the one projection of kind `window` gathers counts, it does not add).
    Spikes in, spikes out; at every step the output's count equals the maximum count in the window. Its spikes have as
    many levels as those it reads, and can be negative only where those can (Network.train).
    """

    base: int = 1

    op = "MaxGate"
    signed = True
    function = """
MaxGate <base, kernel_shape, strides, dilations, pads> (events, T) => (spikes)
{
  zero = Constant <value_int: int = 0> ()
  base_constant = Constant <value_int: int = @base> ()
  r = CastLike (base_constant, events)
  first_event = Gather <axis: int = 0> (events, zero)
  silence = Sub (first_event, first_event)
  n_end, n = Scan <num_scan_inputs: int = 1, body: graph = count (n_last, s) => (n_next, n_out) {
    n_mul = Mul (n_last, r)
    n_next = Add (n_mul, s)
    n_out = Identity (n_next)
  }> (silence, events)
  M = MaxPool <kernel_shape: ints = @kernel_shape, strides: ints = @strides, dilations: ints = @dilations,
    pads: ints = @pads> (n)
  start = Constant <value_ints: ints = [0]> ()
  stop = Constant <value_ints: ints = [-1]> ()
  axis = Constant <value_ints: ints = [0]> ()
  one = Constant <value_ints: ints = [1]> ()
  first = Slice (M, start, one, axis)
  earlier = Slice (M, start, stop, axis)
  before_sub = Sub (first, first)
  before = Concat <axis: int = 0> (before_sub, earlier)
  before_mul = Mul (before, r)
  spikes = Sub (M, before_mul)
}"""

    def attributes(self) -> Mapping[str, Any]:
        return {"base": self.base}

    def extra_state(self, most: int) -> str:
        return f"counters of {most.bit_length()} bits: one for each neuron it reads, and its own"

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"M": np.zeros(shape, np.int32)}

    def step(self, state: State, current: Array) -> Array:
        out = current - self.base * state["M"]
        state["M"] = current.copy()
        return np.asarray(out, np.int8)
