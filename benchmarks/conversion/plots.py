"""Two plots of a task: what is lost against SynOps, and the metric against the number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
COLOURS = {
    "radix": "#0b6e99", "settled": "#2a9d3a", "signed": "#d1812a", "if": "#888888", "multi-threshold": "#8e5bb5",
    "default": "#000000",
}  # fmt: skip
MARKS = "sv^D*Xp"  # of the peers


def draw(task: Row, rows: Sequence[Row], file: Path) -> None:
    """Write one SVG. A recipe whose options differ from its family's line in more than steps is a point."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "conversion", "svg.fonttype": "none", "font.size": 9}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        for family, own in families(rows).items():
            style = {"color": COLOURS.get(family), "marker": "o", "markersize": 4, "label": family}
            synops = [row["synops_per_teacher_mac"] for row in own]
            error = [2 * row["lost"]["se"] for row in own]
            left.errorbar(synops, [row["lost"]["mean"] for row in own], error, linewidth=1, capsize=2, **style)
            right.plot([row["steps"] for row in own], [row["score"] for row in own], linewidth=1, **style)
        for mark, (system, points) in zip(MARKS, systems(task).items(), strict=False):
            style = {"color": "#bbbbbb", "marker": mark, "markersize": 4, "linestyle": "none", "label": system}
            left.plot([p["synops_per_teacher_mac"] for p in points], [p["lost"]["mean"] for p in points], **style)
            right.plot([p["steps"] for p in points], [p["score"] for p in points], **style)
        left.axhline(0, color="black", linewidth=0.5)
        left.set(xlabel="SynOps per MAC of the teacher", ylabel=f"{task['loss']} lost, ± 2 se", xscale="log")
        right.axhline(rows[0]["teacher"], color="black", linewidth=0.5, linestyle="--", label="teacher")
        right.set(xlabel="T", ylabel=task["metric"], xscale="log")
        right.set_xticks([1, 2, 4, 8, 16, 32], labels=["1", "2", "4", "8", "16", "32"], minor=False)
        for axes in (left, right):
            axes.minorticks_off()
            axes.spines[["top", "right"]].set_visible(False)
        right.legend(frameon=False)
        figure.suptitle(task["title"])
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)


def families(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by family, in the order of their SynOps; those of other weights than int8 left out."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["synops_per_teacher_mac"]):
        if row["precision"] == "int8":
            found.setdefault(row["family"], []).append(row)
    return found


def systems(task: Row) -> dict[str, list[Row]]:
    """Points of peers by their system."""
    found: dict[str, list[Row]] = {}
    for point in task.get("peers", {}).get("points", ()):
        found.setdefault(point["system"], []).append(point)
    return found
