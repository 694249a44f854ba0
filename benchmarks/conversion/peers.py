"""The same teachers through other converters: `peer_rows` gives what harness and report need.

    python -m benchmarks.conversion.peers hippocampus-2d         # all recipes on val, the best of them on test
    python -m benchmarks.conversion.peers TASK --peer sinabs --val 3 --test 30

A peer runs in its own environment (`make peers`), one process a task; see peers/convert.py. Every recipe is run on the
first part of val, the promising ones on more of it; those with the best metric at some T are run on test. One run of
the longest T gives all the shorter ones. Each part's result is kept as JSON in the work folder; an interrupted run goes
on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import Progress

from benchmarks.alternate import BENCH, ROOT, Talk
from benchmarks.conversion import blueprint, reach
from benchmarks.conversion.tasks import Task, tasks
from benchmarks.hippocampus import Array
from snncc.graph import Graph
from snncc.ingest import ingest
from snncc.macs import graph_macs

PEERS = ("spikingjelly", "sinabs")
TIMESTEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
CHOSEN = (2, 4, 8, 16, 32)  # the best recipe at each of them is run on test, at all of TIMESTEPS
WORK = ROOT / "build" / "conversion" / "peers"
Row = dict[str, Any]


class Peer:
    """A peer's process with a task's teacher.

    Raises:
        RuntimeError: it is not installed, or it ended.
    """

    def __init__(self, name: str, folder: Path, threads: int):
        python = BENCH / name / "bin" / "python"
        if not python.exists():
            raise RuntimeError(f"{name} is not installed: make peers")
        command = [str(python), "-m", f"benchmarks.peers.convert_{name}", str(folder), str(threads)]
        self.talk = Talk(command, folder / f"{name}.log")
        said = self.talk.greeting
        self.version, self.recipes = str(said["version"]), dict(said["recipes"])  # recipe -> form of the teacher

    def ask(self, **command: Any) -> dict[str, Any]:
        return self.talk.ask(json.dumps(command))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.talk.close()


@dataclass(frozen=True)
class Prepared:
    """A task's teacher as the peers get it."""

    folder: Path
    tail: Any
    macs: int
    neurons: dict[str, int]  # of each form of the teacher


def prepare(task: Task, work: Path) -> Prepared:
    """Writes what peers/convert.py reads."""
    folder = work / f"{task.name}-{sha256(task.teacher.read_bytes()).hexdigest()[:8]}"  # another teacher, other results
    folder.mkdir(parents=True, exist_ok=True)
    graph, tail = blueprint.without_tail(ingest(task.teacher), task.output)
    forms: dict[str, Graph] = {"plain": graph}
    if reach.gates(graph):
        forms["pool-first"] = blueprint.pool_first(graph)
    neurons = {}
    for name, form in forms.items():
        fans, called = reach.fan_outs(form), blueprint.names(form)
        blueprint.write(form, folder / name)
        np.savez(folder / f"{name}-fan.npz", allow_pickle=False, **{called[node]: fan for node, fan in fans.items()})
        neurons[name] = sum(fan.size for fan in fans.values())
    np.save(folder / "calibration.npy", task.calibration())
    return Prepared(folder, tail, graph_macs(graph).valid, neurons)


def measured(task: Task, peer: Peer, given: Prepared, recipe: str, part: str) -> dict[str, Any]:
    """Of one part, by `T` or `T+delay`: scores, and SynOps and events of all its samples."""
    samples, truth = task.load(part)
    file, out = given.folder / "samples.npy", given.folder / "found.npz"
    np.save(file, samples)
    said = peer.ask(recipe=recipe, samples=str(file), timesteps=TIMESTEPS, out=str(out))
    if "failed" in said:
        return said
    found, rows = np.load(out), {}
    for key in found.files:
        kind, steps = key.split("-")
        if kind in ("outputs", "delayed"):
            rows[steps + "+delay" * (kind == "delayed")] = {
                "scores": task.scores(given.tail(found[key]), truth),
                "synops": float(found[f"synops-{steps}"].sum()),
                "events": float(found[f"events-{steps}"].sum()),
            }
    return {"samples": len(samples), "form": peer.recipes[recipe], "by_steps": rows}


def rows_of(peer: str, recipe: str, parts: Sequence[dict[str, Any]], given: Prepared) -> Iterator[Row]:
    """One for each T, and one for each T with delayed read-out."""
    failed = next((p["failed"] for p in parts if "failed" in p), None)
    if failed:
        yield {"peer": peer, "recipe": recipe, "failed": failed}
        return
    count, neurons = sum(p["samples"] for p in parts), given.neurons[parts[0]["form"]]
    for steps in parts[0]["by_steps"]:
        if any(steps not in p["by_steps"] for p in parts):
            continue
        each = [p["by_steps"][steps] for p in parts]
        yield {
            "peer": peer,
            "recipe": recipe + "+delay" * steps.endswith("+delay"),
            "timesteps": int(steps.removesuffix("+delay")),
            "scores": [score for e in each for score in e["scores"]],
            "synops_per_mac": sum(e["synops"] for e in each) / (given.macs * count),
            "spikes_per_neuron": sum(e["events"] for e in each) / (neurons * count),
        }


def best(rows: Sequence[Row]) -> dict[int, list[str]]:
    """T -> recipes, the best mean score first."""
    found: dict[int, list[str]] = {}
    for row in sorted((r for r in rows if "scores" in r), key=lambda r: -float(np.mean(r["scores"]))):
        found.setdefault(row["timesteps"], []).append(row["recipe"])
    return found


def promising(rows: Sequence[Row], first: int) -> list[str]:
    """Recipes to run that are among the `first` best at one of the T to choose for."""
    order = best(rows)
    return sorted({name.removesuffix("+delay") for t in CHOSEN if t in order for name in order[t][:first]})


def measure(
    task: Task, name: str, parts: Sequence[str], *, recipes: Sequence[str] | None, work: Path, threads: int
) -> list[Row]:
    """Rows of some recipes (all: None) on some parts."""
    given = prepare(task, work)
    rows: list[Row] = []
    with Peer(name, given.folder, threads) as peer, Progress() as progress:
        some = [r for r in peer.recipes if recipes is None or r in recipes]
        bar = progress.add_task(f"{task.name} {name}", total=len(some) * len(parts))
        for recipe in some:
            results = []
            for part in parts:
                file = given.folder / f"{name}-{recipe}-{part}.json"
                if not file.exists():
                    file.write_text(json.dumps(measured(task, peer, given, recipe, part)))
                results.append(json.loads(file.read_text()))
                progress.advance(bar)
                if "failed" in results[-1]:
                    break
            rows += rows_of(peer.version, recipe, results, given)
    return rows


def peer_rows(
    task: Task, name: str, *, val: int | None = 3, test: int | None = None, work: Path = WORK, threads: int = 2
) -> dict[str, Any]:
    """{"val": all recipes' rows, "best": T -> recipe, "test": rows of the promising ones}; val, test: only the first
    units. All recipes are run on the first part of val, the two best at each T on the rest."""
    common: dict[str, Any] = {"work": work, "threads": threads}
    parts = task.parts("val", val)
    tried = measure(task, name, parts[:1], recipes=None, **common)
    again = measure(task, name, parts, recipes=promising(tried, 2), **common)
    rows = measure(task, name, task.parts("test", test), recipes=promising(again, 1), **common)
    chosen = {str(steps): order[0] for steps, order in sorted(best(again).items()) if steps in CHOSEN}
    return {"val": [*tried, *again], "best": chosen, "test": rows}


def table(found: dict[str, Any], reference: Array) -> str:
    """The best recipe at each T, on test; reference: the teacher's scores."""
    lines = ["| T | recipe (chosen on val) | lost | se | SynOps / MAC | spikes per neuron |", "|---|" + "---|" * 5]
    rows = {(r["timesteps"], r["recipe"]): r for r in found["test"] if "scores" in r}
    for steps, recipe in found["best"].items():
        row = rows[int(steps), recipe]
        lost = reference - np.array(row["scores"])
        lines.append(
            f"| {steps} | {recipe} | {lost.mean():+.4f} | {lost.std(ddof=1) / len(lost) ** 0.5:.4f} | "
            f"{row['synops_per_mac']:.3f} | {row['spikes_per_neuron']:.3f} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("task", type=click.Choice([task.name for task in tasks()]))
@click.option("--peer", "names", multiple=True, type=click.Choice(PEERS), default=PEERS)
@click.option("--val", default=3, show_default=True, help="units of val to choose on")
@click.option("--test", type=int, help="only the first units of test")
@click.option("--threads", default=2, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True)
def main(task: str, names: tuple[str, ...], val: int, test: int | None, threads: int, work: Path) -> None:
    (chosen,) = (t for t in tasks() if t.name == task)
    reference: list[float] = []
    for part in chosen.parts("test", test):
        samples, truth = chosen.load(part)
        reference += chosen.scores(chosen.teacher_outputs(samples), truth)
    for name in names:
        found = peer_rows(chosen, name, val=val, test=test, work=work, threads=threads)
        (work / f"{task}-{name}.json").write_text(json.dumps(found))
        click.echo(f"{name}\n" + table(found, np.array(reference)))
        for row in found["val"]:
            if "failed" in row:
                click.echo(f"{row['recipe']}: {row['failed']}")


if __name__ == "__main__":
    main()
