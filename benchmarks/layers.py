"""Single layers with 64 or more channels beside the roofline: how fast one core adds weights that lie in its
first-level cache, measured between the layers, with the gather's own way of adding a row."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from benchmarks.goals import outcome
from benchmarks.kernels import layer, measure
from benchmarks.networks import Array
from snncc.runtime.kernels import conv
from snncc.runtime.kernels.vectors import add, store, zeros

RATE = 0.128
KILOBYTES = 24  # half of a first-level cache
CASES = (("2D 128x128 c64", 64, (128, 128)), ("2D 64x64 c128", 128, (64, 64)), ("3D 32x32x32 c64", 64, (32, 32, 32)))


@dataclass(frozen=True)
class Mode:
    """Sums of one type: as benchmarks.kernels calls it, the type, and whether weights are bytes that are added as
    pairs."""

    numbers: str
    element: type[np.generic]
    packed: bool = False

    @property
    def bytes_per_weight(self) -> int:
        return 1 if self.packed else np.dtype(self.element).itemsize


MODES = (Mode("float32", np.float32), Mode("int16", np.int16), Mode("int8", np.int16, packed=True))
LANES = (32, 64)


@cache
def adder(lanes: int, packed: bool) -> Any:
    """A kernel (weights, bytes, passes): adds all weights up as the gather does, row after row of `lanes`, into four
    sums; the rows follow each other, and nothing says which they are."""
    row_at, step = conv._row(lanes, packed), lanes

    def sums(weights: Any, size: Any, passes: Any) -> None:
        a = b = c = d = zeros(weights, lanes)
        start, row = weights.ctypes.data, step * (1 if packed else weights.itemsize)
        for _ in range(passes):
            for k in range(start, start + size, 4 * row):
                a, b = add(a, row_at(weights, k)), add(b, row_at(weights, k + row))
                c, d = add(c, row_at(weights, k + 2 * row)), add(d, row_at(weights, k + 3 * row))
        store(weights, 0, add(add(a, b), add(c, d)))

    sums.__name__ = f"sums_of_{lanes}{'_packed' * packed}"
    return numba.njit(nogil=True, error_model="numpy")(sums)


def roofline(mode: Mode, passes: int = 20_000, repeats: int = 5) -> float:
    """Additions a second on one core, in 1e9: the best of `repeats` and of the numbers of lanes."""
    size = KILOBYTES * 1024  # all rows divide it
    space = np.zeros(size + 64, np.uint8)
    weights: Array = space[-space.ctypes.data % 64 :][:size].view(mode.element)  # at a line of the cache
    best = np.inf
    for kernel in (adder(lanes, mode.packed) for lanes in LANES):
        kernel(weights, size, 1)
        for _ in range(repeats):
            start = time.perf_counter()
            kernel(weights, size, passes)
            best = min(best, time.perf_counter() - start)
    return size / mode.bytes_per_weight * passes / best / 1e9


def measured(quick: bool) -> dict[str, Any]:
    """Each layer in each mode with one and two threads, the roofline of its mode before and after."""
    rows = []
    for mode in MODES:
        top, mine = roofline(mode), []
        for name, channels, size in CASES[:1] if quick else CASES:
            network = layer(channels, channels, size, mode.numbers)
            mine += [asdict(measure(name, network, mode.numbers, RATE, n)) for n in (1, 2)]
            top = max(top, roofline(mode))
        rows += [{**row, "roofline": top} for row in mine]
    goals = [_goal(row) for row in rows if row["threads"] == 1]
    return {"rate": RATE, "rows": rows, "goals": goals}


def _goal(row: dict[str, Any]) -> dict[str, Any]:
    share = row["gsynops_per_second"] / row["roofline"]
    return outcome(f"{row['layer']}, {row['numbers']}: half the roofline of one core", 0.5, share, f"{share:.0%}")


def lines(found: dict[str, Any]) -> list[str]:
    text = [
        f"One layer at {found['rate']:.1%}, from spikes to spikes. Roofline: one core adds the {KILOBYTES} KB",
        "of weights that lie in its first-level cache, in order.",
        "",
        "| layer | sums | GSynOps/s, 1 thread | roofline, Gadd/s | share | GSynOps/s, 2 threads |",
        "|---|---|---|---|---|---|",
    ]
    for one, two in zip(found["rows"][::2], found["rows"][1::2], strict=True):
        share = one["gsynops_per_second"] / one["roofline"]
        text.append(
            f"| {one['layer']} | {one['numbers']} | {one['gsynops_per_second']:.1f} | "
            f"{one['roofline']:.1f} | {share:.0%} | {two['gsynops_per_second']:.1f} |"
        )
    return text
