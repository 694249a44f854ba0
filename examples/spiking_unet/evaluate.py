"""The stage `evaluate`: every network on the test pictures, after every prefix of its steps."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime

import snncc
from examples.kit.commands import Context
from examples.kit.work import digest, finished
from examples.spiking_unet.data import pictures
from examples.spiking_unet.scores import Score, ssim
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Array, Picture, Task, patches, task_of
from examples.spiking_unet.variants import model_file, teacher_file, variants
from snncc.network import Network
from snncc.synapses.pool import Pool

PREFIXES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def evaluate(context: Context[Settings]) -> None:
    """Scores, events and SynOps of all teachers and networks: scores/TASK/VARIANT-*.json."""
    jobs = score_jobs(context)
    finished(jobs, measured, context.workers, "networks on test pictures")


def score_jobs(context: Context[Settings]) -> dict[Path, tuple[Any, ...]]:
    """Where the scores of each network lie, and what `measured` needs. A result is that of its file's bytes."""
    settings, jobs = context.settings, {}
    for name in settings.tasks:
        task = task_of(name, settings)
        files = {"teacher": teacher_file(context.work, name)}
        files |= {v.name: model_file(context.work, name, v.name) for v in variants(task, settings)}
        for variant, file in files.items():
            found = context.work / "scores" / name / f"{variant}-{digest(file, task, settings.parts)}.json"
            jobs[found] = (file, task, settings)
    return jobs


def measured(file: Path, task: Task, settings: Settings) -> dict[str, Any]:
    """A network on all test pictures.

    Returns:
        pictures: their names; steps: the prefixes t; scores: metric -> [prefix][picture]; of spiking networks also
        summed over all patches synops and events (of what stands for a ReLU) up to t, macs and teacher_macs; seconds.
    """
    clock = perf_counter()
    run = _Teacher(file) if file.name.endswith(".onnx") and ".snn." not in file.name else _Spiking(file)
    scores: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in run.steps])
    names = []
    for picture in pictures(task, "test", settings):
        names.append(picture.name)
        for k, found in enumerate(_of_picture(run, picture, task, settings)):
            for metric, value in found.items():
                scores[metric][k].append(value)
    return {"pictures": names, "steps": run.steps, "scores": scores, **run.spent(), "seconds": round(perf_counter() - clock, 1)}


def _of_picture(run: _Teacher | _Spiking, picture: Picture, task: Task, settings: Settings) -> list[dict[str, float]]:
    """All metrics at each prefix; those of a picture's patches are put together."""
    score, parts = Score(task), patches(picture, task, settings.parts if task.denoises else 0)
    counts: list[Any] = [0] * len(run.steps)
    alike: list[list[float]] = [[] for _ in run.steps]
    for image, target in parts:
        for k, output in enumerate(run(image)):
            counts[k] = counts[k] + score.counts(output, target)
            if task.denoises:
                alike[k].append(ssim(output, target))
    found = [score.all(c) for c in counts]
    return [{**f, "ssim": float(np.mean(a))} for f, a in zip(found, alike, strict=True)] if task.denoises else found


class _Teacher:
    """The teacher on onnxruntime; its one prefix is called 0."""

    steps = (0,)

    def __init__(self, file: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Array) -> list[Array]:
        return list(self.session.run(["out"], {"image": image[None]}))

    def spent(self) -> dict[str, Any]:
        return {}


class _Spiking:
    """A compiled network on the fast engine, with what it spends."""

    def __init__(self, file: Path):
        self.model = snncc.load(file)
        self.last = self.model.network.meta["timesteps"]
        self.steps = tuple(t for t in PREFIXES if t <= self.last)
        self.synops, self.events = np.zeros(self.last, np.int64), np.zeros(self.last, np.int64)
        self.pools = pooled(self.model.network)
        self.macs = self.teacher_macs = self.patches = 0

    def __call__(self, image: Array) -> list[Array]:
        result = self.model.run(image, over_time=True)
        self.synops += np.cumsum(result.counts.synops_per_step)
        assert result.counts.counts is not None
        for name, events in result.counts.counts.events.items():
            if name not in self.pools:
                self.events += np.cumsum(events.astype(np.int64))
        self.macs += result.counts.totals["macs"]
        self.teacher_macs += result.counts.totals["teacher_macs"]
        self.patches += 1
        return [result.over_time["out"][t - 1] for t in self.steps]

    def spent(self) -> dict[str, Any]:
        at = [t - 1 for t in self.steps]
        return {"synops": self.synops[at].tolist(), "events": self.events[at].tolist(), "macs": self.macs,
                "teacher_macs": self.teacher_macs, "patches": self.patches}  # fmt: skip


def pooled(network: Network) -> set[str]:
    """Populations that stand behind a pooling: the paper's count of spikes leaves them out."""
    return {
        p.name for p in network.populations
        if (read := network.incoming(p)) and all(isinstance(j.synapse, Pool) for j in read)
    }  # fmt: skip
