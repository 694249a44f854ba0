"""examples/spiking_unet on made-up pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import snncc
from examples.kit.commands import Context, read
from examples.spiking_unet import data, runs, tasks, theory
from examples.spiking_unet.scores import Score
from examples.spiking_unet.settings import CONFIG, Settings
from examples.spiking_unet.tasks import IGNORED, Picture, patches, task_of
from snncc.errors import DataError, OptionError

SMALL = read(CONFIG, "small", Settings)
TINY = replace(
    SMALL, tasks=("drive",), channels=2, epochs=1, epoch_megapixels=0.01, batch_megapixels=(0.005, 0.005),
    calibration=4, if_steps=4, steps=2, tuned_steps=2, tune_epochs=1, tune_megapixels=0.005, tune_batch=0.005,
    tune_val_megapixels=0.005, radix_epochs=1, more_tuned=(),
)  # fmt: skip


def test_small_has_a_quarter_of_the_papers_channels_and_the_same_tasks() -> None:
    paper = read(CONFIG, "paper", Settings)
    assert 4 * SMALL.channels == paper.channels == 64
    assert SMALL.tasks == paper.tasks
    assert {task_of(name, SMALL).sigma for name in SMALL.tasks} == {0, 15, 25, 35}
    with pytest.raises(OptionError, match="unknown"):
        task_of("bsd68-none", SMALL)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_best_cascade_halves_and_the_engines_neuron_is_that_cascade(n: int) -> None:
    found = theory.check(n)
    assert (found.thresholds, found.residue) == found.predicted
    assert found.engine == 2.0 ** -(n + 1) and found.same


def test_thresholds_beside_the_best_leave_more() -> None:
    middles = (np.arange(4096) + 0.5) / 4096
    assert theory.residue(middles, (0.5, 0.25)).mean() == 0.125
    assert theory.residue(middles, (2 / 3, 1 / 3)).mean() > 0.15


def test_patches_cover_a_picture_and_what_they_add_counts_nowhere() -> None:
    task = task_of("drive", SMALL)
    picture = Picture("p", np.ones((1, 50, 97), np.float32), np.ones((50, 97), np.int64))
    found = patches(picture, task)
    assert len(found) == 2 * 3 and all(image.shape == (1, 48, 48) for image, _ in found)
    assert sum(int((target != IGNORED).sum()) for _, target in found) == 50 * 97
    assert sum(float(image.sum()) for image, _ in found) == 50 * 97
    whole = runs.whole(picture, task, lambda x: np.stack([0 * x, x], 1))
    assert np.array_equal(whole, picture.target)


def test_denoising_takes_whole_patches_evenly() -> None:
    task = task_of("bsd68-25", SMALL)
    image = np.arange(321 * 481, dtype=np.float32).reshape(1, 321, 481)
    assert len(patches(Picture("p", image, image), task)) == 6
    (first, _), (last, _) = patches(Picture("p", image, image), task, parts=2)
    assert first[0, 0, 0] == 160 and last[0, 0, 0] == 160 * 481 + 160
    assert len(patches(Picture("p", image, image), task, parts=6)) == 6


def test_scores_of_classes_by_hand() -> None:
    score = Score(task_of("drive", SMALL))
    target = np.array([[1, 1, 0, 0, IGNORED]])
    logits = np.array([[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]], np.float32)[None, :, None]
    found = score.all(score.counts(logits, target))
    assert found == {"f1": 4 / 5, "iou": 2 / 3, "miou": (1 / 2 + 2 / 3) / 2, "accuracy": 3 / 4}


def test_scores_of_images_by_hand() -> None:
    score = Score(task_of("bsd68-25", SMALL))
    clean = np.full((1, 2, 2), 0.5, np.float32)
    one, two = score.counts(clean[None] + 0.1, clean), score.counts(clean[None] + 2, clean)  # clipped to 1
    assert score.value(one) == pytest.approx(20)
    assert score.value(one + two) == pytest.approx(10 * np.log10(2 / (0.01 + 0.25)))


def drive(folder: Path) -> None:
    """A data set of DRIVE's form: bright discs with dark lines."""
    names = {"train": ["21_training", "22_training"], "val": ["37_training"], "test": ["01_test", "02_test"]}
    rng, root = np.random.default_rng(0), folder / "data" / "drive"
    rows, columns = np.mgrid[:64, :80]
    view = ((rows - 32) ** 2 + (columns - 40) ** 2 < 30**2).astype(np.uint8) * 255
    for name in (name for split in names.values() for name in split):
        part = root / ("training" if name.endswith("training") else "test")
        for kind in ("images", "mask", "1st_manual"):
            (part / kind).mkdir(parents=True, exist_ok=True)
        vessels = (rows + columns * int(rng.integers(1, 4))) % 17 < 4
        grey = np.where(vessels, 60, 150) + rng.integers(-9, 10, rows.shape)
        Image.fromarray(np.stack([grey] * 3, 2).astype(np.uint8)).save(part / "images" / f"{name}.tif")
        Image.fromarray(view).save(part / "mask" / f"{name}_mask.gif")
        Image.fromarray(vessels.astype(np.uint8) * 255).save(part / "1st_manual" / f"{name[:2]}_manual1.gif")
    (root / "split.json").write_text(json.dumps(names))


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNNCC_SHARED", str(tmp_path))
    drive(tmp_path)
    return tmp_path


def test_pictures_are_stretched_and_count_in_the_field_of_view_alone(made_up: Path) -> None:
    first, _ = data.pictures(task_of("drive", SMALL), "test", SMALL)
    assert first.name == "01_test" and first.image.shape == (1, 64, 80)
    assert {first.image.min(), first.image.max()} == {0, 1}
    assert first.target[0, 0] == IGNORED and set(np.unique(first.target)) == {IGNORED, 0, 1}
    assert first.image[0][first.target == 1].mean() < first.image[0][first.target == 0].mean()
    assert (first.image[0][first.target == IGNORED] == 0).all()


def test_a_data_set_that_is_not_there_is_named(made_up: Path) -> None:
    with pytest.raises(DataError, match="em"):
        data.pictures(task_of("em", SMALL), "test", SMALL)


def network(task: tasks.Task, channels: int) -> Any:
    torch = pytest.importorskip("torch")
    from examples.spiking_unet.network import UNet

    torch.manual_seed(0)
    return UNet(task.inputs, task.outputs, channels, task.head, norm=not task.denoises).eval()


def test_a_denoiser_starts_as_the_identity_and_a_segmenter_gives_classes() -> None:
    torch = pytest.importorskip("torch")
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(network(task_of("cbsd68-25", SMALL), 4)(image), image)
        assert network(task_of("camseq01", SMALL), 2)(image).shape == (1, 11, 32, 48)


@pytest.mark.parametrize("neuron", ["if", "multi-threshold:4", "multi-threshold:3:signed"])
def test_engines_agree_on_a_small_crop(neuron: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from examples.kit.export import export

    task, rng = task_of("drive", SMALL), np.random.default_rng(0)
    images = [rng.random((1, 32, 32), np.float32) for _ in range(3)]
    export(network(task, 2), {"image": torch.as_tensor(images[0])[None]}, ["out"], tmp_path / "teacher.onnx", {})
    compiled = snncc.compile(tmp_path / "teacher.onnx", calibrate=images, neuron=neuron, timesteps=4, per="connection")
    models = [snncc.load(compiled, engine) for engine in ("fast", "reference", "onnxruntime")]
    found = [model.run(images[0], record=True) for model in models]
    assert len([p for p in compiled.populations if p.fires]) == 10 + 4 * 3 + 4  # convolutions, ways up, poolings
    for other in found[1:]:
        assert all(np.array_equal(other.spikes[name], found[0].spikes[name]) for name in found[0].spikes)
        assert np.array_equal(other.outputs["out"], found[0].outputs["out"])
        assert other.counts.totals == found[0].counts.totals
    assert found[0].counts.totals["synops"] > 0


def test_all_stages_on_made_up_pictures_and_no_stage_twice(made_up: Path) -> None:
    for name in ("torch", "lightning", "monai", "scipy", "matplotlib", "onnxscript"):
        pytest.importorskip(name)
    from examples.spiking_unet.stages import STAGES

    context = Context(TINY, "small", made_up / "work", made_up / "out", 1)
    for stage in STAGES.values():
        stage(context)
    found = json.loads((made_up / "out" / "spiking-unet.json").read_text())
    page = (made_up / "out" / "spiking-unet.md").read_text()
    for part in ("teacher", "compiled", "fine_tuned"):
        assert {"metric", "steps", "synops_per_mac"} <= set(found[part])
    assert 0 <= found["paired_p"] <= 1
    networks = found["tasks"]["drive"]["networks"]
    assert networks["if"]["steps"] == [1, 2, 3, 4] and len(networks["mt4"]["scores"]["f1"]) == 2
    assert np.all(np.diff(networks["if"]["synops_per_mac"]) > 0)
    assert "## The theorem on thresholds" in page
    for picture in ("steps.svg", "scatter.png", "pictures.png"):
        assert f"spiking-unet-{picture}" in page and (made_up / "out" / f"spiking-unet-{picture}").stat().st_size > 1000
    made = {path: path.stat().st_mtime_ns for path in (made_up / "work").rglob("*") if path.is_file()}
    for stage in STAGES.values():
        stage(context)
    again = {path: path.stat().st_mtime_ns for path in (made_up / "work").rglob("*") if path.is_file()}
    assert {path for path in again if made.get(path) != again[path]} <= {made_up / "work" / "data.txt"}
    assert (made_up / "out" / "spiking-unet.md").read_text() == page


def test_a_first_picture_from_the_teacher_that_lies_there(made_up: Path) -> None:
    for name in ("torch", "matplotlib", "scipy"):
        pytest.importorskip(name)
    from examples.spiking_unet.first import picture

    done = CliRunner().invoke(picture, ["--out", str(made_up / "first.png")], catch_exceptions=False)
    assert done.exit_code == 0 and done.output.count("\n| ") == 5  # the line below the head, and four rows
    assert (made_up / "first.png").stat().st_size > 1000


def test_a_first_picture_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "matplotlib", "scipy"):
        pytest.importorskip(name)
    from examples.spiking_unet.first import picture

    monkeypatch.setenv("SNNCC_SHARED", str(tmp_path / "nothing"))
    done = CliRunner().invoke(picture, ["--out", str(tmp_path / "first.png")], catch_exceptions=False)
    assert done.exit_code == 0 and "made up" in done.output
    f1 = [float(line.split("|")[3]) for line in done.output.splitlines()[2:6]]
    assert f1[0] > 0.5 and f1[2] > 0.5  # vessels of a program are found by the U-Net and its MT-4 network


def test_what_is_missing_is_said_and_what_to_do(made_up: Path) -> None:
    pytest.importorskip("torch")
    from examples.spiking_unet.stages import group

    done = CliRunner().invoke(group, ["compile", "--work", str(made_up / "work")])
    assert done.exit_code == 1 and "run the stage teacher" in done.output
