"""The stage `finetune`: weights and biases, with gradients of accumulated flow (Wu et al., 2021)."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from examples.kit.commands import Context
from examples.kit.work import once
from examples.spiking_unet.data import Crops
from examples.spiking_unet.scores import Score
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Task, task_of
from examples.spiking_unet.teacher import chosen
from examples.spiking_unet.variants import Variant, model_file, variants
from snncc.trainer import SpikingModule
from snncc.trainer.fit import Epoch
from snncc.trainer.fit import Settings as Training
from snncc.trainer.fit import fit
from snncc.trainer.losses import Objective

Sample = tuple[dict[str, Tensor], Tensor]


class Drawn:
    """An epoch's random crops."""

    def __init__(self, crops: Crops, count: int):
        self.crops, self.count = crops, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> Sample:
        image, target = self.crops.draw()
        return {"image": image}, target


def finetune(context: Context[Settings]) -> None:
    """Fine-tune the networks that have a successor: networks/TASK/VARIANT-tuned.snn.onnx."""
    torch.set_num_threads(context.workers)
    for name in context.settings.tasks:
        task = task_of(name, context.settings)
        for variant in variants(task, context.settings):
            if variant.start is not None:
                file = model_file(context.work, name, variant.name)
                start = model_file(context.work, name, variant.start)
                once(file.with_suffix(".json"), lambda: tuned(start, file, task, variant, context.settings))  # noqa: B023


def tuned(start: Path, file: Path, task: Task, variant: Variant, settings: Settings) -> dict[str, Any]:
    """Fine-tune `start` at the variant's T and write `file`; an interrupted training goes on from its last epoch.

    Returns:
        history: rows of epochs, 0 being the start; best: the number of the one that is written; seconds.
    """
    clock, area = perf_counter(), task.patch[0] * task.patch[1]
    module = SpikingModule.from_file(start, flow=True)
    validation = [
        ({"image": torch.as_tensor(image)}, torch.as_tensor(target))
        for image, target in chosen(task, "val", settings, settings.tune_val_megapixels)
    ]
    rates = {"weights": settings.tune_rate, "biases": settings.tune_rate}
    budget = variant.budget
    costs = [] if budget is None else [f"2*synops:{budget - 0.02:g}"]
    training = Training(
        settings.tune_epochs, max(1, round(settings.tune_batch * 1e6 / area)), rates, budget=budget, seed=settings.seed
    )
    train = Drawn(Crops(task, task.patch, settings), round(settings.tune_megapixels * 1e6 / area))
    show = Console()
    show.print(f"{task.name}, {variant.name}", highlight=False)
    found = fit(
        module, train, validation, Objective.of("l1" if task.denoises else "cross-entropy", costs),  # type: ignore[arg-type]
        Score(task), file.with_suffix(".finetune"), training, facts={"variant": repr(variant)},
        cases=[0] * len(validation), timesteps=variant.tuned_at, report=lambda epoch: show.print(line(epoch), highlight=False),
    )  # fmt: skip
    module.save(file, variant=variant.name, best=found.best.number)
    history = [epoch.row() for epoch in found.history]
    return {"history": history, "best": found.best.number, "seconds": round(perf_counter() - clock)}


def line(epoch: Epoch) -> str:
    return "epoch {epoch}: {metric:.4f} on validation patches, {synops_per_mac:.3f} SynOps".format_map(epoch.row())
