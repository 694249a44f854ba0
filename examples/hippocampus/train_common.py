"""Training loop shared by the 2D and the 3D teacher: data, augmentation, loss, checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from examples.hippocampus.data import load_case, preprocess_metadata, split_names
from examples.kit.export import export

Cases = list[tuple[Tensor, Tensor]]
Main = Callable[["Options"], None]


@dataclass(frozen=True)
class Recipe:
    """What differs between the two teachers."""

    dims: int
    input_shape: tuple[int, ...]
    batch_size: int
    learning_rate: float
    max_shift: float  # fraction of the half field of view
    max_scale: float
    bf16: bool = False  # training only; val Dice and export are float32


@dataclass(frozen=True)
class Options:
    """Command line of both scripts."""

    epochs: int
    out: Path
    checkpoint: Path
    resume: bool
    export_only: bool
    seed: int


def training_options(default_out: str, default_epochs: int) -> Callable[[Main], click.Command]:
    """Turn ``main(options)`` into the command line that both scripts share."""

    def decorate(main: Main) -> click.Command:
        @click.command(help=main.__doc__)
        @click.option("--epochs", default=default_epochs, show_default=True, help="Length of the schedule.")
        @click.option("--out", type=click.Path(path_type=Path), default=Path(default_out), show_default=True)
        @click.option("--checkpoint", type=click.Path(path_type=Path), help="Default: OUT with suffix .pt")
        @click.option("--resume", is_flag=True, help="Go on from the checkpoint (same --epochs).")
        @click.option("--export-only", is_flag=True, help="Export the checkpoint's best epoch and stop.")
        @click.option("--seed", default=0, show_default=True)
        def command(
            epochs: int, out: Path, checkpoint: Path | None, resume: bool, export_only: bool, seed: int
        ) -> None:
            main(Options(epochs, out, checkpoint or out.with_suffix(".pt"), resume, export_only, seed))

        return command

    return decorate


def load_cases(split: str, dims: int) -> Cases:
    """All subjects of a split as tensors."""
    arrays = (load_case(name, dims) for name in split_names(split))
    return [(torch.from_numpy(image), torch.from_numpy(label)) for image, label in arrays]


def augment(image: Tensor, label: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Random left-right flip, shift, zoom, contrast, gamma and noise, each drawn per sample."""
    batch, dims = image.shape[0], recipe.dims
    scale = 1 + recipe.max_scale * (2 * torch.rand(batch, dims) - 1)
    # affine_grid counts axes backwards, so its last one is x: left and right hippocampi are mirror images
    scale[:, -1] *= torch.where(torch.rand(batch) < 0.5, -1.0, 1.0)
    shift = recipe.max_shift * (2 * torch.rand(batch, dims, 1) - 1)
    affine = torch.cat([torch.diag_embed(scale), shift], 2)
    grid = F.affine_grid(affine, list(image.shape), align_corners=False)
    image = F.grid_sample(image, grid, align_corners=False)
    label = F.grid_sample(label, grid, mode="nearest", align_corners=False)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, *[1] * (dims + 1))

    image = image.clamp(1e-6, 1) ** draw(0.75, 1.33) * draw(0.85, 1.15)
    return (image + draw(0, 0.03) * torch.randn_like(image)).clamp(0, 1), label


@torch.no_grad()
def mean_dice(model: nn.Module, cases: Cases) -> float:
    """Mean volume Dice per subject (2D slices are put together first)."""
    model.eval()
    metric = DiceMetric()
    for image, label in cases:
        mask = model(image) > 0  # logit 0 is probability 0.5
        metric(mask.reshape(1, 1, -1).float(), label.reshape(1, 1, -1))
    return metric.aggregate().item()


def count_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one inference."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(shape))
    return counter.get_total_flops() // 2


def train(model: nn.Module, recipe: Recipe, options: Options) -> None:
    """Train (or resume), keep the best epoch on val and export it to ONNX."""
    print(f"{count_macs(model, recipe.input_shape) / 1e6:.1f} MMAC per inference")
    state: dict = {"epoch": 0, "best_dice": -1.0, "best_epoch": 0, "seconds": 0.0, "seed": options.seed}
    if options.resume or options.export_only:
        state = torch.load(options.checkpoint)
    if not options.export_only:
        fit(model, recipe, options, state)
    model.load_state_dict(state["best_model"])
    export_teacher(model, recipe, options.out, state)


def export_teacher(network: nn.Module, recipe: Recipe, path: Path, state: dict) -> None:
    """Export ``network`` (logits) with a sigmoid behind it, checked on a validation image."""
    image, _ = load_case(split_names("val")[0], recipe.dims)
    middle = len(image) // 2
    teacher = {
        "data": "Medical Segmentation Decathlon Task04_Hippocampus, labels 1 and 2 merged",
        "data_licence": "CC-BY-SA 4.0",
        "val_dice": round(state["best_dice"], 4),
        "epochs": state["epoch"],
        "best_epoch": state["best_epoch"],
        "seed": state["seed"],
    }
    difference = export(
        nn.Sequential(network, nn.Sigmoid()),
        {"image": torch.from_numpy(image[middle : middle + 1])},
        ["probability"],
        path,
        {"snncc.preprocess": preprocess_metadata(recipe.dims), "snncc.teacher": teacher},
    )
    print(f"{path.name}: {path.stat().st_size} bytes, {teacher}")
    print(f"largest difference between ONNX and torch: {difference:.2e}")


def fit(model: nn.Module, recipe: Recipe, options: Options, state: dict) -> None:
    """Run the epochs still to do; ``state`` is what the checkpoint holds."""
    data = load_cases("train", recipe.dims)
    images, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    val = load_cases("val", recipe.dims)
    steps = len(images) // recipe.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, options.epochs * steps)
    if state["epoch"]:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    # batch=True: one Dice over the batch, because many 2D slices hold no foreground
    criterion = DiceCELoss(sigmoid=True, batch=True)

    for epoch in range(state["epoch"], options.epochs):
        start = time.perf_counter()
        torch.manual_seed(state["seed"] * 10_000 + epoch)  # a resumed run draws the same numbers
        model.train()
        losses = []
        for index in torch.randperm(len(images)).split(recipe.batch_size)[:steps]:
            image, label = augment(images[index], labels[index], recipe)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
                logits = model(image)
            loss = criterion(logits.float(), label)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        dice = mean_dice(model, val)
        if dice > state["best_dice"]:
            best = {key: value.clone() for key, value in model.state_dict().items()}
            state |= {"best_dice": dice, "best_epoch": epoch + 1, "best_model": best}
        state |= {"epoch": epoch + 1, "seconds": state["seconds"] + time.perf_counter() - start}
        state["model"] = model.state_dict()
        state["optimizer"] = optimizer.state_dict()
        state["schedule"] = schedule.state_dict()
        options.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = options.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(options.checkpoint)  # an interrupted save leaves the old checkpoint
        print(
            f"epoch {epoch + 1:3d}  loss {np.mean(losses):.4f}  val Dice {dice:.4f}  "
            f"best {state['best_dice']:.4f} @{state['best_epoch']}  {state['seconds']:.0f} s",
            flush=True,
        )
