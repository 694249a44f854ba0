"""What conversion loses, at how many SynOps: every recipe on every task, beside other converters.

    python -m benchmarks.conversion           # hours on two cores; writes docs/results/conversion*.{md,json,svg}

Hippocampus, CIFAR-10 and BSD68 need the data sets (see examples/hippocampus/README.md, benchmarks/conversion/teachers);
a task that lacks its own is left out. Interrupted, it goes on where it stopped (--work). A change of the compiler
compiles anew, and runs what came out different.
"""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click

from benchmarks import hippocampus as h
from benchmarks.conversion import peers, report, side_by_side
from benchmarks.conversion.agreement import agreement, agrees
from benchmarks.conversion.measure import compiler, digest, models, rows, teacher_scores
from benchmarks.conversion.recipes import QUICK, RECIPES, Recipe, outcomes
from benchmarks.conversion.tasks import Task, tasks
from examples.kit.work import finished, keep

QUICK_UNITS = 2


def chosen(only: tuple[str, ...], quick: bool) -> list[tuple[Task, Recipe]]:
    """The pairs to measure; only: patterns of TASK or TASK/RECIPE."""
    pairs = []
    for task in tasks():
        if reason := task.missing():
            click.echo(f"{task.title} is left out: {reason}")
            continue
        suited = [recipe for recipe in RECIPES if recipe.suits(task.name) and (recipe.name in QUICK or not quick)]
        for recipe in suited:
            names = (task.name, f"{task.name}/{recipe.name}")
            if not only or any(fnmatch(name, pattern) for name in names for pattern in only):
                pairs.append((task, recipe))
    return pairs[: len(QUICK)] if quick and not only else pairs


@click.command()
@click.option("--only", multiple=True, metavar="TASK[/RECIPE]", help="name patterns; may be given several times")
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=2), help="only the first N subjects or images of each task")
@click.option("--quick", is_flag=True, help="two recipes on two units of the first task")
@click.option("--agree/--no-agree", default=True, help="compare the engines, too")
@click.option("--peers/--no-peers", "others", default=True, help="run other converters, too")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/conversion"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="default: docs/results for all of the test split")
@click.option("--join", multiple=True, type=click.Path(path_type=Path), help="conversion.json of a run of other tasks")
@click.option("--workers", default=2, show_default=True)
def main(
    only: tuple[str, ...],
    split: str,
    limit: int | None,
    quick: bool,
    agree: bool,
    others: bool,
    work: Path,
    out: Path | None,
    join: tuple[Path, ...],
    workers: int,
) -> None:
    """Measure every recipe on every task and write tables and plots; exit 1 if the engines do not agree."""
    limit = QUICK_UNITS if quick else limit
    pairs = chosen(only, quick)
    made = models(pairs, work, workers)
    found: dict[str, Any] = {"split": split, "limit": limit, "bundled": h.BUNDLED, "tasks": {}}
    for file in join:
        found["tasks"] |= json.loads(file.read_text())["tasks"]
    for task in dict.fromkeys(task for task, _ in pairs):
        recipes = [recipe for one, recipe in pairs if one == task]
        table = rows(task, recipes, made, work, split, limit, workers)
        if agree:
            compare_engines(task, made, table, work, workers)
        about = report.facts(task) | {"rows": table, "goals": outcomes(task.name, table)}
        if others and split == "test" and not quick:
            about["peers"] = beside(task, table, work, split, limit, workers)
        found["tasks"][task.name] = about
    text = report.markdown(found)
    click.echo(text)
    if out is None and split == "test" and not (only or quick):
        out = h.ROOT / "docs" / "results"
    if out is not None:
        keep(out / "conversion.md", text)
        keep(out / "conversion.json", json.dumps(without_scores(found), indent=1) + "\n")
        report.plots(found, out)
    every = [row for task in found["tasks"].values() for row in task["rows"] if "agreement" in row]
    raise SystemExit(not all(agrees(row["agreement"]) for row in every))


def compare_engines(
    task: Task, made: dict[tuple[str, str], dict[str, Any]], table: list[dict[str, Any]], work: Path, workers: int
) -> None:
    """Write into each row what `agreement` found."""
    key, jobs, paths = digest(compiler()), {}, {}
    for row in table:
        if "refused" not in row:
            name = row["recipe"]
            paths[name] = work / "agreement" / f"{task.name}-{row['model']}-{key}.json"
            jobs[paths[name]] = (task, made[task.name, name]["file"])
    found = finished(jobs, agreement, workers, f"{task.name}: engines")
    for row in table:
        if row["recipe"] in paths:
            row["agreement"] = found[paths[row["recipe"]]]


def beside(
    task: Task, table: list[dict[str, Any]], work: Path, split: str, limit: int | None, workers: int
) -> dict[str, Any]:
    """The peers' points on the same test units, and how ours compare; a peer that is not installed is left out."""
    val, test = task.peers
    truth = teacher_scores(task, work, split, limit, workers)
    points: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for name in peers.PEERS:
        try:
            found = peers.peer_rows(
                task, name, val=val, test=min(test, limit or test), work=work / "peers", threads=workers
            )
        except RuntimeError as error:
            failed.append({"recipe": name, "failed": str(error)})
            continue
        points += side_by_side.peer_points(found, truth)
        failed += [{key: row[key] for key in ("recipe", "failed")} for row in found["val"] if "failed" in row]
    ours = [row for row in table if "lost" in row]
    return {
        "points": points,
        "same_steps": side_by_side.same_steps(ours, points),
        "not_beaten": side_by_side.not_beaten(ours, points),
        "failed": failed,
    }


def without_scores(found: Any) -> Any:
    """The same without the scores by unit, which are many."""
    if isinstance(found, dict):
        return {key: without_scores(value) for key, value in found.items() if key != "scores"}
    return [without_scores(one) for one in found] if isinstance(found, list) else found


if __name__ == "__main__":
    main()
