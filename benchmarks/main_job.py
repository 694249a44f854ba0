"""Dice, spikes and SynOps of the int8 hippocampus networks against their teachers, at T = 2 ... 64.

    python -m benchmarks.main_job            # 30 test subjects; writes docs/results/main_job.{md,json}

One run of 64 steps gives every T: with a rate code the readout at step t is what a run of t steps gives.
Needs the data set (see examples/hippocampus/README.md). Interrupted, it goes on where it stopped (--work).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import hippocampus as h
from examples.kit.work import finished

STEPS = (2, 4, 8, 16, 32, 64)
RECIPE = {
    "signed": {"calibration": "percentile:99.9", "per": "channel"},
    "if": {"calibration": "percentile:99.9", "per": "channel"},
}


def one_subject(name: str, dims: int, file: Path) -> dict[str, Any]:
    """Dice of teacher and spiking network per T, events and SynOps up to T."""
    model = h.load(file)
    image, label = h.case(name, dims)
    truth = label > 0
    masks = np.zeros((len(STEPS), *truth.shape), bool)
    reference = np.zeros(truth.shape, bool)
    events, synops = np.zeros(max(STEPS), np.int64), np.zeros(max(STEPS), np.int64)
    macs = 0
    for k, sample in enumerate(image):
        reference[k] = h.teacher_output(sample, dims)[0] > 0.5
        result = model.run(sample, timesteps=max(STEPS), over_time=True)
        for row, t in enumerate(STEPS):
            masks[row, k] = result.over_time["probability"][t - 1][0] > 0.5
        assert result.counts.counts is not None
        for train in result.counts.counts.events.values():
            events += train.astype(np.int64)
        synops += np.array(result.counts.synops_per_step, np.int64)
        macs += result.counts.totals["teacher_macs"]
    neurons = sum(p.size for p in model.network.populations if p.fires) * len(image)
    return {
        "subject": name,
        "teacher": h.dice(reference, truth),
        "dice": {t: h.dice(m, truth) for t, m in zip(STEPS, masks, strict=True)},
        "rate": {t: int(events[:t].sum()) / (neurons * t) for t in STEPS},
        "synops": {t: int(synops[:t].sum()) for t in STEPS},
        "teacher_macs": macs,
    }


def summary(rows: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """Mean over subjects; `lost` is the paired difference teacher - spiking with its standard deviation."""
    key = str(steps)
    spiking = np.array([r["dice"][key] for r in rows])
    teacher = np.array([r["teacher"] for r in rows])
    lost = teacher - spiking
    macs = np.array([r["teacher_macs"] for r in rows])
    synops = np.array([r["synops"][key] for r in rows])
    return {
        "timesteps": steps,
        "subjects": len(rows),
        "teacher": {"mean": float(teacher.mean()), "std": float(teacher.std(ddof=1))},
        "dice": {"mean": float(spiking.mean()), "std": float(spiking.std(ddof=1))},
        "lost": {"mean": float(lost.mean()), "std": float(lost.std(ddof=1))},
        "rate": float(np.mean([r["rate"][key] for r in rows])),
        "synops": float(synops.mean()),
        "synops_per_teacher_mac": float(synops.sum() / macs.sum()),
    }


def markdown(table: dict[str, list[dict[str, Any]]], split: str, recipe: dict[str, Any]) -> str:
    lines = [
        "# The main job: teacher against int8 spiking network",
        "",
        f"Made by `python -m benchmarks.main_job`; hippocampus, {split} split, 3D Dice per subject (mean, std).",
        "lost: paired difference teacher - spiking. SynOps are executed events, window pairs of max gates included.",
        "",
        f"Recipe: {json.dumps(recipe)}; constant-current encoder;",
        f"calibrated on {h.CALIBRATION_SUBJECTS} train subjects.",
    ]
    for name, rows in table.items():
        first = rows[0]["teacher"]
        lines += [
            "",
            f"## {name}: teacher {first['mean']:.4f} (std {first['std']:.4f})",
            "",
            "| T | Dice | std | lost | std of lost | mean rate | SynOps / subject | SynOps / teacher MAC |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['timesteps']} | {r['dice']['mean']:.4f} | {r['dice']['std']:.4f} | {r['lost']['mean']:+.4f} | "
            f"{r['lost']['std']:.4f} | {r['rate']:.3f} | {r['synops']:.4g} | {r['synops_per_teacher_mac']:.3f} |"
            for r in rows
        ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--split", default="test", show_default=True)
@click.option("--subjects", "count", type=int, help="only the first N subjects")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/main_job"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=h.ROOT / "docs" / "results", show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--calibration", help="instead of the recipe's, for tuning on val")
@click.option("--per", help="instead of the recipe's, for tuning on val")
def main(
    split: str, count: int | None, work: Path, out: Path, workers: int, calibration: str | None, per: str | None
) -> None:
    """Measure every network on every subject and write the tables."""
    recipe = {n: {"calibration": calibration or o["calibration"], "per": per or o["per"]} for n, o in RECIPE.items()}
    names = h.subjects(split, count)
    jobs, groups = {}, {}
    for dims in h.DIMENSIONS:
        for neuron in recipe:
            file = h.compiled(work, dims, neuron=neuron, **recipe[neuron])
            for name in names:
                part = work / f"{file.name.removesuffix('.snn.onnx')}-{name}.json"
                jobs[part], groups[part] = (name, dims, file), f"{dims}D {neuron}"
    table: dict[str, list[dict[str, Any]]] = {}
    raw: dict[str, list[Any]] = {}
    for part, found in finished(jobs, one_subject, workers).items():
        raw.setdefault(groups[part], []).append(found)
    for key, rows in raw.items():
        table[key] = [summary(rows, t) for t in STEPS]
    text = markdown(table, split, recipe)
    click.echo(text)
    if split == "test" and count is None and calibration is None and per is None and not h.BUNDLED:
        out.mkdir(parents=True, exist_ok=True)
        (out / "main_job.md").write_text(text)
        (out / "main_job.json").write_text(json.dumps({"recipe": recipe, "summary": table, "subjects": raw}, indent=1))


if __name__ == "__main__":
    main()
