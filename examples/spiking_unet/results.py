"""What was measured, as numbers for tables and figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from examples.kit.commands import Context
from examples.kit.stats import paired
from examples.spiking_unet.evaluate import layer_jobs, score_jobs
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Array, Task, task_of
from examples.spiking_unet.variants import Variant, variants

ADD, MAC = 0.9, 4.6  # pJ, as the paper counts
NEAR = {"f1": 0.005, "miou": 0.005, "psnr": 0.1}  # this far below the teacher is called equal
LIKELY = 0.05


@dataclass(frozen=True, eq=False)
class Result:
    """A network on the test pictures.

    Args:
        steps: prefixes. scores: metric -> [prefix, picture]. synops, sent, events: [prefix] per teacher MAC; sent: all
            events, events: without those of pooled neurons. macs: of the first convolution, per teacher MAC. windows:
            latency / T.
    """

    variant: Variant | None
    pictures: tuple[str, ...]
    steps: tuple[int, ...]
    scores: dict[str, Array]
    synops: Array
    sent: Array
    events: Array
    macs: float
    windows: int
    seconds: float

    def at(self, t: int | None) -> int:
        """The place of prefix t; None: of the last."""
        return self.steps.index(t) if t is not None else -1

    def mean(self, metric: str, t: int | None = None) -> float:
        return float(self.scores[metric][self.at(t)].mean())

    def paper_energy(self, t: int) -> float:
        """Of the teacher's, as the paper counts: spikes without their fan-out, and the first convolution's MACs."""
        return float(self.events[self.at(t)]) * ADD / MAC + self.macs

    def energy(self, t: int) -> float:
        """The same with each spike counted once for each synapse it meets."""
        return float(self.synops[self.at(t)]) * ADD / MAC + self.macs

    def lost(self, teacher: Result, metric: str, t: int) -> dict[str, Any]:
        return paired(list(teacher.scores[metric][0]), list(self.scores[metric][self.at(t)]))

    def first(self, metric: str, wanted: float) -> int | None:
        """The smallest prefix that is as good, and stays so."""
        good = self.scores[metric].mean(1) >= wanted
        stays = np.logical_and.accumulate(good[::-1])[::-1]
        return self.steps[int(stays.argmax())] if stays.any() else None


def results(context: Context[Settings]) -> dict[Task, dict[str, Result]]:
    """Of the tasks whose teacher was measured; by name of variant, the teacher as `teacher`."""
    jobs = score_jobs(context)
    found: dict[Task, dict[str, Result]] = {}
    for path in (path for path in jobs if path.exists()):
        task = task_of(path.parent.name, context.settings)
        name = path.stem.rpartition("-")[0]
        known = {v.name: v for v in variants(task, context.settings)}
        found.setdefault(task, {})[name] = _result(json.loads(path.read_text()), known.get(name))
    return {task: of for task, of in found.items() if "teacher" in of}


def _result(row: dict[str, Any], variant: Variant | None) -> Result:
    macs = row.get("teacher_macs", 1)
    return Result(
        variant, tuple(row["pictures"]), tuple(row["steps"]),
        {metric: np.asarray(values) for metric, values in row["scores"].items()},
        np.asarray(row.get("synops", [0])) / macs, np.asarray(row.get("sent", [0])) / macs,
        np.asarray(row.get("events", [0])) / macs, row.get("macs", 0) / macs, row.get("windows", 1), row["seconds"],
    )  # fmt: skip


def compared(context: Context[Settings]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Task -> variant -> what `evaluate.layers` found, of those that were measured."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path in (path for path in layer_jobs(context) if path.exists()):
        found.setdefault(path.parent.name, {})[path.stem.rpartition("-")[0]] = json.loads(path.read_text())
    return found


def headline(task: Task, of: dict[str, Result], names: tuple[str, str]) -> dict[str, Any] | None:
    """What a results file states of a task: teacher, compiled and fine-tuned network at the T of the training, and the
    paired test of the latter against the teacher. None while a network is missing."""
    if not {*names} <= set(of):
        return None
    variant = of[names[1]].variant
    assert variant is not None
    t, metric, teacher = variant.tuned_at, task.metric, of["teacher"]

    def part(name: str) -> dict[str, Any]:
        r = of[name]
        lost = r.lost(teacher, metric, t)
        says = r.variant.says if r.variant else name
        spent = {"steps": t, "latency": t * r.windows, "synops_per_mac": float(r.synops[r.at(t)]), "network": says}
        return {"metric": r.mean(metric, t), "name": metric, **spent, "lost": lost["mean"],
                **{key: lost[key] for key in ("se", "p_t", "p_wilcoxon", "n")}}  # fmt: skip

    compiled, tuned = part(names[0]), part(names[1])
    exact = {"metric": teacher.mean(metric), "name": metric, "steps": None, "synops_per_mac": None}
    return {"teacher": exact, "compiled": compiled, "fine_tuned": tuned, "paired_p": tuned["p_t"]}
