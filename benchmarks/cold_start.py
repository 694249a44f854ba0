"""`snncc run` on one volume in a fresh process whose kernels are on disk: how long until the first layer runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import snncc
from benchmarks.alternate import BENCH, ROOT
from benchmarks.goals import outcome

EXAMPLE = ROOT / "examples" / "hippocampus"
VOLUME = EXAMPLE / "volumes" / "imagesTr" / "hippocampus_036.nii.gz"
LIMIT = 2.0  # seconds
# Runs the command with the engine's entry noted: the clock is the system's, so that the start of the process counts.
CHILD = """
import sys, time
from snncc.runtime import fast
run = fast.FastEngine.run
def noted(*arguments, **options):
    print("first layer", time.time(), file=sys.stderr, flush=True)
    return run(*arguments, **options)
fast.FastEngine.run = noted
from snncc.cli import main
sys.exit(main(sys.argv[1:]))
"""


def measure(quick: bool) -> dict[str, Any]:
    """Seconds to the first layer and to the end; the first process warms the caches and does not count."""
    folder = BENCH / "work" / "cold"
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.snn.onnx"
    snncc.compile(EXAMPLE / "teacher_3d.onnx", model, calibrate=str(VOLUME), code="radix:3", calibration="mse")
    runs = [one(model, folder / "mask.nii.gz") for _ in range(2 if quick else 8)][1:]
    first, total = (list(column) for column in zip(*runs, strict=True))
    text = "`snncc run` on one volume, cold process, warm cache: under 2 s before the first layer"
    goals = [outcome(text, 1, LIMIT / median(first), f"{median(first):.2f} s")]
    return {"first": first, "total": total, "goals": goals}


def one(model: Path, mask: Path) -> tuple[float, float]:
    """Seconds from the start of the process until the engine begins, and until the process has ended."""
    mask.unlink(missing_ok=True)
    start = time.time()
    command = [sys.executable, "-c", CHILD, "run", str(model), str(VOLUME), "-o", str(mask)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    end = time.time()
    stamps = [line.split()[-1] for line in done.stderr.splitlines() if line.startswith("first layer")]
    if done.returncode or not stamps:
        raise RuntimeError(f"snncc run ended with {done.returncode}: {done.stderr[-300:]}")
    return float(stamps[0]) - start, end - start


def lines(found: dict[str, Any]) -> list[str]:
    rows = [("until the first layer runs", found["first"]), ("until the process has ended", found["total"])]
    text = [f"teacher_3d, radix:3, one volume; {len(found['first'])} processes, one after the other.", ""]
    text += ["| seconds from the start of the process | min | median |", "|---|---|---|"]
    return text + [f"| {name} | {min(times):.2f} | {median(times):.2f} |" for name, times in rows]
