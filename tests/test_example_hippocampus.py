"""The hybrid hippocampus example: its networks, its data, and all its stages on made-up volumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snncc

torch = pytest.importorskip("torch")
for needed in ("lightning", "onnxscript", "scipy", "matplotlib"):
    pytest.importorskip(needed)
from examples.hippocampus_hybrid import __main__ as stages  # noqa: E402
from examples.hippocampus_hybrid import data, vgg  # noqa: E402
from examples.hippocampus_hybrid.convert import balanced  # noqa: E402
from examples.hippocampus_hybrid.networks import HybridUNet, Vgg5  # noqa: E402
from examples.hippocampus_hybrid.settings import Settings, cases  # noqa: E402
from examples.kit.commands import Context, read  # noqa: E402
from examples.kit.export import export  # noqa: E402
from snncc.errors import DataError  # noqa: E402
from snncc.trainer import SpikingModule  # noqa: E402

CONFIG = Path(stages.__file__).with_name("config.toml")
SMALL: Settings = read(CONFIG, "small", Settings)
TINY = replace(
    SMALL, channels=(2, 4), losses=("dice", "bce-dice"), teacher_epochs=2, teacher_every=1, teacher_batch=8,
    balance_steps=8, balance_samples=2, scales=(0.5, 1.0), prefixes=(2, 4, 8, 16), grid_subjects=2, steps=8,
    cutoffs=(0.4, 0.5), tune_steps=4, tune_epochs=1, tune_every=4, val_every=2, own_epochs=1, own_every=4,
    calibration=6, vgg_channels=(2, 2, 2), vgg_hidden=4, vgg_epochs=1, vgg_images=128, vgg_tune_epochs=1,
    vgg_tune_images=32, vgg_tests=100,
)  # fmt: skip


def made_up(work: Path, subjects: int = 6, slices: int = 6) -> None:
    """Bright discs on noise, as `prepare` keeps volumes; 2 subjects to train, 2 for validation, the rest to test."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    labels = np.stack([
        (y - rng.integers(16, 32)) ** 2 + (x - rng.integers(20, 44)) ** 2 < 80 for _ in range(subjects * slices)
    ])[:, None]  # fmt: skip
    images = rng.integers(0, 80, labels.shape) + 150 * labels
    work.mkdir(parents=True, exist_ok=True)
    np.savez(work / "slices.npz", images=images.astype(np.uint8), labels=labels.astype(np.uint8),
             subjects=np.repeat(np.arange(subjects), slices), splits=np.array([2, 4, subjects]))  # fmt: skip


def test_the_networks_have_no_bias_and_no_normalisation() -> None:
    for network in (HybridUNet((2, 4, 8), 0.1), Vgg5((2, 2, 2), 4, 0.1)):
        assert not [name for name, _ in network.named_parameters() if "weight" not in name]
        assert not list(network.buffers())
    assert HybridUNet((2, 4, 8), 0.1).eval()(torch.zeros(2, 1, 48, 64)).shape == (2, 1, 48, 64)


def test_both_sizes_are_complete() -> None:
    paper = read(CONFIG, "paper", Settings)
    assert (SMALL.folds, paper.folds) == (1, 5) and SMALL.tune_steps <= 16
    for settings in (SMALL, paper):
        assert {settings.steps, settings.tune_steps} <= set(settings.prefixes)
        assert [case.loss for case in cases(settings)[:1]] == [settings.loss]


def test_folds_share_out_the_subjects(tmp_path: Path) -> None:
    made_up(tmp_path, subjects=11)
    settings = replace(TINY, folds=3, validation=2)
    tests = [data.subjects(tmp_path, settings, fold, "test") for fold in range(3)]
    assert sorted(i for part in tests for i in part) == list(range(11))
    for fold in range(3):
        rest = [data.subjects(tmp_path, settings, fold, split) for split in ("train", "val")]
        assert sorted([*rest[0], *rest[1], *tests[fold]]) == list(range(11)) and len(rest[1]) == 2
    assert data.subjects(tmp_path, replace(TINY, folds=1), 0, "val") == [2, 3]


def test_ternary_input_is_in_minus_one_to_one() -> None:
    images = np.array([0, 51, 255], np.uint8)
    assert data.scaled(images, "binary").tolist() == pytest.approx([0, 0.2, 1])
    assert data.scaled(images, "ternary").tolist() == pytest.approx([-1, -0.6, 1])


@pytest.mark.parametrize("kind", ["binary", "ternary"])
def test_engines_and_trainer_agree_on_the_converted_network(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    teacher, crops = tmp_path / "teacher.onnx", np.random.default_rng(0).integers(0, 256, (3, 1, 8, 16), np.uint8)
    images = data.scaled(crops, kind)
    model = torch.nn.Sequential(HybridUNet((2, 4), 0.1), torch.nn.Sigmoid())
    export(model, {"image": torch.as_tensor(images[:1])}, ["probability"], teacher, {})
    network = snncc.compile(teacher, calibrate=list(images), **balanced(TINY, 0.5) | {"precision": "int8"})
    assert {p.kind.op for p in network.populations if p.fires and not p.is_encoder} == {"IntegrateFire"}
    trace = SpikingModule(network).trace(torch.as_tensor(images[:1]), seed=7)
    for engine in ("fast", "reference", "onnxruntime"):
        result = snncc.load(network, engine).run(images[0], seed=7, record=True)
        said = trace.outputs["probability"].detach().numpy()
        assert np.allclose(result.outputs["probability"], said, rtol=0, atol=1e-6)  # torch's sigmoid, or onnxruntime's
        assert result.counts.totals["synops"] == int(trace.synops()[0])
        for name, spikes in result.spikes.items():
            assert np.array_equal(spikes, trace.trains[name].spikes[:, 0].detach().numpy()), (engine, name)
    assert sum(int(np.abs(spikes).sum()) for spikes in result.spikes.values()) > 100


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random pixels in place of CIFAR-10."""

    def pixels(split: str, cache: Any = None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (700, 32, 32, 3), np.uint8), rng.integers(0, 10, 700)

    monkeypatch.setattr(vgg, "cifar10_pixels", pixels)


def test_images_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNCC_SHARED", str(tmp_path))
    with pytest.raises(DataError, match="CIFAR-10 is not there"):
        vgg.prepare(tmp_path / "work")


@pytest.mark.slow
def test_all_stages_on_made_up_volumes(tmp_path: Path, cifar: None) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    made_up(work)
    context = Context(TINY, "small", work, out, 1)
    for stage in stages.STAGES.values():
        stage(context)
    found = json.loads((out / "hippocampus.json").read_text())
    assert found["compiled"]["steps"] == found["fine_tuned"]["steps"] == 3
    assert found["fine_tuned"]["synops_per_mac"] > 0 and 0 <= found["paired_p"] <= 1
    assert len(found["grid"]["0-binary-bce-dice"]["dice"]) == 2 and found["vgg"]["ternary, fine-tuned"]["steps"] == 4
    page = (out / "hippocampus.md").read_text()
    for picture in ("masks.png", "grid.svg", "cutoffs.svg", "training.svg", "rates.svg", "inputs.svg"):
        assert f"hippocampus-{picture}" in page and (out / f"hippocampus-{picture}").stat().st_size > 1000
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    for stage in stages.STAGES.values():
        stage(context)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.json")} == before
