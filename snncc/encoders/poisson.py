"""Poisson (Bernoulli) rate code from a counter-based generator, so that every engine draws the same spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snncc.encoders.base import Encoder
from snncc.graph import Array

_BITS = 24  # a float32 holds every multiple of 2^-24 in [0, 1]


def mix(h: Array) -> Array:
    """A 32-bit finaliser (Wellons' lowbias32): x ^= x>>16; x *= a; x ^= x>>15; x *= b; x ^= x>>16, modulo 2^32."""
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x7FEB352D)
    h = h ^ (h >> np.uint32(15))
    h = h * np.uint32(0x846CA68B)
    return np.asarray(h ^ (h >> np.uint32(16)), np.uint32)


# {size}: |x|; {spikes}: from `drawn`, where u < floor(p * 2^24), to the spikes. SignedPoisson differs in these alone.
TEXT = """
{op} <inverse> (x, T, seed) => (spikes)
{{
  scale = Constant <value_float: float = @inverse> ()
  lo = Constant <value_float: float = 0.0> ()
  hi = Constant <value_float: float = 1.0> ()
  bits = Constant <value_float: float = 16777216.0> ()
  size = {size}
  p_mul = Mul (size, scale)
  p_clip = Clip (p_mul, lo, hi)
  p_mul2 = Mul (p_clip, bits)
  p_floor = Floor (p_mul2)
  p = Cast <to: int = 12> (p_floor)
  one = Constant <value_ints: ints = [1]> ()
  none = Constant <value_ints: ints = []> ()
  zero = Constant <value_int: int = 0> ()
  unit = Constant <value_int: int = 1> ()
  rank_shape = Shape (x)
  rank = Size (rank_shape)
  ones_sub = Sub (rank, one)
  ones_reshape = Reshape (ones_sub, one)
  ones = Expand (one, ones_reshape)
  steps_reshape = Reshape (T, one)
  steps = Concat <axis: int = 0> (steps_reshape, ones)
  t_reshape = Reshape (T, none)
  t_add = Add (t_reshape, unit)
  t_range = Range (unit, t_add, unit)
  t_cast = Cast <to: int = 12> (t_range)
  t = Reshape (t_cast, steps)
  index_size = Size (x)
  index_range = Range (zero, index_size, unit)
  index_cast = Cast <to: int = 12> (index_range)
  index_shape = Shape (x)
  index = Reshape (index_cast, index_shape)
  golden_constant = Constant <value_int: int = 2654435769> ()
  golden = Cast <to: int = 12> (golden_constant)
  a_constant = Constant <value_int: int = 2146121005> ()
  a = Cast <to: int = 12> (a_constant)
  b_constant = Constant <value_int: int = 2221713035> ()
  b = Cast <to: int = 12> (b_constant)
  by8_constant = Constant <value_int: int = 8> ()
  by8 = Cast <to: int = 12> (by8_constant)
  by15_constant = Constant <value_int: int = 15> ()
  by15 = Cast <to: int = 12> (by15_constant)
  by16_constant = Constant <value_int: int = 16> ()
  by16 = Cast <to: int = 12> (by16_constant)
  start_cast = Cast <to: int = 12> (seed)
  start = Reshape (start_cast, none)
  k0_mul = Mul (start, golden)
  k0 = Add (k0_mul, t)
  k1_bitshift = BitShift <direction: string = "RIGHT"> (k0, by16)
  k1_bitwisexor = BitwiseXor (k0, k1_bitshift)
  k1 = Mul (k1_bitwisexor, a)
  k2_bitshift = BitShift <direction: string = "RIGHT"> (k1, by15)
  k2_bitwisexor = BitwiseXor (k1, k2_bitshift)
  k2 = Mul (k2_bitwisexor, b)
  k3_bitshift = BitShift <direction: string = "RIGHT"> (k2, by16)
  k3 = BitwiseXor (k2, k3_bitshift)
  h0 = Add (k3, index)
  h1_bitshift = BitShift <direction: string = "RIGHT"> (h0, by16)
  h1_bitwisexor = BitwiseXor (h0, h1_bitshift)
  h1 = Mul (h1_bitwisexor, a)
  h2_bitshift = BitShift <direction: string = "RIGHT"> (h1, by15)
  h2_bitwisexor = BitwiseXor (h1, h2_bitshift)
  h2 = Mul (h2_bitwisexor, b)
  h3_bitshift = BitShift <direction: string = "RIGHT"> (h2, by16)
  h3 = BitwiseXor (h2, h3_bitshift)
  u = BitShift <direction: string = "RIGHT"> (h3, by8)
  drawn = Less (u, p)
  ones_drawn = Cast <to: int = 1> (drawn)
  {spikes}
}}"""


@dataclass(frozen=True)
class Poisson(Encoder):
    """s = 1 with probability clip(x / top, 0, 1), independently per neuron and step.

    u = mix(mix(seed * 0x9E3779B9 + step) + neuron) >> 8 (24 bits); s = [u < floor(p * 2^24)]; neuron is the flat
    index in [C, *spatial], step counts from 1. `top` is the value that a spike at every step stands for.
    """

    top: float = 1.0

    op = "Poisson"
    fires = True
    function = TEXT.format(op=op, size="Identity (x)", spikes="spikes = Identity (ones_drawn)")

    @property
    def _inverse(self) -> np.float32:
        return np.float32(1.0 / self.top)

    def attributes(self) -> Mapping[str, float]:
        return {"inverse": float(self._inverse)}

    def threshold(self, x: Array) -> Array:
        """p * 2^24 as uint32, shape of x."""
        p = np.clip(x.astype(np.float32) * self._inverse, np.float32(0), np.float32(1))
        return np.asarray(np.floor(p * np.float32(1 << _BITS)), np.uint32)

    def encode(self, x: Array, step: int = 1, seed: int = 0) -> Array:
        key = mix(np.array([(seed * 0x9E3779B9 + step) & 0xFFFFFFFF], np.uint32))
        u = mix(key + np.arange(x.size, dtype=np.uint32)) >> np.uint32(32 - _BITS)
        return np.asarray(u.reshape(x.shape) < self.threshold(x), np.int8)

    def clipped(self, x: Array) -> int:
        return int(np.count_nonzero((x < 0) | (x > self.top)))
