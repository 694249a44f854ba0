"""Counts what events meet by the closed form: events of a line times the outputs that its positions have.

Tables: an axis is (start, source, tap, paths), CSR from outputs to the inputs that they read, `paths` being those of
each pair; stretches are (stop, fan, ways): inputs x up to `stop` have as many outputs and paths each.
"""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import item, load_mask, ones_in

Arrays = tuple[Array, ...]


@compiled
def reach(axis: Arrays, first: int, last: int) -> tuple[int, Array, Array]:
    """What outputs first..last of an axis read: the lowest input, and from it on how many of them read each input, and
    by how many paths."""
    start, source, _, paths = axis
    low, high = 0, 0
    read = source[start[first] : start[last]]
    if read.size > 0:
        low, high = read.min(), read.max() + 1
    fan, ways = np.zeros(high - low, np.int64), np.zeros(high - low, np.int64)
    for j in range(start[first], start[last]):
        fan[source[j] - low] += 1
        ways[source[j] - low] += paths[j]
    return low, fan, ways


@compiled
def met(words: Array, line: int, per: int, stretches: Arrays) -> tuple[int, int]:
    """(pairs, paths) from the events of one line to the positions of one output line.

    words: uint16, `per` of them a position, from flat index `line` on.
    """
    stop, fan, ways = stretches
    pairs, paths, x = 0, 0, 0
    for r in range(stop.size):
        events, w, end = 0, line + x * per, line + stop[r] * per
        while w + 4 <= end:
            events += ones_in(load_mask(words, w, 64))
            w += 4
        for rest in range(w, end):
            events += ones_in(item(words, rest))
        pairs += events * fan[r]
        paths += events * ways[r]
        x = stop[r]
    return pairs, paths


@compiled
def delivered(
    words: Array, at: int, z: int, axis_z: Arrays, lines: tuple[int, Array, Array], in_y: int, in_x: int, per: int,
    stretches: Arrays,
) -> tuple[int, int]:  # fmt: skip
    """(pairs, paths) from the events of the plane of bits from words[at] on to some lines of output plane z; `lines`:
    what those lines reach along y."""
    start, source, _, z_paths = axis_z
    low, fan, ways = lines
    pairs, paths = 0, 0
    for a in range(start[z], start[z + 1]):
        for y in range(fan.size):
            pair, path = met(words, at + (source[a] * in_y + low + y) * in_x * per, per, stretches)
            pairs += pair * fan[y]
            paths += path * ways[y] * z_paths[a]
    return pairs, paths
