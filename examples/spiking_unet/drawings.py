"""The figures of the results page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.kit.pictures import figure, image
from examples.spiking_unet.results import Result
from examples.spiking_unet.scores import NAMES
from examples.spiking_unet.tasks import CAMSEQ, IGNORED, Array, Task

SHOWN = ("if", "mt2", "mt3", "mt4", "mt4-layer", "mt4-ladder", "mt4-tuned", "own", "own-tuned", "radix", "radix-tuned")
DASHED = ("mt4-layer", "mt4-ladder", "own", "radix")


def over_steps(path: Path, found: dict[Task, dict[str, Result]]) -> None:
    """Each task's metric over T."""
    from matplotlib import colormaps

    tab20 = colormaps["tab20"]
    tasks = list(found)
    with figure(path, -(-len(tasks) // 3), min(3, len(tasks))) as axes:
        for axis, task in zip(axes.ravel(), tasks, strict=False):
            of = found[task]
            for name in (name for name in SHOWN if name in of):
                r = of[name]
                assert r.variant is not None
                style = {"linestyle": ":" if name in DASHED else "-", "color": tab20(SHOWN.index(name)), "linewidth": 1}
                axis.plot(r.steps, r.scores[task.metric].mean(1), marker=".", label=r.variant.says, **style)
            axis.axhline(of["teacher"].mean(task.metric), color="black", linewidth=0.8, label="U-Net")
            axis.set(xscale="log", xlabel="T", ylabel=NAMES[task.metric], title=task.name)
            axis.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
        for axis in axes.ravel()[len(tasks) :]:
            axis.axis("off")
        axes[0, 0].legend(fontsize=5, loc="lower right")


def scatter(path: Path, found: dict[str, list[dict[str, Any]]], titles: dict[str, str]) -> None:
    """What spikes say against activations, both as shares of the largest activation of their population."""
    with figure(path, 1, len(titles), (3.2, 3.2)) as axes:
        for axis, (name, title) in zip(axes[0], titles.items(), strict=True):
            for layer in found[name]:
                points = np.asarray(layer["points"])
                axis.plot(*(points / max(points[:, 0].max(), 1e-9)).T, ".", markersize=1, rasterized=True)
            axis.plot([0, 1], [0, 1], color="black", linewidth=0.8)
            axis.set(title=title, xlabel="activation", ylabel="rate", xlim=(-0.05, 1.05), ylim=(-0.05, 1.3))


def examples(path: Path, rows: list[tuple[Task, dict[str, Array]]]) -> None:
    """A test picture of each task: input, what is wanted, and what networks make of it."""
    columns = max(len(shown) for _, shown in rows)
    with figure(path, len(rows), columns, (1.8, 1.8)) as axes:
        for line, (task, shown) in zip(axes, rows, strict=True):
            for axis, (title, values) in zip(line, shown.items(), strict=False):
                image(axis, *_drawn(task, values), f"{task.name}: {title}", **_limits(task, values))
            for axis in line[len(shown) :]:
                axis.axis("off")


def _drawn(task: Task, values: Array) -> tuple[Array]:
    """[H, W] or [H, W, 3]."""
    if values.ndim == 3:
        values = np.clip(values, 0, 1).transpose(1, 2, 0)
        return (values[..., 0] if values.shape[2] == 1 else values,)
    return (np.where(values == IGNORED, 0 if task.outputs == 2 else len(CAMSEQ), values),)


def _limits(task: Task, values: Array) -> dict[str, Any]:
    if values.ndim == 3:
        return {"vmin": 0, "vmax": 1}
    return {"vmin": 0, "vmax": 1} if task.outputs == 2 else {"vmin": 0, "vmax": len(CAMSEQ), "cmap": "tab20"}
