"""Training the teachers, and where their files are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from examples.hippocampus.data import preprocess_metadata
from examples.hippocampus_hybrid.data import slices, subjects
from examples.hippocampus_hybrid.networks import HybridUNet
from examples.hippocampus_hybrid.settings import Case, Settings, cases
from examples.kit.commands import Context
from examples.kit.export import export
from examples.kit.training import Plan, train
from examples.kit.work import finished
from snncc.trainer import losses

COMMITTED = Path(__file__).parent / "teacher.onnx"
LOSSES = {"bce": losses.bce, "dice": losses.dice, "bce-dice": losses.bce_dice}


def teachers(context: Context[Settings]) -> None:
    """Train a network for each loss and kind of input."""
    folder, settings = context.work / "teachers", context.settings
    jobs = {folder / f"{case.name}.json": (context.work, settings, case) for case in cases(settings)}
    finished(jobs, train_one, context.workers, "teachers")


def train_one(work: Path, settings: Settings, case: Case) -> dict[str, Any]:
    """Train, and export the best epoch to `teachers/NAME.onnx`."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    numbers = {split: subjects(work, settings, case.fold, split) for split in ("train", "val")}
    images, labels, _ = slices(work, numbers["train"], case.input)
    images, labels = torch.as_tensor(images), torch.as_tensor(labels).float()
    size = settings.teacher_batch
    steps = len(images) // settings.teacher_every // size

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.randperm(len(images)).split(size)[:steps]:
            yield images[chosen], labels[chosen]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return LOSSES[case.loss](model(batch[0]).float(), batch[1])

    model = HybridUNet(settings.channels, settings.dropout)
    plan = Plan(settings.teacher_epochs, steps, settings.teacher_rate, settings.teacher_schedule, clip=1.0,
                seed=settings.seed)  # fmt: skip
    val = slices(work, numbers["val"], case.input)
    found = train(model, batches, loss, lambda m: mean_dice(m, *val), work / "teachers" / case.name, plan)
    meta = {"loss": case.loss, "input": case.input, "val_dice": round(found["best"]["score"], 4),
            "seed": settings.seed, "data": "Medical Segmentation Decathlon Task04_Hippocampus, labels 1 and 2 merged",
            "data_licence": "CC-BY-SA 4.0"}  # fmt: skip
    entries: dict[str, Any] = {"snncc.teacher": meta}
    if case.input == "binary":
        entries["snncc.preprocess"] = preprocess_metadata(2)
    middle = len(images) // 2
    export(nn.Sequential(model, nn.Sigmoid()), {"image": images[middle : middle + 1]}, ["probability"],
           file_of(work, case), entries)  # fmt: skip
    return found


@torch.no_grad()
def mean_dice(model: nn.Module, images: np.ndarray, labels: np.ndarray, owners: np.ndarray) -> float:
    """Mean Dice of volumes; a logit above 0 is foreground."""
    device = next(model.parameters()).device
    masks = [model(part.to(device)).cpu() > 0 for part in torch.as_tensor(images).split(64)]
    mask, scores = torch.cat(masks).numpy(), []
    for owner in np.unique(owners):
        a, b = mask[owners == owner], labels[owners == owner] > 0
        scores.append(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))
    return float(np.mean(scores))


def file_of(work: Path, case: Case) -> Path:
    return work / "teachers" / f"{case.name}.onnx"


def trained(context: Context[Settings]) -> list[Case]:
    """The cases that have a teacher. In `small`, without any, the one that comes with this example stands for the main
    case."""
    every = cases(context.settings)
    if context.size == "small" and not any(file_of(context.work, case).exists() for case in every):
        file_of(context.work, every[0]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(COMMITTED, file_of(context.work, every[0]))
    return [case for case in every if file_of(context.work, case).exists()]
