"""How the cost grows: with time steps, events and voxels, one thread, int8; and what exact counting takes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np

import snncc
from benchmarks import networks
from benchmarks.alternate import BENCH, ROOT
from benchmarks.goals import outcome
from benchmarks.kernels import layer
from benchmarks.kernels import measure as measure_layer
from benchmarks.networks import Architecture
from snncc.runtime.fast import FastEngine

Curves = dict[str, list[tuple[float, float]]]  # (x, milliseconds)
PLOT = ROOT / "docs" / "results" / "scaling.svg"
STEPS, RATES = (4, 8, 16, 32, 48, 64), (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
SIDES = (16, 32, 48, 64, 80, 96)
STRAIGHT, MOST = 0.99, 0.03  # R^2 of the line; counting's share of the time
REPEATS = 5


def measure(quick: bool) -> dict[str, Any]:
    """Curves of (x, milliseconds), counting's share, and the plot."""
    steps, rates, sides = (STEPS[:3], RATES[2:5], SIDES[:3]) if quick else (STEPS, RATES, SIDES)
    plane, repeats = networks.unet_2d(32) if quick else networks.unet_2d(), 2 if quick else REPEATS
    model, image = compiled(plane), networks.image(plane)
    volumes = [networks.unet_3d((side,) * 3) for side in sides]
    curves: Curves = {
        "time steps (2D U-Net)": [(t, milliseconds(partial(model.run, image, t), repeats)) for t in steps],
        "events a step (64 channels, 128x128)": [_layer(rate) for rate in rates],
        "voxels (3D U-Net, T = 4)": [(prod(net.size), _run(net, repeats)) for net in volumes],
    }
    shares = {net.name: counting(net, repeats) for net in (plane, volumes[-3])}
    goals = [_straight(name, points) for name, points in curves.items()]
    for name, share in shares.items():
        goals.append(outcome(f"{name}: exact counting takes at most 3 % of the time", 1, MOST / share, f"{share:.1%}"))
    plot(curves, BENCH / PLOT.name if quick else PLOT)
    return {"curves": curves, "counting": shares, "goals": goals}


def compiled(net: Architecture) -> snncc.Model:
    image = networks.image(net)
    return snncc.load(snncc.compile(networks.to_onnx(net), calibrate=image, **networks.compile_options(net)))


def milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """The least of `repeats` runs, after one that does not count."""
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found) * 1e3


def _run(net: Architecture, repeats: int) -> float:
    model, image = compiled(net), networks.image(net)
    return milliseconds(lambda: model.run(image), repeats)


def _layer(rate: float) -> tuple[float, float]:
    network = layer(64, 64, (128, 128), "int8")
    return rate * network.populations[0].size, measure_layer("", network, "int8", rate, 1).milliseconds_per_step


def counting(net: Architecture, repeats: int) -> float:
    """The share of a run that the engine spends counting what the spikes meet, the median of `repeats` runs. What the
    kernels add is not in it: per output the rows that were added, which packed sums need anyway, and per vector of
    neurons the spikes."""
    model, image, spent = compiled(net), networks.image(net), [0.0]
    count = FastEngine._count

    def timed(*arguments: Any) -> None:
        start = time.perf_counter()
        count(*arguments)
        spent[0] += time.perf_counter() - start

    shares = []
    with mock.patch.object(FastEngine, "_count", timed):
        for _ in range(repeats + 1):
            spent[0], start = 0.0, time.perf_counter()
            model.run(image)
            shares.append(spent[0] / (time.perf_counter() - start))
    return median(shares[1:])


def line_through(points: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Least squares: slope, intercept, and the R^2 of the line."""
    x, y = np.array(points, float).T
    slope, intercept = np.polyfit(x, y, 1)
    rest = y - slope * x - intercept
    return float(slope), float(intercept), float(1 - rest @ rest / ((y - y.mean()) @ (y - y.mean())))


def _straight(name: str, points: list[tuple[float, float]]) -> dict[str, Any]:
    fit = line_through(points)[2]
    return outcome(f"cost is linear in {name}: R² of the line at least {STRAIGHT}", STRAIGHT, fit, f"R² {fit:.4f}")


def plot(curves: Curves, file: Path) -> None:
    """One panel a curve with its line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "scaling"  # the same curves give the same bytes
    figure, panels = pyplot.subplots(1, len(curves), figsize=(4 * len(curves), 3), layout="constrained")
    for panel, (name, points) in zip(panels, curves.items(), strict=True):
        x, y = np.array(points, float).T
        slope, intercept, fit = line_through(points)
        panel.plot(x, y, "o")
        panel.plot(x, slope * x + intercept, "-", label=f"R² = {fit:.4f}")
        panel.set(xlabel=name, ylabel="ms", xlim=(0, None), ylim=(0, None))
        panel.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def lines(found: dict[str, Any]) -> list[str]:
    text = ["One thread, int8, warm, minimum.", "", f"![cost against steps, events and voxels]({PLOT.name})", ""]
    text += ["| against | ms at each | R² of the line |", "|---|---|---|"]
    for name, points in found["curves"].items():
        shown = ", ".join(f"{x:.6g}: {ms:.3g}" for x, ms in points)
        text.append(f"| {name} | {shown} | {line_through(points)[2]:.4f} |")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found["counting"].items())
    return [*text, "", f"Share of a run that goes into counting events, SynOps and paths exactly: {shares}."]
