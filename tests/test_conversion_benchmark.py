"""The benchmark of conversion quality: its statistics, goals, and a small run from end to end."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import hippocampus as h
from benchmarks.conversion import __main__ as command
from benchmarks.conversion import measure, peers, recipes, report, side_by_side, tasks
from benchmarks.conversion.agreement import agrees
from benchmarks.conversion.recipes import Goal
from examples.kit.stats import differences


def test_paired_statistics() -> None:
    """By hand: the differences 1, 2, 6 have the mean 3, and squares of deviations 4 + 1 + 9 = 14 over 2."""
    found = differences([11, 12, 16], [10, 10, 10])
    assert found == {"mean": 3, "sd": pytest.approx(7**0.5), "se": pytest.approx((7 / 3) ** 0.5)}
    with pytest.raises(ValueError, match="two units"):
        differences([1], [0])


def row(recipe: str, mean: float, se: float, synops: float, **against: Any) -> dict[str, Any]:
    lost = {"mean": mean, "se": se, "sd": 0.0}
    return {"recipe": recipe, "lost": lost, "synops_per_teacher_mac": synops, "against": against}


@pytest.mark.parametrize(
    ("mean", "se", "synops", "reached", "says"),
    [
        (0.001, 0.0, 0.6, True, ""),
        (0.003, 0.001, 0.6, True, ""),  # two standard errors are allowed
        (0.0031, 0.001, 0.6, False, "loses 0.0031 Dice, with 0.0020 allowed for the error"),
        (0.0, 0.0, 0.61, False, "takes 0.610 SynOps per MAC"),
        (0.1, 0.0, 0.7, False, "loses 0.1000 Dice, with 0.0000 allowed for the error and takes 0.700 SynOps per MAC"),
    ],
)
def test_goals_are_judged(mean: float, se: float, synops: float, reached: bool, says: str) -> None:
    outcome = Goal("a", "text", "default", 0.001, 0.6).outcome("a", [row("default", mean, se, synops)])
    assert outcome is not None and outcome["reached"] == reached
    task = {"title": "A", "digits": 4, "loss": "Dice", "goals": [outcome]}
    text = "\n".join(report.goals({"a": task}))
    assert ("**missed**" in text) != reached and ("All of these are reached." in text) == reached
    assert f"- A: text. default {says}." in text or reached


def test_a_goal_takes_the_best_row_that_fits() -> None:
    """Within the SynOps the one that loses least; without one that fits, it is missed; against another recipe its own
    difference counts."""
    rows = [row("radix:2", 0.002, 0, 0.3), row("radix:3", 0.001, 0, 0.4), row("radix:4", 0, 0, 0.9)]
    few, fewer, cost = Goal("a", "", "radix:*", 1, 0.5), Goal("a", "", "radix:*", 1, 0.2), Goal("a", "", "x", 1)
    best, none = few.outcome("a", rows), fewer.outcome("a", rows)
    assert best is not None and (best["recipe"], best["reached"]) == ("radix:3", True)
    assert none is not None and not none["reached"]
    assert cost.outcome("a", rows) is None
    low = row("radix:3, int4", 0.5, 0, 0.4, **{"radix:3": {"mean": 0.002, "se": 0.0, "sd": 0.0}})
    int4 = Goal("a", "", "radix:3, int4", 0.003, against="radix:3").outcome("a", [*rows, low])
    assert int4 is not None and int4["mean"] == 0.002 and int4["reached"]


@pytest.mark.parametrize("task", [task.name for task in tasks.tasks()])
def test_names_of_recipes(task: str) -> None:
    """Those of a task have names and files of their own, and its goals name some of them."""
    names = [recipe.name for recipe in recipes.RECIPES if recipe.suits(task)]
    assert len({measure.slug(name) for name in names}) == len(names)
    for goal in recipes.GOALS:
        if fnmatch(task, goal.tasks):
            assert any(fnmatch(name, goal.recipes) for name in names), goal


def test_side_by_side() -> None:
    """Paired on the peer's units only; a recipe with too few units, or of another family, stands for nothing."""
    truth = [1.0, 1.0, 1.0, 1.0]
    known = {"peer": "p 1", "spikes_per_neuron": 1.0}
    found = {
        "test": [
            {**known, "recipe": "a", "timesteps": 8, "scores": [0.5, 0.5, 0.8], "synops_per_mac": 1.0},
            {**known, "recipe": "b", "timesteps": 8, "scores": [0.9, 0.5, 0.5], "synops_per_mac": 0.3},
            {"peer": "p 1", "recipe": "c", "failed": "cannot"},
        ]
    }
    a, b = points = side_by_side.peer_points(found, truth)
    assert a["lost"]["mean"] == pytest.approx(0.4) and a["units"] == 3
    ours = [
        {"recipe": "x", "family": "signed", "steps": 8, "units": 4, "scores": [0.7, 0.7, 0.7, 0.0]},
        {"recipe": "y", "family": "signed", "steps": 8, "units": 2, "scores": [1.0, 1.0]},
        {"recipe": "z", "family": "radix", "steps": 8, "units": 4, "scores": [0.9, 0.9, 0.9, 0.9]},
    ]
    ours = [{**one, "synops_per_teacher_mac": 0.8} for one in ours]
    (line,) = side_by_side.same_steps(ours, points)
    assert (line["theirs"], line["ours"], line["units"]) == ("b", "x", 3)
    assert line["margin"]["mean"] == pytest.approx(0.2 / 3) and line["word"].startswith("equal")
    assert side_by_side.not_beaten(ours, points) == [b]
    assert side_by_side.word({"mean": -0.1, "se": 0.01}) == "**worse**"


def test_a_peer_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is compared; what it could not convert is said."""

    def peer_rows(task: tasks.Task, name: str, **_: Any) -> dict[str, Any]:
        if name == "sinabs":
            raise RuntimeError("sinabs is not installed: make peers")
        point = {"recipe": "a", "timesteps": 4, "scores": [0.5, 0.7], "synops_per_mac": 1.0, "spikes_per_neuron": 1.0}
        return {"val": [{"recipe": "b", "failed": "no | module"}], "test": [{"peer": "p", **point}]}

    monkeypatch.setattr(peers, "peer_rows", peer_rows)
    monkeypatch.setattr(command, "teacher_scores", lambda *_: [1.0, 1.0, 1.0])
    ours = {"recipe": "x", "family": "if", "steps": 4, "units": 2, "scores": [0.9, 1.0], "lost": {}}
    task = tasks.tasks()[0]
    side = command.beside(task, [{**ours, "synops_per_teacher_mac": 0.5}], tmp_path, "test", None, 1)
    text = "\n".join(side_by_side.lines({**report.facts(task), "peers": side}))
    assert "| 4 | p | a | 0.6000 | 1.000 | x | 0.9500 | 0.500 | +0.3500 ± 0.1000 | better |" in text
    assert "Of 1 points of the peers (recipe and T), 1 are matched" in text
    assert "sinabs could not be measured: sinabs is not installed: make peers." in text and "b could not be" in text


def test_scores_and_parts() -> None:
    """One score for each image; parts cover the split without overlap."""
    images, bsd = tasks.cifar10("vgg", ""), tasks.tasks()[-1]
    outputs = np.array([[0.1, 0.9], [0.8, 0.2]])[:, :, None]
    assert images.scores(outputs, np.array([1, 1])) == [100.0, 0.0]
    pieces = [tasks.piece(part) for part in images.parts("val", 600)]
    assert pieces == [("val", 0, 250), ("val", 250, 500), ("val", 500, 600)]
    clean = np.full((1, 1, 2, 2), 0.5)
    assert bsd.scores(np.full((1, 1, 2, 2), 0.1), np.stack([clean + 0.2, clean])) == [pytest.approx(20)]


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(command.main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_quick_run_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the bundled volumes: tables, plot and JSON that agree with a count by hand; what is finished is not run
    again, and what is missing is."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(h, "DATA", h.EXAMPLE / "volumes")
    monkeypatch.setattr(h, "BUNDLED", True)
    arguments = ("--quick", "--work", tmp_path / "work", "--out", tmp_path)
    text = run(*arguments)
    found = json.loads((tmp_path / "conversion.json").read_text())["tasks"]["hippocampus-2d"]
    assert [r["recipe"] for r in found["rows"]] == list(recipes.QUICK) and "| radix:2 | 2 |" in text
    for one in found["rows"]:
        parts = [json.loads(p.read_text()) for p in (tmp_path / "work" / "runs").glob(f"*-{one['model']}-*.json")]
        assert len(parts) == one["units"] == 2
        assert one["score"] == pytest.approx(np.mean([part["scores"][0] for part in parts]))
        ratio = sum(part["synops"] for part in parts) / sum(part["teacher_macs"] for part in parts)
        assert one["synops_per_teacher_mac"] == pytest.approx(ratio) and 0.2 < ratio < 0.8
        assert one["agreement"]["spikes"] > 10_000 and agrees(one["agreement"])
        assert -0.01 < one["lost"]["mean"] < 0.05 and one["latency"] == 11 * one["steps"]
    assert (tmp_path / "conversion-hippocampus-2d.svg").stat().st_size < 100_000

    part = next((tmp_path / "work" / "runs").glob("*-teacher-*-hippocampus_036.json"))
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*.*") if file != part}
    part.unlink()
    assert run(*arguments).splitlines()[-20:] == text.splitlines()[-20:]
    assert part.exists() and kept == {file: file.stat().st_mtime_ns for file in kept}
