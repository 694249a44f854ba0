"""Processes that compile at the same time never get each other's kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest

from snncc.runtime.kernels import KeyedFiles, conv, once
from snncc.runtime.kernels.integrate_fire import integrate_fire, leaky
from snncc.runtime.kernels.multi_threshold import cascade, multi_threshold
from snncc.runtime.kernels.neurons import driver
from snncc.runtime.kernels.readout import integrate
from snncc.runtime.kernels.settled import settle, settle_digits
from snncc.runtime.kernels.signed import signed


def test_two_processes_with_the_same_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (KeyedFiles(cache_path=str(tmp_path), filename_base="kernel", source_stamp=1) for _ in range(2))
    one.save("int16", "code for int16")
    monkeypatch.setattr(two, "_load_index", dict)  # read before the other had saved
    two.save("float32", "code for float32")
    monkeypatch.undo()
    assert two.load("float32") == "code for float32"
    assert one.load("int16") in (None, "code for int16")  # lost is fine, another's is not


def test_another_source_finds_nothing(tmp_path: Path) -> None:
    old, new = (KeyedFiles(cache_path=str(tmp_path), filename_base="kernel", source_stamp=s) for s in (1, 2))
    old.save("int16", "old code")
    assert new.load("int16") is None


def test_drivers_of_different_rules_have_different_names() -> None:
    """The cache knows them by nothing else."""
    rules = (cascade, integrate, integrate_fire, leaky, multi_threshold, settle, settle_digits, signed)
    assert len({driver(rule).py_func.__qualname__ for rule in rules}) == len(rules)


def test_kernels_of_different_widths_have_different_names() -> None:
    """And those of other blocks, weights, ways of listing and neurons."""
    forms = [(64, 1, 1), (32, 1, 1), (32, 2, 1), (32, 1, 2), (64, 2, 2)]
    ways = list(product((False, True), (False, True), (16, 32, 48, 64), (None, signed)))
    gathers = [conv.gatherer(*form, *way) for form in forms for way in ways]
    listers = [conv._lister(channels) for channels in (16, 32, 48, 64)]
    parts = [make(lanes, packed) for make in (conv._row, conv._total) for lanes in (32, 64) for packed in (False, True)]
    kernels = [*gathers, *listers, *parts]
    assert len({kernel.py_func.__qualname__ for kernel in kernels}) == len(kernels)


def test_threads_that_ask_at_the_same_time_get_one_kernel() -> None:
    made = []

    @once
    def kernel(width: int) -> object:
        time.sleep(0.05)
        made.append(width)
        return object()

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(kernel, [1, 1, 1, 1, 2, 2, 2, 2]))
    assert sorted(made) == [1, 2]
    assert len({id(found) for found in given}) == 2


@pytest.mark.slow
def test_three_processes_with_one_cold_cache(tmp_path: Path) -> None:
    """All compile at once in the first round, and load what it has left in the second: right results in both."""
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.fuzz", "--workers", "1", "--specialisations", "12", "--data", "3"]
    for _ in range(2):
        racing = [
            subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(3)
        ]
        for process in racing:
            told, _ = process.communicate()
            assert process.returncode == 0, told.decode()
        assert list(tmp_path.rglob("*.nbi")) and list(tmp_path.rglob("*.nbc"))
