"""`python -m examples.hippocampus_hybrid STAGE`: see README.md."""

from __future__ import annotations

from pathlib import Path

from examples.hippocampus_hybrid import convert, data, evaluate, report, teacher, tune, vgg
from examples.hippocampus_hybrid.settings import Settings
from examples.kit.commands import Context, system


def prepare(context: Context[Settings]) -> None:
    """Read the volumes, and look for CIFAR-10."""
    data.prepare(context.work)
    vgg.prepare(context.work)


def train(context: Context[Settings]) -> None:
    """Train a U-Net for each loss and kind of input, and VGG-5 for each kind of input."""
    teacher.teachers(context)
    vgg.teachers(context)


def compile_all(context: Context[Settings]) -> None:
    """Compile: thresholds balanced on spikes, scales chosen on validation data; and the radix code."""
    convert.convert(context)
    vgg.convert(context)


def finetune(context: Context[Settings]) -> None:
    """Fine-tune the converted networks; train one directly."""
    tune.tuned(context)
    vgg.tune(context)


STAGES = {
    "prepare": prepare, "teacher": train, "compile": compile_all, "finetune": finetune,
    "evaluate": evaluate.evaluate, "report": report.report,
}  # fmt: skip
ABOUT = "Hippocampus segmentation: a converted U-Net of spiking neurons, fine-tuned (Yue et al., 2023)."

if __name__ == "__main__":
    system("hippocampus", Path(__file__).with_name("config.toml"), Settings, STAGES, ABOUT)()
