"""`snncc run` over many files: bad ones, interruptions, and what is not done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import snncc
from snncc.cli import main
from snncc.cli.data import Case, open_case
from snncc.runtime import plan
from snncc.runtime.kernels import when_compiling
from tests.onnx_models import model

JOURNAL = Path("out/.snncc-run.jsonl")
COMMAND = ("run", "m.snn.onnx", "in", "-o", "out", "--json", "r.json")
TEACHER = """agraph (float[1,1,8,8] x, float[3,1,3,3] w, float[1,3,1,1] u) => (float[1,1,8,8] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (c)
    y = Conv (r, u) }"""
RNG = np.random.default_rng(0)


def snncc_(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def process(*arguments: Any, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snncc", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def results(folder: Path = Path("out")) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(name: str) -> tuple[int, int]:
    """Another one after the file is written again."""
    stat = Path("out", name).stat()
    return stat.st_ino, stat.st_mtime_ns


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a compiled network and three inputs."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for k, samples in enumerate((2, 3, 1)):
        np.save(f"in/{k}.npy", RNG.random((samples, 1, 8, 8)).astype(np.float32))
    snncc.compile(model(TEACHER), "m.snn.onnx", calibrate="in/0.npy", timesteps=4)
    return tmp_path


@pytest.fixture
def broken(here: Path) -> Path:
    """A run in which the second input could not be read."""
    good = Path("in/1.npy").read_bytes()
    Path("in/1.npy").write_bytes(good[:200])
    result = snncc_(*COMMAND)
    assert result.exit_code == 2 and result.stderr.count("error:") == 1 and "in/1.npy" in result.stderr
    assert set(results()) == {"0.npy", "2.npy", JOURNAL.name}
    Path("in/1.npy").write_bytes(good)
    return here


def fresh(*options: Any) -> tuple[dict[str, bytes], bytes]:
    """Outputs and report of the same command in an empty folder."""
    result = snncc_("run", "m.snn.onnx", "in", "-o", "whole", "--json", "whole.json", *options)
    assert result.exit_code == 0, result.output
    return results(Path("whole")), Path("whole.json").read_bytes()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on(here: Path, stop: signal.Signals) -> None:
    np.save("in/1.npy", RNG.random((1500, 1, 8, 8)).astype(np.float32))
    expected = fresh()
    running = process(*COMMAND)
    deadline = time.monotonic() + 60
    while not JOURNAL.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(stop)
    _, err = running.communicate(timeout=60)
    assert running.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[stop] and "Traceback" not in err
    assert set(results()) == {"0.npy", JOURNAL.name} and not Path("r.json").exists()
    first = written("0.npy")
    result = snncc_(*COMMAND)
    assert result.exit_code == 0 and "1 of 3 inputs were done before" in result.stderr
    assert written("0.npy") == first
    assert (results(), Path("r.json").read_bytes()) == expected


def test_a_bad_input_does_not_stop_the_others(broken: Path) -> None:
    report = json.loads(Path("r.json").read_text())
    assert [s["input"] for s in report["samples"]] == ["0.npy", "0.npy", "2.npy"]
    (failed,) = report["failed"]
    assert failed["file"] == "in/1.npy" and "not a NumPy file" in failed["error"] and failed["remedy"]
    before = written("0.npy"), written("2.npy")
    result = snncc_(*COMMAND)
    assert result.exit_code == 0 and "2 of 3 inputs were done before" in result.stderr
    assert (written("0.npy"), written("2.npy")) == before
    assert (results(), Path("r.json").read_bytes()) == fresh()


def test_an_input_of_another_shape_is_named(here: Path) -> None:
    np.save("in/1.npy", np.zeros((1, 1, 9, 8), np.float32))
    np.save("in/3.npy", np.full((1, 1, 8, 8), np.nan, np.float32))
    result = snncc_(*COMMAND)
    assert result.exit_code == 2 and "2 of 4 inputs failed" in result.stderr and "Traceback" not in result.output
    assert "shape (1, 1, 9, 8)" in result.stderr and "in/1.npy" in result.stderr and "in/3.npy" in result.stderr
    assert set(results()) == {"0.npy", "2.npy", JOURNAL.name}


def test_spike_trains_of_two_lengths_do_not_add_up(here: Path) -> None:
    trains = [(RNG.random((steps, 1, 8, 8)) < 0.5).astype(np.float32) for steps in (4, 5, 4)]
    for k, train in enumerate(trains):
        np.save(f"in/{k}.npy", train)
    snncc.compile(model(TEACHER), "m.snn.onnx", calibrate=trains, encoder="spikes")
    result = snncc_(*COMMAND)
    assert result.exit_code == 2 and result.stderr.count("error:") == 1
    assert "spike trains of 5 and of 4 steps" in result.stderr and "in/1.npy" in result.stderr
    assert [s["input"] for s in json.loads(Path("r.json").read_text())["samples"]] == ["0.npy", "2.npy"]


def test_nothing_but_bad_inputs(here: Path) -> None:
    for path in Path("in").iterdir():
        path.write_bytes(b"nonsense")
    assert snncc_(*COMMAND).exit_code == 2
    assert len(json.loads(Path("r.json").read_text())["failed"]) == 3


def touch(path: str) -> Callable[[], None]:
    return lambda: os.utime(path, ns=(0, 0))


def another_model() -> None:
    snncc.compile(model(TEACHER), "m.snn.onnx", calibrate="in/1.npy", timesteps=4)


def half_a_line() -> None:
    lines = JOURNAL.read_text().splitlines()
    JOURNAL.write_text("\n".join(line[: len(line) // 2] for line in lines))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (touch("in/0.npy"), ()),
        (touch("out/0.npy"), ()),
        (lambda: Path("out/0.npy").unlink(), ()),
        (another_model, ()),
        (half_a_line, ()),
        (lambda: None, ("-T", 3)),
        (lambda: None, ("--seed", 3)),
        (lambda: None, ("--preprocess", '{"orientation": "RAS"}')),
    ],
)
def test_what_changed_is_run_again(broken: Path, change: Callable[[], None], options: tuple[Any, ...]) -> None:
    before = written("0.npy")
    change()
    result = snncc_(*COMMAND, *options)
    assert result.exit_code == 0, result.output
    assert not Path("out/0.npy").exists() or written("0.npy") != before
    assert (results(), Path("r.json").read_bytes()) == fresh(*options)


def test_a_full_disk_is_no_fault_of_an_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = snncc_(*COMMAND)
    assert result.exit_code == 2 and result.stderr.count("error:") == 1 and "No space left" in result.stderr
    assert not results()


def test_one_plan_and_one_input_at_a_time(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[object] = []
    cases: list[weakref.ref[Case]] = []
    compilations: list[bool] = []

    def planned(network: Any) -> Any:
        plans.append(network)
        return plan.make_plan(network)

    def opened(*arguments: Any) -> Case:
        assert not any(case() for case in cases)
        case = open_case(*arguments)
        cases.append(weakref.ref(case))
        return case

    assert snncc_(*COMMAND).exit_code == 0
    monkeypatch.setattr("snncc.runtime.fast.make_plan", planned)
    monkeypatch.setattr("snncc.cli.run.open_case", opened)
    with when_compiling(lambda: compilations.append(True)):
        assert snncc_(*COMMAND).exit_code == 0
    assert len(plans) == 1 and len(cases) == 3 and not compilations


def test_the_first_run_says_that_it_compiles(here: Path) -> None:
    errors = []
    for _ in range(2):
        running = process("run", "m.snn.onnx", "in/0.npy", "-o", "o.npy", "--json", "r.json", NUMBA_CACHE_DIR="cache")
        errors.append(running.communicate(timeout=300)[1])
        assert running.returncode == 0 and json.loads(Path("r.json").read_text())["failed"] == []
    assert errors == ["compiling kernels for this machine (once) ...\n", ""]


def test_an_interruption_while_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snncc.cli.importlib.import_module", interrupted)
    result = snncc_("run", "m.snn.onnx", "in", "-o", "out")
    assert result.exit_code == 130 and result.output == "interrupted\n"


def test_a_run_uses_all_cores_that_it_may(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def loaded(model: Any, engine: str, threads: int) -> Any:
        asked.append(threads)
        return snncc.load(model, engine, threads)

    monkeypatch.setattr("snncc.cli.run.load", loaded)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False)
    for options in ((), ("--threads", 2)):
        assert snncc_("run", "m.snn.onnx", "in/0.npy", "-o", "o.npy", *options).exit_code == 0
    assert asked == [3, 2]


def test_a_run_imports_nothing_of_the_compiler() -> None:
    code = "import sys, snncc.cli.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("snncc.passes", "snncc.api", "networkx", "onnx.reference", "torch")
    assert not [name for name in loaded if name.startswith(heavy)]
