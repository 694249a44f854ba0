"""Readout: integrates and never fires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from snncc.graph import Array
from snncc.neurons.base import OVER_TIME_TYPED, Neuron, State, per_channel, total_count


@dataclass(frozen=True, eq=False)
class Readout(Neuron):
    """V <- base * V + I; the value at prefix t is float32(V_t) * scale / N_t, N_t = base * N_(t-1) + 1.

    scale: [C] float32. V is int32 if `integer`, else float32.
    """

    scale: Array
    integer: bool = True
    base: int = 1

    op = "Readout"
    fires = False
    function = """
Readout <base, type> (current, scale, T) => (value, prefixes)
{""" + OVER_TIME_TYPED + """
  base_constant = Constant <value_int: int = @base> ()
  r = Cast <to: int = @type> (base_constant)
  r_float = Cast <to: int = 1> (base_constant)
  N_start = Cast <to: int = 1> (zero)
  one = Cast <to: int = 1> (unit)
  V_end, N_end, prefixes = Scan <num_scan_inputs: int = 1, body: graph = step (V, N, i) => (V_next, N_next, prefix) {
    V_mul = Mul (V, r)
    V_next = Add (V_mul, i)
    N_mul = Mul (N, r_float)
    N_next = Add (N_mul, one)
    V_float = Cast <to: int = 1> (V_next)
    scaled = Mul (V_float, scale)
    prefix = Div (scaled, N_next)
  }> (zeros, N_start, I)
  last = Constant <value_ints: ints = [-1]> ()
  end = Constant <value_ints: ints = [9223372036854775807]> ()
  axis = Constant <value_ints: ints = [0]> ()
  value = Slice (prefixes, last, end, axis)
}"""

    def parameters(self) -> Mapping[str, Array]:
        return {"scale": self.scale}

    def attributes(self) -> Mapping[str, int]:
        return {"base": self.base, "type": TensorProto.INT32 if self.integer else TensorProto.FLOAT}

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"V": np.zeros(shape, np.int32 if self.integer else np.float32)}

    def step(self, state: State, current: Array) -> Array:
        state["V"] = state["V"] * state["V"].dtype.type(self.base) + current
        return np.zeros(current.shape, np.int8)

    def value(self, potential: Array, step: int) -> Array:
        """The analog value [C, *spatial] float32 at prefix `step` (1-based) of the potential V_step."""
        scaled = potential.astype(np.float32)
        scaled *= per_channel(self.scale, potential.ndim)
        scaled /= np.float32(total_count(self.base, step))
        return scaled
