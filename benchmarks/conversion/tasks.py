"""What conversion is measured on: teachers with calibration data, samples and a metric.

A task is cut into parts, the pieces of work that are run and kept one by one. A part holds samples and gives one score
for each unit (a subject, an image), so that losses are paired by unit. Without the data set a hippocampus task takes
the example's own volumes; the others are then `missing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import hippocampus as h
from benchmarks.hippocampus import Array
from snncc.ingest import ingest
from snncc.runtime.host import HostSession

TEACHERS = Path(__file__).with_name("teachers")
CHUNK = 250  # classified images of one part


@dataclass(frozen=True)
class Task(ABC):
    """name: also in file names. metric, loss: what a score is called, and the unit of what is lost of it. output: the
    teacher's output that is scored. unit: what a score belongs to. teacher: its ONNX file. few: units that are enough
    for a recipe without a goal, where running all of them takes long; None: all. crop: what the slow engines see of a
    sample; None: all of it. digits: of a score that are shown."""

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


def hippocampus(dims: int) -> Hippocampus:
    file = h.EXAMPLE / f"teacher_{dims}d.onnx"
    crop = (24, 32, 24) if dims == 3 else None
    title = f"Hippocampus {dims}D"
    return Hippocampus(f"hippocampus-{dims}d", title, "Dice", "Dice", "subject", "probability", file, dims, crop=crop)


def tasks() -> list[Task]:
    """All of them, also those that are missing."""
    return [hippocampus(2), hippocampus(3)]


def chunks(split: str, count: int) -> Sequence[str]:
    """Names `SPLIT-FIRST-END` of parts that hold `CHUNK` images each."""
    return [f"{split}-{first}-{min(first + CHUNK, count)}" for first in range(0, count, CHUNK)]
