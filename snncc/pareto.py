"""What a search measured: points, those that none beats in all, the one that limits ask for; as JSON and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

from snncc.cli.files import write_json
from snncc.cli.tables import table
from snncc.errors import OptionError, PassError
from snncc.onnx_file import replacing

SHOWN = 12  # points of a table


@dataclass(frozen=True)
class Point:
    """A network as it was measured.

    Args:
        pipeline: its text; with `timesteps` and the calibration data it gives the network again.
        timesteps: T, or digits of a radix code.
        synops: SynOps per teacher MAC. events: per neuron that fires, and inference.
        error: see search.py. labels: share of labels equal to the teacher's, None if it gives none.
    """

    pipeline: str
    timesteps: int
    synops: float
    events: float
    error: float
    labels: float | None

    @property
    def costs(self) -> tuple[float, float, int]:
        return self.synops, self.error, self.timesteps


@dataclass(frozen=True)
class Limits:
    """Largest SynOps per teacher MAC, error, and time steps that are asked for.

    Raises:
        OptionError: one is not above zero.
    """

    synops: float | None = None
    error: float | None = None
    timesteps: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.named.items():
            if not value > 0:
                raise OptionError(f"{name} {value:g}", remedy="give a number above 0")

    def __bool__(self) -> bool:
        return bool(self.named)

    @property
    def costs(self) -> tuple[float, float, float]:
        each = self.synops, self.error, self.timesteps
        return tuple(inf if value is None else value for value in each)  # type: ignore[return-value]

    @property
    def named(self) -> dict[str, float]:
        each = {"--budget-synops": self.synops, "--max-error": self.error, "--max-timesteps": self.timesteps}
        return {name: value for name, value in each.items() if value is not None}

    @property
    def saves(self) -> bool:
        """Is it the fewest SynOps that is asked for, not the least error?"""
        return self.synops is None and self.error is not None

    def met(self, point: Point) -> bool:
        return all(cost <= limit for cost, limit in zip(point.costs, self.costs, strict=True))

    def used(self, point: Point) -> float:
        """The largest of its costs as a part of its limit."""
        return max(cost / limit for cost, limit in zip(point.costs, self.costs, strict=True))

    def choose(self, points: Sequence[Point]) -> Point:
        """The least error; where only the error is limited, or error and steps, the fewest SynOps.

        Raises:
            PassError: no point keeps within the limits.
        """
        within = [point for point in points if self.met(point)]
        if not within:
            raise self._missed(points)
        return min(within, key=lambda p: (p.synops, p.error) if self.saves else (p.error, p.synops))

    def _missed(self, points: Sequence[Point]) -> PassError:
        """The nearest point, and what each limit alone would have to be."""
        nearest = min(points, key=self.used)
        needed = []
        for axis, name in enumerate(("--budget-synops", "--max-error", "--max-timesteps")):
            others = [(k, limit) for k, limit in enumerate(self.costs) if k != axis]
            rest = [p.costs[axis] for p in points if all(p.costs[k] <= limit for k, limit in others)]
            if name in self.named and rest:
                needed.append(f"{name} {_up(min(rest))}")
        asked = " ".join(f"{name} {value:g}" for name, value in self.named.items())
        synops, error, steps = nearest.costs
        raise_to = " or ".join(needed) or "more than one limit: the nearest shows how far"
        return PassError(
            f"no network was found within {asked}; "
            f"the nearest: {synops:.3f} SynOps per teacher MAC, error {error:.4f}, {steps} steps",
            remedy=f"{len(points)} were measured; it takes {raise_to}",
        )


def _up(value: float) -> str:
    """A limit that `value` keeps within, in few digits."""
    return str(value) if isinstance(value, int) else f"{value * 1.005:.3g}"


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other point equals or beats in SynOps, error and steps, by SynOps."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: p.costs):
        if not any(all(a <= b for a, b in zip(other.costs, point.costs, strict=True)) for other in kept):
            kept.append(point)
    return kept


def beside(output: Path, ending: str) -> Path:
    """net.snn.onnx -> net.pareto.json and so on."""
    return output.with_name(output.name.removesuffix(".onnx").removesuffix(".snn") + ending)


@dataclass(frozen=True)
class Pareto:
    """What a search measured on `samples` calibration samples under which limits, and the point it chose."""

    points: Sequence[Point]
    chosen: Point
    limits: Limits
    samples: int

    def report(self) -> dict[str, Any]:
        return {
            "limits": asdict(self.limits),
            "samples": self.samples,
            "measured": len(self.points),
            "chosen": asdict(self.chosen),
            "pareto": [asdict(point) for point in front(self.points)],
        }

    def show(self) -> None:
        """The set as a table; of many points, those near the chosen one in SynOps."""
        best = sorted(front(self.points), key=lambda p: abs(p.synops - self.chosen.synops))[:SHOWN]
        rows = [
            (
                f"{p.synops:.3f}", f"{p.error:.4f}", p.timesteps, f"{p.events:.3f}",
                "-" if p.labels is None else f"{p.labels:.3%}", "*" if p == self.chosen else "",
            )
            for p in sorted(best, key=lambda p: p.synops)
        ]  # fmt: skip
        title = f"{len(self.points)} networks on {self.samples} calibration samples: the best near the chosen one"
        table(title, ("SynOps / teacher MAC", "error", "steps", "events / neuron", "equal labels", "chosen"), rows, 0)

    def save(self, output: Path) -> list[Path]:
        """Write MODEL.pareto.json, and MODEL.pareto.png where matplotlib is installed; gives their paths."""
        report, plot = beside(output, ".pareto.json"), beside(output, ".pareto.png")
        write_json(report, self.report())
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return [report]
        figure = Figure(figsize=(7, 5), layout="constrained")
        self._draw(figure)
        with replacing(plot) as temporary:
            figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
        return [report, plot]

    def _draw(self, figure: Any) -> None:
        axes, best = figure.add_subplot(), front(self.points)
        every = [p.synops for p in self.points], [p.error for p in self.points]
        axes.scatter(*every, s=8, color="0.75", label="measured")
        marks = axes.scatter([p.synops for p in best], [p.error for p in best], s=24, c=[p.timesteps for p in best])
        axes.scatter(self.chosen.synops, self.chosen.error, s=140, marker="*", color="tab:red", label="chosen")
        for limit, line in ((self.limits.synops, axes.axvline), (self.limits.error, axes.axhline)):
            if limit is not None:
                line(limit, linestyle=":", color="tab:red")
        axes.set(xscale="log", yscale="log", xlabel="SynOps per teacher MAC", ylabel="relative error of the outputs")
        figure.colorbar(marks, label="time steps")
        axes.legend()
