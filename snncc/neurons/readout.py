"""Readout: integrates and never fires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snncc.graph import Array
from snncc.neurons.base import Neuron, State, per_channel


@dataclass(frozen=True, eq=False)
class Readout(Neuron):
    """V += I; the value at prefix t is float32(V_t) * scale / float32(t). scale: [C] float32."""

    scale: Array
    integer: bool = True

    op = "Readout"
    fires = False
    function = """
Readout <integer> (current, scale, T) => (value, prefixes)
{
  one = Constant <value_ints: ints = [1]> ()
  rank_shape = Shape (current)
  rank = Size (rank_shape)
  ones_sub = Sub (rank, one)
  ones_reshape = Reshape (ones_sub, one)
  ones = Expand (one, ones_reshape)
  steps_reshape = Reshape (T, one)
  steps = Concat <axis: int = 0> (steps_reshape, ones)
  zero = Constant <value_int: int = 0> ()
  unit = Constant <value_int: int = 1> ()
  I = Expand (current, steps)
  whole = Constant <value_int: int = @integer> ()
  is_whole = Cast <to: int = 9> (whole)
  V = If <then_branch: graph = counted () => (V_whole) {
      I_whole = Cast <to: int = 6> (I)
      V_int = CumSum (I_whole, zero)
      V_whole = Cast <to: int = 1> (V_int)
    }, else_branch: graph = summed () => (V_free) { V_free = CumSum (I, zero) }> (is_whole)
  t_constant = Constant <value_ints: ints = []> ()
  t_reshape = Reshape (T, t_constant)
  t_add = Add (t_reshape, unit)
  t = Range (unit, t_add, unit)
  N_cast = Cast <to: int = 1> (t)
  N = Reshape (N_cast, steps)
  prefixes_mul = Mul (V, scale)
  prefixes = Div (prefixes_mul, N)
  last = Constant <value_ints: ints = [-1]> ()
  end = Constant <value_ints: ints = [9223372036854775807]> ()
  axis = Constant <value_ints: ints = [0]> ()
  value = Slice (prefixes, last, end, axis)
}"""

    def parameters(self) -> Mapping[str, Array]:
        return {"scale": self.scale}

    def attributes(self) -> Mapping[str, int]:
        return {"integer": int(self.integer)}

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"V": np.zeros(shape, np.int32 if self.integer else np.float32)}

    def step(self, state: State, current: Array) -> Array:
        state["V"] += current
        return np.zeros(current.shape, np.int8)

    def value(self, potential: Array, step: int) -> Array:
        """The analog value [C, *spatial] float32 at prefix `step` (1-based) of the potential V_step."""
        scaled = potential.astype(np.float32) * per_channel(self.scale, potential.ndim)
        return np.asarray(scaled / np.float32(step), np.float32)
