"""The spiking networks that are compared, and the stage `compile`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import snncc
from examples.kit.commands import Context
from examples.kit.work import finished
from examples.spiking_unet.data import pictures
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Array, Picture, Task, patches, task_of
from snncc.errors import OptionError

PAPER = "percentile:99.9"  # zeros included


@dataclass(frozen=True)
class Variant:
    """
    Args:
        neuron: as `snncc compile` names it. per: connection (a lambda for each population), layer (one for all that are
            read together), or channel. factor: of lambda; what one step can say at most. steps: T.
        start: the variant that this one is fine-tuned from.
    """

    name: str
    neuron: str
    steps: int
    calibration: str = PAPER
    per: str = "connection"
    factor: float = 1.0
    start: str | None = None

    @property
    def says(self) -> str:
        """For tables."""
        kind = self.neuron.replace("multi-threshold:", "MT-").replace("if", "IF")
        how = {"connection": "connection-wise", "layer": "layer-wise", "channel": "per channel"}[self.per]
        words = [kind, how, self.calibration.replace("percentile:", "") + ("" if self.calibration == "mse" else " %")]
        if self.factor != 1:
            words.append(f"lambda x {self.factor:g}")
        return ", ".join([*words, "fine-tuned"] if self.start else words)


def variants(task: Task, settings: Settings) -> tuple[Variant, ...]:
    """Of a task, those that are fine-tuned behind those they start from."""
    long, short, tuned = settings.if_steps, settings.steps, settings.tuned_steps
    found = [
        Variant("if", "if", long),
        *(Variant(f"mt{n}", f"multi-threshold:{n}", short) for n in (2, 3, 4)),
        Variant("if-layer", "if", long, per="layer"),
        Variant("mt4-layer", "multi-threshold:4", short, per="layer"),
        # the ladder of the public code: (2, 1, 1/2, 1/4) times lambda
        Variant("mt4-ladder", "multi-threshold:4", short, factor=3.75),
        Variant("mt4-mse", "multi-threshold:4", tuned, "mse", "channel"),
    ]
    starts = ["mt4-mse", "mt4-short"]
    found.append(Variant("mt4-short", "multi-threshold:4", tuned))
    if task.name in settings.if_tuned:
        found.append(Variant("if-short", "if", 2 * tuned, "percentile:99", "channel"))
        starts.append("if-short")
    return tuple(found)


def teacher_file(work: Path, task: str) -> Path:
    """Raises OptionError where it is not trained."""
    file = work / "teachers" / f"{task}.onnx"
    if not file.exists():
        raise OptionError("the teacher is not trained", file=str(file), remedy="run the stage teacher")
    return file


def model_file(work: Path, task: str, variant: str) -> Path:
    return work / "networks" / task / f"{variant}.snn.onnx"
