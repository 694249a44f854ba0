"""Early-stop conversion: thresholds balanced on spikes, scaled by what a grid of steps and scales shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import snncc
from examples.hippocampus_hybrid.data import Subject, slices, subjects
from examples.hippocampus_hybrid.measure import measure
from examples.hippocampus_hybrid.settings import Case, Settings
from examples.hippocampus_hybrid.teacher import file_of, trained
from examples.kit.commands import Context
from examples.kit.work import digest, finished
from snncc.comparison.metrics import Metric

DICE = Metric("dice", threshold=0.5)
NEAR = 0.01  # of Dice from that of the longest run: where the elbow is
MANY = "four thresholds a neuron, calibrated weights"
OWN: dict[str, dict[str, Any]] = {  # in three steps and without training; fine-tuning starts from the last
    MANY: {
        "neuron": "multi-threshold:4:signed", "calibration": "mse",
        "passes": ["threshold-scale{factor=1.2}", "calibrate-weights"],
    },
    "default": {},
    "calibrated weights": {"passes": ["calibrate-weights"]},
    # a network without normalisation has activations far above most: lower thresholds cut these, and resolve the rest
    "lower thresholds, calibrated weights": {
        "calibration": "mse", "passes": ["threshold-scale{factor=0.93,compound=yes}", "calibrate-weights"]
    },
}  # fmt: skip


def own_options(settings: Settings, name: str) -> dict[str, Any]:
    """Of snncc.compile: the radix code, where no neuron is named."""
    options, digits = OWN[name], settings.digits
    return {"timesteps": digits, **options} if "neuron" in options else {"code": f"radix:{digits}", **options}


def balanced(settings: Settings, scale: float) -> dict[str, Any]:
    """Options of snncc.compile for the paper's conversion: plain integrate-and-fire neurons that start at zero, Poisson
    input, thresholds the largest current of one step in `balance_steps` steps, times a scale.

    The paper's equation adds a step's current to what the last step's spike left, and compares then: that is `if`.
    The code it is based on (Rathi et al., 2020) compares before it adds, `if:first`, which gives the same spikes one
    step late in every layer: with a dozen of layers nothing would arrive in the 8 or 16 steps of fine-tuning.

    float32: thresholds lie so far above the weights that 200 steps of integers are not always proved to fit.
    """
    passes = [
        f"balance-thresholds{{steps={settings.balance_steps},samples={settings.balance_samples}}}",
        f"threshold-scale{{factor={scale:g},compound=yes}}",
        "v-init{at=zero}",
    ]
    return {"neuron": "if", "encoder": "poisson", "timesteps": settings.steps, "precision": "float32",
            "passes": passes}  # fmt: skip


def compile_one(work: Path, settings: Settings, case: Case, options: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Compile a case's teacher into `file`; steps, latency in steps, and names of its neurons."""
    numbers = subjects(work, settings, case.fold, "train")
    images, _, _ = slices(work, numbers, case.input)
    chosen = np.random.default_rng(settings.seed).permutation(len(images))[: settings.calibration]
    file.parent.mkdir(parents=True, exist_ok=True)
    network = snncc.compile(file_of(work, case), file, calibrate=list(images[chosen]), **options)
    steps = int(network.meta["timesteps"])
    return {"steps": steps, "latency": network.windows * steps, "pipeline": network.meta["pipeline"]}


def path_of(work: Path, case: Case, what: str) -> Path:
    """Where a compiled network is; its name changes with the teacher."""
    return work / "compiled" / f"{case.name}-{digest(file_of(work, case))}" / f"{what}.snn.onnx"


def facts_of(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".snn.onnx") + ".json")


def scaled_path(work: Path, case: Case, scale: float) -> Path:
    return path_of(work, case, f"scale-{scale:g}")


def own_path(work: Path, case: Case, name: str) -> Path:
    """name: one of OWN."""
    return path_of(work, case, "-".join(name.replace(",", "").split()))


def convert(context: Context[Settings]) -> None:
    """Compile every case at each threshold scale, and in the radix code."""
    work, settings, every = context.work, context.settings, trained(context)
    jobs: dict[Path, tuple[Any, ...]] = {}
    for case in every:
        for scale in settings.scales:
            file = scaled_path(work, case, scale)
            jobs[facts_of(file)] = (work, settings, case, balanced(settings, scale), file)
    finished(jobs, compile_one, context.workers, "thresholds balanced")
    for case in every:
        grid(context, case)
    jobs = {}
    for case in (case for case in every if case.input == "binary" and case.loss == settings.loss):
        for name in OWN:
            file = own_path(work, case, name)
            jobs[facts_of(file)] = (work, settings, case, own_options(settings, name), file)
    finished(jobs, compile_one, context.workers, "our own conversion")


def grid(context: Context[Settings], case: Case) -> dict[str, Any]:
    """Dice on validation subjects of each threshold scale after each number of steps; one run of the most gives all.

    Returns:
        "dice": rows by scale; "subjects": how many; "scale": the best at `steps`, "tune_scale": at `tune_steps`;
        "elbow": the fewest steps of that scale within NEAR of its longest run.
    """
    work, settings = context.work, context.settings
    numbers = subjects(work, settings, case.fold, "val")[: settings.grid_subjects]
    jobs: dict[Path, tuple[Any, ...]] = {}
    by_scale: dict[float, list[Path]] = {}
    for scale in settings.scales:
        file = scaled_path(work, case, scale)
        for number in numbers:
            path = file.with_name(f"grid-{scale:g}-{number}-{digest(settings.prefixes)}.json")
            by_scale.setdefault(scale, []).append(path)
            source = Subject(work, number, case.input)
            jobs[path] = (file, source, (DICE,), settings.prefixes[-1], settings.prefixes)
    found = finished(jobs, measure, context.workers, f"{case.name}: steps and scales")
    scores = np.array([
        [[DICE.value(np.array(counts)) for counts in found[path]["prefixes"]] for path in by_scale[scale]]
        for scale in settings.scales
    ])  # fmt: skip
    dice = scores.mean(1)
    best, tune = (int(dice[:, settings.prefixes.index(t)].argmax()) for t in (settings.steps, settings.tune_steps))
    near = np.flatnonzero(dice[best] >= dice[best, -1] - NEAR)
    return {
        "dice": dice.tolist(), "subjects": len(numbers), "scale": settings.scales[best],
        "tune_scale": settings.scales[tune], "elbow": settings.prefixes[int(near[0])],
    }  # fmt: skip
