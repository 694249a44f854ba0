"""The core installs and runs without the [train] extra."""

import json
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


def test_every_command(tmp_path: Path) -> None:
    """Check, compile, run on each engine and inspect a real teacher on a real volume; the demo."""
    teacher = str(ROOT / "examples/hippocampus/teacher_3d.onnx")
    volume = str(ROOT / "examples/hippocampus/volumes/imagesTr/hippocampus_036.nii.gz")
    model = str(tmp_path / "model.snn.onnx")
    commands = [
        ["check", teacher],
        ["compile", teacher, "-o", model, "--calibrate", volume, "-T", "2"],
        *(["run", model, volume, "-o", str(tmp_path / f"{e}.nii.gz"), "--engine", e]
          for e in ("fast", "reference", "onnxruntime")),
        ["inspect", model],
        ["compare", teacher, model, "--data", volume, "--samples", "1"],
        ["demo"],
    ]
    code = "import json; from snncc.cli import main; sys.exit(main(json.loads(sys.argv[1])))"
    for command in commands:
        done = python(code, json.dumps(command))
        assert done.returncode == 0, (command, done.stderr)
    written = {(tmp_path / f"{e}.nii.gz").read_bytes() for e in ("fast", "reference", "onnxruntime")}
    assert len(written) == 1


@pytest.mark.parametrize("argument", ["--help", "passes"])
def test_command(argument: str) -> None:
    done = python("from snncc.cli import main; sys.exit(main())", argument)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
