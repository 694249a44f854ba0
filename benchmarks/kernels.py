"""Speed of single layers on the fast engine, all inclusive: events listed, weights added, neurons run, spikes emitted.

`python -m benchmarks.kernels [--quick]` prints a table and writes docs/results/kernels.json with what it ran on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import line, machine
from snncc.encoders import Poisson
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire
from snncc.runtime import buffers
from snncc.runtime.fast import FastEngine
from snncc.synapses import Conv

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "kernels.json"
STEPS = 8
REPEATS = 5


@dataclass(frozen=True)
class Row:
    """One measurement: the best of REPEATS runs of STEPS steps."""

    layer: str
    numbers: str
    rate: float
    threads: int
    milliseconds_per_step: float
    gsynops_per_second: float
    output_rate: float


def layer(cin: int, cout: int, size: tuple[int, ...], numbers: str, groups: int = 1) -> Network:
    """One 3x3(x3) layer of `size`: weights of 8 bits; wider ones whose sums still fit 16 bits; of 32 bits; float32."""
    rng = np.random.default_rng(0)
    rank = len(size)
    weight = rng.normal(0, 30, (cout, cin // groups, *(3,) * rank)).round().clip(-127, 127)
    scale = 200 if numbers == "int32" else 1
    if numbers == "int16":
        corner: tuple[Any, ...] = (slice(None), *(0,) * (rank + 1))
        weight[corner] = 200
    level = np.full(cout, 1500 * scale, np.float32 if numbers == "float32" else np.int32)
    kind = IntegrateFire(level, level // 2)
    populations = (Population("pre", (cin, *size), Poisson()), Population("post", (cout, *size), kind))
    synapse = Conv((weight * scale).astype(np.float32), (1,) * rank, (1,) * rank, (1,) * 2 * rank, groups)
    return Network({}, (), populations, (Projection("pre", "post", synapse),))


def measure(name: str, network: Network, numbers: str, rate: float, threads: int) -> Row:
    engine = FastEngine(network, threads)
    pre, post = network.populations
    train = buffers.new_train(STEPS, 1, pre)
    spikes = np.random.default_rng(1).random((STEPS, 1, *pre.shape), np.float32) < rate
    buffers.pack(spikes[None], train)
    best = np.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        _, counts = engine.run_population("post", {"pre": train}, STEPS)
        best = min(best, time.perf_counter() - start)
    synops = int(counts.synops["pre->post"].sum())
    fired = int(counts.events["post"].sum()) / (post.size * STEPS)
    return Row(name, numbers, rate, threads, best / STEPS * 1e3, synops / best / 1e9, fired)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two layers, no file")
    quick = parser.parse_args().quick
    before = machine()
    rows = []
    cases: list[tuple[str, int, tuple[int, ...], int]] = [("2D 128x128 c64", 64, (128, 128), 1)]
    if not quick:
        cases += [
            ("2D 128x128 c16", 16, (128, 128), 1),
            ("2D 128x128 c32", 32, (128, 128), 1),
            ("2D 64x64 c128", 128, (64, 64), 1),
            ("3D 32x32x32 c16", 16, (32, 32, 32), 1),
            ("3D 32x32x32 c32", 32, (32, 32, 32), 1),
            ("2D 128x128 c64 depthwise", 64, (128, 128), 64),
        ]
    print(f"{'layer':28}{'numbers':9}{'rate':>6}{'threads':>8}{'ms/step':>9}{'GSynOp/s':>10}{'out rate':>9}")
    for name, channels, size, groups in cases:
        for numbers in ("int8", "int16", "int32", "float32"):
            network = layer(channels, channels, size, numbers, groups)
            for rate in (0.128,) if quick else (0.01, 0.05, 0.128, 0.3):
                for threads in (1, 2):
                    row = measure(name, network, numbers, rate, threads)
                    rows.append(row)
                    print(
                        f"{name:28}{numbers:9}{rate:6.3f}{threads:8}{row.milliseconds_per_step:9.3f}"
                        f"{row.gsynops_per_second:10.1f}{row.output_rate:9.3f}",
                        flush=True,
                    )
    if not quick:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": before, "layers": [asdict(r) for r in rows]}, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(markdown(before, rows))


def markdown(where: dict[str, Any], rows: list[Row]) -> str:
    """A table with a line for each layer, numbers and rate."""
    lines = [
        "# Speed of single layers",
        "",
        "Made by `python -m benchmarks.kernels`: one layer on the fast engine, from spikes to spikes (event lists,",
        f"sums, neurons, output), best of {REPEATS} runs of {STEPS} steps.",
        "",
        line(where),
        "",
        "| layer | sums | input rate | ms a step, 1 thread | GSynOps/s | ms a step, 2 threads | GSynOps/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        lines.append(
            f"| {one.layer} | {one.numbers} | {one.rate:.1%} | {one.milliseconds_per_step:.3f} | "
            f"{one.gsynops_per_second:.1f} | {two.milliseconds_per_step:.3f} | {two.gsynops_per_second:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
