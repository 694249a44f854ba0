"""The benchmark of fine-tuning, and the example: small runs from end to end on the bundled volumes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import hippocampus as h
from snncc.onnx_file import read

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
from benchmarks.finetune import __main__ as command  # noqa: E402
from benchmarks.finetune import trainings  # noqa: E402
from benchmarks.finetune.parity import agrees, parity  # noqa: E402
from snncc.trainer import SpikingModule  # noqa: E402

EXAMPLE = h.ROOT / "examples" / "fine_tune.py"


def test_another_slice_of_each_group_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten slices in fives: one of each five with its own label and what the teacher says; all without groups."""
    images = torch.arange(10.0).reshape(10, 1, 1, 1)
    monkeypatch.setattr(trainings, "split", lambda name: (images, -images, [0] * 10))
    monkeypatch.setattr(h, "teacher_output", lambda image, dims: 2 * image[None])
    drawn = trainings.Slices("train", 5)
    assert len(drawn) == 2
    pairs = [drawn[k] for k in (0, 1) for _ in range(50)]
    assert all(torch.equal(inputs["image"], -target["truth"]) for inputs, target in pairs)
    assert all(torch.equal(2 * inputs["image"], target["teacher"]) for inputs, target in pairs)
    assert {float(inputs["image"]) for inputs, _ in pairs} == set(range(10))
    every = trainings.Slices("val")
    assert len(every) == 10 and all(torch.equal(every[k][0]["image"], images[k]) for k in range(10))


def test_parity_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network against itself agrees; with another threshold it does not."""
    monkeypatch.setattr(h, "DATA", h.EXAMPLE / "volumes")
    monkeypatch.setattr(h, "BUNDLED", True)
    network = read(h.compiled(tmp_path, 2, code="radix:2"))
    module = SpikingModule(network)
    found = parity(module, network)
    assert found["spikes"] > 10_000 and agrees(found)
    with torch.no_grad():
        module.groups()["thresholds"][3] += 0.1
    assert not agrees(parity(module, network)) and agrees(parity(module, module.saved()))


@pytest.mark.slow  # a minute
def test_quick_run_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, plots and JSON; a training that is finished is not run again."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(h, "DATA", h.EXAMPLE / "volumes")
    monkeypatch.setattr(h, "BUNDLED", True)
    arguments = ["--quick", "--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    first = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert first.exit_code == 0
    found = json.loads((tmp_path / "finetune.json").read_text())
    converted, tuned, direct = found["rows"]
    assert converted["units"] == tuned["units"] == direct["units"] == 2
    assert direct["score"] < tuned["score"]
    for row in (tuned, direct):
        before, after = row["history"]
        assert before["synops_per_mac"] != after["synops_per_mac"]
        assert list(row["parity"]) == ["before", "after", "loaded"]
        assert all(one["spikes"] > 10_000 and agrees(one) for one in row["parity"].values())
    assert all((tmp_path / f"finetune-{name}.svg").stat().st_size < 200_000 for name in ("synops", "curves", "rates"))

    facts = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "trainings").glob("*/facts.json")}
    again = CliRunner().invoke(command.main, arguments, catch_exceptions=False)
    assert again.exit_code == 0 and len(facts) == 2
    assert {path: path.stat().st_mtime_ns for path in facts} == facts
    assert again.output.split("# Fine-tuning")[1] == first.output.split("# Fine-tuning")[1]


@pytest.mark.slow  # half a minute
def test_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch: it prints Dice and SynOps of both files, and needs fewer SynOps afterwards."""
    spec = importlib.util.spec_from_file_location("fine_tune", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path / "tuned.snn.onnx", epochs=1)
    before, *_, after = capsys.readouterr().out.splitlines()
    assert before.startswith("compiled.snn.onnx: Dice 0.") and after.startswith("tuned.snn.onnx: Dice 0.")
    assert float(after.split()[3]) < float(before.split()[3])
    assert len(EXAMPLE.read_text().splitlines()) < 60 and len(read(tmp_path / "tuned.snn.onnx").meta["training"]) == 1
