"""What `config.toml` says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

CONFIG = Path(__file__).with_name("config.toml")


@dataclass(frozen=True)
class Settings:
    """
    Args:
        seed: of everything that is drawn. tasks: in the order of work, see tasks.py.
        channels: of the first level of the U-Net. shrink: of CamSeq01's frames, in both directions.
        parts: patches of a test image in denoising, of six.
        epochs, epoch_megapixels, batch_megapixels, rate: training of a teacher; pixels of an epoch, and, for
            segmentation and for denoising, pixels of a batch and learning rate.
        calibration: patches.
        if_steps, steps: longest run of the paper's IF and multi-threshold networks. tuned_steps: T at which the latter
            are fine-tuned (IF: twice as many). own: neuron and T of a multi-threshold
            network with this project's thresholds, for segmentation and for denoising; digits: of its radix networks.
        tune_epochs, tune_megapixels, tune_batch: fine-tuning. tune_rate: for segmentation and for
            denoising. radix_epochs, radix_rate: of radix networks, which train fast.
            tune_val_megapixels: to choose its epoch.
        budget: SynOps per teacher MAC that fine-tuning for segmentation keeps to, but for the paper's networks.
        more_tuned: tasks whose IF network and own network are fine-tuned, too.
    """

    SELECTING: ClassVar = ("tasks", "more_tuned")

    seed: int
    tasks: tuple[str, ...]
    channels: int
    shrink: int
    parts: int
    epochs: int
    epoch_megapixels: float
    batch_megapixels: tuple[float, float]
    rate: tuple[float, float]
    calibration: int
    if_steps: int
    steps: int
    tuned_steps: int
    own: tuple[tuple[str, int], tuple[str, int]]
    digits: tuple[int, int]
    tune_epochs: int
    tune_megapixels: float
    tune_batch: float
    tune_rate: tuple[float, float]
    radix_epochs: int
    radix_rate: tuple[float, float]
    tune_val_megapixels: float
    budget: float
    more_tuned: tuple[str, ...]
