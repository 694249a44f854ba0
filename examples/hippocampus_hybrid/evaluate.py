"""Every network on the test subjects: teachers, converted, fine-tuned, trained directly, and our own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from examples.hippocampus_hybrid import vgg
from examples.hippocampus_hybrid.convert import DICE, OWN, facts_of, grid, own_path, scaled_path
from examples.hippocampus_hybrid.data import Subject, subjects
from examples.hippocampus_hybrid.measure import measure, together
from examples.hippocampus_hybrid.settings import Case, Settings
from examples.hippocampus_hybrid.teacher import file_of, trained
from examples.hippocampus_hybrid.tune import file_of_tuned, record_of, trainings
from examples.kit.commands import Context
from examples.kit.stats import paired
from examples.kit.work import digest, finished
from snncc.comparison.metrics import Metric


@dataclass(frozen=True)
class Network:
    """A file to be judged. what: teacher, converted, converted at T of fine-tuning, ...; steps: None: a teacher, or as
    compiled; facts: the JSON beside it with its steps and latency."""

    case: Case
    what: str
    file: Path
    steps: int | None = None
    facts: Path | None = None


@dataclass(frozen=True)
class Found:
    """What was measured of a network over the test subjects of all folds."""

    networks: Sequence[Network]
    parts: Sequence[Mapping[str, Any]]  # by subject
    steps: int | None
    latency: int | None

    @cached_property
    def volumes(self) -> list[float]:
        """3D Dice of each subject."""
        return [DICE.value(np.sum(part["samples"], 0)) for part in self.parts]

    @cached_property
    def slices(self) -> list[float]:
        """2D Dice of each slice whose label is not empty."""
        return [DICE.value(np.array(counts)) for part in self.parts for counts in part["samples"] if counts[0][2] > 0]

    def cut(self, k: int) -> float:
        """3D Dice at the k-th cut-off of the output."""
        return float(np.mean([DICE.value(np.array(part["metrics"][k])) for part in self.parts]))

    def after(self, k: int) -> float:
        """3D Dice after the k-th of the numbers of steps looked at."""
        return float(np.mean([DICE.value(np.array(part["prefixes"][k])) for part in self.parts]))

    @property
    def sizes(self) -> tuple[float, float]:
        """Mean voxels of the mask, and of the label."""
        found = np.sum([np.sum(part["samples"], 0)[0] for part in self.parts], 0) / len(self.parts)
        return float(found[1]), float(found[2])

    def row(self, teacher: Found) -> dict[str, Any]:
        """What the page and its JSON state of a network, compared with a teacher."""
        cost = together(self.parts)
        return {
            "metric": float(np.mean(self.volumes)), "sd": float(np.std(self.volumes, ddof=1)),
            "metric_2d": float(np.mean(self.slices)), "subjects": len(self.volumes), "slices": len(self.slices),
            "steps": self.steps, "latency": self.latency, **cost,
            "voxels": self.sizes[0], "voxels_label": self.sizes[1],
            "paired": paired(teacher.volumes, self.volumes) if self is not teacher else None,
        }  # fmt: skip


def metrics(settings: Settings) -> tuple[Metric, ...]:
    """Dice at 0.5, and at each cut-off."""
    return DICE, *(Metric("dice", threshold=cut) for cut in settings.cutoffs)


def networks(context: Context[Settings]) -> list[Network]:
    """Those whose files are there, of all cases and folds."""
    work, settings, every = context.work, context.settings, trained(context)
    found = [Network(case, "teacher", file_of(work, case)) for case in every]
    for case in every:
        scales = grid(context, case)
        for what, scale, steps in (("converted", scales["scale"], settings.steps),
                                   ("start", scales["tune_scale"], settings.tune_steps)):  # fmt: skip
            file = scaled_path(work, case, scale)
            found.append(Network(case, what, file, steps, facts_of(file)))
        for name in OWN:
            file = own_path(work, case, name)
            found.append(Network(case, name, file, None, facts_of(file)))
    for training in trainings(context):
        at = None if training.kind == "own" else settings.tune_steps
        found.append(Network(training.case, f"tuned {training.kind}", file_of_tuned(work, training), at,
                             record_of(work, training)))  # fmt: skip
    return [network for network in found if network.file.exists() and (network.facts is None or network.facts.exists())]


def measured(context: Context[Settings]) -> dict[tuple[str, str, str], Found]:
    """By input, loss and what the network is."""
    settings, jobs = context.settings, {}
    wanted: dict[tuple[str, str, str], list[Network]] = {}
    paths: dict[Network, list[Path]] = {}
    for network in networks(context):
        case = network.case
        wanted.setdefault((case.input, case.loss, network.what), []).append(network)
        over = settings.over if network.what == "converted" else ()
        seen = metrics(settings)
        folder = context.work / "runs" / f"{case.name}-{digest(network.file, network.steps, over, seen)}"
        for number in subjects(context.work, settings, case.fold, "test"):
            path = folder / f"{number}.json"
            paths.setdefault(network, []).append(path)
            jobs[path] = (network.file, Subject(context.work, number, case.input), seen, network.steps, over)
    done = finished(jobs, measure, context.workers, "test subjects")
    found = {}
    for key, group in wanted.items():
        facts = json.loads(group[0].facts.read_text()) if group[0].facts else {}
        steps = group[0].steps or facts.get("steps")
        latency = facts.get("latency") if group[0].steps is None else steps
        parts = [done[path] for network in group for path in paths[network]]
        found[key] = Found(group, parts, steps, latency)
    return found


def evaluate(context: Context[Settings]) -> None:
    """Measure all networks there are on the test subjects, and draw the first one's masks."""
    from examples.hippocampus_hybrid.figures import masks

    found = measured(context)
    vgg.evaluate(context)
    main = {what: f for (kind, loss, what), f in found.items() if (kind, loss) == ("binary", context.settings.loss)}
    for what, one in main.items():
        print(f"{what}: Dice {np.mean(one.volumes):.4f}")
    masks(context, main, context.work / "masks.png")
    print(f"masks of the first test subject: {context.work / 'masks.png'}")
