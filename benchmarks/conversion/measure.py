"""Compiling recipes, running them on the parts of a task, and the statistics of paired losses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx

import snncc
from benchmarks import hippocampus as h
from benchmarks.conversion.recipes import GOALS, Recipe, aimed
from benchmarks.conversion.tasks import Task
from examples.kit.stats import differences
from examples.kit.work import finished
from snncc.errors import SnnccError

COUNTED = ("synops", "synops_nonzero", "events", "macs", "teacher_macs")
COMPILER = ("snncc", "passes", "runtime")


def compile_one(task: Task, recipe: Recipe, file: Path) -> dict[str, Any]:
    """Compile into `file`; what the network is, or why the recipe was refused."""
    start = perf_counter()
    try:
        network = snncc.compile(task.teacher, file, calibrate=task.calibration(), **recipe.options)
    except SnnccError as error:
        return {"refused": error.message}
    steps = network.meta["timesteps"]
    return {
        "model": what_runs(file),
        "precision": network.meta["precision"],
        "pipeline": network.meta["pipeline"],
        "steps": steps,
        "latency": network.windows * steps,
        "neurons": sum(p.size for p in network.populations if p.fires),
        "seconds": round(perf_counter() - start, 1),
    }


def run_one(task: Task, file: Path, part: str) -> dict[str, Any]:
    """Scores of the units of a part, and the counts of its samples together."""
    model = h.load(file)
    samples, truth = task.load(part)
    totals, outputs, start = dict.fromkeys(COUNTED, 0), [], perf_counter()
    for sample in samples:
        result = model.run(sample)
        outputs.append(result.outputs[task.output])
        now = result.counts.totals
        totals = {key: totals[key] + now[key] for key in COUNTED}
    seconds = perf_counter() - start
    scores = task.scores(np.concatenate(outputs), truth)
    return {"scores": scores, "samples": len(samples), "seconds": round(seconds, 2), **totals}


def teacher_one(task: Task, part: str) -> dict[str, Any]:
    samples, truth = task.load(part)
    return {"scores": task.scores(task.teacher_outputs(samples), truth)}


def digest(*texts: bytes) -> str:
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]


def what_runs(file: Path) -> str:
    """Digest of a compiled network without its metadata: equal ones need not be run twice."""
    model = onnx.load(file)
    del model.metadata_props[:]
    return digest(model.SerializeToString(deterministic=True))


@cache
def compiler() -> bytes:
    """All source of the compiler: what it made is made anew when it has changed."""
    files = sorted(file for name in COMPILER for file in (h.ROOT / name).glob("**/*.py"))
    return b"\0".join(file.read_bytes() for file in files)


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def models(pairs: Sequence[tuple[Task, Recipe]], work: Path, workers: int) -> dict[tuple[str, str], dict[str, Any]]:
    """By names of task and recipe: the facts of `compile_one`, and the `file`."""
    files = {}
    for task, recipe in pairs:
        key = digest(task.teacher.read_bytes(), repr(sorted(recipe.options.items())).encode(), compiler())
        files[task.name, recipe.name] = work / "models" / f"{task.name}-{slug(recipe.name)}-{key}.snn.onnx"
    (work / "models").mkdir(parents=True, exist_ok=True)
    jobs = {files[t.name, r.name].with_suffix(".facts.json"): (t, r, files[t.name, r.name]) for t, r in pairs}
    facts = finished(jobs, compile_one, workers, "compiled")
    return {key: {**facts[file.with_suffix(".facts.json")], "file": file} for key, file in files.items()}


def teacher_scores(task: Task, work: Path, split: str, limit: int | None, workers: int) -> list[float]:
    key = digest(task.teacher.read_bytes())
    jobs = {work / "runs" / f"{task.name}-teacher-{key}-{p}.json": (task, p) for p in task.parts(split, limit)}
    found = finished(jobs, teacher_one, workers, f"{task.name}: teacher")
    return [score for one in found.values() for score in one["scores"]]


def units(task: Task, recipe: str, limit: int | None) -> int | None:
    """How many units a recipe is measured on: without a goal, a few are enough."""
    if task.few is None or aimed(task.name, recipe):
        return limit
    return min(limit or task.few, task.few)


def rows(
    task: Task,
    recipes: Sequence[Recipe],
    made: Mapping[tuple[str, str], Mapping[str, Any]],
    work: Path,
    split: str,
    limit: int | None,
    workers: int,
) -> list[dict[str, Any]]:
    """One row for each recipe: what it is, costs, and loses; its scores by unit."""
    families = {recipe.name: recipe.family for recipe in recipes}
    facts = {recipe.name: made[task.name, recipe.name] for recipe in recipes}
    truth = teacher_scores(task, work, split, limit, workers)
    jobs: dict[Path, tuple[Any, ...]] = {}
    parts: dict[str, list[Path]] = {}
    for name, fact in facts.items():
        if "refused" in fact:
            continue
        for part in task.parts(split, units(task, name, limit)):
            path = work / "runs" / f"{task.name}-{fact['model']}-{part}.json"  # recipes may give the same network
            jobs[path] = (task, fact["file"], part)
            parts.setdefault(name, []).append(path)
    found = finished(jobs, run_one, workers, f"{task.name}: parts")
    scores = {name: [s for path in paths for s in found[path]["scores"]] for name, paths in parts.items()}
    table = []
    for name, fact in facts.items():
        row = {"recipe": name, "family": families[name], **{k: v for k, v in fact.items() if k != "file"}}
        if name in scores:
            row |= _measured(truth, scores, name, [found[path] for path in parts[name]], fact["neurons"])
        table.append(row)
    return table


def _measured(
    truth: Sequence[float],
    scores: Mapping[str, Sequence[float]],
    name: str,
    parts: Sequence[Mapping[str, Any]],
    neurons: int,
) -> dict[str, Any]:
    own = scores[name]
    total = {key: sum(part[key] for part in parts) for key in (*COUNTED, "samples")}
    others = {g.against: scores[g.against] for g in GOALS if g.against in scores and g.against != name}
    return {
        "scores": own,
        "units": len(own),
        "score": float(np.mean(own)),
        "teacher": float(np.mean(truth[: len(own)])),
        "lost": differences(truth[: len(own)], own),
        "against": {other: differences(theirs, own) for other, theirs in others.items() if len(theirs) == len(own)},
        "events_per_neuron": total["events"] / neurons / total["samples"],
        "synops_per_teacher_mac": total["synops"] / total["teacher_macs"],
        "run_seconds": sum(part["seconds"] for part in parts),
    }
