"""The recipes that are measured, and what they are to reach. Options are those of `snncc.compile`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from math import inf
from typing import Any

BRAIN, CIFAR, BSD = "hippocampus-*", "cifar10-*", "bsd68-*"  # tasks
RATE = ("settled", "signed", "if", "multi-threshold")  # families that say numbers by how many spikes they send


@dataclass(frozen=True)
class Recipe:
    """tasks: name patterns of the tasks it is for."""

    name: str
    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("*",)

    def suits(self, task: str) -> bool:
        return any(fnmatch(task, pattern) for pattern in self.tasks)


def radix(digits: int, factor: float | None = None, *, fitted: bool = False) -> Recipe:
    """factor: of the thresholds of least squares, if not the default's; above 1 it saves spikes. fitted: weights by the
    pass calibrate-weights."""
    options: dict[str, Any] = {"code": f"radix:{digits}", "passes": [FIT] if fitted else []}
    words = [f"radix:{digits}", *([FITTED] if fitted else [])]
    if factor is not None:
        options |= {"calibration": "mse", "passes": [f"threshold-scale{{factor={factor}}}", *options["passes"]]}
        words.insert(1, f"thresholds x {factor:g}")
    return Recipe(", ".join(words), "radix", options, ("*",) if factor in (None, 1) else (BRAIN,))


def default(bits: int = 8, *, fitted: bool = False) -> Recipe:
    """The recipe of `snncc compile` without options, with weights of some bits."""
    options = {"passes": [f"{FIT}{{bits={bits}}}"]} if fitted else {"precision": f"int{bits}"} if bits != 8 else {}
    words = ["default", *([f"int{bits}"] if bits != 8 else []), *([FITTED] if fitted else [])]
    return Recipe(", ".join(words), "default", options)


def rate(neuron: str, steps: int, calibration: str = "mse", factor: float = 1, *, fitted: bool = False) -> Recipe:
    """factor: of all thresholds. fitted: weights by the pass calibrate-weights."""
    passes = [*([f"threshold-scale{{factor={factor}}}"] if factor != 1 else []), *([FIT] if fitted else [])]
    words = [f"{neuron}, T = {steps}", *([f"thresholds x {factor:g}"] if factor != 1 else [])]
    options = {"neuron": neuron, "timesteps": steps, "calibration": calibration, "passes": passes}
    return Recipe(", ".join([*words, *([FITTED] if fitted else [])]), neuron.partition(":")[0], options)


def budget(synops: float) -> Recipe:
    """Found by the search. It measures on calibration data; so it is asked for a little less than what is aimed at."""
    return Recipe(f"budget of {synops} SynOps", "search", {"budget_synops": synops}, (BRAIN,))


def only(task: str, recipe: Recipe) -> Recipe:
    return replace(recipe, tasks=(task,))


FIT, FITTED = "calibrate-weights", "fitted weights"
P99 = "percentile:99"  # plain neurons want lower thresholds than those of least squares
P999 = "percentile:99.9"  # where large values matter more than small ones
SHORT = (("settled", 8), ("signed", 8), ("multi-threshold:2:signed", 2))
HELP = ((1, True), (1.25, False), (1.25, True))  # factor of the thresholds, fitted weights
RECIPES: tuple[Recipe, ...] = (
    *(default(fitted=fitted) for fitted in (False, True)),
    *(only(BRAIN, default(bits, fitted=fitted)) for bits in (6, 4) for fitted in (False, True)),
    *(budget(synops) for synops in (0.59, 0.49)),
    *(radix(k) for k in (2, 3, 4, 5, 6)),
    *(radix(k, f) for k, f in ((2, 2.0), (3, 1), (4, 1), (4, 1.6), (5, 2.0), (5, 2.8))),
    radix(3, fitted=True),
    only(BSD, radix(6, 1)),
    *(rate("settled", t) for t in (4, 8, 16, 32)),
    *(rate("signed", t) for t in (4, 8, 16, 32)),
    *(rate("if", t, P99) for t in (8, 16, 32)),
    *(rate("multi-threshold:2:signed", t) for t in (1, 2, 4)),
    *(only(BSD, rate("multi-threshold:2:signed", t)) for t in (8, 16, 32)),
    *(only(BRAIN, rate(*kind, factor=f, fitted=fitted)) for kind in SHORT for f, fitted in HELP),
    only(BRAIN, rate("if", 16, P99, fitted=True)),
    rate("if", 32, P99, fitted=True),
    replace(only(BSD, rate("if", 32, P999, fitted=True)), name="if, T = 32, thresholds at 99.9 %, fitted weights"),
)
QUICK = ("radix:2", "radix:3")


@dataclass(frozen=True)
class Goal:
    """One of `recipes` (name patterns) is to lose at most `most`, with at most `synops` per MAC of the teacher, against
    the teacher or against another recipe on the same units. Two standard errors are allowed for."""

    tasks: str
    text: str
    recipes: str
    most: float
    synops: float = inf
    against: str = ""

    def outcome(self, task: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The row that comes nearest, and whether it is near enough; None where no such recipe was measured."""
        named = [row for row in rows if fnmatch(row["recipe"], self.recipes) and "lost" in row]
        named = [row for row in named if not self.against or self.against in row["against"]]
        if not named:
            return None
        fitting = [row for row in named if row["synops_per_teacher_mac"] <= self.synops] or named
        row = min(fitting, key=lambda row: self._lost(row)["mean"])
        lost, synops = self._lost(row), row["synops_per_teacher_mac"]
        reached = lost["mean"] <= self.most + 2 * lost["se"] and synops <= self.synops
        return {"task": task, "goal": self.text, "recipe": row["recipe"], "most": self.most, **lost, "synops": synops,
                "synops_most": None if self.synops == inf else self.synops, "reached": reached}  # fmt: skip

    def _lost(self, row: Mapping[str, Any]) -> Mapping[str, float]:
        found: Mapping[str, float] = row["against"][self.against] if self.against else row["lost"]
        return found


GOALS = (
    Goal(BRAIN, "default recipe: at most 0.001 at no more than 0.60 SynOps", "default", 0.001, 0.60),
    Goal(BRAIN, "searched: at most 0.001 at no more than 0.60 SynOps", "budget of 0.59 SynOps", 0.001, 0.60),
    Goal(BRAIN, "searched: at most 0.002 at no more than 0.50 SynOps", "budget of 0.49 SynOps", 0.002, 0.50),
    Goal(BRAIN, "settled, T = 8: at most 0.001", "settled, T = 8*", 0.001),
    Goal(BRAIN, "signed, T = 8: at most 0.0015", "signed, T = 8*", 0.0015),
    Goal(BRAIN, "plain IF, T = 16: at most 0.003", "if, T = 16*", 0.003),
    Goal(BRAIN, "multi-threshold of 2 levels, T = 2: at most 0.002", "multi-threshold:2:signed, T = 2*", 0.002),
    Goal(BRAIN, "int6 weights cost at most 0.001", "default, int6*", 0.001, against="default"),
    Goal(BRAIN, "int4 weights cost at most 0.003", "default, int4*", 0.003, against="default"),
    Goal(CIFAR, "radix:4: at most 0.3 points", "radix:4*", 0.3),
    Goal(CIFAR, "radix:3: at most 1.0 points", "radix:3*", 1.0),
    Goal(CIFAR, "settled, T = 16: at most 0.5 points", "settled, T = 16", 0.5),
    Goal(CIFAR, "signed, T = 32: at most 0.3 points", "signed, T = 32", 0.3),
    Goal(BSD, "radix of at most 6 steps: within 0.1 dB", "radix:?*", 0.1),
    Goal(BSD, "settled, T = 32: within 0.3 dB", "settled, T = 32", 0.3),
    Goal(BSD, "signed, T = 32: within 0.3 dB", "signed, T = 32", 0.3),
    Goal(BSD, "plain IF, T = 32: within 0.3 dB", "if, T = 32*", 0.3),
)


def outcomes(task: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of all goals of a task whose recipes were measured."""
    found = [goal.outcome(task, rows) for goal in GOALS if fnmatch(task, goal.tasks)]
    return [one for one in found if one is not None]


def aimed(task: str, recipe: str) -> bool:
    """Does a goal of the task speak of this recipe?"""
    return any(fnmatch(task, g.tasks) and (fnmatch(recipe, g.recipes) or recipe == g.against) for g in GOALS)
