"""`snncc compare`: every cause of loss, planted in a good network, is found, and named with its layer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import nibabel
import numpy as np
import onnx
import pytest

import snncc
from snncc.comparison import Comparison
from snncc.comparison.exchange import Change, Exchanger
from snncc.comparison.metrics import Metric
from snncc.errors import DataError
from snncc.graph import Array
from snncc.model import Model, load
from snncc.network import Network
from snncc.passes.network.neurons import calibrated
from snncc.pipeline import Context
from tests.onnx_models import expected, model
from tests.test_cli import fails, works

RNG = np.random.default_rng(0)
nib: Any = nibabel
WHERE = {"skip mismatch": "r1->r4", "pooling rewrite": "MaxPool p1"}
DATA = RNG.random((12, 1, 8, 8)).astype(np.float32)
# A small U-Net: two levels, a max pooling, a skip, a residual sum.
TEACHER = model(
    """agraph (float[1,1,8,8] x, float[4,1,3,3] w1, float[6,4,3,3] w2, float[6,6,3,3] w3, float[4,10,3,3] w4,
        float[1,4,1,1] w5, float[4] b1, float[6] b2, float[6] b3, float[4] b4) => (float y) {
      c1 = Conv <pads=[1,1,1,1]> (x, w1, b1)
      r1 = Relu (c1)
      p1 = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r1)
      c2 = Conv <pads=[1,1,1,1]> (p1, w2, b2)
      r2 = Relu (c2)
      c3 = Conv <pads=[1,1,1,1]> (r2, w3, b3)
      s3 = Add (c3, r2)
      r3 = Relu (s3)
      e = Constant <value_floats=[1.0, 1.0, 2.0, 2.0]> ()
      u = Resize <mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"> (r3, , e)
      k = Concat <axis=1> (u, r1)
      c4 = Conv <pads=[1,1,1,1]> (k, w4, b4)
      r4 = Relu (c4)
      y = Conv (r4, w5)
    }""",
    {"w4": RNG.normal(size=(4, 10, 3, 3)) * np.repeat([1.0, 12.0], [6, 4])[:, None, None]},
)
GOOD: dict[str, Any] = {"calibrate": DATA, "neuron": "settled", "calibration": "max", "timesteps": 64}


@dataclass(frozen=True)
class Unit:
    """lambda of one population times a factor; `neurons` rescales the weights around it."""

    population: str
    factor: float

    name: ClassVar[str] = "plant-unit"
    level: ClassVar[str] = "network"
    before: ClassVar[str] = "neurons"
    requires: ClassVar[tuple[Any, ...]] = (calibrated,)
    ensures: ClassVar[tuple[Any, ...]] = ()

    def run(self, network: Network, context: Context) -> Network:
        p = network[self.population]
        assert p.unit is not None
        gates = {j.post for j in network.outgoing(p) if network[j.post].is_gate}
        changed = {name: replace(network[name], unit=p.unit * self.factor) for name in (p.name, *gates)}
        return network.with_populations(changed)


@dataclass(frozen=True)
class Weights:
    """The weights of some projections changed, before they are made integers."""

    change: Callable[[Array], Array]
    pre: str
    post: str

    name: ClassVar[str] = "plant-weights"
    level: ClassVar[str] = "network"
    requires: ClassVar[tuple[Any, ...]] = ()
    ensures: ClassVar[tuple[Any, ...]] = ()

    def run(self, network: Network, context: Context) -> Network:
        chosen = [j for j in network.projections if (self.pre in ("", j.pre)) and j.post == self.post]
        assert chosen
        changes = {j: replace(j, synapse=j.synapse.with_rows(self.change(j.synapse.rows()), None)) for j in chosen}
        return network.with_projections(changes)


def three_levels(weight: Array) -> Array:
    step = np.abs(weight).max()
    return np.asarray(np.rint(weight / step) * step, np.float32)


PLANTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "clipping": ({"passes": [Unit("r3", 0.25)]}, "r3", "clipping"),
    "levels": ({"passes": [Unit("r2", 8.0)]}, "r2", "level quantisation"),
    "unevenness": ({"passes": ["neurons{layers=r3:if}"]}, "r3", "unevenness"),
    "pooling": ({"passes": ["maxpool-to-avgpool"]}, "", "pooling rewrite"),
    "skip": ({"passes": [Weights(lambda w: w * np.float32(0.5), "r1", "r4")]}, "r4", "skip mismatch"),
    "weights": ({"passes": [Weights(three_levels, "", "r2")]}, "r2", "weight quantisation"),
}


@pytest.fixture(scope="module")
def good() -> Comparison:
    return snncc.compare(TEACHER, snncc.compile(TEACHER, **GOOD), DATA, samples=4)


def test_a_good_network_loses_little(good: Comparison) -> None:
    assert good.attribution.error < 0.03
    causes = {cause.cause for cause in good.attribution.causes}
    assert causes == {"clipping", "level quantisation", "weight quantisation"}
    assert all(layer.correlation is None or layer.correlation > 0.999 for layer in good.layers)


@pytest.mark.parametrize("plant", PLANTS)
def test_each_planted_cause_is_named_with_its_layer(plant: str, good: Comparison) -> None:
    options, population, cause = PLANTS[plant]
    found = snncc.compare(TEACHER, snncc.compile(TEACHER, **GOOD | options), DATA, samples=4)
    assert found.attribution.error > 2 * good.attribution.error
    first = found.attribution.causes[0]
    assert (first.population, first.cause) == (population, cause), found.attribution.causes[:4]
    assert first.share > 0.5 and first.error_without < first.error_with
    assert max(found.attribution.summary, key=lambda c: c.share).cause == cause
    assert first.node == WHERE.get(cause, "")


@pytest.mark.parametrize(
    "options",
    [
        {"neuron": "if"},
        {"neuron": "signed"},
        {"neuron": "multi-threshold:2:signed", "timesteps": 3},
        {"neuron": "leaky:0.9"},
        {"code": "radix:4", "neuron": None, "timesteps": None},
        {"neuron": "settled", "passes": ["neurons{layers=r2:if}"]},
        {"encoder": "poisson", "neuron": "signed"},
        {"precision": "float32", "neuron": "if:zero"},
    ],
    ids=str,
)
def test_without_exchanges_it_says_what_the_engine_says(options: dict[str, Any]) -> None:
    network = snncc.compile(TEACHER, **GOOD | {"timesteps": 8, "calibration": "percentile:99.9", **options})
    steps = network.meta["timesteps"]
    exchanger = Exchanger({"compiled": network}, {}, steps, 3, 1)
    for x in DATA[:2]:
        said = exchanger.outputs(exchanger.run({"x": x[None]}, {}))["y"]
        engine = Model(network, "reference").run(x, seed=3).outputs["y"]
        np.testing.assert_allclose(said, engine, atol=1e-5 * np.abs(engine).max())


def test_all_layers_exact_with_the_teachers_weights_are_the_teacher() -> None:
    network = snncc.compile(TEACHER, calibrate=DATA, timesteps=4, neuron="if")
    found = snncc.compare(TEACHER, network, DATA, samples=3)
    assert found.attribution.summary[-1].cause == "weight quantisation"
    assert found.attribution.summary[-1].error_without < 1e-5
    assert found.attribution.error > 0.05
    assert sum(cause.share for cause in found.attribution.summary) == pytest.approx(1, abs=1e-3)


def test_a_population_that_reads_a_constant_current_is_exact() -> None:
    """One neuron, by hand: theta 1, three steps of 0.7: 0.5 + 2.1 is worth 2 spikes; exactly, 2.1."""
    one = model("agraph (float[1,1,1,1] x, float[1,1,1,1] w, float[1,1,1,1] h) => (float y) { c = Conv (x, w)\n"
                "r = Relu (c)\n y = Conv (r, h) }", {"w": 1, "h": 1})  # fmt: skip
    data = np.array([0.7, 1.0], np.float32).reshape(2, 1, 1, 1)
    network = snncc.compile(one, calibrate=data, timesteps=3, neuron="if", calibration="max", precision="float32")
    exchanger = Exchanger({"compiled": network}, {}, 3, 0, 1)
    for form, value in (("spikes", 2 / 3), ("count", 2 / 3), ("unclipped", 2 / 3), ("exact", 0.7)):
        run = exchanger.run({"x": data[:1]}, {"r": Change(form)})  # type: ignore[arg-type]
        assert exchanger.outputs(run)["y"].item() == pytest.approx(value, rel=1e-6)
    run = exchanger.run({"x": np.full((1, 1, 1, 1), 1.9, np.float32)}, {"r": Change("unclipped")})
    assert exchanger.outputs(run)["y"].item() == pytest.approx(2, rel=1e-6)  # 0.5 + 5.7: six spikes, where three fit


@pytest.mark.parametrize(
    ("name", "output", "target", "value"),
    [
        ("dice", [[[[0.9, 0.1, 0.8, 0.2]]]], [[[1, 1, 0, 0]]], 2 * 1 / 4),
        ("iou", [[[[0.9, 0.1, 0.8, 0.2]]]], [[[1, 1, 0, 0]]], 1 / 3),
        ("dice", [[[[0.1, 0.1, 0.1, 0.1]]]], [[[0, 0, 0, 0]]], 1.0),
        ("accuracy", [[0.1, 0.9, 0.0]], [1], 1.0),
        ("dice", [[[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]], [[0, 1, 1]], (2 / 3 + 0) / 2),
        ("psnr", [[[[0.5, 0.5]]]], [[[0.4, 0.6]]], 20.0),
        ("dice", np.array([[[0, 3, 3, 1]]]), [[[0, 3, 1, 255]]], 2 / 3 / 2),
    ],
)
def test_metrics_by_hand(name: str, output: Any, target: Any, value: float) -> None:
    metric = Metric(name, threshold=0.5)
    output = output if isinstance(output, np.ndarray) else np.array(output, np.float32)
    counts = metric.counts(output, np.array(target))
    assert metric.value(counts) == pytest.approx(value, rel=1e-5)
    if name != "psnr":
        assert metric.value(counts + counts) == pytest.approx(value, rel=1e-5)


def test_labels_that_count_as_one_class() -> None:
    output = np.zeros((1, 4, 4), np.float32)
    output[0, [0, 1, 2, 3], range(4)] = 1  # 0, 1, 2, 3
    counts = Metric("dice", foreground=(2, 3)).counts(output, np.array([[0, 2, 3, 2]]))
    assert Metric("dice").value(counts) == pytest.approx(2 * 2 / 5)
    one = np.array([[[0.9, 0.9, 0.1, 0.1]]], np.float32)  # 1 is no label 2, also where there is no 2
    assert Metric("dice", 0.5, (2,)).counts(one, np.array([[0, 1, 1, 0]])).tolist() == [[0, 2, 0]]


# -- the command ----------------------------------------------------------------------------------------------------

SEGMENTS = model(
    """agraph (float[1,1,16,16] x, float[4,1,3,3] w1, float[1,4,1,1] w2) => (float probability) {
      c1 = Conv <pads=[1,1,1,1]> (x, w1)
      r1 = Relu (c1)
      c2 = Conv (r1, w2)
      probability = Sigmoid (c2)
    }"""
)
PREPROCESS = {"version": 1, "orientation": "RAS", "slice_axis": 2, "labels": {"threshold": 0.5}}


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher, two volumes, and its own labels of them as the experts'."""
    monkeypatch.chdir(tmp_path)
    teacher = onnx.ModelProto()
    teacher.CopyFrom(SEGMENTS)
    teacher.metadata_props.add(key="snncc.preprocess", value=json.dumps(PREPROCESS))
    onnx.save(teacher, "t.onnx")
    for folder in ("images", "labels"):
        Path(folder).mkdir()
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        data = rng.random((16, 20, 3)).astype(np.float32)  # 20: two tiles a slice
        affine = np.diag([-1.0, 1, 1, 1])  # stored from right to left
        nib.save(nib.Nifti1Image(data, affine), f"images/{name}.nii.gz")
    options = ("-T", 8, "--neuron", "if", "--calibration", "percentile:99", "--preprocess", json.dumps(PREPROCESS))
    works("compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", "images", *options)
    works("compile", "t.onnx", "-o", "float.snn.onnx", "--calibrate", "images", "-T", 256, "--neuron", "settled")
    works("run", "float.snn.onnx", "images", "-o", "labels")
    return tmp_path


def test_the_command_on_volumes(volumes: Path) -> None:
    shown = works(
        "compare", "t.onnx", "m.snn.onnx", "--data", "images", "--labels", "labels", "--json", "r.json", "--samples", 5
    ).stdout  # fmt: skip
    report = json.loads(Path("r.json").read_text())
    metric = report["metric"]
    assert metric["name"] == "dice" and metric["cases"] == 2 and metric["sampled"]["samples"] == 5
    assert metric["teacher"] > 0.99 > metric["spiking"] > 0.5  # the labels are the teacher's, but for rounding
    assert len(metric["prefixes"]) == 8
    assert metric["prefixes"][-1] == pytest.approx(metric["sampled"]["spiking"], abs=1e-3)
    assert [p["name"] for p in report["populations"]] == ["r1"] and report["populations"][0]["correlation"] > 0.9
    keys = {"population", "cause", "error_with", "error_without", "share", "metric_without"}
    assert report["causes"][0].keys() >= keys
    assert "level quantisation" in shown and "dice after t steps" in shown
    dense, skipping = report["crossover"]["against"][:2]
    assert 0 < skipping["operations"] < dense["operations"]


def test_plots(volumes: Path) -> None:
    pytest.importorskip("matplotlib")
    works("compare", "t.onnx", "m.snn.onnx", "--data", "images/a.nii.gz", "--plots", "p", "--samples", 2)
    assert {f.name for f in Path("p").iterdir()} == {"activations.png", "rates.png", "prefixes.png"}
    assert all(f.read_bytes().startswith(b"\x89PNG") for f in Path("p").iterdir())


def test_without_matplotlib_plots_are_refused(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    text = fails(2, "compare", "t.onnx", "m.snn.onnx", "--data", "images", "--plots", "p")
    assert "needs matplotlib" in text and "'.[report]'" in text and not Path("p").exists()


def test_an_image_without_labels_is_named(volumes: Path) -> None:
    Path("labels/b.nii.gz").unlink()
    text = fails(2, "compare", "t.onnx", "m.snn.onnx", "--data", "images", "--labels", "labels")
    assert "there are no labels for it" in text and "b.nii.gz" in text


def test_labels_on_another_grid_are_refused(volumes: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((16, 21, 3), np.uint8), np.eye(4)), "labels/a.nii.gz")
    text = fails(2, "compare", "t.onnx", "m.snn.onnx", "--data", "images", "--labels", "labels")
    assert "a grid of (3, 16, 21), and its image one of (3, 16, 20)" in text and "a.nii.gz" in text


def test_another_teacher_is_refused(volumes: Path) -> None:
    onnx.save(TEACHER, "other.onnx")
    text = fails(2, "compare", "other.onnx", "m.snn.onnx", "--data", "images")
    assert "the model was compiled from another teacher (t.onnx)" in text


@pytest.mark.parametrize(
    ("planted", "population", "node", "cause"),
    [
        ("neurons{layers=r3:if}", "r3", "", "unevenness"),
        ("maxpool-to-avgpool", "", "MaxPool p1", "pooling rewrite"),
    ],
)
def test_the_command_names_what_was_planted(
    planted: str, population: str, node: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(TEACHER, "t.onnx")
    np.save("data.npy", DATA)
    options = ("--neuron", "settled", "--calibration", "max", "-T", 64, "-p", planted)
    works("compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", "data.npy", *options)
    shown = works("compare", "t.onnx", "m.snn.onnx", "--data", "data.npy", "--samples", 4, "--json", "r.json").stdout
    first = json.loads(Path("r.json").read_text())["causes"][0]
    assert (first["population"], first["node"], first["cause"]) == (population, node, cause)
    row = next(line for line in shown.splitlines() if line.startswith(("layer ", "r", "MaxPool")) and cause in line)
    assert row.split("  ")[0] == (node or population)


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Array:
    """A classifier, samples, and the teacher's own answers; some changed."""
    monkeypatch.chdir(tmp_path)
    teacher = model(
        "agraph (float[1,8] x, float[16,8] wa, float[5,16] wb) => (float y) { a = Gemm <transB=1> (x, wa)\n"
        "r = Relu (a)\n y = Gemm <transB=1> (r, wb) }"
    )
    onnx.save(teacher, "t.onnx")
    data = np.random.default_rng(2).random((40, 8)).astype(np.float32)
    np.save("data.npy", data)
    works("compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", "data.npy", "--code", "radix:5")
    return np.array([int(expected(teacher, {"x": x[None]})["y"].argmax()) for x in data])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_one_class_a_sample(classes: Array, suffix: str) -> None:
    classes[:4] = (classes[:4] + 1) % 5
    file = f"labels{suffix}"
    if suffix == ".csv":
        Path(file).write_text("".join(f"sample {k},{c}\n" for k, c in enumerate(classes)))
    else:
        write: Any = np.save if suffix == ".npy" else np.savez
        write(file, classes)
    works("compare", "t.onnx", "m.snn.onnx", "--data", "data.npy", "--labels", file, "--json", "r.json")
    metric = json.loads(Path("r.json").read_text())["metric"]
    assert metric["name"] == "accuracy" and metric["teacher"] == pytest.approx(0.9) and metric["cases"] == 40
    assert metric["prefixes"] is None and "last step" in metric["note"]


def test_without_labels_it_is_the_agreement_with_the_teacher(classes: Array) -> None:
    works("compare", "t.onnx", "m.snn.onnx", "--data", "data.npy", "--json", "r.json")
    metric = json.loads(Path("r.json").read_text())["metric"]
    assert metric["name"] == "agreement" and metric["teacher"] == 1 and 0.8 < metric["spiking"] <= 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--labels", "short.npy"), "39 labels for 40 samples"),
        (("--labels", "nowhere"), "there is no such file or folder"),
        (("--labels", "t.onnx"), "neither a folder nor an array of labels"),
        (("--labels", "words.csv"), "no labels can be read from it"),
        (("--metric", "dice"), "the metric dice needs labels"),
        (("--labels", "classes.npy", "--metric", "psnr"), "the metric psnr for targets of dtype int64"),
        (("--foreground", "one"), "--foreground one"),
    ],
)
def test_bad_labels(classes: Array, options: tuple[str, ...], text: str) -> None:
    np.save("short.npy", classes[:39])
    np.save("classes.npy", classes)
    Path("words.csv").write_text("cat\ndog\n")
    assert text in fails(2, "compare", "t.onnx", "m.snn.onnx", "--data", "data.npy", *options)


def test_target_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PSNR, the mean over images: of the teacher by hand from the pixels."""
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    teacher = model("agraph (float[1,1,8,8] x, float[2,1,3,3] w1, float[1,2,1,1] w2) => (float y) { c = Conv "
                    "<pads=[1,1,1,1]> (x, w1)\n r = Relu (c)\n y = Conv (r, w2) }")  # fmt: skip
    teacher.metadata_props.add(key="snncc.preprocess", value='{"version": 1, "labels": null}')
    onnx.save(teacher, "t.onnx")
    rng, decibels = np.random.default_rng(4), []
    for folder in ("noisy", "clean"):
        Path(folder).mkdir()
        for name in "ab":
            image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(f"{folder}/{name}.png")
    for name in "ab":
        noisy, clean = (np.asarray(image.open(f"{f}/{name}.png"), np.float32) / 255 for f in ("noisy", "clean"))
        error = expected(teacher, {"x": noisy[None, None]})["y"][0, 0] - clean
        decibels.append(-10 * np.log10(np.square(error).mean()))
    works("compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", "noisy", "-T", 4)
    works("compare", "t.onnx", "m.snn.onnx", "--data", "noisy", "--labels", "clean", "--json", "r.json")
    metric = json.loads(Path("r.json").read_text())["metric"]
    assert metric["name"] == "psnr" and metric["teacher"] == pytest.approx(np.mean(decibels), rel=1e-5)
    assert metric["spiking"] != metric["teacher"] and len(metric["prefixes"]) == 4


def test_spike_trains_and_a_stretch_that_stays_analog() -> None:
    """Both take samples of their own kind: a train for its own T, an encoder in the middle of the network."""
    middle = model("agraph (float[1,8] x, float[16,8] wa, float[16,16] wb, float[5,16] wc) => (float y) {"
                   "a = Gemm <transB=1> (x, wa)\n r = Relu (a)\n b = Gemm <transB=1> (r, wb)\n t = Tanh (b)\n"
                   "s = Relu (t)\n y = Gemm <transB=1> (s, wc) }")  # fmt: skip
    data = np.random.default_rng(5).random((6, 8)).astype(np.float32)
    network = snncc.compile(middle, calibrate=data, allow_analog=True, timesteps=4, neuron="if")
    assert network.interlude is not None
    found = snncc.compare(middle, network, data, samples=6)
    assert found.attribution.metric == found.spiking and found.prefixes is None
    assert found.attribution.summary[-1].error_without < 1e-5 < 0.01 < found.attribution.error
    trains = np.random.default_rng(6).integers(0, 2, (6, 5, 1, 8, 8)).astype(np.float32)
    network = snncc.compile(TEACHER, calibrate=list(trains), encoder="spikes", neuron="signed", timesteps=5)
    found = snncc.compare(TEACHER, network, trains, samples=6)
    assert found.counts.timesteps == 5 and found.prefixes is not None and len(found.prefixes) == 5
    assert found.attribution.metric == pytest.approx(found.spiking, rel=1e-4)


def test_arrays_in_python(classes: Array) -> None:
    data = np.load("data.npy")
    found = snncc.compare("t.onnx", load("m.snn.onnx"), data, classes, samples=40)
    assert found.metric == "accuracy" and found.teacher == 1
    assert found.attribution.metric == found.spiking  # measured on all samples, in two ways
    with pytest.raises(DataError, match="an array of shape"):
        snncc.compare("t.onnx", "m.snn.onnx", data[0])
