"""onnxruntime, reference and fast engine on real volumes: every spike of every population at every step, ==.

python -m benchmarks.same_spikes         # ten test volumes, 2D and 3D; writes docs/results/same_spikes.{md,json}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import track

from benchmarks import hippocampus as h


def compare(file: Path, name: str, dims: int, steps: int) -> dict[str, Any]:
    """Differences in spikes, outputs and counts over one volume; all zero if the engines agree."""
    total = {"spikes": 0, "differing_spikes": 0, "differing_outputs": 0, "differing_counts": 0}
    for sample in h.samples(name, dims):
        want, *others = (
            h.load(file, engine).run(sample, timesteps=steps, record=True)
            for engine in ("reference", "fast", "onnxruntime")
        )
        total["spikes"] += sum(int(np.abs(s).sum()) for s in want.spikes.values())
        for other in others:
            assert other.spikes.keys() == want.spikes.keys()
            total["differing_spikes"] += sum(int((other.spikes[k] != s).sum()) for k, s in want.spikes.items())
            total["differing_outputs"] += sum(int((other.outputs[k] != v).sum()) for k, v in want.outputs.items())
            assert other.counts.counts is not None and want.counts.counts is not None
            total["differing_counts"] += not other.counts.counts.same(want.counts.counts)
    return {"volume": name, "dims": dims, **total}


@click.command()
@click.option("--volumes", default=10, show_default=True)
@click.option("-T", "steps", default=8, show_default=True)
@click.option("--neuron", default="signed", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/main_job"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=h.ROOT / "docs" / "results", show_default=True)
def main(volumes: int, steps: int, neuron: str, work: Path, out: Path) -> None:
    """Compare the three engines; exit 1 if anything differs."""
    rows = []
    for dims in h.DIMENSIONS:
        file = h.compiled(work, dims, neuron=neuron, calibration="percentile:99.9", per="channel")
        for name in track(h.subjects("test", volumes), f"{dims}D"):
            rows.append(compare(file, name, dims, steps))
    lines = [
        "# The same spikes on every engine",
        "",
        f"Made by `python -m benchmarks.same_spikes`: {volumes} test volumes, T = {steps}, {neuron} neurons, int8; "
        "fast engine and onnxruntime against the reference, every population, step and neuron.",
        "",
        "| network | volume | spikes | differing spikes | differing outputs | samples with differing counts |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['dims']}D | {r['volume']} | {r['spikes']} | {r['differing_spikes']} | {r['differing_outputs']} | "
            f"{r['differing_counts']} |"
            for r in rows
        ),
    ]
    text = "\n".join(lines) + "\n"
    click.echo(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "same_spikes.md").write_text(text)
    (out / "same_spikes.json").write_text(json.dumps({"timesteps": steps, "neuron": neuron, "volumes": rows}, indent=1))
    raise SystemExit(any(r["differing_spikes"] or r["differing_outputs"] or r["differing_counts"] for r in rows))


if __name__ == "__main__":
    main()
