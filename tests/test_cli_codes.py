"""The command line with codes, neurons and passes beyond the default ones: what it says about them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import snncc
from snncc.encoders import Poisson, SpikeTrain
from snncc.errors import DataError, OptionError, VerifyError
from snncc.network_checks import verify_network
from snncc.summary import summary
from tests.onnx_models import model
from tests.test_cli import fails, works

RNG = np.random.default_rng(0)
WEIGHTS = {"w": (3, 1, 3, 3), "k": (3, 3, 3, 3), "u": (1, 3, 1, 1)}
TEACHER = """agraph (float[1,1,8,8] x, float[3,1,3,3] w, float[3,3,3,3] k, float[1,3,1,1] u, float[3] s, float[3] b)
    => (float[1,1,8,8] y) {{
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    n = {norm}
    r = {first}
    d = Conv <pads = [1, 1, 1, 1]> (r, k)
    q = {inside}
    y = Conv (q, u) }}"""
POOL = "MaxPool <kernel_shape = [2, 2], pads = [0, 0, 1, 1]> (c)"
NORM = "InstanceNormalization (c, s, b)"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("data.npy", RNG.random((3, 1, 8, 8)).astype(np.float32))


def teacher(norm: str = "Identity (c)", inside: str = "Relu (d)", first: str = "Relu (n)") -> str:
    weights = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in WEIGHTS.items()}
    weights |= {"s": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}
    onnx.save(model(TEACHER.format(norm=norm, inside=inside, first=first), weights), "t.onnx")
    return "t.onnx"


@pytest.mark.parametrize(
    "options, inside, windows",
    [
        (["-T", "4"], "Relu (d)", 1),
        (["--neuron", "settled", "-T", "4"], "Relu (d)", 3),
        (["--code", "radix:4"], "Relu (d)", 3),
        (["-T", "4", "--allow-analog"], "Gelu (d)", 2),
        (["--code", "radix:4", "--allow-analog"], "Gelu (d)", 3),
    ],
)
def test_latency(options: list[str], inside: str, windows: int) -> None:
    works("compile", teacher(inside=inside), "--calibrate", "data.npy", "-o", "m.snn.onnx", *options)
    shown = works("run", "m.snn.onnx", "data.npy", "-o", "o.npy", "--json", "r.json").stdout
    assert json.loads(Path("r.json").read_text())["latency"] == 4 * windows
    assert ("latency" in shown) == (windows > 1)
    assert f"T = 4, latency {4 * windows} steps ({windows} windows of T)" in shown or windows == 1
    assert ("latency" in works("inspect", "m.snn.onnx", "--json", "i.json").stdout) == (windows > 1)
    assert json.loads(Path("i.json").read_text())["recipe"]["latency"] == 4 * windows
    again = ["run", "m.snn.onnx", "data.npy", "-o", "o.npy", "-T", "5", "--json", "r.json"]
    if "--code" in options:
        assert "T = 5: this network speaks a radix code of 4 digits" in fails(2, *again)
    else:
        works(*again)
        assert json.loads(Path("r.json").read_text())["latency"] == 5 * windows


SCALED = "threshold-scale{factor=1.25},neurons{kind=radix},quantize"
DEFAULT = f"calibrate{{method=mse,levels=15}},{SCALED}"
THREE = f"calibrate{{method=mse,levels=7}},{SCALED}"


@pytest.mark.parametrize(
    "options, pipeline, steps",
    [
        ([], DEFAULT, 4),
        (["--neuron", "radix"], DEFAULT, 4),
        (["--code", "radix:3", "-T", "3"], THREE, 3),
        (["--code", "radix:5", "--calibration", "mse"],
         "calibrate{method=mse,levels=31},neurons{kind=radix},quantize", 5),
        (["-T", "16"], "calibrate{method=mse},neurons,quantize", 16),
        (["--code", "rate"], "calibrate{method=mse},neurons,quantize", 32),
        (["--neuron", "settled"], "calibrate{method=mse},neurons{kind=settled},quantize", 32),
        (["--neuron", "if", "-T", "8"], "calibrate{q=99.0},neurons{kind=if},quantize", 8),
        (["--neuron", "leaky:0.9"], "calibrate{q=99.0},neurons{kind=leaky:0.9},quantize", 32),
        (["--neuron", "if", "--calibration", "mse"], "calibrate{method=mse},neurons{kind=if},quantize", 32),
        (["--neuron", "multi-threshold:2", "-T", "2"],
         "calibrate{method=mse,levels=6},neurons{kind=multi-threshold:2},quantize", 2),
        (["--encoder", "poisson"], "calibrate{method=mse},neurons{encoder=poisson},quantize", 32),
        (["--pipeline", f"lower,{THREE}", "-T", "3"], THREE, 3),
        (["--pipeline", "lower,calibrate,neurons,quantize"], "calibrate,neurons,quantize", 32),
    ],
)
def test_the_recipe(options: list[str], pipeline: str, steps: int) -> None:
    compile_ = ["compile", teacher(), "--calibrate", "data.npy", "-o", "m.snn.onnx", "--json", "c.json"]
    works(*compile_, *options)
    found = json.loads(Path("c.json").read_text())
    assert found["pipeline"].endswith(f"lower,{pipeline}")
    code = f"radix:{steps}" if "kind=radix" in pipeline else "rate"
    assert (found["recipe"]["code"], found["recipe"]["timesteps"]) == (code, steps)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--code", "radix:3", "-T", "16"], "T = 16 with the code radix:3"),
        (["--code", "radix:3", "--neuron", "settled"], "neuron 'settled' with the code radix:3"),
        (["--neuron", "radix", "-T", "8"], "neuron 'radix' with the code rate"),
        (["--code", "rate", "--neuron", "radix"], "neuron 'radix' with the code rate"),
        (["--code", "radix:3", "--encoder", "poisson"], "poisson gives no digits of the code radix:3"),
        (["--code", "radix:3", "--encoder", "spikes"], "spikes gives no digits of the code radix:3"),
        (["-p", "neurons{kind=if}"], "a pass sets neurons of another code than radix:4"),
        (["-T", "4", "-p", "neurons{kind=radix}"], "a pass sets neurons of another code than rate"),
        (["-p", "calibrate{q=99}"], "q=99.0 with the method mse"),
        (["-T", "0"], "at least one time step"),
        (["--pipeline", f"lower,{DEFAULT}"], "a pipeline of radix neurons without its digits"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], message: str) -> None:
    text = fails(2, "compile", teacher(), "--calibrate", "data.npy", "-o", "m.snn.onnx", *options)
    assert message in text and "remedy: " in text and not Path("m.snn.onnx").exists()


def test_a_radix_file_refuses_other_steps_and_spike_trains() -> None:
    network = snncc.compile(teacher(), "m.snn.onnx", calibrate="data.npy")
    run = snncc.load("m.snn.onnx")
    sample = np.load("data.npy")[0]
    assert np.array_equal(run.run(sample, 4).outputs["y"], run.run(sample).outputs["y"])
    for steps in (1, 2, 3, 24, 25):
        with pytest.raises(OptionError, match="a radix code of 4 digits") as refusal:
            run.run(sample, steps)
        assert refusal.value.remedy
        assert "radix code of 4 digits" in fails(2, "run", "m.snn.onnx", "data.npy", "-o", "o.npy", "-T", steps)
    with pytest.raises(DataError, match="shape"):
        run.run(np.zeros((3, 1, 8, 8), np.float32))
    encoder = network.encoders[0]
    for kind in (Poisson(), SpikeTrain()):
        with pytest.raises(VerifyError, match="no digits of a radix code"):
            verify_network(network.with_populations({encoder.name: replace(encoder, kind=kind)}))


@pytest.mark.parametrize(
    "options, needs",
    [
        ([], [("Radix", "a shift-add membrane (+4 bits), 4 compares; skips buffered (4 bits a neuron)")]),
        (["-T", "8"], [("Signed", "negative events, a counter of 4 bits a neuron")]),
        (["--neuron", "if", "-T", "8"], [("IntegrateFire", "")]),
        (["--neuron", "leaky", "-T", "8"], [("Leaky", "a multiplication by the leak at each step")]),
        (["--neuron", "settled", "-T", "15"],
         [("Settled", "a second membrane, for the next window; skips buffered (4 bits a neuron)")]),
        (["--neuron", "multi-threshold:2", "-T", "2"], [("MultiThreshold", "events of 2 bits, 2 compares")]),
        (["--neuron", "multi-threshold:2:signed", "-T", "2"],
         [("MultiThreshold", "signed events of 2 bits, 2 compares, a counter of 3 bits a neuron")]),
    ],
)
def test_what_a_recipe_says_of_itself(options: list[str], needs: list[tuple[str, str]]) -> None:
    """The same at the end of `compile`, in its JSON and in `inspect`; the measured numbers again from single runs."""
    compile_ = ["compile", teacher(), "--calibrate", "data.npy", "-o", "m.snn.onnx", "--json", "c.json"]
    shown = [works(*compile_, *options).stdout, works("inspect", "m.snn.onnx", "--json", "i.json").stdout]
    found = [json.loads(Path(name).read_text())["recipe"] for name in ("c.json", "i.json")]
    assert found[0] == found[1]
    assert [(kind["kind"], kind["extra_state"]) for kind in found[0]["neurons"]] == needs
    assert sum(kind["number"] for kind in found[0]["neurons"]) == 2 * 3 * 64
    model_ = snncc.load("m.snn.onnx")
    totals = [model_.run(sample).counts.totals for sample in np.load("data.npy")]
    events, synops, macs = (sum(t[key] for t in totals) for key in ("events", "synops", "teacher_macs"))
    measured = found[0]["measured"]
    assert measured["samples"] == 3
    assert measured["events_per_neuron"] == pytest.approx(events / (3 * 2 * 3 * 64))
    assert measured["synops_per_teacher_mac"] == pytest.approx(synops / macs)
    for text in shown:
        assert f"{measured['synops_per_teacher_mac']:.3f} on 3 calibration sample(s)" in text
        assert all((extra or "no more state than a membrane") in text for _, extra in needs)


def test_a_gate_and_a_relay_need_state_too() -> None:
    onnx.save(model(
        """agraph (float[1,1,8,8] x, float[2,1,3,3] w, float[1,2,4,4] k) => (float[1,1] y) {
        c = Conv (x, w)
        r = LeakyRelu <alpha = 0.25> (c)
        p = MaxPool <kernel_shape = [2, 2], strides = [1, 1]> (r)
        q = MaxPool <kernel_shape = [2, 2], strides = [1, 1]> (p)
        z = Conv (q, k)
        y = Flatten (z) }""", {"w": RNG.normal(size=(2, 1, 3, 3)), "k": RNG.normal(size=(1, 2, 4, 4))}
    ), "t.onnx")  # fmt: skip
    network = snncc.compile("t.onnx", calibrate="data.npy", timesteps=8)
    assert [kind["extra_state"] for kind in summary(network)["neurons"]] == [
        "negative events, a counter of 5 bits a neuron", "counters of 4 bits: one for each neuron it reads, and its own"
    ]  # fmt: skip


def test_the_error_of_an_approximation_is_printed() -> None:
    shown = works("compile", teacher(NORM), "-p", "freeze-norm", "--calibrate", "data.npy", "-o", "m.snn.onnx").stdout
    line = next(line for line in shown.splitlines() if line.startswith("approximated"))
    assert line.startswith("approximated: output y: freeze-norm changed it by ") and "3 sample(s)" in line
    plain = works("compile", teacher(), "--calibrate", "data.npy", "-o", "m.snn.onnx").stdout
    assert "approximated" not in plain


def test_a_saved_pipeline_makes_the_same_file() -> None:
    options = ["--neuron", "if:first", "-p", "bias-correction{rounds=2}", "-p", "v-init{at=channel}"]
    options += ["-p", "threshold-scale{factor=1.25}"]
    works("compile", teacher(), "--calibrate", "data.npy", "-o", "m.snn.onnx", "-T", "4", *options, "--json", "c.json")
    line = json.loads(Path("c.json").read_text())["pipeline"]
    assert len(line) > 255  # longer than a file name can be
    again = ["compile", "t.onnx", "--calibrate", "data.npy", "-o", "n.snn.onnx", "-T", "4", "--pipeline", line]
    works(*again)
    assert Path("m.snn.onnx").read_bytes() == Path("n.snn.onnx").read_bytes()
    assert "neuron, allow-analog: a pipeline of your own" in fails(2, *again, "--neuron", "if", "--allow-analog")


@pytest.mark.parametrize("change, norm", [("freeze-norm", NORM), ("maxpool-to-avgpool", POOL)])
def test_approximations_of_spike_trains(change: str, norm: str) -> None:
    np.save("train.npy", (RNG.random((3, 6, 1, 8, 8)) < 0.4).astype(np.float32))
    options = ["-p", change, "--encoder", "spikes", "--calibrate", "train.npy", "-o", "m.snn.onnx"]
    shown = works("compile", teacher(norm), *options).stdout
    assert f"{change} changed it by" in shown and "T = that of a sample" in shown
    works("run", "m.snn.onnx", "train.npy", "-o", "o.npy")


def test_a_network_without_spikes_is_warned_of() -> None:
    rest = ["--calibrate", "data.npy", "-o", "m.snn.onnx", "--allow-analog"]
    assert "no neuron of this network spikes" not in works("compile", teacher(inside="Gelu (d)"), *rest).stdout
    silent = teacher(first="Gelu (n)", inside="Gelu (d)")
    assert "warning: no neuron of this network spikes" in works("compile", silent, *rest).stdout


def test_check_of_a_pass_that_approximates_needs_no_data() -> None:
    name = teacher(NORM)
    assert "--pass freeze-norm" in fails(1, "check", name)
    shown = works("check", name, "-p", "freeze-norm", "--json", "c.json").stdout
    assert "frozen" in shown and "t.onnx converts" in shown
    assert "output y" not in shown  # what it would have measured on made-up data
    assert "Erf" in fails(1, "check", teacher(NORM, "Erf (d)"), "-p", "freeze-norm")
