"""Random specialisations of the fast engine (tests/fuzz.py)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snncc.network_text import network_text
from snncc.runtime.fast import FastEngine
from snncc.runtime.trace import Trace
from tests.fuzz import attempt
from tests.specialisations import specialisation
from tests.spike_data import data_set

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("index", range(40))
def test_fast_engine_is_the_reference(index: int) -> None:
    outcome = attempt(2, index, range(12))
    assert not outcome.fault, outcome.fault
    assert outcome.data_sets == 12


FAULTS: dict[str, Callable[[Trace], Any]] = {
    "spikes of post": lambda trace: trace.spikes.get("post", np.zeros(1)),  # none are recorded in every other run
    "potentials of out": lambda trace: trace.potentials["out"],
    "events of post": lambda trace: trace.counts.events["post"],
    "synops_paths of post->out": lambda trace: trace.counts.synops_paths["post->out"],
}


@pytest.mark.parametrize("told", FAULTS)
def test_a_difference_is_told(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """One number that is too large by 1 is found, named, and comes with the command that shows it again."""
    honest = FastEngine.run

    def broken(engine: FastEngine, *args: Any, **options: Any) -> Trace:
        trace = honest(engine, *args, **options)
        array = FAULTS[told](trace)
        array[(0,) * array.ndim] += 1
        return trace

    monkeypatch.setattr(FastEngine, "run", broken)
    fault = attempt(2, 6, range(2)).fault
    assert told in fault and "--seed 2 --first 6 --specialisations 1 --data 2" in fault and "network int8" in fault


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made by Linux calls")
def test_kernels_stay_within_their_arrays() -> None:
    """Raw loads and stores end the process at the first page behind an array; that they do is shown first."""
    past = "x = np.zeros(999, np.int32); print(ctypes.c_int64.from_address(x.ctypes.data + 4000).value)"
    code = f"import ctypes, numpy as np; from tests import guard_pages; guard_pages.install(); {past}"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == -signal.SIGSEGV
    command = [sys.executable, "-m", "tests.fuzz", "--guard", "--specialisations", "40", "--data", "8", "--seed", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("index", range(200))
def test_fast_engine_is_the_reference_thoroughly(index: int) -> None:
    outcome = attempt(3, index, range(50))
    assert not outcome.fault, outcome.fault


def test_same_seed_same_specialisation() -> None:
    one, two = (specialisation(5, 3) for _ in range(2))
    assert network_text(one.network) == network_text(two.network) != network_text(specialisation(5, 4).network)
    for a, b in zip(one.network.projections, two.network.projections, strict=True):
        np.testing.assert_array_equal(a.synapse.weight, b.synapse.weight)
    values = [data_set(made, 2)[0] for made in (one, two)]
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])
