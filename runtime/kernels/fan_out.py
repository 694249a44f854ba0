"""Counts what events meet by the closed form: events of a line times the outputs that its positions have."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.vectors import item, load_mask, ones_in

Arrays = tuple[Array, ...]


@compiled
def reach(start: Array, source: Array, paths: Array, first: int, last: int) -> tuple[int, Array, Array]:
    """What outputs first..last of an axis read: the lowest input, and from it on how many of them read each input, and
    by how many paths. paths int64: of each pair."""
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

    words: flat uint16, `per` of them a position, from words[line] on; stretches: (stop, fan, ways): the inputs up to
    `stop` have as many outputs and paths each.
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
