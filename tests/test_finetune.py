"""`snncc finetune` from files to a file."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner, Result

import snncc
from snncc.cli import main
from snncc.onnx_file import read
from tests.onnx_models import model as onnx_model
from tests.test_without_torch import python
from tests.training import TEXT, Images

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/hippocampus"

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A compiled network, its teacher, 20 images and their labels."""
    teacher, data = onnx_model(TEXT), Images(20)
    (tmp_path / "teacher.onnx").write_bytes(teacher.SerializeToString())
    np.save(tmp_path / "x.npy", data.images)
    snncc.compile(
        tmp_path / "teacher.onnx", tmp_path / "m.snn.onnx", calibrate=tmp_path / "x.npy", neuron="signed", timesteps=4,
        preprocess={"labels": {"threshold": 0.5}},
    )  # fmt: skip
    np.save(tmp_path / "y.npy", data.truth.astype(np.int64) * 3)  # any label above 0 is foreground
    return tmp_path


def finetune(folder: Path, *more: Any, data: tuple[Any, ...] | None = None) -> Result:
    given = ("--data", folder / "x.npy", "--labels", folder / "y.npy", "--loss", "bce-dice") if data is None else data
    out = folder / "out.snn.onnx"
    return command("finetune", folder / "m.snn.onnx", *given, "-o", out, "--json", folder / "report.json", *more)


def test_from_files_to_a_file(files: Path) -> None:
    plot = ["--plot", files / "r.png"] if find_spec("matplotlib") else []
    done = finetune(files, "--epochs", 3, "--learning-rate", 0.02, "--batch", 4, "-T", 3, *plot)
    assert done.exit_code == 0, done.output
    report = json.loads((files / "report.json").read_text())
    assert report["after"]["metric"] > report["before"]["metric"] + 0.05 and report["metric"] == "dice"
    assert f"wrote {files / 'out.snn.onnx'}: epoch {report['best_epoch']}" in done.output
    assert not plot or (files / "r.png").read_bytes().startswith(b"\x89PNG")
    found = read(files / "out.snn.onnx")
    assert found.meta["timesteps"] == 3
    (training,) = found.meta["training"]
    assert training["loss"] == "bce-dice" and training["seed"] == 0 and training["epochs"] == 3
    assert training["data"] != training["validation"] and training["best_epoch"] == report["best_epoch"]
    assert found.meta["measured"]["synops_per_teacher_mac"] == report["after"]["synops"]
    assert "on 4 validation sample(s)" in command("inspect", files / "out.snn.onnx").output
    assert (files / "out.snn.onnx.finetune" / "metrics.csv").exists()


def test_validation_data_are_scored_as_compare_scores_them(files: Path) -> None:
    """Dice and SynOps of the report are those that `snncc compare` finds for the written file."""
    data = ("--data", files / "x.npy", "--labels", files / "y.npy", "--val-data", files / "x.npy", "--val-labels",
            files / "y.npy", "--loss", "dice")  # fmt: skip
    done = finetune(files, "--epochs", 1, "--learning-rate", 0.02, data=data)
    assert done.exit_code == 0, done.output
    report = json.loads((files / "report.json").read_text())
    found = snncc.compare(files / "teacher.onnx", files / "out.snn.onnx", files / "x.npy", files / "y.npy", samples=1)
    assert found.spiking == pytest.approx(report["after"]["metric"], abs=1e-12)
    totals = found.counts.totals
    assert totals["synops"] / totals["teacher_macs"] == pytest.approx(report["after"]["synops"], rel=1e-12)


def test_from_the_teacher_without_labels(files: Path) -> None:
    data = ("--data", files / "x.npy", "--distill", 1, "--teacher", files / "teacher.onnx")
    done = finetune(files, "--epochs", 3, "--from-scratch", "--learning-rate", 0.02, "--batch", 4, data=data)
    assert done.exit_code == 0, done.output
    report = json.loads((files / "report.json").read_text())
    first, *_, last = report["epochs"]
    assert report["metric"] == "agreement" and last["val_loss"] < 0.8 * first["val_loss"]


def test_from_scratch_and_by_flow(files: Path) -> None:
    done = finetune(files, "--epochs", 1, "--from-scratch", "--flow", "--learning-rate", "weights=0.01")
    assert done.exit_code == 0, done.output
    (training,) = read(files / "out.snn.onnx").meta["training"]
    assert training["from_scratch"] and training["flow"]


def test_goes_on_only_with_the_same_options(files: Path) -> None:
    assert finetune(files, "--epochs", 1).exit_code == 0
    first = (files / "out.snn.onnx").read_bytes()
    assert finetune(files, "--epochs", 1).exit_code == 0
    assert (files / "out.snn.onnx").read_bytes() == first
    done = finetune(files, "--epochs", 1, "--seed", 1)
    assert done.exit_code == 2 and "had other" in done.output and "remove this folder" in done.output


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--val-fraction", 1), "--val-fraction"),
        (("--learning-rate", "speeds=1"), "GROUP=1e-4"),
        (("--learning-rate", "fast"), "GROUP=1e-4"),
        (("--distill", 1), "--teacher"),
        (("--loss", ""), "nothing to learn"),
        (("--metric", "psnr"), "the metric psnr"),
        (("--val-data", "x.npy"), "--val-labels"),
        (("-T", 0), "at least one"),
        (("--surrogate", "step"), "surrogate"),
        (("--seed", -1), "seed -1"),
        (("--learning-rate", "nan"), "learning rate of weights nan"),
    ],
)
def test_wrong_options(files: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[Any, ...], text: str) -> None:
    monkeypatch.chdir(files)
    done = finetune(files, *more)
    assert done.exit_code == 2 and text in done.output and not (files / "out.snn.onnx").exists()


def test_a_radix_file_keeps_its_digits(files: Path) -> None:
    snncc.compile(files / "teacher.onnx", files / "m.snn.onnx", calibrate=files / "x.npy", code="radix:3")
    done = finetune(files, "-T", 2)
    assert done.exit_code == 2 and "radix code of 3 digits" in done.output


def test_labels_are_missing_before_anything_runs(files: Path) -> None:
    done = finetune(files, data=("--data", files / "x.npy", "--loss", "bce"))
    assert done.exit_code == 2 and "--teacher" in done.output


def test_without_torch(tmp_path: Path) -> None:
    code = "from snncc.cli import main; sys.exit(main())"
    done = python(code, "finetune", "m.snn.onnx", "--data", "x.npy", "-o", str(tmp_path / "o.snn.onnx"))
    assert done.returncode == 2 and "finetune needs" in done.stderr and "-e '.[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def cropped(folder: Path, name: str, slices: int = 3) -> None:
    """Some slices through the middle of a volume and of its labels."""
    for kind in ("imagesTr", "labelsTr"):
        image: Any = nibabel.load(EXAMPLE / "volumes" / kind / name)
        middle = image.shape[2] // 2
        (folder / kind).mkdir(exist_ok=True)
        nibabel.save(image.slicer[:, :, middle : middle + slices], folder / kind / name)


def test_volumes(tmp_path: Path) -> None:
    """Slices of real volumes, which one subject validates; the file runs as the module does, and as compare says."""
    for name in ("hippocampus_025.nii.gz", "hippocampus_036.nii.gz"):
        cropped(tmp_path, name)
    model, out = tmp_path / "m.snn.onnx", tmp_path / "o.snn.onnx"
    snncc.compile(EXAMPLE / "teacher_2d.onnx", model, calibrate=tmp_path / "imagesTr", code="radix:2")
    done = command("finetune", model, "--data", tmp_path / "imagesTr" / "hippocampus_025.nii.gz",
                   "--labels", tmp_path / "labelsTr", "--val-data", tmp_path / "imagesTr" / "hippocampus_036.nii.gz",
                   "--val-labels", tmp_path / "labelsTr", "--loss", "bce-dice", "--cost", "synops:0.2", "--epochs", 1,
                   "--batch", 3, "--learning-rate", 1e-4, "-o", out, "--json", tmp_path / "r.json")  # fmt: skip
    assert done.exit_code == 0, done.output
    after = json.loads((tmp_path / "r.json").read_text())["after"]
    found = snncc.compare(EXAMPLE / "teacher_2d.onnx", out, tmp_path / "imagesTr" / "hippocampus_036.nii.gz",
                          tmp_path / "labelsTr", samples=1)  # fmt: skip
    assert found.spiking == pytest.approx(after["metric"], abs=1e-12) and 0.5 < found.spiking < 1


MEMORY = """
import resource, sys, torch
from tests.training import Images, network
from snncc.trainer import SpikingModule
torch.set_num_threads(1)
module = SpikingModule(network(), flow=True)
images = torch.as_tensor(Images(512).images)
saved = 0
def keep(x):
    global saved
    saved += x.numel() * x.element_size()
    return x
def train(steps):
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        module.trace(images, steps, outputs=False).readouts["e"].square().mean().backward()
train(1)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
saved = 0
train(int(sys.argv[1]))
print(saved, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_of_flow_training_does_not_grow_with_the_steps() -> None:
    """What is saved for the backward pass, and the peak of a process, at T = 64 within 1.2 times those at T = 4."""
    found = []
    for steps in (4, 64):
        code = [sys.executable, "-c", MEMORY, str(steps)]
        done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found.append([int(n) for n in done.stdout.split()])
    (saved, peak), (saved_long, peak_long) = found
    assert 0 < saved_long <= 1.2 * saved and peak_long <= 1.2 * peak
