"""Single layers with 64 or more channels beside the roofline: how fast one core adds weights that lie in its
first-level cache, measured between the layers, with the library's own vectors."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numba
import numpy as np

from benchmarks.goals import outcome
from benchmarks.kernels import layer, measure
from benchmarks.networks import Array
from snncc.runtime.kernels.vectors import add, load, store, zeros
from snncc.runtime.plan import aligned

RATE = 0.128
KILOBYTES = 24  # half of a first-level cache
CASES = (("2D 128x128 c64", 64, (128, 128)), ("2D 64x64 c128", 128, (64, 64)), ("3D 32x32x32 c64", 64, (32, 32, 32)))


@dataclass(frozen=True)
class Mode:
    """Sums of one type: as benchmarks.kernels calls it, and the element that the roofline loads and adds."""

    numbers: str
    element: type[np.generic]


MODES = (Mode("float32", np.float32), Mode("int16", np.int16))


def adder(lanes: int) -> Any:
    """A kernel (weights, passes): adds all weights up, one after the other, into eight vectors of `lanes`."""

    def sums(weights: Any, passes: Any) -> None:
        a = b = c = d = e = f = g = h = zeros(weights, lanes)
        for _ in range(passes):
            for k in range(0, weights.size, 8 * lanes):
                a, b = add(a, load(weights, k, lanes)), add(b, load(weights, k + lanes, lanes))
                c, d = add(c, load(weights, k + 2 * lanes, lanes)), add(d, load(weights, k + 3 * lanes, lanes))
                e, f = add(e, load(weights, k + 4 * lanes, lanes)), add(f, load(weights, k + 5 * lanes, lanes))
                g, h = add(g, load(weights, k + 6 * lanes, lanes)), add(h, load(weights, k + 7 * lanes, lanes))
        store(weights, 0, add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h))))

    sums.__name__ = f"sums_of_{lanes}"
    return numba.njit(nogil=True, error_model="numpy")(sums)


LANES = (32, 64)
ADDERS = {lanes: adder(lanes) for lanes in LANES}


def roofline(mode: Mode, passes: int = 20_000, repeats: int = 5) -> float:
    """Additions a second on one core, in 1e9: the best of `repeats` and of the numbers of lanes."""
    block = 8 * max(LANES)
    size = KILOBYTES * 1024 // np.dtype(mode.element).itemsize // block * block
    weights: Array = aligned((size,), mode.element)
    best = np.inf
    for kernel in ADDERS.values():
        kernel(weights, 1)
        for _ in range(repeats):
            start = time.perf_counter()
            kernel(weights, passes)
            best = min(best, time.perf_counter() - start)
    return size * passes / best / 1e9


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
