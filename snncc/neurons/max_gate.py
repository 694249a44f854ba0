"""Max pooling of spike trains, exact for counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import Neuron, State


@dataclass(frozen=True, eq=False)
class MaxGate(Neuron):
    """s_out = M_t - M_{t-1}, M_t = max over the window of the running spike counts n_t.

    Its current at a step is M_t itself (the one projection of kind `window` gathers counts, it does not add).
    Spikes in, spikes out; at every step the output's count equals the maximum count in the window.
    """

    op = "MaxGate"
    signed = True
    function = """
MaxGate <kernel_shape, strides, dilations, pads> (events, T) => (spikes)
{
  axis = Constant <value_int: int = 0> ()
  n = CumSum (events, axis)
  M = MaxPool <kernel_shape: ints = @kernel_shape, strides: ints = @strides, dilations: ints = @dilations,
    pads: ints = @pads> (n)
  start = Constant <value_ints: ints = [0]> ()
  stop = Constant <value_ints: ints = [-1]> ()
  zero = Constant <value_ints: ints = [0]> ()
  one = Constant <value_ints: ints = [1]> ()
  first = Slice (M, start, one, zero)
  earlier = Slice (M, start, stop, zero)
  before_sub = Sub (first, first)
  before = Concat <axis: int = 0> (before_sub, earlier)
  spikes = Sub (M, before)
}"""

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"M": np.zeros(shape, np.int32)}

    def step(self, state: State, current: Array) -> Array:
        out = current - state["M"]
        state["M"] = current.copy()
        return out.astype(np.int8)
