"""The results as Markdown, and three plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.conversion.plots import SYNOPS
from benchmarks.conversion.report import facts, goals
from benchmarks.finetune.parity import DIFFERING

__all__ = ["facts", "markdown", "plots"]

Row = Mapping[str, Any]


def markdown(found: Row) -> str:
    task, table = {**found["task"], "goals": found["goals"]}, found["rows"]
    lines = [
        "# Fine-tuning",
        "",
        f"Made by `python -m benchmarks.finetune`; hippocampus 2D, {found['split']} split, on the fast engine; int8.",
        "lost: paired difference by subject, teacher - spiking: mean, standard deviation, standard error of the mean.",
        "SynOps: of all spikes, per MAC of the teacher. Loss: 0.3 BCE + 0.7 Dice + BCE against the teacher's",
        "probabilities + SynOps above a budget, where one is named. Settings were chosen on the validation split, and",
        "so was the epoch: that of the highest Dice within the budget.",
    ]
    if found["bundled"]:
        lines += ["", "The data set is absent: the example's own volumes stand for every split."]
    if found["goals"]:
        lines += ["", "## Goals", "", *goals({"": task})]
    lines += ["", "## Networks", "", *networks(table)]
    trained = [row for row in table if "history" in row]
    lines += ["", "![Dice against SynOps](finetune-synops.svg)", "", "## Training", "", *trainings(trained)]
    lines += ["", "![Fine-tuning against direct training](finetune-curves.svg)", "", "![Rates](finetune-rates.svg)"]
    return "\n".join([*lines, "", *parities(trained)]) + "\n"


def networks(table: Sequence[Row]) -> list[str]:
    lines = [
        "| network | subjects | Dice | teacher | lost | sd | se | events per neuron | SynOps / teacher MAC | steps | "
        "latency |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        lost = row["lost"]
        name = row["recipe"] + ("" if "history" in row else ", converted")
        lines.append(
            f"| {name} | {row['units']} | {row['score']:.4f} | {row['teacher']:.4f} | {lost['mean']:+.4f} | "
            f"{lost['sd']:.4f} | {lost['se']:.4f} | {row['events_per_neuron']:.3f} | {row[SYNOPS]:.3f} | "
            f"{row['steps']} | {row['latency']} |"
        )
    return lines


def trainings(trained: Sequence[Row]) -> list[str]:
    """Validation Dice and SynOps at the start, in the best epoch, and in the last one."""
    lines = [
        "Direct training has the same network, data, loss and number of epochs, and starts from random weights.",
        "Each cell: validation Dice, SynOps / teacher MAC. Minutes are those of one core, whatever else ran meanwhile.",
        "",
        "| training | start | first epoch | best epoch | last epoch | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for row in trained:
        history, best = row["history"], row["best"]
        cells = [f"{e['metric']:.4f}, {e['synops_per_mac']:.3f}" for e in (*history[:2], history[best], history[-1])]
        cells[2] = f"{best}: {cells[2]}"
        lines.append(f"| {row['recipe']} | {' | '.join(cells)} | {row['seconds'] / 60:.1f} |")
    return lines


def parities(trained: Sequence[Row]) -> list[str]:
    lines = [
        "## The trainer and the engines",
        "",
        "Slices of a test subject through the trainer, and through the reference, onnxruntime and fast engines: the",
        "compiled network (of direct training, before its weights are drawn), the trained one, and the trained one",
        "loaded from its file. Compared with `==`, at every neuron and step.",
        "",
        "| network | spikes | differing spikes | differing events | differing outputs | differing SynOps |",
        "|---|---|---|---|---|---|",
    ]
    for row in trained:
        for when, one in row["parity"].items():
            cells = " | ".join(str(one[key]) for key in ("spikes", *DIFFERING))
            lines.append(f"| {row['recipe']}: {when} | {cells} |")
    return lines


def plots(found: Row, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    trained = [row for row in found["rows"] if "history" in row]
    with plt.rc_context({"svg.hashsalt": "finetune", "svg.fonttype": "none", "font.size": 9}):
        for name, draw in (("synops", _synops), ("curves", _curves), ("rates", _rates)):
            figure = draw(plt, found["rows"] if name == "synops" else trained)
            for axes in figure.axes:
                axes.spines[["top", "right"]].set_visible(False)
                axes.grid(alpha=0.3, linewidth=0.5)
                axes.legend(frameon=False, fontsize=8)
            figure.savefig(out / f"finetune-{name}.svg", metadata={"Date": None})
            plt.close(figure)


def _synops(plt: Any, table: Sequence[Row]) -> Any:
    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    kinds: dict[str, list[Row]] = {}
    for row in table:
        kinds.setdefault(row["family"] if "history" in row else "converted", []).append(row)
    for kind, mark in (("converted", "s"), ("fine-tuned", "o"), ("direct", "^")):
        rows = kinds.get(kind, [])
        error = [2 * row["lost"]["se"] for row in rows]
        axes.errorbar(
            [r[SYNOPS] for r in rows], [r["score"] for r in rows], error, label=kind, marker=mark, linestyle="none",
            markersize=4, capsize=2, linewidth=1,
        )  # fmt: skip
        for row in rows:
            axes.annotate(row["recipe"].split(", fine")[0].split(", dir")[0], (row[SYNOPS], row["score"]),
                          (4, 3), textcoords="offset points", fontsize=7)  # fmt: skip
    axes.axhline(table[0]["teacher"], color="black", linewidth=0.5, linestyle="--", label="teacher")
    axes.set(xlabel="SynOps per MAC of the teacher", ylabel="Dice, ± 2 se of the difference from the teacher")
    return figure


def _curves(plt: Any, trained: Sequence[Row]) -> Any:
    """One pair of axes for each start that was trained directly, too."""
    direct = [row for row in trained if row["family"] == "direct"]
    figure, all_axes = plt.subplots(1, max(len(direct), 1), figsize=(10, 4), layout="constrained", squeeze=False)
    for axes, other in zip(all_axes[0], direct, strict=False):
        start, _, budget = other["recipe"].partition(", direct")
        for row in trained:
            if row["recipe"] in (f"{start}, fine-tuned{budget}", other["recipe"]):
                axes.plot([e["epoch"] for e in row["history"]], [e["metric"] for e in row["history"]], marker=".",
                          label=row["family"])  # fmt: skip
        axes.set(title=start + budget, xlabel="epoch", ylabel="validation Dice", ylim=(0, 1))
    return figure


def _rates(plt: Any, trained: Sequence[Row]) -> Any:
    """Of every population before and after; only what was fine-tuned."""
    tuned = [row for row in trained if row["family"] == "fine-tuned"]
    size, one = (3 * len(tuned), 4), {"layout": "constrained", "squeeze": False, "sharey": True}
    figure, all_axes = plt.subplots(1, len(tuned), figsize=size, **one)
    for axes, row in zip(all_axes[0], tuned, strict=True):
        names = list(row["rates"]["before"])
        for shift, when in ((-0.2, "before"), (0.2, "after")):
            axes.barh([k + shift for k in range(len(names))], [row["rates"][when][n] for n in names], 0.4, label=when)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=row["recipe"].replace(", fine-tuned", ""), xlabel="events per neuron and step")
    all_axes[0][0].invert_yaxis()
    return figure
