"""Fewer SynOps or steps at the teacher's Dice: fine-tuning of compiled networks, on hippocampus slices.

    python -m benchmarks.finetune             # half an hour on two cores; writes docs/results/finetune*.{md,json,svg}

Needs the extra [train] and the data set (see examples/hippocampus/README.md). Interrupted, it goes on where it stopped
(--work): trainings from their last epoch. A change of the compiler or the trainer trains anew.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from benchmarks import hippocampus as h
from benchmarks.conversion.measure import compiler, digest, models, rows, slug
from benchmarks.conversion.recipes import Recipe
from benchmarks.conversion.tasks import Task, tasks
from benchmarks.finetune import report
from benchmarks.finetune.parity import agrees
from benchmarks.finetune.plan import CONVERTED, GOALS, QUICK, TASK, TRAININGS
from benchmarks.finetune.trainings import Training, train_one
from examples.kit.work import keep

SOURCES = ("trainer/*.py", "benchmarks/finetune/trainings.py", "benchmarks/finetune/parity.py")


@click.command()
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--quick", is_flag=True, help="two short trainings, measured on two subjects")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/finetune"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="default: docs/results for the test split")
@click.option("--workers", default=2, show_default=True, help="trainings at once, each on one core")
def main(split: str, quick: bool, work: Path, out: Path | None, workers: int) -> None:
    """Compile, train, run on the fast engine, and write tables and plots; exit 1 if trainer and engines differ."""
    (task,) = [task for task in tasks() if task.name == TASK]
    trainings, converted = (QUICK, CONVERTED[:1]) if quick else (TRAININGS, CONVERTED)
    starts = {recipe.name: recipe for recipe in [*converted, *(training.start for training in trainings)]}
    made = models([(task, recipe) for recipe in starts.values()], work, workers)
    trained = train(trainings, task, made, work, workers)
    recipes: list[Recipe] = [*converted, *(training.recipe for training in trainings)]
    table = rows(task, recipes, {**made, **trained}, work, split, 2 if quick else None, workers)
    found = {
        "split": split,
        "bundled": h.BUNDLED,
        "task": report.facts(task),
        "rows": table,
        "goals": [one for goal in GOALS if (one := goal.outcome(TASK, table)) is not None],
    }
    text = report.markdown(found)
    click.echo(text)
    if out is None and split == "test" and not quick:
        out = h.ROOT / "docs" / "results"
    if out is not None:
        keep(out / "finetune.md", text)
        without = [{key: value for key, value in row.items() if key != "scores"} for row in table]
        keep(out / "finetune.json", json.dumps({**found, "rows": without}, indent=1) + "\n")
        report.plots(found, out)
    raise SystemExit(not all(agrees(one) for row in table for one in row.get("parity", {}).values()))


def train(
    trainings: tuple[Training, ...], task: Task, made: dict[tuple[str, str], dict[str, Any]], work: Path, workers: int
) -> dict[tuple[str, str], dict[str, Any]]:
    """By names of task and training: what `train_one` says, and the `file`."""
    source = b"\0".join(file.read_bytes() for pattern in SOURCES for file in sorted(h.ROOT.glob(pattern)))
    folders = {}
    for training in trainings:
        start = made[task.name, training.start.name]
        key = digest(start["model"].encode(), repr(training).encode(), source, compiler())
        folders[training.name] = work / "trainings" / f"{slug(training.name)}-{key}"
    todo = [one for one in trainings if not (folders[one.name] / "facts.json").exists()]
    pool = ProcessPoolExecutor(workers)
    try:
        with Progress() as progress:
            jobs = {
                pool.submit(train_one, one, made[task.name, one.start.name]["file"], folders[one.name]): one
                for one in todo
            }
            watch(jobs, folders, progress)
    finally:
        pool.shutdown(cancel_futures=True)
    facts = {name: json.loads((folder / "facts.json").read_text()) for name, folder in folders.items()}
    return {(task.name, name): {**one, "file": folders[name] / "trained.snn.onnx"} for name, one in facts.items()}


def watch(jobs: dict[Future[dict[str, Any]], Training], folders: dict[str, Path], progress: Progress) -> None:
    """Show the epochs that are done, and keep what a training returns."""
    bars = {one.name: progress.add_task(one.name, total=one.epochs) for one in jobs.values()}
    pending = set(jobs)
    while pending:
        done, pending = wait(pending, timeout=1)
        for name, bar in bars.items():
            log = folders[name] / "metrics.csv"
            if log.exists():  # a line for the names of its columns, one for the network before training
                progress.update(bar, completed=max(len(log.read_text().splitlines()) - 2, 0))
        for future in done:
            keep(folders[jobs[future].name] / "facts.json", json.dumps(future.result()))


if __name__ == "__main__":
    main()
