"""The spiking networks that are compared, and the stage `compile`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import snncc
from examples.kit.commands import Context
from examples.kit.work import finished
from examples.spiking_unet.data import pictures
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import IGNORED, Array, Task, patches, task_of
from snncc.errors import OptionError

PAPER = "percentile:99.9"  # zeros included
LADDER = 3.75  # the public code's thresholds are (2, 1, 1/2, 1/4) times lambda: so much a step can say


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
    """Of a task; those that are fine-tuned stand behind those they start from."""
    long, middle, short = settings.if_steps, settings.steps, settings.tuned_steps
    four = "multi-threshold:4"
    found = [
        Variant("if", "if", long),
        *(Variant(f"mt{n}", f"multi-threshold:{n}", middle) for n in (2, 3, 4)),
        Variant("if-layer", "if", long, per="layer"),
        Variant("mt4-layer", four, middle, per="layer"),
        Variant("mt4-ladder", four, middle, factor=LADDER),
        *_pair("mt4-mse", four, short, "mse"),
    ]
    if task.name in settings.if_tuned:
        found += _pair("if-short", "if", 2 * short, "percentile:99")
    return tuple(found)


def _pair(name: str, neuron: str, steps: int, calibration: str) -> list[Variant]:
    """With the thresholds of this project's recipe, before and after fine-tuning."""
    start = Variant(name, neuron, steps, calibration, "channel")
    return [start, replace(start, name=f"{name}-tuned", start=name)]


def teacher_file(work: Path, task: str) -> Path:
    """Raises OptionError where it is not trained."""
    file = work / "teachers" / f"{task}.onnx"
    if not file.exists():
        raise OptionError("the teacher is not trained", file=str(file), remedy="run the stage teacher")
    return file


def model_file(work: Path, task: str, variant: str) -> Path:
    return work / "networks" / task / f"{variant}.snn.onnx"


def compile_all(context: Context[Settings]) -> None:
    """Compile every network of every task: networks/TASK/VARIANT.snn.onnx."""
    jobs = {}
    for name in context.settings.tasks:
        task = task_of(name, context.settings)
        for variant in variants(task, context.settings):
            if variant.start is None:
                file = model_file(context.work, name, variant.name)
                jobs[file.with_suffix(".json")] = (teacher_file(context.work, name), file, task, variant, context.settings)
    finished(jobs, compile_one, context.workers, "networks")


def compile_one(teacher: Path, file: Path, task: Task, variant: Variant, settings: Settings) -> dict[str, Any]:
    """Compile a variant, calibrated on training patches.

    Returns:
        neurons, and seconds.
    """
    clock = perf_counter()
    file.parent.mkdir(parents=True, exist_ok=True)
    passes = [] if variant.factor == 1 else [f"threshold-scale{{factor={variant.factor}}}"]
    network = snncc.compile(
        teacher, file, calibrate=calibration(task, settings), neuron=variant.neuron, timesteps=variant.steps,
        calibration=variant.calibration, per=variant.per, passes=passes,
    )  # fmt: skip
    return {"neurons": sum(p.size for p in network.populations if p.fires), "seconds": round(perf_counter() - clock, 1)}


def calibration(task: Task, settings: Settings) -> list[Array]:
    """Patches of training pictures, noise included; of DRIVE those that lie in the field of view."""
    found = []
    for k, picture in enumerate(pictures(task, "train", settings)):
        if task.denoises:
            rng = np.random.default_rng([settings.seed, task.sigma, k])
            noise = rng.standard_normal(picture.image.shape, np.float32) * np.float32(task.sigma / 255)
            picture = replace(picture, image=picture.image + noise)
        found += [image for image, target in patches(picture, task) if task.denoises or (target != IGNORED).any()]
    places = np.linspace(0, len(found) - 1, min(settings.calibration, len(found))).round().astype(int)
    return [found[k] for k in places]
