"""The spiking networks that are compared, and the stage `compile`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import snncc
from examples.kit.commands import Context
from examples.kit.work import digest, finished
from examples.spiking_unet.data import pictures
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Array, Task, counted, task_of
from snncc.errors import OptionError

PAPER = "percentile:99.9"  # zeros included
FITTED = ("calibrate-weights",)
LADDER = 3.75  # the public code's thresholds are (2, 1, 1/2, 1/4) times lambda: so much a step can say


@dataclass(frozen=True)
class Variant:
    """
    Args:
        neuron: as `snncc compile` names it; or radix, of so many digits as steps. steps: of its longest run. per:
            connection (a lambda for each population), layer (one for all that are read together), or channel. factor:
            of lambda, the most a step can say. precision: of weights and thresholds; the paper's are floats. passes:
            that stand behind the compiler's.
        start, tuned_at: the variant that this one is fine-tuned from, with so many steps. budget: SynOps per teacher
            MAC that fine-tuning keeps to.
    """

    name: str
    neuron: str
    steps: int
    calibration: str = PAPER
    per: str = "connection"
    factor: float = 1.0
    precision: str = "float32"
    passes: tuple[str, ...] = ()
    start: str | None = None
    tuned_at: int = 0
    budget: float | None = None

    @property
    def says(self) -> str:
        """For tables."""
        if self.neuron == "radix":
            tuned = f", fine-tuned within {self.budget:g} SynOps" if self.budget else ", fine-tuned"
            return f"radix:{self.steps}" + (tuned if self.start else "")
        kind = self.neuron.replace("multi-threshold:", "MT-").replace("if", "IF").replace(":", " ")
        how = {"connection": "connection-wise", "layer": "layer-wise", "channel": "per channel"}[self.per]
        least = "least squares" if self.calibration == "mse" else self.calibration.replace("percentile:", "") + " %"
        words = [kind, how, least] + ([] if self.factor == 1 else [f"lambda x {self.factor:g}"])
        return ", ".join(words + ([f"fine-tuned at T = {self.tuned_at}"] if self.start else []))


def variants(task: Task, settings: Settings) -> tuple[Variant, ...]:
    """Of a task; those that are fine-tuned stand behind those they start from."""
    four, middle = "multi-threshold:4", settings.steps
    base = Variant("if", "if", settings.if_steps)
    paper = Variant("mt4", four, middle)
    neuron, steps = settings.own[task.denoises]
    # int8: rounded to the nearest, small weights beside large ones lose 0.016 on DRIVE, 0.5 dB in denoising
    fitted: dict[str, Any] = {"calibration": "mse", "per": "channel", "precision": "int8", "passes": FITTED}
    own = Variant("own", neuron, steps, **fitted)
    radix = Variant("radix", "radix", settings.digits[task.denoises], **fitted)
    budget = None if task.denoises else settings.budget
    found = [
        base,
        *(Variant(f"mt{n}", f"multi-threshold:{n}", middle) for n in (2, 3)),
        paper,
        replace(base, name="if-layer", per="layer", steps=middle),
        replace(paper, name="mt4-layer", per="layer"),
        replace(paper, name="mt4-ladder", factor=LADDER),
        own,
        radix,
        replace(paper, name="mt4-tuned", start="mt4", tuned_at=settings.tuned_steps),
        replace(radix, name="radix-tuned", start="radix", tuned_at=radix.steps, budget=budget),
    ]
    if task.name in settings.more_tuned:
        found.append(replace(own, name="own-tuned", start="own", tuned_at=steps, budget=budget))
        found.append(replace(base, name="if-tuned", start="if", tuned_at=2 * settings.tuned_steps))
    return tuple(found)


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
                teacher, file = teacher_file(context.work, name), model_file(context.work, name, variant.name)
                kept = f"{variant.name}-{digest(teacher, task, variant, context.settings.calibration)}.json"
                jobs[file.with_name(kept)] = (teacher, file, task, variant, context.settings)
    finished(jobs, compile_one, context.workers, "networks")


def compile_one(
    teacher: Path, file: Path, task: Task, variant: Variant, settings: Settings, samples: list[Array] | None = None
) -> dict[str, Any]:
    """Compile a variant, calibrated on training patches, or on those given.

    Returns:
        neurons, and seconds.
    """
    clock = perf_counter()
    file.parent.mkdir(parents=True, exist_ok=True)
    passes = [*variant.passes, *([] if variant.factor == 1 else [f"threshold-scale{{factor={variant.factor}}}"])]
    how: dict[str, Any] = {"neuron": variant.neuron, "timesteps": variant.steps}
    if variant.neuron == "radix":
        how = {"code": f"radix:{variant.steps}"}
    network = snncc.compile(
        teacher, file, calibrate=samples or calibration(task, settings), calibration=variant.calibration,
        per=variant.per, precision=variant.precision, passes=passes, **how,
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
        found += [image for image, _ in counted(picture, task)]
    places = np.linspace(0, len(found) - 1, min(settings.calibration, len(found))).round().astype(int)
    return [found[k] for k in places]
