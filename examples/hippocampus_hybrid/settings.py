"""What is trained, converted and measured: the settings of a size, and the cases they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

INPUTS = ("binary", "ternary")  # in [0, 1] and in [-1, 1]: what Poisson spikes of them can be


@dataclass(frozen=True)
class Settings:
    """Of the teachers: channels by level, dropout, epochs, one slice in `teacher_every` an epoch.

    Args:
        folds: 1: the data's own split; more: all subjects in so many parts, drawn with the seed. validation: subjects
            of a fold that choose epochs and scales. loss: the one of all comparisons beside that of losses.
        balance_steps, balance_samples: time steps and slices of threshold balancing. scales: of thresholds that are
            tried; prefixes: numbers of steps looked at, the last is how long it runs; grid_subjects: of the validation
            split. steps: those of the converted network (early stop). cutoffs: of the output.
        tune_steps: T of fine-tuning; tune_every: as of the teachers, val_every: of validation slices; own_epochs,
            every, rate: of the radix network. digits: of its code. calibration: slices that it is calibrated on.
        vgg_...: VGG-5 on CIFAR-10; images: of an epoch, tune_images: of one of fine-tuning, tests: images judged on.
    """

    SELECTING: ClassVar = ("losses",)

    seed: int
    folds: int
    validation: int
    losses: tuple[str, ...]
    loss: str
    channels: tuple[int, ...]
    dropout: float
    teacher_epochs: int
    teacher_every: int
    teacher_batch: int
    teacher_rate: float
    teacher_schedule: str
    balance_steps: int
    balance_samples: int
    scales: tuple[float, ...]
    prefixes: tuple[int, ...]
    grid_subjects: int
    steps: int
    cutoffs: tuple[float, ...]
    tune_steps: int
    tune_epochs: int
    tune_every: int
    tune_batch: int
    tune_rate: float
    val_every: int
    own_epochs: int
    own_every: int
    own_rate: float
    digits: int
    calibration: int
    vgg_channels: tuple[int, ...]
    vgg_hidden: int
    vgg_epochs: int
    vgg_images: int
    vgg_tune_epochs: int
    vgg_tune_images: int
    vgg_tune_rate: float
    vgg_tests: int

    @property
    def over(self) -> tuple[int, ...]:
        """The prefixes of a run of `steps`."""
        return tuple(t for t in self.prefixes if t <= self.steps)


@dataclass(frozen=True)
class Case:
    """One teacher: its fold, what its input is like, its loss."""

    fold: int
    input: str
    loss: str

    @property
    def name(self) -> str:
        return f"{self.fold}-{self.input}-{self.loss}"


def cases(settings: Settings) -> list[Case]:
    """Binary input with every loss, ternary input with the main one; of all folds, the main one first."""
    folds = range(settings.folds)
    losses = sorted(settings.losses, key=lambda loss: loss != settings.loss)
    return [Case(f, "binary", loss) for f in folds for loss in losses] + [
        Case(f, "ternary", settings.loss) for f in folds
    ]
