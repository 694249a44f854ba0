"""`python -m examples.registration STAGE --size small|paper`"""

from __future__ import annotations

from pathlib import Path

from examples.kit.commands import system
from examples.registration import stages
from examples.registration.report import report
from examples.registration.settings import Settings

command = system(
    "registration", Path(__file__).with_name("config.toml"), Settings,
    {"prepare": stages.prepare, "teacher": stages.teach, "compile": stages.convert, "finetune": stages.finetune,
     "evaluate": stages.evaluate, "report": report},
    "SpikeReg: registration of 3D brain images by spiking networks.",
)  # fmt: skip

if __name__ == "__main__":
    command()
