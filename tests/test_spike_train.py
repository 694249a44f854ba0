"""Spike trains as input: compiled, run and checked through the Python interface and the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import snncc
from snncc.cli import main
from snncc.cli.preprocess import Preprocess
from snncc.cli.training_data import Reader
from snncc.comparison.metrics import Wish
from snncc.errors import DataError, SnnccError, UnsupportedError
from snncc.graph import Array
from tests.onnx_models import model

TEXT = """a (float[1,2,6,6] x, float[4,2,3,3] w, float[1,4,1,1] u) => (float y) {
    c = Conv(x, w) r = Relu(c) y = Conv(r, u) }"""
RNG = np.random.default_rng(0)
TEACHER = model(TEXT, {"w": RNG.normal(size=(4, 2, 3, 3)) * 0.4, "u": RNG.normal(size=(1, 4, 1, 1))})
TRAINS: Array = (RNG.random((3, 40, 2, 6, 6)) < 0.3).astype(np.float32)


def test_the_output_is_the_teachers_on_the_mean() -> None:
    network = snncc.compile(TEACHER, calibrate=list(TRAINS), encoder="spikes", per="channel")
    found = snncc.load(network).run(TRAINS[0], record=True)
    assert found.counts.timesteps == 40
    assert np.array_equal(found.spikes["x"], TRAINS[0])
    rates = snncc.load(snncc.compile(TEACHER, calibrate=[t.mean(0) for t in TRAINS], timesteps=40))
    want = rates.run(TRAINS[0].mean(0, keepdims=True)[0]).outputs["y"]
    assert np.abs(found.outputs["y"] - want).max() < 0.1 * np.abs(want).max()
    for engine in ("reference", "onnxruntime"):
        other = snncc.load(network, engine).run(TRAINS[0], record=True)
        assert all(np.array_equal(found.spikes[name], other.spikes[name]) for name in found.spikes)
        assert np.array_equal(found.outputs["y"], other.outputs["y"])


def test_signs_where_calibration_saw_them() -> None:
    signed = TRAINS * RNG.choice([-1, 1], TRAINS.shape).astype(np.float32)
    network = snncc.compile(TEACHER, calibrate=list(signed), encoder="spikes")
    assert network["x"].kind.signed
    snncc.load(network).run(signed[0])
    plain = snncc.load(snncc.compile(TEACHER, calibrate=list(TRAINS), encoder="spikes"))
    with pytest.raises(DataError, match="no spikes"):
        plain.run(signed[0])


def test_signs_that_the_mean_over_time_hides() -> None:
    signed = TRAINS.copy()
    signed[:, 0] = -signed[:, 1]
    assert signed.mean(1).min() >= 0
    network = snncc.compile(TEACHER, calibrate=list(signed), encoder="spikes")
    snncc.load(network).run(signed[0])


def test_spikes_do_not_pass_analog_operators() -> None:
    behind = model(TEXT.replace("c = Conv(x, w)", "p = Sigmoid(x) c = Conv(p, w)"))
    with pytest.raises(UnsupportedError, match="operators that do not spike"):
        snncc.compile(behind, calibrate=list(TRAINS), encoder="spikes")


def test_lengths_must_fit() -> None:
    loaded = snncc.load(snncc.compile(TEACHER, calibrate=list(TRAINS), encoder="spikes"))
    loaded.run(TRAINS[0, :7], timesteps=7)
    with pytest.raises(DataError, match="for a run of 5 steps"):
        loaded.run(TRAINS[0], timesteps=5)
    with pytest.raises(DataError, match="shape"):
        loaded.run(TRAINS[0, 0])


def test_the_trainer_takes_one_length(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from snncc.trainer import SpikingModule

    network = snncc.compile(TEACHER, calibrate=list(TRAINS), encoder="spikes", timesteps=40)
    trains = torch.as_tensor(TRAINS[:, :7])
    for engine in ("fast", "reference"):
        want = snncc.load(network, engine).run(TRAINS[1, :7]).outputs["y"]
        assert np.array_equal(SpikingModule(network)(trains, timesteps=7)["y"][1:2].detach().numpy(), want)
    for steps in (None, 8):
        with pytest.raises(DataError, match="a spike train of 7 steps"):
            SpikingModule(network)(trains, timesteps=steps)


def test_training_data_have_one_length(tmp_path: Path) -> None:
    network = snncc.compile(TEACHER, calibrate=list(TRAINS), encoder="spikes", timesteps=40)
    files = [str(tmp_path / name) for name in ("whole.npy", "short.npy")]
    for file, train in zip(files, (TRAINS, TRAINS[0, :7]), strict=True):
        np.save(file, train)
    output = np.zeros((1, 1, 6, 6), np.float32)
    reader = Reader(network, Wish("psnr", (), Preprocess()), lambda feeds: (output, output), lambda *told: None)
    assert len(reader.read(files[:1], None)) == 3 and reader.steps == 40
    with pytest.raises(DataError, match="of 40 and of 7 steps") as refusal:
        reader.read(files[1:], None)
    assert refusal.value.file == files[1]


def test_random_and_given_spikes_are_no_digits() -> None:
    for encoder in ("poisson", "spikes"):
        with pytest.raises(SnnccError, match="no digits"):
            snncc.compile(TEACHER, calibrate=list(TRAINS), encoder=encoder, code="radix:3")


def test_on_the_command_line(tmp_path: Path) -> None:
    onnx.save(TEACHER, tmp_path / "t.onnx")
    np.save(tmp_path / "trains.npy", TRAINS.astype(np.int8))
    np.save(tmp_path / "one.npy", TRAINS[0])
    steps = (
        "compile {0}/t.onnx -o {0}/t.snn.onnx --encoder spikes -T 40 --calibrate {0}/trains.npy",
        "run {0}/t.snn.onnx {0}/trains.npy -o {0}/many.npy",
        "run {0}/t.snn.onnx {0}/one.npy -o {0}/one_out.npy",
    )
    for step in steps:
        result = CliRunner().invoke(main, step.format(tmp_path).split())
        assert result.exit_code == 0, result.output
    many, one = np.load(tmp_path / "many.npy"), np.load(tmp_path / "one_out.npy")
    assert many.shape == (3, 1, 4, 4) and np.array_equal(many[:1], one)
