"""Kernels compiled for other processors: the same numbers, and none of the instructions those processors lack."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llvmlite import binding

from tests.cpu_agreement import digest

ROOT = Path(__file__).resolve().parents[1]
SEED = 2
FEW = (6, 9)
# NUMBA_CPU_NAME -> what its code must not hold, what it must hold (cpu_agreement.SIGNS), what running it takes
CPUS = {
    "x86-64": (("avx", "ymm", "zmm"), (), ()),
    "haswell": (("zmm", "vbmi2"), ("ymm",), ("avx2",)),
    "skylake-avx512": (("vbmi2",), ("zmm",), ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd")),
}
pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 processors")


def agree(cpu: str, cache: Path, data: int, *indices: int) -> None:
    """Compiles all anew: Numba would take kernels of this processor from a cache of any folder it knows."""
    lacking, held, needed = CPUS[cpu]
    if not all(binding.get_host_cpu_features().get(feature) for feature in needed):
        pytest.skip(f"this machine cannot run code for {cpu}")
    # without the second variable Numba adds the features of this machine to those of the processor named
    named = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "tests.cpu_agreement", *map(str, (SEED, data, *indices))]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **named}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    assert not told["faults"], "\n".join(told["faults"])
    assert not any(told["code"][sign] for sign in lacking), told["code"]
    assert all(told["code"][sign] for sign in held), told["code"]
    assert told["code"]["instructions"] > 1000
    assert told["digests"] == [digest(SEED, index) for index in indices]
    assert told["aarch64"] > 10_000


def test_baseline_x86(tmp_path: Path) -> None:
    """No AVX of any kind; and LLVM can lower the same kernels for ARM."""
    agree("x86-64", tmp_path, 4, *FEW)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
def test_other_processors(cpu: str, tmp_path: Path) -> None:
    agree(cpu, tmp_path, 12, *range(40))
