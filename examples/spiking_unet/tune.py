"""The stage `finetune`: weights and biases, with gradients of accumulated flow (Wu et al., 2021); for
radix neurons with those of their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from examples.kit.commands import Context
from examples.kit.work import digest, finished
from examples.spiking_unet.data import Crops
from examples.spiking_unet.runs import Exact
from examples.spiking_unet.scores import Score
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import IGNORED, Task, task_of
from examples.spiking_unet.teacher import chosen
from examples.spiking_unet.variants import Variant, model_file, teacher_file, variants
from snncc.errors import OptionError
from snncc.onnx_file import read
from snncc.trainer import SpikingModule, Trace
from snncc.trainer.fit import Epoch, fit
from snncc.trainer.fit import Settings as Training
from snncc.trainer.losses import Objective, output, synops

Sample = tuple[dict[str, Tensor], Tensor | dict[str, Tensor]]

GROUPS = ("weights", "biases")
COST = 2.0  # of SynOps per teacher MAC above the budget


class Drawn:
    """An epoch's random crops; with the logits of a teacher, if one is given."""

    def __init__(self, crops: Crops, count: int, teacher: Path | None):
        self.crops, self.count = crops, count
        self.teacher = Exact(teacher) if teacher else None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> Sample:
        image, target = self.crops.draw()
        if self.teacher is None:
            return {"image": image}, target
        return {"image": image}, {"truth": target, "teacher": torch.as_tensor(self.teacher(image.numpy())[0][0])}


@dataclass(frozen=True)
class Aim:
    """A loss, and SynOps above a budget (None: any number). Where there are a teacher's logits, its probabilities take
    the place of the labels: some dozens of batches are too few to learn these better."""

    loss: str
    budget: float | None

    def __call__(self, trace: Trace, target: Tensor | Mapping[str, Tensor]) -> Tensor:
        if isinstance(target, Tensor):
            found = Objective.of(self.loss)(trace, target)
        else:
            logits, counted = output(trace), target["truth"] != IGNORED
            loss = F.cross_entropy(logits, target["teacher"].softmax(1), reduction="none")
            found = loss[counted].sum() / counted.sum().clamp(min=1)
        return found if self.budget is None else found + COST * synops(trace, self.budget)


def finetune(context: Context[Settings]) -> None:
    """Fine-tune the networks that have a successor: networks/TASK/VARIANT-tuned.snn.onnx."""
    jobs: dict[Path, tuple[Any, ...]] = {}
    for task, variant, start in trainings(context):
        if not start.exists():
            raise OptionError("the network is not compiled", file=str(start), remedy="run the stage compile")
        file, kept = model_file(context.work, task.name, variant.name), record(context, task, variant, start)
        teacher = teacher_file(context.work, task.name) if distils(task, variant) else None
        jobs[kept] = (start, file, kept.with_suffix(""), task, variant, context.settings, teacher)
    finished(jobs, tuned, context.workers, "fine-tunings")


def distils(task: Task, variant: Variant) -> bool:
    """Does it learn from the teacher? The paper's networks learn from labels, and denoising knows the clean image."""
    return variant.neuron == "radix" and not task.denoises


def loss(task: Task, variant: Variant) -> str:
    """The paper's mean absolute error or cross-entropy; of radix networks that denoise what PSNR is made of."""
    if not task.denoises:
        return "cross-entropy"
    return "mse" if variant.neuron == "radix" else "l1"


def epochs(variant: Variant, settings: Settings) -> int:
    return settings.radix_epochs if variant.neuron == "radix" else settings.tune_epochs


def rate(task: Task, variant: Variant, settings: Settings) -> float:
    return (settings.radix_rate if variant.neuron == "radix" else settings.tune_rate)[task.denoises]


def trainings(context: Context[Settings]) -> Iterator[tuple[Task, Variant, Path]]:
    """(task, variant, the network it starts from) of all fine-tunings, whether or not there is that network."""
    for task in (task_of(name, context.settings) for name in context.settings.tasks):
        for variant in variants(task, context.settings):
            if variant.start is not None:
                yield task, variant, model_file(context.work, task.name, variant.start)


def record(context: Context[Settings], task: Task, variant: Variant, start: Path) -> Path:
    """Where what `tuned` says is kept; another one where the start or a setting of the training is another."""
    of, distilled = context.settings, distils(task, variant)
    what = [epochs(variant, of), of.tune_megapixels, of.tune_batch, rate(task, variant, of), of.tune_val_megapixels]
    how = [*what, of.seed, of.parts, "probabilities" if distilled else loss(task, variant)]
    name = f"{variant.name}-{digest(start, task, variant, tuple(how))}.json"
    return context.work / "networks" / task.name / name


def tuned(
    start: Path, file: Path, folder: Path, task: Task, variant: Variant, settings: Settings, teacher: Path | None = None
) -> dict[str, Any]:
    """Fine-tune `start` at the variant's T and write `file`; a training that was interrupted goes on in `folder`.

    Args:
        teacher: whose logits are learned in place of labels; None: labels.

    Returns:
        history: rows of epochs, 0 being the start; best: the number of the one that is written; seconds.
    """
    torch.set_num_threads(1)
    clock, area = perf_counter(), task.patch[0] * task.patch[1]
    network = read(start)
    module = SpikingModule(network, flow=not any(p.waits for p in network.populations))
    validation = [
        ({"image": torch.as_tensor(image)}, torch.as_tensor(target))
        for image, target in chosen(task, "val", settings, settings.tune_val_megapixels)
    ]
    train = Drawn(Crops(task, task.patch, settings), round(settings.tune_megapixels * 1e6 / area), teacher)
    batch, rates = max(1, round(settings.tune_batch * 1e6 / area)), dict.fromkeys(GROUPS, rate(task, variant, settings))
    how = Training(epochs(variant, settings), batch, rates, budget=variant.budget, seed=settings.seed)
    show = Console()
    found = fit(
        module, train, validation, Aim(loss(task, variant), variant.budget), Score(task), folder, how,
        cases=[0] * len(validation), timesteps=variant.tuned_at,
        report=lambda epoch: show.print(f"{task.name}, {variant.name}: {line(epoch)}", highlight=False),
    )  # fmt: skip
    module.save(file, variant=variant.name, best=found.best.number)
    history = [epoch.row() for epoch in found.history]
    return {"history": history, "best": found.best.number, "seconds": round(perf_counter() - clock)}


def line(epoch: Epoch) -> str:
    return "epoch {epoch}: {metric:.4f} on validation patches, {synops_per_mac:.3f} SynOps".format_map(epoch.row())
