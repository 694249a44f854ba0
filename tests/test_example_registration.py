"""examples/registration on made-up volumes: fields and metrics against closed forms, and each stage once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest

import snncc
from snncc.ingest import ingest
from snncc.macs import graph_macs

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("lightning")
pytest.importorskip("onnxscript")
pytest.importorskip("matplotlib")
from examples.kit.commands import Context, read  # noqa: E402
from examples.kit.export import export  # noqa: E402
from examples.registration import data, evaluation, stages  # noqa: E402
from examples.registration.conversion import BLOCKS, HERE, Spiking, conversions, tunings  # noqa: E402
from examples.registration.fields import diffusion, integrate, ncc, warp  # noqa: E402
from examples.registration.metrics import dice_by_label, hd95, jacobian, smoothness  # noqa: E402
from examples.registration.networks import Teacher  # noqa: E402
from examples.registration.report import report  # noqa: E402
from examples.registration.settings import Settings  # noqa: E402

SIZE = (16, 16, 32)
RNG = np.random.default_rng(0)
nib: Any = nibabel


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data of both sets: ellipsoids of two tissues, with an orientation of their own."""
    root = tmp_path_factory.mktemp("shared")
    hippocampi, brains = [f"h{k}" for k in range(5)], [f"b{k}" for k in range(6)]
    pairs = {"val": [["h2", "h3"], ["h3", "h2"]], "test": [["h3", "h4"], ["h4", "h3"]]}
    _write(root / "data" / "hippocampus", "{}Tr", hippocampi, np.diag([-1.0, 1, 1, 1]))
    (root / "data" / "hippocampus" / "split.json").write_text(
        json.dumps({"train": hippocampi[:3], "registration_pairs_fixed_moving": pairs})
    )
    for spacing in (1, 2):
        folder = root / "data" / "registration" / f"real_{spacing}mm"
        lia = np.array([[-spacing, 0, 0, 0], [0, 0, spacing, 0], [0, -spacing, 0, 0], [0, 0, 0, 1.0]])
        _write(folder, "{}", brains, lia)
    (root / "data" / "registration" / "split.json").write_text(
        json.dumps({
            "train_labelled": brains[:2], "train_unlabelled": brains[2:3], "train_synth_2mm_only": [],
            "val": ["b3"], "val_pairs": [["b2", "b3"], ["b3", "b2"]], "test_pairs": [["b4", "b5"], ["b5", "b4"]],
            "test_pairs_extended_20": [["b4", "b5"], ["b5", "b4"], ["b3", "b4"]], "eval_labels_freesurfer": [2, 41],
        })
    )  # fmt: skip
    patch = pytest.MonkeyPatch()
    patch.setenv("SNNCC_SHARED", str(root))
    for name in data.GRIDS:
        patch.setitem(data.GRIDS, name, SIZE)
    data.split.cache_clear()
    yield root
    patch.undo()
    data.split.cache_clear()


def _write(folder: Path, kinds: str, names: list[str], affine: Any) -> None:
    for kind in ("images", "labels"):
        (folder / kinds.format(kind)).mkdir(parents=True)
    size = (13, 15, 29)
    place = np.moveaxis(np.indices(size), 0, -1) / np.array(size) - 0.5
    for name in names:
        distance = np.linalg.norm((place - RNG.uniform(-0.05, 0.05, 3)) / RNG.uniform(0.3, 0.45, 3), axis=-1)
        labels = np.where(distance < 0.6, 1, np.where(distance < 1, 2, 0)).astype(np.uint8)
        labels = labels if "hippo" in str(folder) else np.array([0, 2, 41], np.uint8)[labels]
        image = (labels > 0) * 100.0 + (distance < 0.6) * 60 + RNG.normal(size=size) * 5 + 20
        for kind, values in (("images", image.astype(np.float32)), ("labels", labels)):
            nib.save(nib.Nifti1Image(values, affine), folder / kinds.format(kind) / f"{name}.nii.gz")


@pytest.fixture
def settings() -> Settings:
    small = read(HERE / "config.toml", "small", Settings)
    return replace(
        small, channels=((2, 4, 4, 8), (2, 4, 4, 8)), epochs=(1, 1), pairs_an_epoch=(2, 2), calibration=2,
        codes=("radix:2",), steps=(2,), percentiles=(50, 99), paper_steps=2, tuned_codes=("radix:2",), signed_steps=2,
        tune_epochs=(1, 1), tune_pairs=(2, 1), leaky_epochs=(1, 1), leaky_pairs=(2, 1),
    )  # fmt: skip


def test_all_stages(world: Path, settings: Settings, tmp_path: Path) -> None:
    """From data to the results page; a second time nothing is made again."""
    context = Context(settings, "small", tmp_path / "work", tmp_path / "out", 2)
    todo = [stages.prepare, stages.teach, stages.convert, stages.finetune, stages.evaluate]
    for stage in todo:
        stage(context)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.json")}
    for stage in todo:
        stage(context)
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.json")}
    report(context)
    page, found = ((tmp_path / "out" / f"registration.{kind}").read_text() for kind in ("md", "json"))
    numbers = json.loads(found)
    assert "{" not in page and "Not measured" not in page
    assert numbers["tuned"] and 0 <= numbers["paired_p"] <= 1 and numbers["teacher"]["steps"] is None
    names = {run.name for run in (*conversions(settings), *tunings(settings))}
    assert set(numbers["networks"]) == names
    for file in {path for path in page.replace("(", ")").split(")") if path.endswith((".svg", ".png"))}:
        assert (tmp_path / "out" / file).stat().st_size > 1000
    _same_spikes(context)
    how = {name: _preprocess(context.work / "teachers" / name / "teacher.onnx") for name in ("hippocampus", "velocity")}
    assert "displacement" in how["hippocampus"] and "displacement" not in how["velocity"]
    # what another teacher gives has another name: nothing of the old one is taken for its own
    names = set(stages.measured(context))
    shutil.copy(context.work / "teachers" / "average" / "teacher.onnx", context.work / "teachers" / "brain")
    left = {name for name in names if not name.startswith("brain") or name.endswith(("-affine", "-teacher"))}
    assert set(stages.measured(context)) == left and "brain-teacher" not in stages.results(context)["measured"]


def _preprocess(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        next(p.value for p in onnx.load(file).metadata_props if p.key == "snncc.preprocess")
    )
    return found


def _same_spikes(context: Any) -> None:
    """Engines agree on the networks that the stages made: all spikes, counts and displacements, `==`."""
    known = data.volumes(stages.data_file(context.work, "hippocampus"))
    inputs = {name: known[f"images/{which}"][None, None] / np.float32(255)
              for name, which in (("fixed", "h3"), ("moving", "h4"))}  # fmt: skip
    for run in (
        Spiking("hippocampus", code="radix:2", tuned=True), Spiking("hippocampus", steps=2, tuned=True),
        Spiking("hippocampus", neuron="leaky", steps=2, percentile=50, barriers=True),
    ):  # fmt: skip
        file = stages.compiled(run, context.settings, context.work)
        one, other = (snncc.load(file, engine).run(inputs, record=True) for engine in ("fast", "reference"))
        np.testing.assert_array_equal(one.outputs["flow"], other.outputs["flow"])
        assert one.counts.totals == other.counts.totals and one.counts.totals["synops"] > 0
        for name, spikes in one.spikes.items():
            np.testing.assert_array_equal(spikes, other.spikes[name])


def test_both_sizes_are_complete() -> None:
    for size in ("small", "paper"):
        settings = read(HERE / "config.toml", size, Settings)
        names = [run.name for run in (*conversions(settings), *tunings(settings))]
        assert len(names) == len(set(names))
        assert {run.start for run in tunings(settings)} <= set(conversions(settings))
    assert settings.channels[1] == (16, 32, 64, 128) and settings.brain == "brain-1mm"


def test_the_papers_network(tmp_path: Path) -> None:
    """Parameters, and MACs of each voxel, as counted from the public code: 80.52 G at 160x192x224."""
    model = Teacher((16, 32, 64, 128)).eval()
    assert sum(p.numel() for p in model.parameters()) == 1_702_067
    inputs = {name: torch.rand(1, 1, 16, 16, 16) for name in ("fixed", "moving")}
    export(model, inputs, ["flow"], tmp_path / "t.onnx", {"snncc.preprocess": data.preprocess("brain-1mm")})
    graph = ingest(tmp_path / "t.onnx")
    assert graph_macs(graph).padded * 160 * 192 * 224 / 16**3 == pytest.approx(80.52e9, rel=1e-4)
    assert [node.origin[-1] for node in graph.nodes if node.op == "Relu"] == [
        "node_" + name for block in BLOCKS for name in block
    ]
    larger = ingest(evaluation.resized(tmp_path / "t.onnx", (16, 32, 16)))
    assert larger.shape("flow") == (1, 3, 16, 32, 16)
    more = {name: torch.rand(1, 1, 16, 32, 16) for name in ("fixed", "moving")}
    found, _ = evaluation.teacher(evaluation.resized(tmp_path / "t.onnx", (16, 32, 16)))(
        {name: value.numpy() for name, value in more.items()}
    )
    with torch.no_grad():
        np.testing.assert_allclose(found, model(*more.values()).numpy(), atol=1e-4)


def _linear(matrix: Any, size: tuple[int, ...] = (11, 12, 13)) -> Any:
    """The displacement matrix (x - centre), float32 [1, 3, *size]."""
    centre = np.array(size) / 2 - 0.5
    place = np.indices(size) - centre[:, None, None, None]
    return torch.as_tensor(np.tensordot(matrix, place, 1)[None].astype(np.float32))


def test_fields() -> None:
    image = torch.rand(1, 2, 11, 12, 13)
    still = torch.zeros(1, 3, 11, 12, 13)
    torch.testing.assert_close(warp(image, still), image)
    moved = warp(image, still + torch.tensor([1.0, 0, -2]).view(1, 3, 1, 1, 1))
    torch.testing.assert_close(moved[:, :, :-1, :, 2:], image[:, :, 1:, :, :-2])
    torch.testing.assert_close(moved[:, :, -1, :, 2:], image[:, :, -1, :, :-2])  # the border's value beyond it
    shrink = _linear(-0.3 * np.eye(3))  # its flow never leaves the volume: x(1) = exp(-0.3) x(0)
    torch.testing.assert_close(integrate(shrink), _linear((np.exp(-0.3) - 1) * np.eye(3)), atol=2e-3, rtol=0)
    slope = np.arange(9).reshape(3, 3) / 10
    assert float(diffusion(_linear(slope))) == pytest.approx((slope**2).mean(), rel=1e-4)


def test_correlation_is_monais() -> None:
    from snncc.trainer.losses import ncc as monais

    moved, fixed = torch.rand(2, 1, 1, 14, 15, 16)
    assert float(ncc(moved, fixed)) == pytest.approx(float(monais(moved, fixed)), abs=2e-3)
    mask = torch.zeros_like(fixed)
    mask[..., 2:-2, 3:-1, 1:-4] = 1
    other = torch.where(mask > 0, moved, torch.rand_like(moved))
    assert float(ncc(moved, fixed, 9, mask)) == pytest.approx(float(ncc(other, fixed, 9, mask)), rel=1e-5)
    assert float(ncc(2 * fixed + 1, fixed, 5, mask)) == pytest.approx(-1, abs=0.02)


def test_metrics() -> None:
    first, second = np.zeros((2, 20, 20, 20), np.uint8)
    first[5:10, 5:10, 5:10], second[8:13, 5:10, 5:10] = 3, 3
    assert dice_by_label(first, second, (3, 4))[0] == pytest.approx(2 * 50 / 250)
    assert np.isnan(dice_by_label(first, second, (3, 4))[1])
    assert hd95(first, second, (3, 4), 2.0)[0] == pytest.approx(6.0) and np.isnan(hd95(first, second, (3, 4), 2.0)[1])
    matrix = np.array([[0.1, 0.2, 0], [0, -0.3, 0.1], [0.05, 0, 0.4]])
    np.testing.assert_allclose(jacobian(_linear(matrix)[0].numpy()), np.linalg.det(np.eye(3) + matrix), rtol=1e-4)
    folded = smoothness(_linear(np.diag([-1.5, 0, 0]))[0].numpy())
    assert folded["folding"] == 1.0
    plain = smoothness(_linear(np.diag([0.5, 0, 0]))[0].numpy())
    assert plain["folding"] == 0 and plain["sdlogj"] == pytest.approx(0, abs=1e-5)


def test_their_formula() -> None:
    """T * mean rate * 0.9 / 4.6: 9.98x for the paper's T = 4 and 12.8 %."""
    assert pytest.approx(9.98, abs=0.005) == 1 / (4 * 0.128 * evaluation.AC / evaluation.MAC)


def test_volumes_are_what_run_reads(world: Path) -> None:
    """Axes, padding and intensities of training are those of `snncc run`."""
    raw = np.asarray(nib.load(data.path("hippocampus", "h0")).dataobj)[::-1]  # stored along L, A, S
    found = data.image("hippocampus", "h0")
    low, high = np.percentile(raw, (1, 99))
    expected = np.rint((np.clip(raw, low, high) - low) / (high - low) * 255)
    np.testing.assert_array_equal(found[1:14, :15, 1:30], expected)
    assert found.sum() == expected.sum()
