"""Nothing hostile gets in: one clear block, no traceback, no file, under a second and a gigabyte."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.hostile_files import EXTERNAL, MODELS, RAW, UNSUPPORTED, write
from tests.mutations import MEGABYTES, ROOT, SECONDS, measured, outcomes, wrong

SLACK = 4  # of CPU time: with a busy machine the same work takes up to three times as long; what explodes takes minutes


@pytest.mark.parametrize("name", [*RAW, *EXTERNAL, *MODELS, *UNSUPPORTED])
@pytest.mark.parametrize("command", ["check", "compile"])
def test_hostile_files(name: str, command: str, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    file = write(name, folder)
    data = tmp_path / "x.npy"
    np.save(data, np.ones((1, 8, 8), np.float32))
    more = ["-o", str(folder / "m.snn.onnx"), "--calibrate", str(data)] if command == "compile" else []
    result, seconds, megabytes, written = measured([command, str(file), *more], folder)
    assert not (fault := wrong(result, written)), fault + result.output
    assert result.exit_code == (1 if name in UNSUPPORTED else 2), result.output
    assert f"file: {file}" in result.stderr
    assert seconds < SLACK * SECONDS and megabytes < MEGABYTES


@pytest.mark.parametrize("name", ["function bomb", "range", "doubling shapes", "length of 10^15", "1000 nested ifs"])
def test_in_little_memory(name: str, tmp_path: Path) -> None:
    """The command itself, where more than 3 GB of address space (libraries take most of it) is not to be had."""
    folder = tmp_path / "models"
    folder.mkdir()
    found = subprocess.run(
        [sys.executable, "-m", "snncc", "check", str(write(name, folder))],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
    )  # fmt: skip
    assert found.returncode == 2 and found.stderr.startswith("error: ") and "Traceback" not in found.stderr


def tally(seeds: range) -> Counter[int]:
    found = list(outcomes(seeds))
    faults = [outcome for outcome in found if outcome.fault]
    assert not faults, "\n\n".join(f"{o.seed} {o.base} {o.command}: {o.fault}\n{o.block}" for o in faults)
    assert [outcome.seed for outcome in found] == list(seeds)
    return Counter(outcome.code for outcome in found)


def test_mutated_files() -> None:
    counts = tally(range(300))
    assert counts[2] > 200 and counts[1] and counts[0]


@pytest.mark.slow
def test_10000_mutated_files() -> None:
    tally(range(10_000))
