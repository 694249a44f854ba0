"""The results as Markdown: goals, a table of recipes for each task, agreement of the engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from benchmarks.conversion import side_by_side
from benchmarks.conversion.plots import draw
from benchmarks.conversion.tasks import Task

Row = Mapping[str, Any]


def facts(task: Task) -> dict[str, Any]:
    return {"title": task.title, "metric": task.metric, "loss": task.loss, "unit": task.unit, "digits": task.digits}


def markdown(found: Row) -> str:
    limit = "" if found["limit"] is None else f", the first {found['limit']} units of each task"
    lines = [
        "# Conversion quality",
        "",
        f"Made by `python -m benchmarks.conversion`; {found['split']} split{limit}. No retraining; int8 weights unless",
        "a recipe says otherwise. lost: paired difference by subject or image, teacher - spiking: mean, standard",
        "deviation, standard error of the mean. SynOps: of all spikes, per MAC of the teacher without taps on padding.",
        "latency: in steps, from the first input to the last output. Recipes that no goal speaks of may be measured on",
        "fewer units. In the plots what lies far below the teacher is left out on the right.",
    ]
    if found["bundled"]:
        lines += ["", "The data set is absent: the example's own volumes serve for calibration and test."]
    if any(task["goals"] for task in found["tasks"].values()):
        lines += ["", "## Goals", "", *goals(found["tasks"])]
    for name, task in found["tasks"].items():
        lines += ["", *section(name, task)]
        if "peers" in task:
            lines += ["", f"### {task['title']}: other converters", "", *side_by_side.lines(task)]
    compared = {name: task for name, task in found["tasks"].items() if any("agreement" in r for r in task["rows"])}
    return "\n".join([*lines, *(["", *engines(compared)] if compared else [])]) + "\n"


def goals(tasks: Mapping[str, Row]) -> list[str]:
    """All goals, and in plain words those that were missed."""
    lines = ["Two standard errors are allowed for. Where several recipes fit, the one that loses least is shown."]
    lines += ["", "| task | goal | recipe | lost | two standard errors | SynOps | |", "|---|---|---|---|---|---|---|"]
    missed = []
    for task in tasks.values():
        n = task["digits"]
        for one in task["goals"]:
            word = "reached" if one["reached"] else "**missed**"
            lines.append(
                f"| {task['title']} | {one['goal']} | {one['recipe']} | {one['mean']:+.{n}f} | {2 * one['se']:.{n}f} | "
                f"{one['synops']:.3f} | {word} |"
            )
            if not one["reached"]:
                missed.append(f"- {task['title']}: {one['goal']}. {shortfall(one, task)}")
    return [*lines, "", *(["Not reached:", "", *missed] if missed else ["All of these are reached."])]


def shortfall(goal: Row, task: Row) -> str:
    """By how much a goal was missed."""
    says, n = [], task["digits"]
    if goal["mean"] > goal["most"] + 2 * goal["se"]:
        says.append(f"loses {goal['mean']:.{n}f} {task['loss']}, with {2 * goal['se']:.{n}f} allowed for the error")
    if goal["synops"] > (goal["synops_most"] or inf):
        says.append(f"takes {goal['synops']:.3f} SynOps per MAC")
    return f"{goal['recipe']} {' and '.join(says)}."


def section(name: str, task: Row) -> list[str]:
    n = task["digits"]
    lines = [
        f"## {task['title']}",
        "",
        f"![{task['title']}](conversion-{name}.svg)",
        "",
        f"| recipe | {task['unit']}s | {task['metric']} | teacher | lost | sd | se | events per neuron | "
        "SynOps / teacher MAC | steps | latency |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in task["rows"]:
        if "refused" in row:
            lines.append(f"| {row['recipe']} | refused: {row['refused'].replace('|', '/')} {'|' * 10}")
            continue
        lost = row["lost"]
        lines.append(
            f"| {row['recipe']} | {row['units']} | {row['score']:.{n}f} | {row['teacher']:.{n}f} | "
            f"{lost['mean']:+.{n}f} | {lost['sd']:.{n}f} | {lost['se']:.{n}f} | {row['events_per_neuron']:.3f} | "
            f"{row['synops_per_teacher_mac']:.3f} | {row['steps']} | {row['latency']} |"
        )
    return lines


def engines(tasks: Mapping[str, Row]) -> list[str]:
    """What the engines differ in, summed over the recipes of a task."""
    lines = [
        "## Agreement of the engines",
        "",
        "Each recipe on one test sample (3D, BSD68: its centre, compiled for that size): onnxruntime and the fast",
        "engine with 1, 2 and 3 threads against the reference, every spike, output and count with `==`; the",
        "reference's counts against the closed form.",
        "",
        "| task | recipes | spikes | differing spikes | differing outputs | runs with differing counts |",
        "|---|---|---|---|---|---|",
    ]
    for task in tasks.values():
        done = [row["agreement"] for row in task["rows"] if "agreement" in row]
        keys = ("spikes", "differing_spikes", "differing_outputs", "differing_counts")
        sums = " | ".join(str(sum(one[key] for one in done)) for key in keys)
        lines.append(f"| {task['title']} | {len(done)} | {sums} |")
    return lines


def plots(found: Row, out: Path) -> None:
    for name, task in found["tasks"].items():
        drawn: Sequence[Row] = [row for row in task["rows"] if "lost" in row]
        if drawn:
            draw(task, drawn, out / f"conversion-{name}.svg")
