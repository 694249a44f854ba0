"""Projections of each channel to itself: depthwise convolutions, pools, diagonals.

The spike bits of what 64 lanes of channels and neighbouring positions meet through one tap are the mask of the addition
of that tap's weights, so the time does not depend on the rate. Shapes as in conv.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels import vectors as vec

Arrays = tuple[Array, ...]


def _block(lanes: int) -> Any:
    """The kernel for blocks of `lanes` neighbouring channels and positions that meet the same taps."""

    def block(
        words: Array, first: int, planes: int, size: int, starts: Array, rows: Array, taps: int, step: int,
        weights: Array, scale: Array, scaled: bool, channels: int,
        current: Array, target: int, add_to: bool, count: int, at: int, stop: int,
    ) -> int:  # fmt: skip
        """Lanes at..stop of `count` outputs, the first one's from `target` on; each one's inputs begin `step` words
        behind the last one's. starts, rows: of each tap, where its inputs begin (words), and its row of weights.

        Returns where it stopped, less than a block before `stop`.
        """
        padded, from_ = channels + 48, at
        for _ in range(count):
            at = from_
            while at + lanes <= stop:
                channel, word = at % channels, first + at // 16
                total = vec.zeros(weights, lanes)
                for p in range(planes):
                    for j in range(taps):
                        spikes = vec.load_mask(words, p * size + word + vec.item(starts, j), lanes)
                        row = vec.item(rows, j) * padded + channel
                        weight = vec.load(weights, row, lanes)
                        more = total + weight if p == 0 else total - weight
                        total = vec.select(spikes, more, total)
                wide = vec.widen(total)
                if scaled:
                    wide = wide * vec.load(scale, channel, lanes)
                if add_to:
                    wide = wide + vec.load(current, target + at, lanes)
                vec.store(current, target + at, wide)
                at += lanes
            first += step
            target += channels
        return at

    block.__name__ = block.__qualname__ = f"block_of_{lanes}"  # see conv.py
    return compiled(block)


_block64 = _block(64)
_block32 = _block(32)
_block16 = _block(16)


@compiled
def depthwise(
    words: Array, t0: int, low: int, high: int, in_y: int, in_x: int,
    axis_z: Arrays, axis_y: Arrays, axis_x: Arrays, y_classes: int, x_classes: int,
    weights: Array, scale: Array, scaled: bool, current: Array, first: bool,
) -> None:  # fmt: skip
    """Adds (first: writes) one projection's current for output lines low..high (z and y flat), for steps t0...

    words uint16 [T, P, positions, channels / 16]. axis_z, axis_y: (start, source, tap); axis_x: with [[end, step]]
    besides: outputs up to an end meet inputs alike, each `step` further than the one before. weights [classes, channels
    + 48] and scale [channels + 48] begin anew behind the last channel.
    """
    z_start, z_source, z_tap = axis_z
    y_start, y_source, y_tap = axis_y
    x_start, x_source, x_tap, x_stretch = axis_x
    steps, width, channels = current.shape[0], current.shape[2], current.shape[3]
    planes, per = words.shape[1], channels // 16
    size = words.shape[2] * per
    height = len(y_start) - 1
    most = np.diff(z_start).max() * np.diff(y_start).max() * np.diff(x_start).max()
    starts, rows = np.empty(most, np.int64), np.empty(most, np.int64)
    for output in range(low, high):
        z, y, x = output // height, output % height, 0
        for stop, step in x_stretch:
            taps = 0
            for a in range(z_start[z], z_start[z + 1]):
                for b in range(y_start[y], y_start[y + 1]):
                    line = (z_source[a] * in_y + y_source[b]) * in_x
                    base = (z_tap[a] * y_classes + y_tap[b]) * x_classes
                    for c in range(x_start[x], x_start[x + 1]):
                        starts[taps], rows[taps] = (line + x_source[c]) * per, base + x_tap[c]
                        taps += 1
            # inputs next to each other: the outputs are one
            count, lanes = (1, (stop - x) * channels) if step == 1 else (stop - x, channels)
            for s in range(steps):
                target = ((s * current.shape[1] + output - low) * width + x) * channels
                inputs = (words, (t0 + s) * planes * size, planes, size, starts, rows, taps, step * per)
                outputs = (weights, scale, scaled, channels, current, target, not first, count)
                at = 0
                if lanes >= 64:
                    at = _block64(*inputs, *outputs, at, lanes)
                if lanes - at >= 32:
                    at = _block32(*inputs, *outputs, at, lanes)
                if lanes > at:
                    _block16(*inputs, *outputs, at, lanes)
            x = stop
