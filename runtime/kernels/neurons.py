"""The loop over positions and steps that all kinds of neuron share.

What a kind does at one step is its rule, an inlined function

    rule(drive, state, at, channel, train, to) -> events

for as many neurons as the vector `drive`, their current, has lanes: int32 or float32, 16, 32 or 64 of them. `at` is
the first one's flat index in the state's arrays of [n, channels], `channel` in those of [channels] (padded to multiples
of 16, with thresholds that are never reached). state: a tuple, different for each kind. train uint16 [levels, T, P,
positions, channels / 16] (buffers.py): the masks of the spikes are stored from flat word `to` of level 0, plane 0.
Events are counted, int64. So a rule can also stand in the kernel that makes the current.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled, once
from snncc.runtime.kernels.vectors import load

TOGETHER = 64  # positions


@once
def driver(rule: Any) -> Any:
    """The kernel for all neurons of a tile that follow `rule`."""

    def drive(
        current: Array, shape: tuple[int, int, int], constant: Array, stride: int, state: Any, train: Array, t0: int,
        start: int, events: Array,
    ) -> None:  # fmt: skip
        """Steps t0... of positions start..., all of whose channels are a multiple of 16.

        current, of `shape` [steps, n, channels], or empty; constant, flat [channels] (stride 0) or [n, channels]
        (stride channels), is added at every step; events uint64 [T] is counted up.
        """
        steps, n, channels = shape
        planes, positions, words = train.shape[2:]
        for first in range(0, n, TOGETHER):  # whose state stays in the first-level cache over the steps
            for s in range(steps):
                fired = np.int64(0)
                for i in range(first, min(first + TOGETHER, n)):
                    to = ((t0 + s) * planes * positions + start + i) * words
                    for c in range(0, channels, 16):
                        at = i * channels + c
                        now = load(constant, i * stride + c, 16)
                        if current.size:
                            now = load(current, s * n * channels + at, 16) + now
                        fired += rule(now, state, at, c, train, to + c // 16)
                events[t0 + s] += np.uint64(fired)

    drive.__name__ = drive.__qualname__ = f"drive_{rule.py_func.__name__}"
    return compiled(drive)
