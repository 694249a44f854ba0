"""Max gate: neurons/max_gate.py, event by event."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.runtime.kernels import compiled


@compiled
def max_gate(
    planes: Array, base: int, in_y: int, in_x: int,
    z_out: Array, z_window: Array, z_tap: Array, y_out: Array, y_window: Array, y_tap: Array,
    x_out: Array, x_window: Array, x_tap: Array,
    z_start: Array, z_source: Array, y_start: Array, y_source: Array, x_start: Array, x_source: Array,
    multiplicity: Array, floor: Array, n: Array, top: Array, out: Array, events: Array, counts: Array,
) -> None:  # fmt: skip
    """All steps of a gate.

    planes uint8 [levels, T, P, positions, bytes]; n <- base * n + events. Per axis, CSR from input to its windows (out,
    window, tap) and from window to its inputs (start, source). multiplicity [z, y, x classes]: paths of a pair. n int32
    [positions, channels]: running counts. floor bool and top int32 [Z, Y, X, channels]: does the window touch zeros
    that routing put in; its maximum. out uint8 [levels, T, 1 or 2, windows, bytes]; events uint64 [T]; counts uint64
    [3, T].
    """
    windows_y, windows_x = top.shape[1], top.shape[2]
    dirty = np.zeros(top.shape, np.bool_)
    touched = np.empty((top.size, 4), np.int32)
    levels, steps, signs, positions, width = planes.shape
    for t in range(steps):
        waiting, pairs, paths, fired = 0, 0, 0, 0
        if base != 1:  # a window without events keeps M_t = base * M_(t-1)
            n *= np.int32(base)
            top *= np.int32(base)
        for which in range(levels * signs):
            level, p = which // signs, which % signs
            worth = (1 << level) if p == 0 else -(1 << level)
            for position in range(positions):
                for j in range(width):
                    byte = planes[level, t, p, position, j]
                    c = 8 * j
                    while byte:
                        if byte & np.uint8(1):
                            n[position, c] += worth
                            x, line = position % in_x, position // in_x
                            y, z = line % in_y, line // in_y
                            for a in range(z_out[z], z_out[z + 1]):
                                for b in range(y_out[y], y_out[y + 1]):
                                    for d in range(x_out[x], x_out[x + 1]):
                                        pairs += 1
                                        paths += multiplicity[z_tap[a], y_tap[b], x_tap[d]]
                                        wz, wy, wx = z_window[a], y_window[b], x_window[d]
                                        if not dirty[wz, wy, wx, c]:
                                            dirty[wz, wy, wx, c] = True
                                            touched[waiting, 0], touched[waiting, 1] = wz, wy
                                            touched[waiting, 2], touched[waiting, 3] = wx, c
                                            waiting += 1
                        byte = np.uint8(byte >> np.uint8(1))
                        c += 1
        for k in range(waiting):
            wz, wy, wx, c = touched[k, 0], touched[k, 1], touched[k, 2], touched[k, 3]
            dirty[wz, wy, wx, c] = False
            best = np.int32(0) if floor[wz, wy, wx] else np.int32(-(1 << 31))
            for a in range(z_start[wz], z_start[wz + 1]):
                for b in range(y_start[wy], y_start[wy + 1]):
                    line = (z_source[a] * in_y + y_source[b]) * in_x
                    for d in range(x_start[wx], x_start[wx + 1]):
                        best = max(best, n[line + x_source[d], c])
            change = best - top[wz, wy, wx, c]
            top[wz, wy, wx, c] = best
            window = (wz * windows_y + wy) * windows_x + wx
            for level in range(levels):
                if abs(change) >> level & 1:
                    out[level, t, int(change < 0), window, c // 8] |= np.uint8(1 << (c % 8))
                    fired += 1
        events[t] += np.uint64(fired)
        counts[0, t] += np.uint64(pairs)
        counts[1, t] += np.uint64(pairs)
        counts[2, t] += np.uint64(paths)
