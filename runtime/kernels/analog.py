"""Analog currents in groups, which runtime/dense.py does not take."""

from __future__ import annotations

from snncc.graph import Array
from snncc.runtime.kernels import compiled


@compiled
def grouped_analog(
    values: Array, z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array,
    x_start: Array, x_source: Array, x_tap: Array, weights: Array, groups: int, out: Array, height: int, low: int,
) -> None:  # fmt: skip
    """A linear map in groups: values [z, y, x, Cin], weights [z, y, x classes, Cin, Cout / groups]; out [lines, X,
    channels] of zeros gets the lines from `low` (z and y flat, `height` a plane)."""
    cin, fan = weights.shape[3], weights.shape[4]
    per_group = cin // groups
    for line in range(out.shape[0]):
        z, y = (low + line) // height, (low + line) % height
        for x in range(out.shape[1]):
            row = out[line, x]
            for a in range(z_start[z], z_start[z + 1]):
                for b in range(y_start[y], y_start[y + 1]):
                    for c in range(x_start[x], x_start[x + 1]):
                        kernel = weights[z_tap[a], y_tap[b], x_tap[c]]
                        source = values[z_source[a], y_source[b], x_source[c]]
                        for i in range(cin):
                            q = source[i]
                            base = i // per_group * fan
                            for k in range(fan):
                                row[base + k] += q * kernel[i, k]
