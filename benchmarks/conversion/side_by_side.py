"""Ours beside what other converters give of the same teachers: at the same T, and at the same number of SynOps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.conversion.recipes import RATE
from examples.kit.stats import differences

STEPS = (4, 8, 16, 32)
Row = Mapping[str, Any]


def peer_points(found: Row, truth: Sequence[float]) -> list[dict[str, Any]]:
    """The rows of `peers.peer_rows` on the test split as rows like ours; truth: the teacher's scores."""
    points = []
    for row in found["test"]:
        if "scores" in row:
            own = row["scores"]
            points.append(
                {
                    "system": row["peer"],
                    "recipe": row["recipe"],
                    "steps": row["timesteps"],
                    "units": len(own),
                    "lost": differences(truth[: len(own)], own),
                    "score": sum(own) / len(own),
                    "events_per_neuron": row["spikes_per_neuron"],
                    "synops_per_teacher_mac": row["synops_per_mac"],
                    "scores": own,
                }
            )
    return points


def same_steps(ours: Sequence[Row], peers: Sequence[Row]) -> list[dict[str, Any]]:
    """For each T and peer: our best rate code and the peer's best recipe on the same units; margin: by how much ours
    scores higher, paired."""
    table = []
    for steps in STEPS:
        rates = [row for row in ours if row["family"] in RATE and row["steps"] == steps]
        for system in dict.fromkeys(point["system"] for point in peers):
            theirs = [p for p in peers if p["system"] == system and p["steps"] == steps]
            if not (rates and theirs):
                continue
            their = max(theirs, key=lambda p: float(p["score"]))
            n = their["units"]
            able = [row for row in rates if row["units"] >= n]
            if not able:
                continue
            our = max(able, key=lambda row: mean(row["scores"][:n]))
            margin = differences(our["scores"][:n], their["scores"])
            table.append(
                {"steps": steps, "system": system, "units": n, "ours": our["recipe"], "theirs": their["recipe"],
                 "our_score": mean(our["scores"][:n]), "their_score": their["score"],
                 "our_synops": our["synops_per_teacher_mac"], "their_synops": their["synops_per_teacher_mac"],
                 "margin": margin, "word": word(margin)}
            )  # fmt: skip
    return table


def word(margin: Row) -> str:
    if abs(margin["mean"]) <= 2 * margin["se"]:
        return "equal within two standard errors"
    return "better" if margin["mean"] > 0 else "**worse**"


def not_beaten(ours: Iterable[Row], peers: Iterable[Row]) -> list[Row]:
    """Points of peers to which none of ours scores at least as high on the same units with no more SynOps."""
    ours = list(ours)

    def beaten(point: Row) -> bool:
        n = point["units"]
        return any(
            row["synops_per_teacher_mac"] <= point["synops_per_teacher_mac"]
            and row["units"] >= n
            and mean(row["scores"][:n]) >= point["score"]
            for row in ours
        )

    return [point for point in peers if not beaten(point)]


def mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def lines(task: Row) -> list[str]:
    """The tables of one task."""
    side, n = task["peers"], task["digits"]
    failed = [f"{row['recipe']} could not be measured: {row['failed']}." for row in side["failed"]]
    if not side["points"]:
        return ["No peer was measured.", *failed]
    text = [
        "Our best rate code beside the best recipe of each peer at the same T, on the same test units (both chosen",
        "there). margin: how much higher ours scores, paired, with two standard errors.",
        "",
        f"| T | peer | its recipe | {task['metric']} | SynOps | ours | {task['metric']} | SynOps | margin | ours is |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in side["same_steps"]:
        text.append(
            f"| {row['steps']} | {row['system']} | {row['theirs']} | {row['their_score']:.{n}f} | "
            f"{row['their_synops']:.3f} | {row['ours']} | {row['our_score']:.{n}f} | {row['our_synops']:.3f} | "
            f"{row['margin']['mean']:+.{n}f} ± {2 * row['margin']['se']:.{n}f} | {row['word']} |"
        )
    left, count = side["not_beaten"], len(side["points"])
    text += ["", f"Of {count} points of the peers (recipe and T), {count - len(left)} are matched or beaten by one of"]
    text += ["our recipes that takes no more SynOps and scores no less on the same units."]
    if left:
        shown = sorted(left, key=lambda p: float(p["synops_per_teacher_mac"]))
        text += ["", "Not so:", ""]
        text += [
            f"- {p['system']}, {p['recipe']}, T = {p['steps']}: {p['score']:.{n}f} at {p['synops_per_teacher_mac']:.3f}"
            for p in shown
        ]
    return [*text, *(["", *failed] if failed else [])]
