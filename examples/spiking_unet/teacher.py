"""The stages `prepare` and `teacher`: what data there are, and the U-Nets that are converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from examples.kit.commands import Context
from examples.kit.export import export
from examples.kit.training import Plan, train
from examples.kit.work import finished, keep
from examples.spiking_unet.data import Crops, pictures
from examples.spiking_unet.network import UNet
from examples.spiking_unet.scores import Score
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Task, counted, task_of

Batch = tuple[Tensor, Tensor]
FIRST = 25  # the noise that is learned from the start
COLOUR = "CamSeq01's training frames: there is no colour training set"


def prepare(context: Context[Settings]) -> None:
    """Count the pictures and patches of every task; nothing is written but these numbers."""
    settings, lines = context.settings, []
    for task in (task_of(name, settings) for name in settings.tasks):
        found = {split: pictures(task, split, settings) for split in ("train", "val", "test")}
        cut = sum(len(counted(p, task, settings.parts if task.denoises else 0)) for p in found["test"])
        sizes = ", ".join(f"{len(part)} {split}" for split, part in found.items())
        lines.append(f"{task.name}: {sizes} pictures; {cut} test patches of {task.patch[0]}x{task.patch[1]}")
        Console().print(lines[-1], highlight=False)
    keep(context.work / "data.txt", "\n".join(lines) + "\n")


def teacher(context: Context[Settings]) -> None:
    """Train the U-Net of every task, and write teachers/TASK.onnx."""
    tasks = [task_of(name, context.settings) for name in context.settings.tasks]
    for later in (False, True):
        folders = {task: context.work / "teachers" / task.name for task in tasks if _later(task) == later}
        jobs = {folder.with_suffix(".json"): (task, context.settings, folder) for task, folder in folders.items()}
        finished(jobs, trained, context.workers, "teachers" if not later else "teachers that go on from others")


def _later(task: Task) -> bool:
    return task.sigma not in (0, FIRST)


def trained(task: Task, settings: Settings, folder: Path, file: Path | None = None) -> dict[str, Any]:
    """Train in `folder` and export to `file` (FOLDER.onnx).

    A denoiser goes on from that of the same pictures with FIRST noise, where there is one, for half the epochs.

    Returns:
        What `examples.kit.training.train` says, and the largest difference between ONNX and torch.
    """
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    model = UNet(task.inputs, task.outputs, settings.channels, task.head, norm=not task.denoises)
    before = folder.with_name(f"{task.data}-{FIRST}") / "best.ckpt"
    goes_on = _later(task) and before.exists()
    if goes_on:
        state = torch.load(before, map_location="cpu", weights_only=False)["state_dict"]
        model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    epochs = -(-settings.epochs // 2) if goes_on else settings.epochs
    area = task.crop[0] * task.crop[1]
    count = max(1, round(settings.batch_megapixels[task.denoises] * 1e6 / area))
    steps = max(1, round(settings.epoch_megapixels * 1e6 / (count * area)))
    crops, validation = Crops(task, task.crop, settings), chosen(task, "val", settings)
    found = train(
        model, lambda epoch: (crops.batch(count) for _ in range(steps)),
        lambda network, batch: loss_of(task)(network(batch[0]).float(), batch[1]),
        lambda network: scored(network, task, validation), folder,
        Plan(epochs, steps, settings.rate[task.denoises], clip=1.0, seed=settings.seed),
    )  # fmt: skip
    data = COLOUR if task.data == "cbsd68" else "the training split"
    meta = {
        "snncc.preprocess": {"version": 1} | ({"labels": None} if task.denoises else {}),
        "snncc.teacher": {"task": task.name, "data": data, "seed": settings.seed, "best": found["best"]},
    }
    example = torch.as_tensor(validation[0][0])[None]
    error = export(model, {"image": example}, ["out"], file or folder.with_suffix(".onnx"), meta)
    return {**found, "task": task.name, "parameters": sum(p.numel() for p in model.parameters()), "onnx_error": error}


def loss_of(task: Task) -> Any:
    """Cross-entropy without IGNORED, or mean absolute error (Li et al., 2024)."""
    return F.l1_loss if task.denoises else F.cross_entropy


def chosen(task: Task, split: str, settings: Settings, megapixels: float = 0) -> list[tuple[Any, Any]]:
    """All patches of a split's pictures; or so many, evenly spread over them."""
    parts = settings.parts if task.denoises else 0
    every = [patch for p in pictures(task, split, settings) for patch in counted(p, task, parts)]
    wanted = round(megapixels * 1e6 / (task.patch[0] * task.patch[1])) or len(every)
    stride = max(1, len(every) // wanted)
    return every[stride // 2 :: stride][:wanted]


def scored(network: nn.Module, task: Task, validation: list[tuple[Any, Any]]) -> float:
    """The metric over all patches together."""
    score = Score(task)
    device = next(network.parameters()).device
    total: Any = 0.0
    for image, target in validation:
        output = network(torch.as_tensor(image)[None].to(device)).float().cpu().numpy()
        total = total + score.counts(output, target)
    return score.value(total)
