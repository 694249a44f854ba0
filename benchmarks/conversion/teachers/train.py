"""Train a teacher and export it: `python -m benchmarks.conversion.teachers.train vgg|resnet20|dncnn`.

Writes NAME.onnx and NAME.json (settings, time, metric on val and test) beside this file. A checkpoint is kept after
each epoch; an interrupted run goes on from it, with the numbers it would have drawn. Training runs in bfloat16; val,
test and the export in float32. Needs `pip install -e .[train]`.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.conversion.teachers import data
from benchmarks.conversion.teachers.export import export
from benchmarks.conversion.teachers.models import BUILDERS, HERE, load_onnx

console = Console()


@dataclass(frozen=True)
class Recipe(ABC):
    """How a teacher is trained. warmup: fraction of the steps in which the rate rises to `learning_rate`.
    start: the ONNX file whose weights it starts from."""

    epochs: int
    batch: int
    learning_rate: float
    warmup: float = 0.2
    seed: int = 0
    start: str | None = None
    tutors: tuple[str, ...] = ()

    output = "output"  # name in the ONNX file
    metric = "metric"

    @abstractmethod
    def steps(self) -> int:
        """In one epoch."""

    @abstractmethod
    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of one epoch."""

    @abstractmethod
    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer: ...

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    @abstractmethod
    def samples(self, split: data.Split) -> tuple[data.Array, data.Array]:
        """All network inputs of val or test and what `scores` compares with."""

    @abstractmethod
    def scores(self, inputs: data.Array, outputs: data.Array, truth: data.Array) -> list[float]:
        """One for each sample; their mean is the metric."""


@dataclass(frozen=True)
class Classify(Recipe):
    """CIFAR-10: SGD, random flip and shift, label smoothing. cutout: side of a hidden square, 0 for none."""

    weight_decay: float = 5e-4
    smoothing: float = 0.1
    shift: int = 3
    cutout: int = 0

    output = "logits"
    metric = "accuracy"

    def steps(self) -> int:
        return 45_000 // self.batch

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        pixels, labels = data.cifar10_pixels("train")
        edge, grid = self.shift, torch.arange(32)
        images = torch.from_numpy(np.pad(pixels, ((0, 0), (edge, edge), (edge, edge), (0, 0)), "reflect"))
        order = torch.randperm(len(images), generator=generator)
        for index in order.split(self.batch)[: self.steps()]:
            top, left = torch.randint(0, 2 * edge + 1, (2, len(index), 1), generator=generator)
            flip = torch.rand(len(index), 1, generator=generator) < 0.5
            rows, columns = top + grid, left + torch.where(flip, 31 - grid, grid)
            cut = images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
            if self.cutout:
                middle = torch.randint(0, 32, (2, len(index), 1), generator=generator)
                rows, columns = (grid - middle).abs() < self.cutout / 2
                cut = cut.masked_fill((rows[:, :, None] & columns[:, None, :])[..., None], 0)
            yield cut.permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)[index]

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        decayed = [p for p in module.parameters() if p.ndim > 1]
        others = [p for p in module.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others}]
        return torch.optim.SGD(groups, self.learning_rate, momentum=0.9, nesterov=True)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=0 if self.tutors else self.smoothing)

    def samples(self, split: data.Split) -> tuple[data.Array, data.Array]:
        return data.cifar10(split)

    def scores(self, inputs: data.Array, outputs: data.Array, truth: data.Array) -> list[float]:
        return [float(hit) for hit in outputs.argmax(1) == truth]


@dataclass(frozen=True)
class Denoise(Recipe):
    """Grey images with noise of a fixed sigma: Adam on the squared error of the noise, in units of sigma."""

    patch: int = 65
    patches: int = 18  # of each image in an epoch

    output = "noise"
    metric = "PSNR"

    def steps(self) -> int:
        return 360 * self.patches // self.batch

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        images = torch.from_numpy(np.stack(data.bsd_pixels("train")))
        order = torch.randperm(360 * self.patches, generator=generator) % 360
        for index in order.split(self.batch)[: self.steps()]:
            top, left = torch.randint(0, 181 - self.patch, (2, len(index)), generator=generator).tolist()
            turns = torch.randint(0, 8, (len(index),), generator=generator).tolist()
            cuts = []
            for i, y, x, turn in zip(index.tolist(), top, left, turns, strict=True):
                cut = images[i, y : y + self.patch, x : x + self.patch].rot90(turn % 4)
                cuts.append(cut.flip(0) if turn > 3 else cut)
            clean = torch.stack(cuts)[:, None].float() / 255
            noise = data.SIGMA * torch.randn(clean.shape, generator=generator)
            yield clean + noise, noise

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), self.learning_rate)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs / data.SIGMA, targets / data.SIGMA)

    def samples(self, split: data.Split) -> tuple[data.Array, data.Array]:
        return data.bsd(split)

    def scores(self, inputs: data.Array, outputs: data.Array, truth: data.Array) -> list[float]:
        return data.psnr(inputs, outputs, truth)


RECIPES: dict[str, Recipe] = {
    "vgg": Classify(epochs=20, batch=256, learning_rate=0.2),
    "resnet20": Classify(epochs=20, batch=256, learning_rate=0.2),
    "dncnn": Denoise(epochs=20, batch=16, learning_rate=2e-3, warmup=0.1),
}


@torch.no_grad()
def soften(labels: Tensor, inputs: Tensor, tutors: list[nn.Module]) -> Tensor:
    """Distillation: 0.3 of the label and 0.7 of what `tutors` say on average, as probabilities [n, classes]."""
    said = torch.stack([tutor(inputs).float().softmax(1) for tutor in tutors]).mean(0)
    return 0.3 * F.one_hot(labels, said.shape[1]) + 0.7 * said


def fit(module: nn.Module, recipe: Recipe, checkpoint: Path, tutors: list[nn.Module]) -> float:
    """Run the epochs that `checkpoint` does not hold yet; the seconds that all of them took."""
    optimizer = recipe.optimizer(module)
    total = recipe.epochs * recipe.steps()
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total, pct_start=recipe.warmup, cycle_momentum=False
    )
    state: dict[str, Any] = {"recipe": asdict(recipe), "epoch": 0, "seconds": 0.0}
    if checkpoint.exists():
        state = torch.load(checkpoint)
        if state["recipe"] != asdict(recipe):
            raise click.ClickException(f"{checkpoint} is of other settings: delete it or give --checkpoint")
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    with Progress(console=console) as progress:
        bar = progress.add_task("steps", total=total, completed=state["epoch"] * recipe.steps())
        for epoch in range(state["epoch"], recipe.epochs):
            start, losses = time.perf_counter(), []
            generator = torch.Generator().manual_seed(recipe.seed * 10_000 + epoch)  # a resumed run draws the same
            module.train()
            for inputs, targets in recipe.batches(generator):
                inputs = inputs.contiguous(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16):
                    outputs = module(inputs)
                    targets = soften(targets, inputs, tutors) if tutors else targets
                loss = recipe.loss(outputs.float(), targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                progress.advance(bar)
            state |= {"epoch": epoch + 1, "seconds": state["seconds"] + time.perf_counter() - start}
            keep(checkpoint, state, module=module, optimizer=optimizer, schedule=schedule)
            score = np.mean(evaluate(module, recipe, "val"))
            progress.console.print(
                f"epoch {epoch + 1:2d}  loss {np.mean(losses):.4f}  "
                f"val {recipe.metric} {score:.4f}  {state['seconds']:.0f} s"
            )
    return float(state["seconds"])


def keep(checkpoint: Path, state: dict[str, Any], **parts: Any) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".part")
    torch.save(state | {name: part.state_dict() for name, part in parts.items()}, partial)
    partial.replace(checkpoint)  # an interrupted save leaves the old checkpoint


@torch.no_grad()
def evaluate(module: nn.Module, recipe: Recipe, split: data.Split) -> list[float]:
    """The score of each sample, in float32."""
    module.eval()
    inputs, truth = recipe.samples(split)
    chunks = torch.from_numpy(inputs).split(max(1, 2**20 // inputs[0].size))
    outputs = [module(chunk.contiguous(memory_format=torch.channels_last)) for chunk in chunks]
    return recipe.scores(inputs, torch.cat(outputs).numpy(), truth)


def count_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one sample, those with padding included."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(sorted(RECIPES)))
@click.option("--epochs", type=click.IntRange(1), help="Length of the schedule; default: the recipe's.")
@click.option("--learning-rate", type=float, help="The highest; default: the recipe's.")
@click.option(
    "--start", type=click.Path(exists=True, path_type=Path), help="ONNX file of the same teacher to go on from."
)
@click.option(
    "--tutor", "tutors", multiple=True, type=click.Path(exists=True, path_type=Path), help="NAME.onnx to distil."
)
@click.option("--cutout", default=0, show_default=True, help="Side of a hidden square of classified images.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Default: NAME.onnx beside this file.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Default: in the cache folder of the data.")
def main(
    name: str,
    epochs: int | None,
    learning_rate: float | None,
    start: Path | None,
    tutors: tuple[Path, ...],
    cutout: int,
    seed: int,
    threads: int,
    out: Path | None,
    checkpoint: Path | None,
) -> None:
    recipe = RECIPES[name]
    recipe = replace(
        recipe,
        seed=seed,
        epochs=epochs or recipe.epochs,
        learning_rate=learning_rate or recipe.learning_rate,
        start=start and start.name,
        tutors=tuple(path.name for path in tutors),
    )
    out = out or HERE / f"{name}.onnx"
    if isinstance(recipe, Classify):
        recipe = replace(recipe, cutout=cutout)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    module = BUILDERS[name]()
    if start is not None:
        load_onnx(module, start)
    module = module.to(memory_format=torch.channels_last)
    seconds = fit(
        module,
        recipe,
        checkpoint or data.default_cache() / f"{name}.pt",
        [load_onnx(BUILDERS[path.stem](), path).to(memory_format=torch.channels_last) for path in tutors],
    )
    inputs, _ = recipe.samples("val")
    report: dict[str, Any] = {
        "name": name,
        "parameters": sum(p.numel() for p in module.parameters()),
        "macs": count_macs(module, inputs.shape[1:]),
        "metric": recipe.metric,
        "settings": {"recipe": type(recipe).__name__, **asdict(recipe)},
        "seconds": round(seconds),
        "torch": torch.__version__,
    }
    for split in ("val", "test"):
        scores = evaluate(module, recipe, split)
        report[split] = {"mean": round(float(np.mean(scores)), 4), "samples": len(scores)}
    export(module.to(memory_format=torch.contiguous_format), out, inputs[:1], recipe.output, report)
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    console.print_json(data=report)


if __name__ == "__main__":
    main()
