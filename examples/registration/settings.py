"""What config.toml holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Settings:
    """brain: the set of the main result. Of both sets, [hippocampus, brain]: channels: of the four encoder blocks;
    epochs, pairs_an_epoch: of a teacher; smoothness: weight of the diffusion loss; tune_epochs, tune_pairs,
    tune_smoothness, tune_rate, tune_distill: of fine-tuning; the last is the weight of the distance from the teacher's
    displacement, of this project's networks.

    rate, floor, clip: learning rates (cosine from rate to floor), largest norm of a gradient; window: of
    NCC; calibration: pairs a network is calibrated on; test_pairs: at most so many (0: all).
    codes, steps: of the default networks; percentiles, paper_steps: of SpikeReg's; tuned_codes, signed_steps: of
    what is fine-tuned; tuned_percentile, leaky_epochs, leaky_pairs (of both sets), leaky_rate: of SpikeReg's;
    rate_weight, target_weight, target: of the costs of rates; distill: weight of the teacher's displacement in the
    finding on distillation.
    """

    SELECTING: ClassVar = (
        "codes", "steps", "percentiles", "paper_steps", "tuned_codes", "signed_steps", "tuned_percentile"
    )  # fmt: skip

    seed: int
    brain: str
    channels: tuple[tuple[int, ...], tuple[int, ...]]
    epochs: tuple[int, int]
    pairs_an_epoch: tuple[int, int]
    smoothness: tuple[float, float]
    rate: float
    floor: float
    clip: float
    window: int
    calibration: int
    test_pairs: int
    codes: tuple[str, ...]
    steps: tuple[int, ...]
    percentiles: tuple[float, ...]
    paper_steps: int
    tuned_codes: tuple[str, ...]
    signed_steps: int
    tune_epochs: tuple[int, int]
    tune_pairs: tuple[int, int]
    tune_smoothness: tuple[float, float]
    tune_rate: tuple[float, float]
    tune_distill: tuple[float, float]
    tuned_percentile: float
    leaky_epochs: tuple[int, int]
    leaky_pairs: tuple[int, int]
    leaky_rate: float
    rate_weight: float
    target_weight: float
    target: float
    distill: float

    @property
    def halved(self) -> bool:
        """Are the brains of the main result at 2 mm?"""
        return self.brain == "brain-2mm"

    def of(self, data: str, name: str) -> Any:
        """A setting that differs between the two sets."""
        both = getattr(self, name)
        return both[0 if data == "hippocampus" else 1]
