"""Padding and alignment that plan, buffers and kernels agree on."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from snncc.errors import PlanError
from snncc.graph import Array
from snncc.synapses.taps import AxisTaps

LANES = 16
Shape3 = tuple[int, int, int]
Axes = tuple[AxisTaps, AxisTaps, AxisTaps]


def padded(channels: int) -> int:
    return -(-channels // LANES) * LANES


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that start on a cache line, so that no vector of theirs crosses one (up to 1.5 times as fast)."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return np.asarray(raw[start : start + size].view(dtype).reshape(shape))


def spatial(shape: tuple[int, ...]) -> Shape3:
    """(C, *spatial) -> (Z, Y, X)."""
    if len(shape) > 4:
        raise PlanError(f"more than three spatial axes: {shape}", remedy="reshape or use the reference engine")
    z, y, x = (1,) * (4 - len(shape)) + shape[1:]
    return z, y, x


def by_plane(low: int, high: int, height: int) -> Iterator[tuple[slice, int, int, int]]:
    """The lines low..high of planes of `height` lines, plane by plane: where they are among them, and (z, first line in
    it, last + 1)."""
    for z in range(low // height, -(-high // height)):
        y0, y1 = max(low - z * height, 0), min(high - z * height, height)
        yield slice(z * height + y0 - low, z * height + y1 - low), z, y0, y1


def times(scale: Array, level: int) -> Array:
    """What the current of a level of spikes is multiplied with: 2^level times the scale of its projection."""
    return scale * scale.dtype.type(1 << level) if level else scale
