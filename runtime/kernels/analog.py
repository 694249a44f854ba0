"""Constant analog currents: a dense linear map, computed once an inference."""

from __future__ import annotations

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import add, load, multiply, splat, store, zeros


@compiled
def analog(
    values: Array, z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array,
    x_start: Array, x_source: Array, x_tap: Array, classes_y: int, classes_x: int, weights: Array, out: Array,
    width: int, height: int, low: int, high: int,
) -> int:  # fmt: skip
    """out flat [z, y, x, channels] = weighted sums of values [z, y, x, Cin] for output lines low..high (z and y
    flat).

    weights flat [z, y, x classes, Cin, channels], channels a multiple of 16. Returns the (value, row of weights) pairs
    met, whatever their value.
    """
    cin = values.shape[3]
    channels = out.size // (z_start.size - 1) // height // width
    met = 0
    for line in range(low, high):
        z, y = line // height, line % height
        for x in range(width):
            target = (line * width + x) * channels
            for channel in range(0, channels, 16):
                total = zeros(weights, 16)
                for a in range(z_start[z], z_start[z + 1]):
                    for b in range(y_start[y], y_start[y + 1]):
                        plane = (z_tap[a] * classes_y + y_tap[b]) * classes_x
                        for c in range(x_start[x], x_start[x + 1]):
                            row = (plane + x_tap[c]) * cin * channels + channel
                            for i in range(cin):
                                weight = load(weights, row + i * channels, 16)
                                value = splat(values[z_source[a], y_source[b], x_source[c], i], weight)
                                total = add(total, multiply(value, weight))
                store(out, target + channel, total)
            rows = (z_start[z + 1] - z_start[z]) * (y_start[y + 1] - y_start[y]) * (x_start[x + 1] - x_start[x])
            met += rows * cin
    return met


@compiled
def grouped_analog(
    values: Array, z_start: Array, z_source: Array, z_tap: Array, y_start: Array, y_source: Array, y_tap: Array,
    x_start: Array, x_source: Array, x_tap: Array, weights: Array, groups: int, out: Array, low: int, high: int,
) -> int:  # fmt: skip
    """The same for several groups: weights [z, y, x classes, Cin, Cout / groups], out [Z, Y, X, channels] of zeros.
    Returns the (value, synapse) pairs."""
    cin, fan = weights.shape[3], weights.shape[4]
    per_group = cin // groups
    met = 0
    for line in range(low, high):
        z, y = line // out.shape[1], line % out.shape[1]
        for x in range(out.shape[2]):
            row = out[z, y, x]
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
                        met += cin * fan
    return met
