"""The 3D network at 160x192x224: time and peak memory of snncc beside one pass of the teacher, and SpikingJelly, which
does not fit into most memories, extrapolated in proportion to the voxels from the largest size that does."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from benchmarks.alternate import Row, best, run
from benchmarks.goals import Goal, outcome
from benchmarks.unets import ANN, INT8, SJ_MULTI, prepared, table

SIZE = (160, 192, 224)
SMALLER = (SIZE, (160, 192, 112), (80, 192, 112), (80, 96, 112), (48, 48, 48))
QUICK = ((16, 16, 32), (16, 16, 16), (8, 8, 16), (8, 8, 8))
LIMIT_MB = 3 * 1024
SPARE = 0.8  # of the memory that is free may be filled


def measure(quick: bool) -> dict[str, Any]:
    """snncc and the teacher take turns; SpikingJelly runs alone, as it needs the memory."""
    sizes = QUICK if quick else SMALLER
    threads, rounds = ((1,), 1) if quick else ((2, 1), 3)
    rows = run((INT8, ANN), prepared("unet_3d", sizes[0], 4, ("int8",)), rounds, threads, 1)
    smallest = _peer(sizes[-1], threads)
    found = {"size": sizes[0], "rows": rows, "peer": {"size": sizes[-1], "row": smallest}}
    if "failed" not in smallest:
        per_voxel = smallest["peak_mb"] / prod(sizes[-1])
        fitting = [size for size in sizes[:-1] if per_voxel * prod(size) < SPARE * free_mb()]
        if fitting:
            found["peer"] = {"size": fitting[0], "row": _peer(fitting[0], threads)}
    return {**found, "goals": _goals(found, threads[0])}


def _peer(size: tuple[int, ...], threads: tuple[int, ...]) -> Row:
    return run((SJ_MULTI,), prepared("unet_3d", size, 4, ("int8",)), 1, threads, 2)[0]


def _goals(found: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    rows, peak = found["rows"], found["rows"][0].get("peak_mb")
    return [
        Goal(INT8.label, ANN.label, 1, threads).outcome(rows),
        outcome(f"{INT8.label}: peak memory under 3 GB", 1, peak and LIMIT_MB / peak, f"{(peak or 0) / 1024:.2f} GB"),
    ]


def free_mb() -> float:
    """Memory that can be had without swapping."""
    entries = dict(entry.split(":") for entry in Path("/proc/meminfo").read_text().splitlines())
    return int(entries["MemAvailable"].split()[0]) / 1024


def lines(found: dict[str, Any]) -> list[str]:
    size, peer = found["size"], found["peer"]
    text = [f"The 3D U-Net at {_x(size)}, T = 4.", "", *table(found["rows"]), ""]
    row, scale = peer["row"], prod(size) / prod(peer["size"])
    if "failed" in row:
        return [*text, f"{SJ_MULTI.label} did not run: {row['failed']}"]
    times = [(n, best(row, int(n))) for n in row["milliseconds"]]
    shown = ", ".join(f"{(ms or 0) * scale / 1e3:.3g} s (threads: {n})" for n, ms in times)
    rule = f"measured at {_x(peer['size'])} times {scale:g}, the ratio of voxels" if scale != 1 else "measured"
    return [*text, f"{SJ_MULTI.label}: {shown}, {row['peak_mb'] * scale / 1024:.1f} GB: {rule}."]


def _x(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
