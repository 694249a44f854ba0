"""Figures of the results page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.kit.pictures import figure, image
from examples.registration.conversion import BLOCKS, Spiking
from examples.registration.data import Array, volumes
from examples.registration.fields import warp
from examples.registration.metrics import jacobian
from examples.registration.tables import Found, title

KINDS = {"radix": "o", "signed": "s", "leaky": "^"}


def draw(found: Found, lesson: str, start: Spiking, best: Spiking, work: Path, out: Path) -> list[Path]:
    """All figures that there are results for."""
    paths = [out / f"registration-{name}.svg" for name in ("pareto", "percentiles", "rates", "drop")]
    _pareto(found, paths[0])
    _percentiles(found, paths[1])
    _rates(found, [start, best], paths[2])
    _drop(found, lesson, paths[3])
    cases = out / "registration-cases.png"
    names = [f"{lesson}-affine", f"{lesson}-teacher", start.name, *([best.name] if best != start else [])]
    data = found.settings.brain if lesson == "brain" else "hippocampus"
    _cases(found, data, names, work, cases)
    return [*paths, cases]


def _kind(run: Spiking) -> str:
    return "radix" if run.code else run.neuron


def _pareto(found: Found, path: Path) -> None:
    """Dice against SynOps: all networks of the two main teachers."""
    lessons = [one for one in ("hippocampus", "brain") if found.has(f"{one}-teacher")]
    with figure(path, 1, len(lessons)) as axes:
        for axis, lesson in zip(axes[0], lessons, strict=True):
            seen = set()
            for run in found.runs(lesson):
                kind = _kind(run)
                label = {"radix": "radix", "signed": "signed", "leaky": "leaky (SpikeReg)"}[kind]
                axis.plot(
                    found.spent(run.name)["synops_per_mac"], found.mean(run.name, "dice"), KINDS[kind],
                    color={"radix": "C0", "signed": "C1", "leaky": "C2"}[kind],
                    fillstyle="full" if run.tuned else "none", label=None if kind in seen else label,
                )  # fmt: skip
                seen.add(kind)
            for what, style in (("teacher", "--"), ("affine", ":")):
                axis.axhline(found.mean(f"{lesson}-{what}", "dice"), color="black", linestyle=style, linewidth=1,
                             label=what)  # fmt: skip
            axis.set(xlabel="SynOps per teacher MAC", ylabel="Dice", title=f"{lesson} (filled: fine-tuned)")
            axis.legend(fontsize=7)


def _percentiles(found: Found, path: Path) -> None:
    """SpikeReg's neurons: Dice over the percentile of thresholds, and over the steps."""
    runs = [run for run in found.runs("hippocampus") if run.neuron == "leaky" and not run.tuned]
    steps, first = found.settings.paper_steps, found.settings.percentiles[0]
    with figure(path, 1, 2) as axes:
        for barriers, style in ((False, "o-"), (True, "s--")):
            some = sorted((r.percentile, found.mean(r.name, "dice")) for r in runs
                          if r.steps == steps and r.barriers == barriers)  # fmt: skip
            if some:
                axes[0][0].plot(*zip(*some, strict=True), style, label="rates between blocks" if barriers else "spikes")
        some = sorted((r.steps, found.mean(r.name, "dice")) for r in runs if r.percentile == first and not r.barriers)
        if some:
            axes[0][1].plot(*zip(*some, strict=True), "o-", label=f"leaky, {first:g} %")
        signed = sorted((r.steps, found.mean(r.name, "dice")) for r in found.runs("hippocampus")
                        if not r.code and r.neuron == "signed" and not r.tuned)  # fmt: skip
        if signed:
            axes[0][1].plot(*zip(*signed, strict=True), "s-", color="C1", label="signed, least squares")
        for axis, what in zip(axes[0], (f"percentile of values above zero, T = {steps}", "T"), strict=True):
            axis.axhline(found.mean("hippocampus-teacher", "dice"), color="black", linestyle="--", linewidth=1)
            axis.axhline(found.mean("hippocampus-affine", "dice"), color="black", linestyle=":", linewidth=1)
            axis.set(xlabel=what, ylabel="Dice, hippocampi")
            axis.legend(fontsize=7)


def _rates(found: Found, runs: list[Spiking], path: Path) -> None:
    """Events per neuron and step, population by population."""
    order = [name for block in BLOCKS for name in block]
    with figure(path, size=(7, 3)) as axes:
        for k, (run, label) in enumerate(zip(dict.fromkeys(runs), ("converted", "fine-tuned"), strict=False)):
            values = [100 * found.spent(run.name)["rates"][name] for name in order]
            axes[0][0].bar(np.arange(len(order)) + 0.4 * k - 0.2, values, 0.4, label=label)
        axes[0][0].set(xlabel="population", ylabel="events per neuron and step, %")
        axes[0][0].set_xticks(range(len(order)), [f"{k + 1}" for k in range(len(order))])
        axes[0][0].legend(fontsize=7)


def _drop(found: Found, lesson: str, path: Path) -> None:
    """What each network loses of its teacher's Dice, pair by pair."""
    runs = [run for run in found.runs(lesson) if _kind(run) != "leaky" or run.tuned]
    before = np.array(found.dice(f"{lesson}-teacher", True))
    with figure(path, size=(7, 0.4 * len(runs) + 1)) as axes:
        axis = axes[0][0]
        axis.boxplot([before - found.dice(run.name, True) for run in runs], orientation="horizontal", widths=0.6)
        axis.set_yticks(range(1, len(runs) + 1), [title(run) for run in runs])
        axis.axvline(0, color="black", linewidth=1)
        axis.set(xlabel=f"Dice of the teacher - Dice of the network, {lesson}, pair by pair")


def _cases(found: Found, data: str, names: list[str], work: Path, path: Path) -> None:
    """The first test pair: what each displacement makes of the moving image, its difference, its grid, its Jacobian."""
    row = found.pairs(names[0])[0]
    known = volumes(work / "data" / f"{data}.npz")
    fixed, moving = (known[f"images/{row[key]}"] / np.float32(255) for key in ("fixed", "moving"))
    titles = ["affine alone", "teacher", "spiking", "spiking, fine-tuned"]
    with figure(path, 4, 1 + len(names), size=(2.1, 2.1)) as axes:
        image(axes[0][0], _slice(fixed), "fixed", vmin=0, vmax=1)
        image(axes[1][0], _slice(moving), "moving", vmin=0, vmax=1)
        for axis in axes[2:, 0]:
            axis.axis("off")
        for k, (name, what) in enumerate(zip(names, titles, strict=False), start=1):
            with np.load(found.kept["flows"][name]) as archive:
                flow = archive["flow"].astype(np.float32)
            moved = warp(torch.as_tensor(moving)[None, None], torch.as_tensor(flow[None]))[0, 0].numpy()
            dice = found.pairs(name)[0]["dice"]
            image(axes[0][k], _slice(moved), f"{what}: {dice:.3f}", vmin=0, vmax=1)
            image(axes[1][k], _slice(moved - fixed), "moved - fixed", cmap="RdBu_r", vmin=-1, vmax=1)
            _grid(axes[2][k], flow)
            folds = np.pad(jacobian(flow), 1, constant_values=1)
            image(axes[3][k], _slice(folds), "Jacobian", cmap="PuOr", vmin=0, vmax=2)


def _slice(volume: Array) -> Array:
    """The middle slice across the first axis, upright: the last axis of the data runs to the right."""
    return np.asarray(volume[volume.shape[0] // 2])


def _grid(axis: Any, flow: Array) -> None:
    """Where the points of a grid in the middle slice are moved to."""
    middle = flow.shape[1] // 2
    places = np.indices(flow.shape[2:]) + flow[1:, middle]
    for lines in (places[:, ::4], places[:, :, ::4].swapaxes(1, 2)):
        for k in range(lines.shape[1]):
            axis.plot(lines[1, k], lines[0, k], color="black", linewidth=0.4)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.set_title("grid", fontsize=8)
