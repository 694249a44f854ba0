"""Binary against ternary input: VGG-5 on CIFAR-10, by the same steps as the segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich import print as say
from torch import Tensor, nn

import snncc
from benchmarks.conversion.teachers.data import Split, cifar10_pixels
from examples.hippocampus_hybrid.convert import balanced, facts_of
from examples.hippocampus_hybrid.data import scaled
from examples.hippocampus_hybrid.measure import measure
from examples.hippocampus_hybrid.networks import Vgg5
from examples.hippocampus_hybrid.settings import INPUTS, Settings
from examples.hippocampus_hybrid.tune import SURROGATE
from examples.kit.commands import Context
from examples.kit.export import export
from examples.kit.training import Plan, train
from examples.kit.work import digest, finished
from snncc.comparison.metrics import Metric
from snncc.errors import DataError
from snncc.trainer import SpikingModule
from snncc.trainer.fit import Settings as FitSettings
from snncc.trainer.fit import fit

Array = np.ndarray[Any, np.dtype[Any]]
ACCURACY = Metric("accuracy")
CHOOSING = 50  # validation images that choose the threshold scale
JUDGING = 200  # that choose the epoch of fine-tuning
CHUNK = 100  # images of one job


@dataclass(frozen=True)
class Images:
    """Images `first` to `end` of a split of CIFAR-10 (JPEG set)."""

    work: Path
    split: Split
    first: int
    end: int
    kind: str

    def load(self) -> tuple[Array, Array]:
        """Inputs float32 [n, 3, 32, 32] and classes int64 [n]."""
        pixels, labels = cifar10_pixels(self.split, self.work)
        part = slice(self.first, self.end)
        return scaled(np.moveaxis(pixels[part], 3, 1), self.kind), labels[part]


def prepare(work: Path) -> None:
    """Decode the images into the work folder. Raises DataError: there are none."""
    try:
        for split in ("train", "test"):
            cifar10_pixels(split, work)
    except FileNotFoundError as error:
        remedy = "set SNNCC_SHARED to the folder above data; see README"
        raise DataError("CIFAR-10 is not there", file=str(error.filename), remedy=remedy) from None


def folder(work: Path) -> Path:
    return work / "vgg"


def teacher_file(work: Path, kind: str) -> Path:
    return folder(work) / f"{kind}.onnx"


def teachers(context: Context[Settings]) -> None:
    """Train VGG-5 for both kinds of input."""
    work = context.work
    jobs = {folder(work) / f"{kind}.json": (work, context.settings, kind) for kind in INPUTS}
    finished(jobs, train_teacher, context.workers, "VGG-5")


def train_teacher(work: Path, settings: Settings, kind: str) -> dict[str, Any]:
    """Train with random flips and shifts, and export the best epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    pixels, labels = cifar10_pixels("train", work)
    padded = torch.as_tensor(np.pad(np.moveaxis(pixels, 3, 1), ((0, 0), (0, 0), (3, 3), (3, 3)), "reflect"))
    classes, size = torch.as_tensor(labels), 128
    steps = min(settings.vgg_images, len(padded)) // size

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.randperm(len(padded)).split(size)[:steps]:
            y, x = torch.randint(7, (2,)).tolist()
            cut = padded[chosen, :, y : y + 32, x : x + 32]
            cut = torch.where((torch.rand(len(cut)) < 0.5)[:, None, None, None], cut.flip(3), cut)
            yield torch.as_tensor(scaled(cut.numpy(), kind)), classes[chosen]

    val, truth = (torch.as_tensor(part) for part in Images(work, "val", 0, 2000, kind).load())

    def accuracy(model: nn.Module) -> float:
        device = next(model.parameters()).device
        said = torch.cat([model(part.to(device)).cpu().argmax(1) for part in val.split(500)])
        return float((said == truth).float().mean())

    model = Vgg5(settings.vgg_channels, settings.vgg_hidden, settings.dropout)
    plan = Plan(settings.vgg_epochs, steps, 1e-3, clip=1.0, seed=settings.seed)
    found = train(model, batches, lambda m, b: F.cross_entropy(m(b[0]).float(), b[1]), accuracy,
                  folder(work) / kind, plan)  # fmt: skip
    export(model, {"image": val[:1]}, ["logits"], teacher_file(work, kind), {"snncc.teacher": {"input": kind}})
    return found


def convert(context: Context[Settings]) -> None:
    """Compile at every threshold scale, and choose one on validation images."""
    work, settings, jobs = context.work, context.settings, {}
    for kind in INPUTS:
        if teacher_file(work, kind).exists():
            for scale in settings.scales:
                file = compiled_file(work, kind, scale)
                jobs[facts_of(file)] = (work, settings, kind, scale, file)
    finished(jobs, compile_one, context.workers, "VGG-5: thresholds balanced")


def compiled_file(work: Path, kind: str, scale: float) -> Path:
    return folder(work) / f"{kind}-{digest(teacher_file(work, kind))}" / f"scale-{scale:g}.snn.onnx"


def compile_one(work: Path, settings: Settings, kind: str, scale: float, file: Path) -> dict[str, Any]:
    images, _ = Images(work, "train", 0, settings.calibration, kind).load()
    file.parent.mkdir(parents=True, exist_ok=True)
    network = snncc.compile(teacher_file(work, kind), file, calibrate=list(images), **balanced(settings, scale))
    return {"steps": network.meta["timesteps"]}


def chosen(context: Context[Settings], kind: str) -> tuple[float, float]:
    """The scales with the highest accuracy on validation images, after `steps` and after `tune_steps`."""
    settings, jobs = context.settings, {}
    for scale in settings.scales:
        file = compiled_file(context.work, kind, scale)
        source = Images(context.work, "val", 0, CHOOSING, kind)
        jobs[file.with_suffix("").with_suffix(".grid.json")] = (
            file, source, (ACCURACY,), settings.steps, settings.over
        )  # fmt: skip
    found = list(finished(jobs, measure, context.workers, f"VGG-5, {kind}: scales").values())
    right = np.array([[counts[0] for counts in one["prefixes"]] for one in found])
    at = (settings.over.index(t) for t in (settings.steps, settings.tune_steps))
    best, tune = (settings.scales[int(right[:, k].argmax())] for k in at)
    return best, tune


def tuned_file(work: Path, kind: str) -> Path:
    return compiled_file(work, kind, 1).with_name("tuned.snn.onnx")


def tune(context: Context[Settings]) -> None:
    """Fine-tune weights from the converted networks."""
    work, jobs = context.work, {}
    for kind in INPUTS:
        if teacher_file(work, kind).exists():
            start = compiled_file(work, kind, chosen(context, kind)[1])
            jobs[tuned_file(work, kind).with_suffix(".json")] = (work, context.settings, kind, start)
    finished(jobs, tune_one, context.workers, "VGG-5: fine-tuning")


class _Samples:
    """Images as the trainer takes them; size: of an epoch, drawn anew each time (None: all, in order)."""

    def __init__(self, source: Images, size: int | None = None):
        self.images, self.labels = source.load()
        self.size = size

    def __len__(self) -> int:
        return self.size or len(self.images)

    def __getitem__(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        k = int(torch.randint(len(self.images), ())) if self.size else k
        return {"image": torch.as_tensor(self.images[k])}, torch.as_tensor(self.labels[k])


def tune_one(work: Path, settings: Settings, kind: str, start: Path) -> dict[str, Any]:
    """Train from the compiled file `start`, and write the best epoch on validation images."""
    torch.set_num_threads(1)
    module = SpikingModule.from_file(start, surrogate=SURROGATE)
    train_images = _Samples(Images(work, "train", 0, 45_000, kind), settings.vgg_tune_images)
    rates = {"weights": settings.vgg_tune_rate}
    plan = FitSettings(epochs=settings.vgg_tune_epochs, batch=32, seed=settings.seed, rates=rates)
    file = tuned_file(work, kind)
    done = fit(
        module, train_images, _Samples(Images(work, "val", CHOOSING, CHOOSING + JUDGING, kind)),
        lambda trace, truth: F.cross_entropy(next(iter(trace.readouts.values())), truth), ACCURACY,
        file.with_suffix(".work"), plan, timesteps=settings.tune_steps,
        report=lambda e: say(f"VGG-5, {kind}: epoch {e.number}, accuracy {e.found.metric:.3f}"),
    )  # fmt: skip
    module.save(file, input=kind)
    return {"history": [epoch.row() for epoch in done.history], "best": done.best.number}


def evaluate(context: Context[Settings]) -> dict[str, dict[str, Any]]:
    """By kind of input and network: a 1 or 0 for each test image, and what `measure` says of each part."""
    work, settings, found = context.work, context.settings, {}
    for kind in (kind for kind in INPUTS if tuned_file(work, kind).exists()):
        best, _ = chosen(context, kind)
        networks = {
            "teacher": (teacher_file(work, kind), None, ()),
            "converted": (compiled_file(work, kind, best), settings.steps, settings.over),
            "fine-tuned": (tuned_file(work, kind), settings.tune_steps, ()),
        }
        for name, (file, steps, prefixes) in networks.items():
            jobs = {}
            for first in range(0, settings.vgg_tests, CHUNK):
                source = Images(work, "test", first, first + CHUNK, kind)
                path = folder(work) / f"runs-{digest(file, steps, prefixes)}" / f"{first}.json"
                jobs[path] = (file, source, (ACCURACY,), steps, prefixes)
            parts = list(finished(jobs, measure, context.workers, f"VGG-5, {kind}: {name}").values())
            found[f"{kind}, {name}"] = {
                "steps": steps, "scale": best, "parts": parts,
                "right": [counts[0] for part in parts for counts in part["samples"]],
            }  # fmt: skip
    return found
