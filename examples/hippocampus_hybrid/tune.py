"""Fine-tuning: the converted network trained with a surrogate gradient, and the same network trained from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich import print as say
from torch import Tensor

from examples.hippocampus_hybrid.convert import DICE, OWN, grid, own_path, path_of, scaled_path
from examples.hippocampus_hybrid.data import slices, subjects
from examples.hippocampus_hybrid.measure import teacher_output
from examples.hippocampus_hybrid.settings import Case, Settings
from examples.hippocampus_hybrid.teacher import LOSSES, file_of, trained
from examples.kit.commands import Context
from examples.kit.work import finished
from snncc.trainer import SpikingModule, Trace
from snncc.trainer.fit import Settings as FitSettings
from snncc.trainer.fit import fit
from snncc.trainer.losses import bce

# alpha max(0, 1 - |u - V|) (Bellec et al., 2018). The paper does not state its alpha; Rathi et al. have 0.3. What
# does not pass at a step, 1 - alpha, is left for later ones: with 200 of them nearly all passes, with 8 it does not.
SURROGATE = "triangle:1"


@dataclass(frozen=True)
class Training:
    """What is trained: the paper's network from the converted weights, or from random ones (`fresh`); or our own
    (`own`): radix neurons, and beside the loss the teacher's probabilities."""

    case: Case
    kind: str  # hybrid, direct, own

    @property
    def name(self) -> str:
        return f"{self.case.name}-{self.kind}"


def trainings(context: Context[Settings]) -> list[Training]:
    """Of all teachers there are; direct training and our own of the main case of each fold."""
    every = trained(context)
    main = [case for case in every if case.input == "binary" and case.loss == context.settings.loss]
    return [Training(case, "own") for case in main] + [Training(case, "hybrid") for case in every] + [
        Training(case, "direct") for case in main
    ]


def tuned(context: Context[Settings]) -> None:
    """Fine-tune the converted networks, and train one directly."""
    jobs: dict[Path, tuple[Any, ...]] = {}
    for training in trainings(context):
        if training.kind == "own":
            start = own_path(context.work, training.case, list(OWN)[-1])
        else:
            start = scaled_path(context.work, training.case, grid(context, training.case)["tune_scale"])
        jobs[record_of(context.work, training)] = (context.work, context.settings, training, start)
    finished(jobs, train_one, context.workers, "fine-tuning")


def file_of_tuned(work: Path, training: Training) -> Path:
    return path_of(work, training.case, f"tuned-{training.kind}")


def record_of(work: Path, training: Training) -> Path:
    return path_of(work, training.case, f"tuned-{training.kind}").with_suffix("").with_suffix(".history.json")


def train_one(work: Path, settings: Settings, training: Training, start: Path) -> dict[str, Any]:
    """Train from the compiled file `start`, and write the best epoch on validation data.

    Only weights are learned, as in the paper; our own also learns biases and thresholds.
    """
    torch.set_num_threads(1)
    clock, own, case = perf_counter(), training.kind == "own", training.case
    module = SpikingModule.from_file(start, surrogate=SURROGATE)
    if training.kind == "direct":
        module.reset_parameters(settings.seed)
    numbers = {split: subjects(work, settings, case.fold, split) for split in ("train", "val")}
    images, labels, _ = slices(work, numbers["train"], case.input)
    every = settings.own_every if own else settings.tune_every
    train = Drawn(images, labels, every, file_of(work, case) if own else None)
    validation = Every(*slices(work, numbers["val"], case.input), settings.val_every)
    groups = ("weights", "biases", "thresholds") if own else ("weights",)
    plan = FitSettings(
        epochs=settings.own_epochs if own else settings.tune_epochs, batch=settings.tune_batch, seed=settings.seed,
        rates=dict.fromkeys(groups, settings.own_rate if own else settings.tune_rate),
    )  # fmt: skip

    def loss(trace: Trace, target: Tensor | Mapping[str, Tensor]) -> Tensor:
        given = {"truth": target} if isinstance(target, Tensor) else target
        (logits,) = trace.readouts.values()
        found = LOSSES[case.loss](logits, given["truth"])
        return found + bce(logits, given["teacher"]) if "teacher" in given else found

    file = file_of_tuned(work, training)
    done = fit(
        module, train, validation, loss, DICE, file.with_suffix(".work"), plan, cases=validation.owners,
        timesteps=None if own else settings.tune_steps, facts={"training": training.name},
        report=lambda e: say(f"{training.name}: epoch {e.number}, Dice {e.found.metric:.4f}"),
    )  # fmt: skip
    network = module.save(file, kind=training.kind)
    steps = int(network.meta["timesteps"]) if own else settings.tune_steps
    return {
        "steps": steps, "latency": network.windows * steps, "best": done.best.number,
        "history": [epoch.row() for epoch in done.history], "seconds": round(perf_counter() - clock),
        "slices": len(train),
    }  # fmt: skip


class Drawn:
    """Training slices: an epoch sees one of `every` neighbouring ones, another one each time. teacher: its file, if its
    probabilities are wanted, too."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, every: int, teacher: Path | None):
        self.images, self.labels, self.every, self.teacher = images, labels, every, teacher

    def __len__(self) -> int:
        return len(self.images) // self.every

    def __getitem__(self, k: int) -> tuple[dict[str, Tensor], Any]:
        k = k * self.every + int(torch.randint(self.every, ()))
        image, truth = self.images[k], torch.as_tensor(self.labels[k]).float()
        if self.teacher is None:
            return {"image": torch.as_tensor(image)}, truth
        said = torch.as_tensor(teacher_output(self.teacher, image)[0])
        return {"image": torch.as_tensor(image)}, {"truth": truth, "teacher": said}


class Every:
    """One in `every` validation slices; owners: the subject of each."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, owners: np.ndarray, every: int):
        self.images, self.labels, self.owners = images[::every], labels[::every], owners[::every].tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"image": torch.as_tensor(self.images[k])}, torch.as_tensor(self.labels[k]).float()
