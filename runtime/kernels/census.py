"""Events by class of line, class of word, and bit of the word: bit-planes added up in bytes."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled
from snncc.runtime.kernels.memory import peek
from snncc.runtime.kernels.vectors import item, load, select, store


@compiled
def events_by_class(
    planes: Array, line_class: Array, order: Array, start: Array, narrow: Array, found: Array
) -> None:
    """planes uint8 [T, signs, lines, words * 8]; found int64 [T, line classes, word classes, 64] is counted up.

    order [words], start [word classes + 1] as Census has them, each class of at most 255 words; narrow uint8 [line
    classes, word classes, 64], zeros before and after.
    """
    steps, signs, lines, line_bytes = planes.shape
    classes, words, _ = narrow.shape
    room = 255 // np.max(start[1:] - start[:-1])  # lines that the bytes can count
    filled = np.zeros(classes, np.int64)
    for t in range(steps):
        for sign in range(signs):
            for line in range(lines):
                k = line_class[line]
                address = planes.ctypes.data + ((t * signs + sign) * lines + line) * line_bytes
                for w in range(words):
                    counts = load(narrow, (k * words + w) * 64, 64)
                    for i in range(item(start, w), item(start, w + 1)):
                        counts = select(peek(address + 8 * item(order, i), 64), counts + np.uint8(1), counts)
                    store(narrow, (k * words + w) * 64, counts)
                filled[k] += 1
                if filled[k] == room:
                    _empty(narrow[k], found[t, k])
                    filled[k] = 0
        for k in range(classes):
            _empty(narrow[k], found[t, k])
            filled[k] = 0


@compiled
def _empty(narrow: Array, found: Array) -> None:
    """Moves what the bytes hold to `found`."""
    for w in range(len(narrow)):
        for c in range(64):
            found[w, c] += narrow[w, c]
    narrow[:] = 0
