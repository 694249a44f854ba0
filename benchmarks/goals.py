"""Ratios of the times of one run beside what was to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.alternate import Row, best


@dataclass(frozen=True)
class Goal:
    """`ours` is to be at least `factor` times as fast as `other` with `threads` threads; below 1: it may take at most
    1 / factor times as long."""

    ours: str
    other: str
    factor: float
    threads: int = 2

    @property
    def text(self) -> str:
        if self.factor < 1:
            return f"{self.ours}: at most {1 / self.factor:g} times as long as {self.other}"
        times = f"{self.factor:g} times as fast as" if self.factor > 1 else "faster than"
        return f"{self.ours}: {times} {self.other}"

    def outcome(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The ratio of the least times; None where one of both did not run."""
        times = {row["label"]: best(row, self.threads) for row in rows}
        ours, other = times.get(self.ours), times.get(self.other)
        if ours is None or other is None:
            return outcome(self.text, self.factor, None)
        shown = f"{ours / other:.3g} times as long" if self.factor < 1 else f"{other / ours:.3g} times as fast"
        return outcome(self.text, self.factor, other / ours, shown)


def outcome(text: str, target: float, value: float | None, shown: str = "") -> dict[str, Any]:
    """A goal that is reached where the value is at least the target; None: not measured."""
    reached = None if value is None else value >= target
    return {"goal": text, "target": target, "value": value, "shown": shown, "reached": reached}


def table(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    """Each goal with what was found; what fell short says by how much."""
    found = ["| goal | found | |", "|---|---|---|"]
    for one in outcomes:
        word = {True: "reached", False: "**short**", None: "not measured"}[one["reached"]]
        if one["reached"] is False:
            word += f", {one['value'] / one['target']:.0%} of the goal"
        found.append(f"| {one['goal']} | {one['shown']} | {word} |")
    return found
