"""What conversion is measured on: teachers with calibration data, samples and a metric.

A task is cut into parts, the pieces of work that are run and kept one by one. A part holds samples and gives one score
for each unit (a subject, an image), so that losses are paired by unit. Without the data set a hippocampus task takes
the example's own volumes; the others are then `missing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks import hippocampus as h
from benchmarks.conversion.teachers import data
from benchmarks.hippocampus import Array
from examples.kit.paths import data_root
from snncc.ingest import ingest
from snncc.runtime.host import HostSession

TEACHERS = Path(__file__).with_name("teachers")
CHUNK = 250  # classified images of one part


@dataclass(frozen=True)
class Task(ABC):
    """
    Args:
        name: also in file names. title: for people.
        metric, loss: what a score is called, and the unit of what is lost of it. unit: what a score belongs to.
        output: the teacher's output that is scored. teacher: its ONNX file.
        few: units that are enough for a recipe without a goal, where all of them take long; None: all.
        crop: the part of a sample that the slow engines see; None: all of it.
        digits: of a score that are shown.
        peers: units of val (to choose on) and of test that other converters are run on.
    """

    name: str
    title: str
    metric: str
    loss: str
    unit: str
    output: str
    teacher: Path
    few: int | None = field(default=None, kw_only=True)
    crop: tuple[int, ...] | None = field(default=None, kw_only=True)
    digits: int = field(default=4, kw_only=True)
    peers: tuple[int, int] = field(default=(1, 4), kw_only=True)

    def missing(self) -> str | None:
        """Why this task cannot be run, or None."""
        return None if self.teacher.exists() else f"no file {self.teacher.name}"

    @abstractmethod
    def calibration(self) -> Array:
        """Samples of the train split, float32 [n, C, *spatial]."""

    @abstractmethod
    def parts(self, split: str, limit: int | None = None) -> list[str]:
        """Names of the parts of val or test; limit: only the first units."""

    @abstractmethod
    def load(self, part: str) -> tuple[Array, Array]:
        """Samples [n, C, *spatial] float32 as the network takes them, and what `scores` compares outputs with."""

    @abstractmethod
    def scores(self, outputs: Array, truth: Array) -> list[float]:
        """One number for each unit of a part, from outputs [n, *shape]."""

    @abstractmethod
    def probe(self) -> Array:
        """One sample of the test split, [C, *spatial], that is not empty."""

    def cropped(self, sample: Array) -> Array:
        """The centre of a sample [C, *spatial], as large as `crop`."""
        if self.crop is None:
            return sample
        first = [(have - want) // 2 for have, want in zip(sample.shape[1:], self.crop, strict=True)]
        return sample[:, *(slice(f, f + want) for f, want in zip(first, self.crop, strict=True))]

    def teacher_outputs(self, samples: Array) -> Array:
        """What the teacher says: [n, *shape]."""
        graph = ingest(self.teacher)
        session, (name,) = HostSession(graph, graph.outputs), graph.inputs
        return np.concatenate([np.asarray(session.run({name: x[None]})[self.output]) for x in samples])


@dataclass(frozen=True)
class Hippocampus(Task):
    """Dice of a subject's volume, by slices (dims = 2) or at once (3)."""

    dims: int = 2

    def calibration(self) -> Array:
        return np.stack(h.calibration(self.dims))

    def parts(self, split: str, limit: int | None = None) -> list[str]:
        return h.subjects(split, limit)

    def load(self, part: str) -> tuple[Array, Array]:
        image, label = h.case(part, self.dims)
        return image, label > 0

    def scores(self, outputs: Array, truth: Array) -> list[float]:
        return [h.dice(outputs > 0.5, truth)]

    def probe(self) -> Array:
        image, _ = self.load(self.parts("test", 1)[0])
        return np.asarray(image[len(image) // 2])


@dataclass(frozen=True)
class Cifar10(Task):
    """Whether an image's class has the largest output, in percent."""

    def missing(self) -> str | None:
        return super().missing() or absent("cifar10")

    def calibration(self) -> Array:
        return data.cifar10("train", end=256)[0]

    def parts(self, split: str, limit: int | None = None) -> list[str]:
        first, end = data.CIFAR10_SPLITS[split][1:]
        return chunks(split, min(limit or end, end - first), CHUNK)

    def load(self, part: str) -> tuple[Array, Array]:
        return data.cifar10(*piece(part))

    def scores(self, outputs: Array, truth: Array) -> list[float]:
        return [100.0 * bool(hit) for hit in outputs.reshape(len(outputs), -1).argmax(1) == truth]

    def probe(self) -> Array:
        return np.asarray(data.cifar10("test", end=1)[0][0])


@dataclass(frozen=True)
class Denoising(Task):
    """PSNR of a grey image whose noise (sigma 25) the network tells."""

    def missing(self) -> str | None:
        return super().missing() or absent("bsd")

    def calibration(self) -> Array:
        return data.bsd("train", end=4)[0]

    def parts(self, split: str, limit: int | None = None) -> list[str]:
        count = len(data.bsd(cast(data.Split, split))[0])
        return chunks(split, min(limit or count, count), 1)

    def load(self, part: str) -> tuple[Array, Array]:
        noisy, clean = data.bsd(*piece(part))
        return noisy, np.stack([noisy, clean])

    def scores(self, outputs: Array, truth: Array) -> list[float]:
        noisy, clean = truth
        return data.psnr(noisy, outputs, clean)

    def probe(self) -> Array:
        return np.asarray(data.bsd("test", end=1)[0][0])


def absent(folder: str) -> str | None:
    path = data_root() / folder
    return None if path.is_dir() else f"no data in {path}"


def chunks(split: str, count: int, size: int) -> list[str]:
    """Names `SPLIT-FIRST-END` of parts that hold `size` images each."""
    return [f"{split}-{first}-{min(first + size, count)}" for first in range(0, count, size)]


def piece(part: str) -> tuple[data.Split, int, int]:
    split, first, end = part.split("-")
    return cast(data.Split, split), int(first), int(end)


def hippocampus(dims: int) -> Hippocampus:
    file = h.EXAMPLE / f"teacher_{dims}d.onnx"
    crop = (24, 32, 24) if dims == 3 else None
    title = f"Hippocampus {dims}D"
    return Hippocampus(f"hippocampus-{dims}d", title, "Dice", "Dice", "subject", "probability", file, dims, crop=crop)


def cifar10(net: str, title: str) -> Cifar10:
    file = TEACHERS / f"{net}.onnx"
    words = ("accuracy, %", "points", "image", "logits")
    return Cifar10(f"cifar10-{net}", f"CIFAR-10, {title}", *words, file, few=1000, digits=2, peers=(250, 500))


def tasks() -> list[Task]:
    """All of them, also those that are missing."""
    bsd = ("bsd68-dncnn", "BSD68, sigma 25, DnCNN-like", "PSNR, dB", "dB", "image", "noise", TEACHERS / "dncnn.onnx")
    return [
        hippocampus(2),
        hippocampus(3),
        cifar10("vgg", "VGG-like"),
        cifar10("resnet20", "ResNet-20"),
        Denoising(*bsd, few=12, crop=(33, 49), digits=3),
    ]
