"""The core installs and runs without the [train] extra."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_TRAIN = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "monai", "lightning", "onnxscript"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter in which the [train] packages cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_TRAIN + code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_block_works() -> None:
    assert "No module named 'torch'" in python("import torch.nn").stderr


def test_import() -> None:
    done = python("import snncc, snncc.cli, snncc.passes, snncc.runtime")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("argument", ["--help", "passes"])
def test_command(argument: str) -> None:
    done = python("from snncc.cli import main; sys.exit(main())", argument)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
