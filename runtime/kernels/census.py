"""Events by class of line, class along x, and channel: bit-planes added up in bytes."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.memory import peek
from snncc.runtime.kernels.vectors import load, select, store


@compiled
def events_by_class(planes: Array, line_class: Array, x_class: Array, narrow: Array, found: Array) -> None:
    """planes uint8 [T, signs, lines * X, bytes]; found int64 [T, line classes, x classes, bytes * 8] is counted up.

    narrow uint8 [line classes, X * bytes * 8], zeros before and after: a byte counts up to 255 lines.
    """
    steps, signs, _, width = planes.shape
    line_bytes, classes = len(x_class) * width, narrow.shape[0]
    filled = np.zeros(classes, np.int64)
    for t in range(steps):
        for sign in range(signs):
            start = planes.ctypes.data + (t * signs + sign) * len(line_class) * line_bytes
            for line in range(len(line_class)):
                k = line_class[line]
                at, address = k * line_bytes * 8, start + line * line_bytes
                byte = 0
                while byte + 8 <= line_bytes:
                    old = load(narrow, at + 8 * byte, 64)
                    store(narrow, at + 8 * byte, select(peek(address + byte, 64), old + np.uint8(1), old))
                    byte += 8
                while byte < line_bytes:  # bytes come in pairs
                    few = load(narrow, at + 8 * byte, 16)
                    store(narrow, at + 8 * byte, select(peek(address + byte, 16), few + np.uint8(1), few))
                    byte += 2
                filled[k] += 1
                if filled[k] == 255:
                    _empty(narrow, k, x_class, found[t])
                    filled[k] = 0
        for k in range(classes):
            _empty(narrow, k, x_class, found[t])
            filled[k] = 0


@compiled
def _empty(narrow: Array, k: int, x_class: Array, found: Array) -> None:
    """Moves what the bytes of class k hold to `found`."""
    channels = found.shape[2]
    for x in range(len(x_class)):
        for c in range(channels):
            found[k, x_class[x], c] += narrow[k, x * channels + c]
    narrow[k] = 0
