"""The pictures of the results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.hippocampus_hybrid.data import Subject, subjects
from examples.hippocampus_hybrid.evaluate import Found, Network
from examples.hippocampus_hybrid.measure import spiking, teacher_output
from examples.hippocampus_hybrid.settings import Settings
from examples.kit.commands import Context
from examples.kit.pictures import figure, image

SHOWN = {"teacher": "teacher", "converted": "converted", "start": "converted", "tuned hybrid": "fine-tuned",
         "tuned direct": "direct", "tuned own": "own, fine-tuned"}  # fmt: skip
SLICES = (0.3, 0.5, 0.7)  # of the slices that show the organ


def probability(network: Network, sample: np.ndarray, seed: int) -> np.ndarray:
    """[H, W] of a slice [1, H, W]."""
    if network.what == "teacher":
        return teacher_output(network.file, sample)[0, 0]
    (found,) = spiking(network.file).run(sample, network.steps, seed=seed).outputs.values()
    return np.asarray(found[0, 0])


def masks(context: Context[Settings], found: Mapping[str, Found], path: Path) -> None:
    """The first test subject: label (white) and mask (red) of each network on three slices."""
    names = [name for name in SHOWN if name in found]
    number = subjects(context.work, context.settings, found[names[0]].networks[0].case.fold, "test")[0]
    images, labels = Subject(context.work, number, "binary").load()
    shown = np.flatnonzero(labels.any((1, 2, 3)))
    chosen = [int(shown[int(part * (len(shown) - 1))]) for part in SLICES]
    with figure(path, len(chosen), len(names), (1.7, 1.5)) as axes:
        for row, k in zip(axes, chosen, strict=True):
            for axis, name in zip(row, names, strict=True):
                steps = "" if found[name].steps is None else f", T = {found[name].steps}"
                image(axis, images[k, 0].T, SHOWN[name] + steps if k == chosen[0] else "", origin="lower")
                _outline(axis, labels[k, 0].T, "white")
                _outline(axis, probability(found[name].networks[0], images[k], k).T > 0.5, "red")


def _outline(axis: Any, mask: np.ndarray, colour: str) -> None:
    if mask.any():
        axis.contour(mask.astype(float), [0.5], colors=colour, linewidths=1)


def grid(settings: Settings, found: Mapping[str, Any], path: Path) -> None:
    """Dice over steps, a line for each threshold scale."""
    with figure(path, size=(5.5, 3.5)) as ((axis,),):
        for scale, row in zip(settings.scales, found["dice"], strict=True):
            best = scale == found["scale"]
            axis.plot(settings.prefixes, row, marker=".", label=f"{scale:g}", linewidth=2.5 if best else 1)
        axis.axvline(found["elbow"], color="grey", linestyle=":", label="elbow")
        axis.set(xscale="log", xlabel="time steps", ylabel="Dice, validation")
        axis.legend(title="threshold scale", fontsize=7)


def cutoffs(settings: Settings, found: Mapping[tuple[str, str, str], Found], path: Path) -> None:
    """Dice of teachers and converted networks over the cut-off of the output."""
    with figure(path, size=(5.5, 3.5)) as ((axis,),):
        for k, loss in enumerate(settings.losses):
            for what, line in (("teacher", "--"), ("converted", "-")):
                one = found["binary", loss, what]
                axis.plot(settings.cutoffs, [one.cut(1 + i) for i in range(len(settings.cutoffs))], line, color=f"C{k}",
                          marker=".", label=f"{what}, {loss}")  # fmt: skip
        axis.set(xlabel="cut-off of the output", ylabel="Dice, test")
        axis.legend(fontsize=7, handlelength=4)


def training(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Validation Dice over epochs of fine-tuning and of direct training."""
    with figure(path) as ((axis,),):
        for name, history in curves.items():
            axis.plot([row["epoch"] for row in history], [row["metric"] for row in history], marker=".", label=name)
        axis.set(xlabel="epoch", ylabel="Dice, validation")
        axis.legend(fontsize=7)


def rates(by_network: Mapping[str, Mapping[str, float]], layers: Sequence[str], path: Path) -> None:
    """Events per neuron and step in each layer."""
    with figure(path, size=(6, 3.2)) as ((axis,),):
        width = 0.8 / len(by_network)
        for k, (name, found) in enumerate(by_network.items()):
            axis.bar(np.arange(len(layers)) + k * width, [found[layer] for layer in layers], width, label=name)
        axis.set_xticks(np.arange(len(layers)) + 0.4 - width / 2, layers, rotation=40, ha="right", fontsize=7)
        axis.set(ylabel="events per neuron and step")
        axis.legend(fontsize=7)


def inputs(lines: Mapping[str, Mapping[str, Sequence[float]]], steps: Sequence[int], path: Path) -> None:
    """Binary and ternary input over time steps: an axis for each task, by name; a dashed line for each teacher (one
    value)."""
    with figure(path, columns=len(lines)) as (row,):
        for axis, (task, drawn) in zip(row, lines.items(), strict=True):
            for name, values in drawn.items():
                colour = "C0" if name.startswith("binary") else "C1"
                if len(values) == 1:
                    axis.axhline(values[0], color=colour, linestyle="--", label=name)
                else:
                    axis.plot(steps, values, marker=".", color=colour, label=name)
            axis.set(xscale="log", xlabel="time steps", ylabel=task)
            axis.legend(fontsize=7)
