"""The U-Nets of the goals in snncc and in its peers: the same weights, the same thresholds, taking turns in one run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

import snncc
from benchmarks import networks
from benchmarks.alternate import BENCH, Entry, Row, best, run, typical
from benchmarks.goals import Goal
from benchmarks.peers.worker import Job

INT8, FLOAT = Entry("snncc, int8", "snncc", "int8"), Entry("snncc, float32", "snncc", "float32")
SJ_MULTI = Entry(
    "SpikingJelly, step_mode=m", "spikingjelly", "multi", "spikingjelly", "spikes of snncc float32, but for rounding"
)
SJ_STEP = Entry(
    "SpikingJelly, ann2snn, step loop", "spikingjelly", "step", "spikingjelly", "own thresholds; membranes start at 0"
)
DENSE = Entry(
    "dense torch by hand, channels last", "dense", "last", "spikingjelly", "spikes of snncc float32, but for rounding"
)
DENSE_FIRST = Entry("dense torch by hand, channels first", "dense", "first", "spikingjelly", DENSE.remark)
ANN = Entry("teacher, onnxruntime, once", "onnxruntime", "ann")
ENTRIES = (
    INT8,
    FLOAT,
    SJ_STEP,
    SJ_MULTI,
    Entry("sinabs, from_model, one spike a step", "sinabs", "single", "sinabs", "membranes start at 0"),
    Entry("sinabs, from_model", "sinabs", "multi", "sinabs", "several spikes a step; membranes start at 0"),
    Entry("snnTorch, Leaky(beta=1) loop", "snntorch", "-", "snntorch", "membranes start at 0"),
    Entry("Norse, IAFCell loop", "norse", "-", "norse", "resets to 0, not by subtraction: other spikes"),
    DENSE,
    DENSE_FIRST,
    ANN,
)
GOALS = {
    "unet_2d": (
        Goal(INT8.label, SJ_MULTI.label, 35),
        Goal(INT8.label, SJ_STEP.label, 22),
        Goal(INT8.label, DENSE.label, 11),
        Goal(INT8.label, ANN.label, 1 / 5),
        Goal(FLOAT.label, SJ_MULTI.label, 18),
        Goal(FLOAT.label, ANN.label, 1 / 10),
    ),
    "unet_3d": (Goal(INT8.label, SJ_MULTI.label, 19), Goal(INT8.label, ANN.label, 6)),
}


def prepared(network: str, size: Any, timesteps: int, precisions: tuple[str, ...] = ("int8", "float32")) -> Job:
    """The job with its models and image written."""
    net = networks.NETWORKS[network](size, timesteps=timesteps)
    folder = BENCH / "work" / net.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    teacher, image = networks.to_onnx(net), networks.image(net)
    onnx.save(teacher, folder / "ann.onnx")
    np.save(folder / "images.npy", image)
    thresholds: dict[str, float] = {}
    for precision in precisions:
        file = folder / f"{precision}.snn.onnx"
        options = networks.compile_options(net)
        compiled = snncc.compile(teacher, file, calibrate=image, precision=precision, **options)
        thresholds = {p.name: float(np.asarray(p.unit).flat[0]) for p in compiled.populations if p.fires}
    return Job(str(folder), network, size, timesteps, thresholds)


def measure(network: str, quick: bool) -> dict[str, Any]:
    """All systems on one network; `quick`: a small image, few steps, one round."""
    size, small, timesteps = {"unet_2d": (128, 32, 32), "unet_3d": ((64, 64, 64), (16, 16, 16), 4)}[network]
    job = prepared(network, small if quick else size, min(timesteps, 4) if quick else timesteps)
    rows = run(ENTRIES, job, rounds=1 if quick else 5, threads=(1,) if quick else (2, 1))
    facts = {"network": job.net.name, "timesteps": job.timesteps, "gmacs": networks.macs(job.net) / 1e9}
    return {**facts, "rows": rows, "goals": [goal.outcome(rows) for goal in GOALS[network]]}


def lines(found: dict[str, Any]) -> list[str]:
    """The section as Markdown."""
    header = f"{found['network']}, T = {found['timesteps']}, {found['gmacs']:.3g} GMAC a pass, random weights."
    return [header, "", *table(found["rows"])]


def table(rows: list[Row]) -> list[str]:
    """Milliseconds of one inference; a system that did not run says why."""
    counts = list(rows[0]["milliseconds"])
    titles = [f"ms, {n} thread{'s' if n != '1' else ''}: min | median" for n in counts]
    found = [f"| system | {' | '.join(titles)} | mean rate | peak MB | correlation | remarks |"]
    found.append("|---" * (2 * len(counts) + 5) + "|")
    for row in rows:
        times = " | ".join(f"{_ms(best(row, int(n)))} | {_ms(typical(row, int(n)))}" for n in counts)
        rates = list(row.get("rates", {}).values())
        rate = f"{np.mean(rates):.1%}" if rates else ""
        peak = f"{row['peak_mb']:.0f}" if "peak_mb" in row else ""
        match = f"{row['correlation']:.4f}" if "correlation" in row else ""
        notes = [row["remark"], f"{row['synops'] / 1e9:.2f} G SynOps" if row.get("synops") else ""]
        notes.append(f"**did not run**: {row['failed']}" if "failed" in row else "")
        remarks = "; ".join(filter(None, notes)).replace("|", "/")
        name = f"{row['label']} ({row['version']})" if "version" in row else row["label"]
        found.append(f"| {name} | {times} | {rate} | {peak} | {match} | {remarks} |")
    return found


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
