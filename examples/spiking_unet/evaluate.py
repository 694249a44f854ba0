"""The stage `evaluate`: every network on the test pictures, after every prefix of its steps."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import snncc
from examples.kit.commands import Context
from examples.kit.work import digest, finished
from examples.spiking_unet.data import pictures
from examples.spiking_unet.runs import Exact, Spiking
from examples.spiking_unet.scores import Score, ssim
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Picture, Task, counted, task_of
from examples.spiking_unet.variants import calibration, model_file, teacher_file, variants
from snncc.comparison.layers import Layers
from snncc.comparison.teacher import Teacher
from snncc.run_counts import RunCounts

LAYER_PATCHES = 16
LOOKED_AT = ("if", "if-layer", "mt4", "mt4-layer")  # spikes against activations


def evaluate(context: Context[Settings]) -> None:
    """Scores, events and SynOps of all teachers and networks, and the spikes of some against the activations."""
    finished(score_jobs(context), measured, context.workers, "networks on test pictures")
    finished(layer_jobs(context), layers, context.workers, "spikes against activations")


def score_jobs(context: Context[Settings]) -> dict[Path, tuple[Any, ...]]:
    """Where the scores of each network that there is lie, and what `measured` needs. A result is that of its file."""
    settings, jobs = context.settings, {}
    for task in (task_of(name, settings) for name in settings.tasks):
        files = {"teacher": context.work / "teachers" / f"{task.name}.onnx"}
        files |= {v.name: model_file(context.work, task.name, v.name) for v in variants(task, settings)}
        if task.data == "cbsd68":
            files["grey"] = context.work / "teachers" / f"{task.name[1:]}.onnx"
        for name, file in files.items():
            if file.exists():
                found = context.work / "scores" / task.name / f"{name}-{digest(file, task, settings.parts)}.json"
                jobs[found] = (file, task, settings)
    return jobs


def layer_jobs(context: Context[Settings]) -> dict[Path, tuple[Any, ...]]:
    settings, jobs = context.settings, {}
    for task in (task_of(name, settings) for name in settings.tasks):
        for name in LOOKED_AT:
            file = model_file(context.work, task.name, name)
            if file.exists():
                found = context.work / "layers" / task.name / f"{name}-{digest(file, task)}.json"
                jobs[found] = (teacher_file(context.work, task.name), file, task, settings)
    return jobs


def layers(teacher: Path, file: Path, task: Task, settings: Settings) -> list[dict[str, Any]]:
    """Of each population, over some calibration patches and `settings.steps` steps: its name, the correlation of what
    its spikes say with the teacher's activation, and points [n, 2] of both."""
    model = snncc.load(file)
    found = Layers(model, Teacher.of(teacher, model.network))
    counts = RunCounts(model.facts, model.engine, settings.steps)
    for image in calibration(task, settings)[:LAYER_PATCHES]:
        result = model.run(image, settings.steps, record=True)
        found.add({"image": image[None]}, result.spikes)
        assert result.counts.counts is not None
        counts.add(result.counts.counts)
    return [
        {"name": layer.name, "correlation": layer.correlation, "points": np.round(layer.points, 4).tolist()}
        for layer in found.result(counts) if len(layer.points)
    ]  # fmt: skip


def measured(file: Path, task: Task, settings: Settings) -> dict[str, Any]:
    """A network on all test pictures.

    Returns:
        pictures: their names; steps: the prefixes t; scores: metric -> [prefix][picture]; of spiking networks also
        summed over all patches synops, sent (all events) and events (of what stands for a ReLU) up to t, macs and
        teacher_macs; seconds.
    """
    clock = perf_counter()
    run = Spiking(file) if file.name.endswith(".snn.onnx") else Exact(file)
    scores: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in run.steps])
    names = []
    for picture in pictures(task, "test", settings):
        names.append(picture.name)
        for k, found in enumerate(_of_picture(run, picture, task, settings)):
            for metric, value in found.items():
                scores[metric][k].append(value)
    seconds = round(perf_counter() - clock, 1)
    return {"pictures": names, "steps": run.steps, "scores": dict(scores), **run.spent(), "seconds": seconds}


def _of_picture(run: Exact | Spiking, picture: Picture, task: Task, settings: Settings) -> list[dict[str, float]]:
    """All metrics at each prefix; those of a picture's patches are put together."""
    score, parts = Score(task), counted(picture, task, settings.parts if task.denoises else 0)
    counts: list[Any] = [0] * len(run.steps)
    alike: list[list[float]] = [[] for _ in run.steps]
    for image, target in parts:
        for k, output in enumerate(run(image)):
            counts[k] = counts[k] + score.counts(output, target)
            if task.denoises:
                alike[k].append(ssim(output, target))
    found = [score.all(c) for c in counts]
    return [{**f, "ssim": float(np.mean(a))} for f, a in zip(found, alike, strict=True)] if task.denoises else found
