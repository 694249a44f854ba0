"""Dice of the networks that a search finds for budgets of SynOps, on the hippocampus teachers, int8, no retraining.

    python -m benchmarks.search           # val split; --split test for the report

Needs the data set (see examples/hippocampus/README.md). Interrupted, it goes on where it stopped (--work). The Pareto
sets lie beside the models in --work.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks import codes
from benchmarks import hippocampus as h
from examples.kit.work import finished

BUDGETS = (0.6, 0.5, 0.4, 0.3)


def found(work: Path, dims: int, budget: float) -> tuple[Path, dict[str, Any]]:
    """The searched model's file, and its Pareto set with the seconds that the search took."""
    began, facts = time.perf_counter(), work / f"{dims}d-{budget}.json"
    file = h.compiled(work, dims, budget_synops=budget)
    if not facts.exists():
        pareto = json.loads(file.with_name(file.name.replace(".snn.onnx", ".pareto.json")).read_text())
        facts.write_text(json.dumps({**pareto, "seconds": time.perf_counter() - began}))
    return file, json.loads(facts.read_text())


@click.command()
@click.option("--split", default="val", show_default=True)
@click.option("--subjects", "count", type=int, help="only the first N subjects")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/search"), show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(split: str, count: int | None, work: Path, workers: int) -> None:
    """Search, run every subject, and print the table."""
    click.echo("| teacher | budget | steps | SynOps / teacher MAC | Dice lost | std | networks measured | s |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for dims in h.DIMENSIONS:
        for budget in BUDGETS:
            file, facts = found(work, dims, budget)
            jobs = {work / f"{file.name}-{n}.json": (n, dims, file) for n in h.subjects(split, count)}
            row = codes.row("", list(finished(jobs, codes.one_subject, workers).values()))
            click.echo(
                f"| {dims}D | {budget} | {facts['chosen']['timesteps']} | {row['synops_per_teacher_mac']:.3f} | "
                f"{row['lost']:+.4f} | {row['std']:.4f} | {facts['measured']} | {facts['seconds']:.0f} |"
            )


if __name__ == "__main__":
    main()
