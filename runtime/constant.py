"""Currents that are the same at every step: analog values through a projection, and biases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from snncc.encoders import Constant, Encoder
from snncc.graph import Array
from snncc.network import Kind
from snncc.runtime import buffers
from snncc.runtime.dense import SMALL, Panels, analog_current, volume
from snncc.runtime.kernels.analog import grouped_analog
from snncc.runtime.layout import by_plane, spatial
from snncc.runtime.plan import Link, Stage, whole
from snncc.synapses.routing import apply_all

Each = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
_PIECE = 1 << 18  # values encoded at a time, so that what is computed on the way stays in the caches


def reach(kind: Kind) -> float:
    """The largest whole value of a constant current."""
    return max(-kind.low, kind.high) if isinstance(kind, Constant) and kind.levels else np.inf


def on_grid(kind: Encoder, x: Array, each: Each) -> Array:
    """What a constant current gives: int16 where that holds it."""
    assert isinstance(kind, Constant)
    flat, out = x.reshape(-1), np.empty(x.shape, np.int16 if reach(kind) < SMALL else np.float32)

    def piece(start: int) -> None:
        out.reshape(-1)[start : start + _PIECE] = kind.encode(flat[start : start + _PIECE])

    each(piece, range(0, x.size, _PIECE))
    return out


class ConstantCurrent:
    """Of one population in one run.

    Args:
        panels: of the constant links with one group, by name.
        analog: what encoders give, by name.
    """

    def __init__(self, stage: Stage, panels: dict[str, Panels], analog: dict[str, Array], scratch: buffers.Scratch):
        self.stage, self.panels, self.scratch = stage, panels, scratch
        self.bias = stage.parameters["bias"]
        self.shared = not (stage.constant or "bias_map" in stage.parameters)
        self.read = {link.name: self._read(link, analog[link.pre]) for link in stage.constant}

    def _read(self, link: Link, values: Array) -> Array:
        """What an encoder gives, as the kernel of the link reads it."""
        dtype = self.stage.dtype
        if link.groups == 1:
            return volume(self.panels[link.name], values, dtype)
        routed = whole(apply_all(link.relayout, values, link.pre_shape), dtype, link.name)
        return np.ascontiguousarray(np.moveaxis(routed.reshape(link.inner[0], *spatial(link.inner)), 0, -1))

    def of(self, low: int, high: int, macs: dict[str, int]) -> Array:
        """That of lines low..high (z and y flat), flat [positions * padded channels]; or if it is the same for all,
        [padded channels] as often as the stage's blocks need it. macs gets the (value, synapse) pairs of each link."""
        if self.shared:
            return self.bias
        stage, channels = self.stage, self.stage.population.channels
        _, height, width = spatial(stage.population.shape)
        bias = self.bias[: len(self.bias) // stage.block[1]]
        current = self.scratch.array("constant", (high - low, width, len(bias)), stage.dtype)
        current[:] = 0 if stage.constant else bias
        planes = list(by_plane(low, high, height))
        for k, link in enumerate(stage.constant):
            offset = bias if k == len(stage.constant) - 1 else np.zeros_like(bias)
            finish = (*(link.tables[key] for key in ("scale", "half", "down")), offset)
            if link.groups == 1:
                panels, values = self.panels[link.name], self.read[link.name]
                for here, z, y0, y1 in planes:
                    analog_current(panels, values, z, y0, y1, finish, current[here], self.scratch)
            else:
                _grouped(link, self.read[link.name], low, finish, current)
            in_z, in_y, in_x = (axis.start for axis in link.axes)
            met = sum((in_z[z + 1] - in_z[z]) * (in_y[y1] - in_y[y0]) for _, z, y0, y1 in planes) * in_x[-1]
            macs[link.name] = int(met) * link.inner[0] * (link.channels // link.groups)
        if "bias_map" in stage.parameters:  # [C, *spatial]
            rows, start = current.reshape(-1, len(bias)), low * width
            rows[:, :channels] += stage.parameters["bias_map"].reshape(channels, -1)[:, start : start + len(rows)].T
        return current.ravel()


def _grouped(link: Link, values: Array, low: int, finish: tuple[Array, ...], current: Array) -> None:
    """As dense.analog_current, for several groups; values [Z, Y, X, Cin]."""
    sums = np.zeros_like(current)
    tables = [table for axis in link.axes for table in (axis.start, axis.source, axis.tap)]
    grouped_analog(values, *tables, link.weights, link.groups, sums, link.out[1], low)
    scale, half, down, offset = finish
    sums *= scale
    if link.projection.synapse.shift is not None:
        sums += half
        sums = sums >> down if sums.dtype == np.int32 else np.floor(sums)
    current += sums
    current += offset
