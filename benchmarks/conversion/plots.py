"""Two plots of a task: what is lost against SynOps, and the metric against the number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
COLOURS = {
    "radix": "#0b6e99", "settled": "#2a9d3a", "signed": "#d1812a", "if": "#b04a4a", "multi-threshold": "#8e5bb5",
    "default": "#000000", "search": "#1a3c5e",
}  # fmt: skip
MARKS = "sv^D*Xp"  # of the peers
SYNOPS = "synops_per_teacher_mac"
SHOWN = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 20)


def draw(task: Row, rows: Sequence[Row], file: Path) -> None:
    """Write one SVG. What lies far below the teacher is outside of the right plot."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    small = min((goal["most"] for goal in task["goals"]), default=0.001)  # losses that matter
    with plt.rc_context({"svg.hashsalt": "conversion", "svg.fonttype": "none", "font.size": 9}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
        for mark, (system, points) in zip(MARKS, systems(task).items(), strict=False):
            style = {"color": "#999999", "marker": mark, "markersize": 4, "linestyle": "none", "label": system}
            left.plot([p[SYNOPS] for p in points], [p["lost"]["mean"] for p in points], **style)
            right.plot([p["steps"] for p in points], [p["score"] for p in points], **style)
        for family, own in families(rows).items():
            style = {"color": COLOURS[family], "marker": "o", "markersize": 4, "linewidth": 1, "label": family}
            error = [2 * row["lost"]["se"] for row in own]
            left.errorbar([r[SYNOPS] for r in own], [r["lost"]["mean"] for r in own], error, capsize=2, **style)
            best = {row["steps"]: row["score"] for row in sorted(own, key=lambda row: float(row["score"]))}
            right.plot(sorted(best), [best[steps] for steps in sorted(best)], **style)
        left.axhline(0, color="black", linewidth=0.5)
        left.set(xlabel="SynOps per MAC of the teacher", ylabel=f"{task['loss']} lost, ± 2 se", xscale="log")
        left.set_yscale("symlog", linthresh=small)
        left.set_ylim(bottom=-2 * small)
        _ticks(left, [r[SYNOPS] for r in (*rows, *task.get("peers", {}).get("points", ()))], SHOWN)
        teacher = rows[0]["teacher"]
        right.axhline(teacher, color="black", linewidth=0.5, linestyle="--", label="teacher")
        right.set(xlabel="T", ylabel=task["metric"], xscale="log", ylim=(teacher - 50 * small, teacher + 5 * small))
        _ticks(right, [r["steps"] for r in rows], [2**k for k in range(6)])
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3, linewidth=0.5)
        right.legend(frameon=False, fontsize=8)
        figure.suptitle(task["title"])
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
        plt.close(figure)


def _ticks(axes: Any, values: Sequence[float], shown: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers, as far as there are points above zero."""
    axes.minorticks_off()
    axes.set_xticks(shown, labels=[f"{tick:g}" for tick in shown], minor=False)
    positive = [value for value in values if value > 0]
    axes.set_xlim(min(positive) * 0.85, max(positive) * 1.15)


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
