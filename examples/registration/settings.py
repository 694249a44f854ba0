"""What config.toml holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """brain: the set of the main result. Of both sets, [hippocampus, brain]: channels: of the four encoder blocks;
    epochs, steps: of a teacher; smoothness: weight of the diffusion loss; tune_epochs, tune_steps: of fine-tuning.
    rate, floor, tune_rate: learning rates, cosine from rate to floor; window: of NCC; calibration: pairs a network is
    calibrated on; pairs: at most so many test pairs (0: all)."""

    seed: int
    brain: str
    channels: tuple[tuple[int, ...], tuple[int, ...]]
    epochs: tuple[int, int]
    steps: tuple[int, int]
    smoothness: tuple[float, float]
    rate: float
    floor: float
    clip: float
    window: int
    calibration: int
    tune_epochs: tuple[int, int]
    tune_steps: tuple[int, int]
    tune_rate: float
    pairs: int

    def of(self, data: str, name: str) -> float:
        """A setting that differs between the two sets."""
        both = getattr(self, name)
        return both[0 if data == "hippocampus" else 1]
