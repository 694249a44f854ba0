"""Where the time of a run goes: each population of the U-Nets by itself, int8, one thread."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import snncc
from benchmarks import networks
from benchmarks.networks import Architecture
from snncc.runtime.fast import FastEngine

REPEATS = 8
COUNTING, REST = "counting", "the rest"
PARTS = {"_neurons": "spikes", "_readout": "readout", "_gate": "gate", "_count": COUNTING}  # methods of the engine


def measure(quick: bool) -> dict[str, Any]:
    """The populations' rows of the fastest of some runs, by network."""
    nets = [networks.unet_2d(32), networks.unet_3d((16,) * 3)] if quick else [networks.unet_2d(), networks.unet_3d()]
    return {"networks": {net.name: best_of(net, 2 if quick else REPEATS) for net in nets}}


def best_of(net: Architecture, repeats: int) -> list[dict[str, Any]]:
    image = networks.image(net)
    model = snncc.load(snncc.compile(networks.to_onnx(net), calibrate=image, **networks.compile_options(net)))
    model.run(image)
    return min((one(model, image) for _ in range(repeats)), key=lambda rows: sum(row["ms"] for row in rows))


def one(model: snncc.Model, image: networks.Array) -> list[dict[str, Any]]:
    """Rows: population, ms of its constant current and of its steps without counting, SynOps into it; then counting and
    what is in none of these (encoding, outputs, Python)."""
    spent: dict[tuple[str, str], float] = defaultdict(float)

    def timed(method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def run(engine: Any, first: Any, *rest: Any) -> Any:
            name = COUNTING if part == COUNTING else first.population.name
            before, start = spent[COUNTING, COUNTING], time.perf_counter()
            found = method(engine, first, *rest)
            within = spent[COUNTING, COUNTING] - before  # a population's steps call for its counting
            spent[name, part] += (time.perf_counter() - start) * 1e3 - within
            return found

        return run

    with ExitStack() as stack:
        for method, part in PARTS.items():
            stack.enter_context(mock.patch.object(FastEngine, method, timed(getattr(FastEngine, method), part)))
        start = time.perf_counter()
        counts = model.run(image).counts
        total = (time.perf_counter() - start) * 1e3
    into: dict[str, int] = defaultdict(int)
    for row in counts.projections:
        into[row["post"]] += row["synops"]
    rows: list[dict[str, Any]] = [
        {"name": p.name, "ms": sum(spent[p.name, part] for part in PARTS.values()), "synops": into[p.name]}
        for p in model.network.populations
    ]
    rows.append({"name": COUNTING, "ms": spent[COUNTING, COUNTING], "synops": 0})
    return [*rows, {"name": REST, "ms": total - sum(row["ms"] for row in rows), "synops": 0}]


def lines(found: dict[str, Any]) -> list[str]:
    text = ["The fastest run, int8, one thread; a population's time has its constant current in it, but not counting."]
    for name, rows in found["networks"].items():
        total = sum(row["ms"] for row in rows)
        text += ["", f"{name}: {total:.3g} ms", "", "| population | ms | share | M SynOps | GSynOps/s |"]
        text += ["|---|---|---|---|---|"]
        for row in rows:
            speed = f"{row['synops'] / row['ms'] / 1e6:.1f}" if row["synops"] else ""
            size = f"{row['synops'] / 1e6:.0f}" if row["synops"] else ""
            text.append(f"| {row['name']} | {row['ms']:.3f} | {row['ms'] / total:.1%} | {size} | {speed} |")
    return text
