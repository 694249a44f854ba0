"""Teachers: training on NCC and smoothness, and export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from examples.kit.export import export
from examples.kit.training import Plan, train
from examples.registration.data import FLOW, Array, Pair, preprocess, split, volumes
from examples.registration.fields import diffusion, integrate, ncc, soft_dice, warp
from examples.registration.metrics import dice_by_label, moved
from examples.registration.networks import MERGES, Teacher
from examples.registration.settings import Settings

SYNTHETIC = 0.25  # of the pairs: their contrast is only nearly that of real brains


@dataclass(frozen=True)
class Lesson:
    """One teacher. svf: its output is a velocity, which is integrated behind the network; dice: it is also shown
    labels (soft Dice, weight 1)."""

    name: str
    data: str
    merges: tuple[str, ...] = MERGES
    svf: bool = False
    dice: bool = False


def lessons(settings: Settings) -> list[Lesson]:
    """The main teacher of each set, and those of the ablations."""
    return [
        Lesson("brain", settings.brain),
        Lesson("hippocampus", "hippocampus"),
        Lesson("label-dice", "hippocampus", dice=True),
        Lesson("velocity", "hippocampus", svf=True),
        Lesson("average", "hippocampus", ("average", "average", "average", "none")),
        Lesson("no-skips", "hippocampus", ("none",) * 4),
    ]


def tensors(file: Path, data: str, pair: Pair) -> dict[str, Tensor]:
    """fixed and moving [1, *S] in 0..1, and where both have some fixed_labels and moving_labels [1, *S]; of crops
    fixed_box and moving_box, 1 inside and 0 where they are padded."""
    known = volumes(file)
    fixed, moving = pair
    found = {"fixed": known[f"images/{fixed}"] / np.float32(255), "moving": known[f"images/{moving}"] / np.float32(255)}
    if all(f"labels/{name}" in known for name in pair):
        found |= {"fixed_labels": known[f"labels/{fixed}"], "moving_labels": known[f"labels/{moving}"]}
    if data == "hippocampus":
        found |= {f"{name}_box": _box(found[name]) for name in ("fixed", "moving")}
    return {name: torch.as_tensor(value[None]) for name, value in found.items()}


def _box(image: Array) -> Array:
    """1 in the smallest box that holds all values above zero."""
    found = np.zeros_like(image)
    found[tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(image))] = 1
    return found


def random_pairs(data: str, count: int) -> Iterator[Pair]:
    """Ordered pairs of different training volumes, drawn with torch's random numbers; where there are synthetic ones, a
    quarter is of these."""
    pools = [[name for name in split(data).train if name.startswith("synth") == made] for made in (False, True)]
    for _ in range(count):
        names = pools[bool(pools[1]) and float(torch.rand(())) < SYNTHETIC]
        first, second = torch.randperm(len(names))[:2].tolist()
        yield names[first], names[second]


def similarity(flow: Tensor, batch: Mapping[str, Tensor], window: int, smoothness: float) -> Tensor:
    """NCC, of crops where both are, + smoothness * diffusion."""
    mask = None
    if "fixed_box" in batch:
        mask = batch["fixed_box"] * warp(batch["moving_box"], flow.detach(), "nearest")
    return ncc(warp(batch["moving"], flow), batch["fixed"], window, mask) + smoothness * diffusion(flow)


def teach(lesson: Lesson, settings: Settings, file: Path, folder: Path) -> dict[str, Any]:
    """Train a teacher on the volumes of `file`, and export it to folder/teacher.onnx."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    data, parts = lesson.data, split(lesson.data)
    model = Teacher(settings.of(data, "channels"), lesson.merges)
    smoothness, epochs, steps = (settings.of(data, name) for name in ("smoothness", "epochs", "pairs_an_epoch"))
    codes = torch.tensor(parts.codes).view(1, -1, 1, 1, 1)

    def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
        if 2 * epoch >= epochs:  # batches of one pair: what is evaluated and converted has fixed statistics
            for module in model.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        for pair in random_pairs(data, steps):
            yield {name: value[None] for name, value in tensors(file, data, pair).items()}

    def loss(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        raw = module(batch["fixed"], batch["moving"]).float()
        flow = integrate(raw) if lesson.svf else raw
        found = similarity(flow, batch, settings.window, smoothness)
        if lesson.dice:
            moving, fixed = ((batch[f"{name}_labels"] == codes.to(raw.device)).float() for name in ("moving", "fixed"))
            found = found + soft_dice(warp(moving, flow), fixed)
        return found

    def score(module: nn.Module) -> float:
        return float(np.mean([_dice(module, lesson.svf, tensors(file, data, pair), parts.codes) for pair in parts.val]))

    plan = Plan(epochs, steps, settings.rate, "cosine", floor=settings.floor, clip=settings.clip, seed=settings.seed)
    done = train(model, batches, loss, score, folder, plan)
    first = tensors(file, data, parts.val[0])
    sample = {name: first[name][None] for name in ("fixed", "moving")}
    about = {"lesson": lesson.name, "data": data, "val_dice": done["best"]["score"], "seed": settings.seed}
    how = preprocess(data)
    if lesson.svf:  # what it gives is a velocity: `snncc run` must not take it for a displacement
        del how["displacement"]
    meta = {"snncc.preprocess": how, "snncc.teacher": about}
    difference = export(model, sample, [FLOW], folder / "teacher.onnx", meta)
    return {**done, "difference": difference}


def _dice(module: nn.Module, svf: bool, pair: Mapping[str, Tensor], codes: tuple[int, ...]) -> float:
    """Mean Dice of labels moved by nearest neighbour."""
    device = next(module.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        flow = module(pair["fixed"][None].to(device), pair["moving"][None].to(device)).float().cpu()
    flow = integrate(flow) if svf else flow
    labels = moved(pair["moving_labels"][0].numpy(), flow[0].numpy())
    return float(np.nanmean(dice_by_label(pair["fixed_labels"][0].numpy(), labels, codes)))
