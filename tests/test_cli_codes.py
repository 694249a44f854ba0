"""The command line with codes, neurons and passes beyond the default ones: what it says about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

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
    works("run", "m.snn.onnx", "data.npy", "-o", "o.npy", "-T", "5", "--json", "r.json")
    assert json.loads(Path("r.json").read_text())["latency"] == 5 * windows
    assert ("latency" in works("inspect", "m.snn.onnx", "--json", "i.json").stdout) == (windows > 1)
    assert json.loads(Path("i.json").read_text())["latency"] == 4 * windows


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
