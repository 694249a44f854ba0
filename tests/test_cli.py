"""The command line: what it writes, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

import snncc
from snncc.cli import main
from snncc.cli.data import bind, expand, open_case
from snncc.cli.preprocess import Preprocess
from tests.onnx_models import model

RNG = np.random.default_rng(0)
ONE = """agraph (float[1,1,8,8] x, float[3,1,3,3] w, float[1,3,1,1] u) => (float[1,1,8,8] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (c)
    h = Conv (r, u)
    y = Sigmoid (h) }"""
TWO = """agraph (float[1,1,8,8] x_fixed, float[1,1,8,8] x_moving, float[3,2,3,3] w, float[1,3,1,1] u)
    => (float[1,1,8,8] y) {
    j = Concat <axis = 1> (x_fixed, x_moving)
    c = Conv <pads = [1, 1, 1, 1]> (j, w)
    r = Relu (c)
    h = Conv (r, u)
    y = Sub (x_fixed, h) }"""
ODD = "agraph (float[1,3] x) => (float[1,3] y) { e = Erf (x)\n r = Relu (e)\n y = Erf (r) }"
IDENTITY = """agraph (float[1,1,{size}] x, float[1,1,{ones}] one, float[1,1,{ones}] head) => (float[1,1,{size}] y) {{
    c = Conv (x, one)
    r = Relu (c)
    y = Conv (r, head) }}"""
BATCH = RNG.random((5, 1, 8, 8)).astype(np.float32)
nib: Any = nibabel


def snncc_(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def fails(code: int, *arguments: Any) -> str:
    """Run a command that must fail with one clear block; gives the block."""
    result = snncc_(*arguments)
    assert result.exit_code == code, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ") and result.stderr.count("error:") == 1
    assert "Traceback" not in result.output and "a fault in snncc" not in result.stderr
    return result.stderr


def works(*arguments: Any) -> Result:
    result = snncc_(*arguments, "--debug")
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a teacher and calibration data in it."""
    monkeypatch.chdir(tmp_path)
    onnx.save(model(ONE), "t.onnx")
    np.save("data.npy", BATCH)
    return tmp_path


@pytest.fixture
def compiled(here: Path) -> Path:
    works("compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", "data.npy", "-T", 6)
    return here


def test_check(here: Path) -> None:
    result = works("check", "t.onnx", "--json", "r.json")
    report = json.loads(Path("r.json").read_text())
    assert report["converts"] and {n["action"] for n in report["nodes"]} >= {"lowered", "analog"}
    assert "Sigmoid" in result.stdout


def test_check_names_every_node(here: Path) -> None:
    text = """agraph (float[1,1,8,8] x, float[3,1,3,3] w, float[1,3,1,1] u) => (float[1,1,8,8] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        i = Identity (c)
        r = OP (i)
        k = Constant <value_float = 2.0> ()
        d = Dropout (r)
        m = Mul (d, k)
        p = Relu (m)
        n = Neg (p)
        y = Conv (p, u) }"""
    for op, code in (("Relu", 0), ("Erf", 1)):
        onnx.save(model(text.replace("OP", op)), "t2.onnx")
        assert snncc_("check", "t2.onnx", "--json", "r.json").exit_code == code
        nodes = json.loads(Path("r.json").read_text())["nodes"]
        assert len({n["node"] for n in nodes}) == len(nodes) and all(n["reason"] for n in nodes)
        named = {name: n["action"] for n in nodes for name in n["node"].split(" ")[1].split("+")}
        assert set(named) == set("cirkdmpny") and {named[name] for name in "ikdn"} == {"folded"}
        assert ("refused" in named.values()) == bool(code)


def test_a_refusal_comes_before_any_data(here: Path) -> None:
    text = """agraph (float[1,1,8,8] x, float[3,1,3,3] w) => (float[1,3,6,6] y) {
        c = Conv (x, w)
        e = Erf (c)
        d = Conv <pads = [1, 1, 1, 1]> (e, v)
        r = Relu (d)
        y = Conv <pads = [1, 1, 1, 1]> (r, v) }"""
    onnx.save(model(text.replace("float[3,1,3,3] w", "float[3,1,3,3] w, float[3,3,3,3] v")), "odd.onnx")
    assert "Erf" in fails(1, "check", "odd.onnx", "--json", "r.json")
    assert not json.loads(Path("r.json").read_text())["converts"]
    assert "Erf" in fails(1, "compile", "odd.onnx", "-o", "m.onnx", "--calibrate", "absent.npy")
    assert not Path("m.onnx").exists()


def test_compile_says_what_it_did(here: Path) -> None:
    result = works(
        "compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", "data.npy", "-T", 4, "--json", "r.json",
        "--print-after=lower", "--dump", "dump", "--time-passes", "-p", "calibrate{method=max}",
    )  # fmt: skip
    assert "# after lower" in result.stdout and result.stdout.count("# after") == 1
    assert "correlation" in result.stdout and "seconds" in result.stdout
    report = json.loads(Path("r.json").read_text())
    assert "calibrate{method=max}" in report["pipeline"]
    (agreed,) = report["agreement"]
    assert agreed["samples"] == 5 and agreed["correlation"] > 0.9
    assert len(list(Path("dump").iterdir())) == len(report["passes"])
    line = report["pipeline"]
    works("compile", "t.onnx", "-o", "n.snn.onnx", "--pipeline", line, "--calibrate", "data.npy", "-T", 4)
    text = [works("inspect", name).stdout.partition("provenance")[0] for name in ("m.snn.onnx", "n.snn.onnx")]
    assert text[0] == text[1]


@pytest.mark.parametrize("engine", ["fast", "reference", "onnxruntime"])
def test_run_counts(compiled: Path, engine: str) -> None:
    works("run", "m.snn.onnx", "data.npy", "-o", "out.npy", "--engine", engine, "--json", "r.json", "--spikes", "s.npz")
    report = json.loads(Path("r.json").read_text())
    assert list(report) == [
        "timesteps", "latency", "engine", "totals", "populations", "projections", "synops_per_step", "samples",
        "crossover", "failed",
    ]  # fmt: skip
    assert list(report["totals"]) == [
        "events", "synops", "synops_nonzero", "synops_paths", "macs", "neuron_updates", "bias_adds", "teacher_macs",
        "teacher_macs_padded",
    ]  # fmt: skip
    assert (report["timesteps"], report["engine"], len(report["samples"])) == (6, engine, 5)
    assert all(set(p) == {"name", "neurons", "events", "rate"} for p in report["populations"])
    assert all(set(p) == {"pre", "post", "synops", "synops_nonzero"} for p in report["projections"])
    totals = report["totals"]
    assert totals["synops"] == sum(report["synops_per_step"]) == sum(p["synops"] for p in report["projections"])
    assert all(totals[key] == sum(s[key] for s in report["samples"]) for key in totals)
    assert totals["teacher_macs_padded"] == 5 * 64 * (27 + 3)
    spikes = np.load("s.npz")
    assert {name: spikes[name].shape for name in spikes} == {
        p["name"]: (5, 6, 3, 8, 8) for p in report["populations"]
    }
    assert all(spikes[name].dtype == np.int8 for name in spikes)
    assert totals["events"] == sum(int(np.abs(spikes[name]).sum()) for name in spikes)
    network = snncc.load("m.snn.onnx", engine)
    expected = np.concatenate([network.run(sample).outputs["y"] for sample in BATCH])
    np.testing.assert_array_equal(np.load("out.npy"), expected)


def test_the_python_model(compiled: Path) -> None:
    network = snncc.load("m.snn.onnx")
    assert network.input_shapes == {"x": (1, 1, 8, 8)}
    result = network.run({"x": BATCH[:1]}, 4, over_time=True, record=True)
    assert result.over_time["y"].shape == (4, 1, 1, 8, 8)
    for t in (1, 2, 4):
        np.testing.assert_array_equal(result.over_time["y"][t - 1], network.run(BATCH[0], t).outputs["y"])
    assert result.counts.to_dict()["timesteps"] == result.counts.timesteps == 4
    engine: Any = snncc.load("m.snn.onnx", "onnxruntime", threads=2)._engine
    assert engine._session.get_session_options().intra_op_num_threads == 2
    with pytest.raises(snncc.errors.DataError):
        network.run(BATCH[0, :, :4])
    with pytest.raises(snncc.errors.OptionError):
        network.run(BATCH[0], 0)


def test_calibration_accepts_arrays_streams_and_torch(here: Path) -> None:
    stream = lambda: ({"x": sample[None]} for sample in BATCH)  # noqa: E731
    forms: list[Any] = [BATCH, list(BATCH), [{"x": s} for s in BATCH], stream, "data.npy", [Path("data.npy")]]
    networks = [snncc.compile("t.onnx", calibrate=form) for form in forms]
    outputs = [snncc.load(n, "reference").run(BATCH[0]).outputs["y"] for n in networks]
    assert all(np.array_equal(outputs[0], other) for other in outputs)


def test_compile_a_torch_module(here: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Conv2d(3, 1, 1))
    network = snncc.compile(module, calibrate=BATCH, timesteps=32, example_input=torch.zeros(1, 1, 8, 8))
    (found,) = snncc.load(network).run(BATCH[0]).outputs.values()
    expected = module(torch.tensor(BATCH[:1])).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=0.1)
    with pytest.raises(snncc.errors.OptionError, match="example"):
        snncc.compile(module, calibrate=BATCH)


def test_named_inputs(here: Path) -> None:
    onnx.save(model(TWO), "two.onnx")
    np.save("moving.npy", BATCH[::-1].copy())
    pairs = ["x_fixed=data.npy", "x_moving=moving.npy"]
    works("compile", "two.onnx", "-o", "m.onnx", "-T", 4, "--calibrate", *pairs)
    works("run", "m.onnx", *reversed(pairs), "-o", "out.npy")
    network = snncc.load("m.onnx")
    expected = network.run({"x_fixed": BATCH[1], "x_moving": BATCH[3]}).outputs["y"]
    np.testing.assert_array_equal(np.load("out.npy")[1:2], expected)
    np.savez("both.npz", x_fixed=BATCH, x_moving=BATCH[::-1])
    works("run", "m.onnx", "both.npz", "-o", "again.npz")
    np.testing.assert_array_equal(np.load("again.npz")["y"], np.load("out.npy"))
    np.save("three.npy", BATCH[:3])
    assert "differ" in fails(2, "run", "m.onnx", pairs[0], "x_moving=three.npy", "-o", "o.npy")
    assert "x_moving" in fails(2, "run", "m.onnx", pairs[0], "-o", "o.npy")
    assert "NAME=PATH" in fails(2, "run", "m.onnx", "data.npy", "-o", "o.npy")
    assert "no input is called" in fails(2, "run", "m.onnx", "still=data.npy", "-o", "o.npy")


@pytest.mark.parametrize(
    ("size", "shape", "options"),
    [
        ("8,8,8", (7, 6, 5), {"orientation": "RAS"}),
        ("8,8,8", (13, 8, 20), {"orientation": "RAS"}),
        ("8,8", (11, 5, 4), {"orientation": "LPS", "slice_axis": 0}),
        ("8,8", (7, 8, 3), {}),
    ],
)
def test_nifti_in_and_out(here: Path, size: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    """A network that gives back its input segments a mask to the very same mask, in the mask's own space."""
    ones = ",".join("1" for _ in size.split(","))
    kernel = np.ones([1, 1, *(1 for _ in size.split(","))], np.float32)
    onnx.save(model(IDENTITY.format(size=size, ones=ones), {"one": kernel, "head": kernel}), "id.onnx")
    mask = (RNG.random(shape) > 0.6).astype(np.int16)
    affine = np.array([[-0.7, 0, 0, 3], [0, 0, 1.5, -2], [0, 1, 0.0, 9], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(mask, affine), "in.nii.gz")
    image = nib.load("in.nii.gz")
    np.save("ones.npy", np.ones((1, *(8 for _ in size.split(","))), np.float32))
    options_ = json.dumps(options)
    works("compile", "id.onnx", "-o", "id.snn.onnx", "-T", 4, "--calibrate", "ones.npy", "--preprocess", options_)
    labels = json.dumps({"labels": {"threshold": 0.5}})
    works("run", "id.snn.onnx", "in.nii.gz", "-o", "out.nii.gz", "--preprocess", labels)
    out = nib.load("out.nii.gz")
    assert out.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(out.dataobj), mask)
    np.testing.assert_array_equal(out.affine, image.affine)
    assert out.header.get_zooms() == image.header.get_zooms()
    works("run", "id.snn.onnx", "in.nii.gz", "-o", "p.nii", "--preprocess", labels, "--probabilities")
    np.testing.assert_allclose(nib.load("p.nii").get_fdata(), mask, atol=0.01)


def test_several_inputs_go_to_a_folder(compiled: Path) -> None:
    Path("in").mkdir()
    for k, sample in enumerate(BATCH):
        np.save(f"in/{k}.npy", sample)
    Path("list.txt").write_text("in/0.npy\n\nin/1.npy\n")
    works("run", "m.snn.onnx", "in", "-o", "out")
    assert sorted(p.name for p in Path("out").iterdir()) == [f"{k}.npy" for k in range(5)]
    works("run", "m.snn.onnx", "list.txt", "-o", "two", "--json", "r.json")
    assert [s["input"] for s in json.loads(Path("r.json").read_text())["samples"]] == ["0.npy", "1.npy"]
    block = fails(2, "run", "m.snn.onnx", "in/0.npy", "in/0.npy", "-o", "x")
    assert "y of in/0.npy and y of in/0.npy would go to one file" in block
    assert "folder" in fails(2, "run", "m.snn.onnx", "in", "-o", "data.npy")


def test_no_input_is_overwritten(compiled: Path) -> None:
    before = {name: Path(name).read_bytes() for name in ("data.npy", "t.onnx")}
    assert "overwrite" in fails(2, "run", "m.snn.onnx", "data.npy", "-o", ".")
    assert "overwrite" in fails(2, "compile", "t.onnx", "-o", "t.onnx", "--calibrate", "data.npy")
    assert all(Path(name).read_bytes() == content for name, content in before.items())
    assert "wrote out.npy" in works("run", "m.snn.onnx", "data.npy", "-o", "out.npy").stdout


def test_outputs_of_several_kinds(here: Path) -> None:
    text = """agraph (float[1,1,8,8] x, float[3,1,3,3] w, float[3,3,1,1] u) => (float[1,3,8,8] a, float[1,3,1,1] b) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        r = Relu (c)
        a = Conv (r, u)
        b = GlobalAveragePool (r) }"""
    onnx.save(model(text), "two.onnx")
    works("compile", "two.onnx", "-o", "m.onnx", "-T", 4, "--calibrate", "data.npy")
    nib.save(nib.Nifti1Image(RNG.random((8, 7, 3)).astype(np.float32), np.eye(4)), "in.nii")
    works("run", "m.onnx", "in.nii", "-o", "out.nii")
    assert nib.load("out_a.nii").shape == (8, 7, 3) and nib.load("out_a.nii").get_data_dtype() == np.uint8
    assert np.load("out_b.npy").shape == (3, 3, 1, 1)
    works("run", "m.onnx", "in.nii", "-o", "p.nii", "--probabilities")
    assert nib.load("p_a.nii").shape == (8, 7, 3, 3)
    nib.save(nib.load("in.nii"), "in.nii.gz")
    block = fails(2, "run", "m.onnx", "in.nii", "in.nii.gz", "-o", "both")
    assert "b of in.nii and b of in.nii.gz would go to one file" in block and not Path("both").exists()
    assert "overwrite an input" in fails(2, "run", "m.onnx", "p_a.nii", "-o", "p.nii")


def test_outputs_of_any_name(here: Path) -> None:
    proto = model("""agraph (float[1,1,8,8] x, float[3,1,3,3] w, float[1,3,1,1] u, float[2,3,1,1] t)
        => (float[1,1,8,8] file, float[1,2,8,8] p_0, float[1,3,8,8] r) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        r = Relu (c)
        file = Conv (r, u)
        p_0 = Conv (r, t) }""")
    proto.graph.output[2].name = proto.graph.node[1].output[0] = "p:0"
    proto.graph.node[2].input[0] = proto.graph.node[3].input[0] = "p:0"
    onnx.save(proto, "names.onnx")
    works("compile", "names.onnx", "-o", "m.onnx", "-T", 4, "--calibrate", "data.npy")
    assert "p_0 of data.npy and p:0 of data.npy" in fails(2, "run", "m.onnx", "data.npy", "-o", "out.npy")
    works("run", "m.onnx", "data.npy", "-o", "O.NPZ")
    found, expected = np.load("O.NPZ"), snncc.load("m.onnx").run(BATCH[2]).outputs
    assert set(found) == set(expected) == {"file", "p_0", "p:0"}
    assert all(np.array_equal(found[name][2:3], value) for name, value in expected.items())


def test_values_outside_the_encoder_are_reported(compiled: Path) -> None:
    np.save("bright.npy", BATCH[0] * 3)
    assert "clipped" in works("run", "m.snn.onnx", "bright.npy", "-o", "out.npy").stdout
    assert "clipped" not in works("run", "m.snn.onnx", "data.npy", "-o", "out.npy").stdout


@pytest.mark.parametrize(
    "options",
    ["--precision float32", "--neuron if --per layer --calibration max", "--encoder poisson", "-p quantize{bits=4}"],
)
def test_recipes(here: Path, options: str) -> None:
    works("compile", "t.onnx", "-o", "m.onnx", "--calibrate", "data.npy", "-T", 16, *options.split())
    works("run", "m.onnx", "data.npy", "-o", "out.npy", "--seed", 3)
    assert np.load("out.npy").shape == (5, 1, 8, 8)


def test_arrays_are_streamed(here: Path) -> None:
    shapes = {"x": (1, 1, 8, 8)}
    np.savez_compressed("z.npz", a=BATCH)
    np.savez("f.npz", x=np.asfortranarray(BATCH), other=BATCH[:2])
    for name in ("data.npy", "z.npz", "f.npz"):
        (files,) = bind([name], shapes)
        case = open_case(files, shapes, Preprocess())
        assert case.count == 5
        np.testing.assert_array_equal(np.concatenate([s["x"] for s in case.samples()]), BATCH)
    assert expand(Path(".")) == [Path("data.npy"), Path("f.npz"), Path("z.npz")]


GARBAGE = {"empty": b"", "foreign": b"%PDF-1.4 nothing to see here", "text": b"hello"}


@pytest.mark.parametrize("kind", ["missing", "truncated", "folder", *GARBAGE])
@pytest.mark.parametrize("what", ["teacher", "model", "data", "input"])
def test_bad_files(compiled: Path, kind: str, what: str) -> None:
    source = {"teacher": "t.onnx", "model": "m.snn.onnx", "data": "data.npy", "input": "data.npy"}[what]
    bad = Path("bad" + Path(source).suffix)
    if kind == "truncated":
        content = Path(source).read_bytes()
        bad.write_bytes(content[: len(content) // 2])
    elif kind == "folder":
        bad.mkdir()
    elif kind in GARBAGE:
        bad.write_bytes(GARBAGE[kind])
    before = Path("m.snn.onnx").read_bytes()
    block = {
        "teacher": lambda: fails(2, "compile", bad, "-o", "m.snn.onnx", "--calibrate", "data.npy"),
        "model": lambda: fails(2, "run", bad, "data.npy", "-o", "out.npy"),
        "data": lambda: fails(2, "compile", "t.onnx", "-o", "m.snn.onnx", "--calibrate", bad),
        "input": lambda: fails(2, "run", "m.snn.onnx", bad, "-o", "out.npy"),
    }[what]()
    assert bad.name in block and "remedy:" in block
    assert Path("m.snn.onnx").read_bytes() == before and not Path("out.npy").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), "shape"),
        (np.zeros((5, 1, 8, 9), np.float32), "shape"),
        (np.zeros((1, 8, 8), np.uint8), "dtype uint8"),
        (np.zeros((1, 8, 8), np.complex64), "dtype"),
        (np.full((3, 1, 8, 8), np.nan, np.float32), "NaN"),
        (np.full((1, 8, 8), np.inf, np.float32), "NaN or infinity"),
        (np.full((1, 8, 8), 1e300), "NaN or infinity (as float32)"),
        (np.array([{"a": 1}], object), "data.npy"),
        (np.zeros((0, 1, 8, 8), np.float32), ""),
    ],
)
def test_bad_arrays(compiled: Path, array: Any, message: str) -> None:
    np.save("data.npy", array, allow_pickle=True)
    for command in ("compile t.onnx -o m2.onnx --calibrate data.npy", "run m.snn.onnx data.npy -o out.npy"):
        block = fails(2, *command.split())
        assert message in block and "data.npy" in block and "remedy:" in block
    assert not Path("m2.onnx").exists() and not Path("out.npy").exists()


@pytest.mark.parametrize(
    "command",
    [
        "compile t.onnx -o m2.onnx --calibrate data.npy -T 0",
        "compile t.onnx -o m2.onnx --calibrate data.npy -T 99999999",
        "compile t.onnx -o m2.onnx",
        "compile t.onnx data.npy -o m2.onnx",
        "compile t.onnx -o m2.onnx --calibrate data.npy -p nonsense",
        "compile t.onnx -o m2.onnx --calibrate data.npy -p quantize{bits=x}",
        "compile t.onnx -o m2.onnx --calibrate data.npy -p quantize{bits=99}",
        "compile t.onnx -o m2.onnx --calibrate data.npy --pipeline lower{",
        "compile t.onnx -o m2.onnx --calibrate data.npy --pipeline quantize,lower",
        "compile t.onnx -o m2.onnx --calibrate data.npy --pipeline dead-nodes",
        "compile t.onnx -o m2.onnx --calibrate data.npy --pipeline lower,calibrate",
        "compile t.onnx -o m2.onnx --calibrate data.npy --pipeline bytes.bin",
        "compile t.onnx -o m2.onnx --calibrate data.npy --print-after=nonsense",
        "compile t.onnx -o m2.onnx --calibrate data.npy --precision int99",
        "compile t.onnx -o m2.onnx --calibrate data.npy --calibration median",
        "compile t.onnx -o m2.onnx --calibrate data.npy --calibration percentile:x",
        "compile t.onnx -o m2.onnx --calibrate data.npy --calibration max:3",
        "compile t.onnx -o m2.onnx --calibrate data.npy --neuron if -p neurons{kind=x}",
        "compile t.onnx -o m2.onnx --calibrate data.npy --shape z=1x1x8x8",
        "compile t.onnx -o m2.onnx --calibrate data.npy --shape x=1x1x8",
        "compile t.onnx -o m2.onnx --calibrate data.npy --shape x=1x1x9x9",
        "compile t.onnx -o m2.onnx --calibrate data.npy --shape x",
        "compile t.onnx -o m2.onnx --calibrate data.npy --preprocess {",
        "compile t.onnx -o m2.onnx --calibrate data.npy --preprocess absent.json",
        'compile t.onnx -o m2.onnx --calibrate data.npy --preprocess {"colour":1}',
        "compile t.onnx -o absent/m2.onnx --calibrate data.npy",
        "compile m.snn.onnx -o m2.onnx --calibrate data.npy",
        "run t.onnx data.npy -o out.npy",
        "run m.snn.onnx data.npy -o out.npy -T 0",
        "run m.snn.onnx data.npy -o out.npy -T 99999999",
        "run m.snn.onnx data.npy -o out.xyz",
        "run m.snn.onnx data.npy -o absent/out.npy",
        "run m.snn.onnx data.npy -o out.npy --json absent/r.json",
        "run m.snn.onnx data.npy -o out.npy --spikes s.txt",
    ],
)
def test_bad_options(compiled: Path, command: str) -> None:
    Path("bytes.bin").write_bytes(b"\xb2")
    assert "remedy:" in fails(2, *command.split())
    Path("bytes.bin").unlink()
    assert sorted(p.name for p in compiled.iterdir()) == ["data.npy", "m.snn.onnx", "t.onnx"]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("what", ["m.snn.onnx", "out.npy", "s.npz", "r.json"])
def test_a_write_that_fails_leaves_the_old_file(
    compiled: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, what: str
) -> None:
    for name in ("out.npy", "s.npz", "r.json"):
        Path(name).write_text("old")
    before = Path(what).read_bytes()
    replace = os.replace

    def broken(source: Any, target: Any) -> None:
        if Path(target).name == what:
            raise fault
        replace(source, target)

    monkeypatch.setattr(os, "replace", broken)
    command = "run m.snn.onnx data.npy -o out.npy --spikes s.npz --json r.json"
    if what == "m.snn.onnx":
        command = "compile t.onnx -o m.snn.onnx --calibrate data.npy"
    result = snncc_(*command.split())
    assert result.exit_code == (2 if isinstance(fault, OSError) else 130)
    assert "Traceback" not in result.output
    assert ("No space left" if isinstance(fault, OSError) else "interrupted") in result.stderr
    assert Path(what).read_bytes() == before
    assert {p.name for p in compiled.iterdir()} == {"data.npy", "m.snn.onnx", "t.onnx", "out.npy", "s.npz", "r.json"}


def test_sigterm_leaves_nothing_behind(compiled: Path) -> None:
    np.save("many.npy", np.zeros((200_000, 1, 8, 8), np.float32))
    command = "run m.snn.onnx data.npy many.npy -o out --spikes s.npz --engine reference"
    process = subprocess.Popen([sys.executable, "-m", "snncc", *command.split()], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not Path("out/data.npy").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err
    assert {p.name for p in compiled.iterdir()} == {"data.npy", "many.npy", "m.snn.onnx", "t.onnx", "out"}
    assert [p.name for p in Path("out").iterdir()] == ["data.npy"]


def test_help_and_usage() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout.startswith("snncc")
    for name in ("check", "compile", "run", "inspect", "passes", "demo"):
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0
    assert CliRunner().invoke(main, ["run"]).exit_code == 2
