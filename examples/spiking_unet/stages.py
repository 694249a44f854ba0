"""All stages of the system as commands."""

from examples.kit.commands import system
from examples.spiking_unet.evaluate import evaluate
from examples.spiking_unet.report import report
from examples.spiking_unet.settings import CONFIG, Settings
from examples.spiking_unet.teacher import prepare, teacher
from examples.spiking_unet.tune import finetune
from examples.spiking_unet.variants import compile_all

STAGES = {
    "prepare": prepare, "teacher": teacher, "compile": compile_all, "finetune": finetune, "evaluate": evaluate,
    "report": report,
}  # fmt: skip
about = "Multi-threshold Spiking-UNet (Li et al., 2024): segmentation and denoising."
group = system("spiking-unet", CONFIG, Settings, STAGES, about)
