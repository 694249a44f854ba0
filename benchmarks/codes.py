"""Dice and SynOps of every kind of neuron on the hippocampus teachers, int8, without retraining.

    python -m benchmarks.codes            # 30 test subjects; writes docs/results/codes.{md,json}

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

MSE, P99 = {"calibration": "mse"}, {"calibration": "percentile:99"}
KINDS: dict[str, dict[str, Any]] = {  # thresholds by squared error, but for what fires unevenly
    **{f"radix:{k}": {"code": f"radix:{k}", **MSE} for k in (2, 3, 4)},
    **{f"settled, T = {t}": {"neuron": "settled", "timesteps": t, **MSE} for t in (4, 8)},
    **{f"signed, T = {t}": {"neuron": "signed", "timesteps": t, **MSE} for t in (4, 8)},
    "multi-threshold:2, T = 2": {"neuron": "multi-threshold:2", "timesteps": 2, **MSE},
    "multi-threshold:2:signed, T = 2": {"neuron": "multi-threshold:2:signed", "timesteps": 2, **MSE},
    "multi-threshold:3:signed, T = 1": {"neuron": "multi-threshold:3:signed", "timesteps": 1, **MSE},
    "if, T = 8": {"neuron": "if", "timesteps": 8, **P99},
    "if, T = 32": {"neuron": "if", "timesteps": 32, **P99},
    "if:first, T = 32": {"neuron": "if:first", "timesteps": 32, **P99},
    "if:zero, T = 32": {"neuron": "if:zero", "timesteps": 32, **P99},
    "leaky:0.95, T = 32": {"neuron": "leaky:0.95", "timesteps": 32, **P99},
    "signed, Poisson, T = 64": {"neuron": "signed", "timesteps": 64, "encoder": "poisson", **MSE},
}


def one_subject(name: str, dims: int, file: Path) -> dict[str, Any]:
    """Dice of teacher and spiking network, events per neuron, SynOps and the teacher's MACs."""
    model = h.load(file)
    image, label = h.case(name, dims)
    truth = label > 0
    mask, reference = np.zeros(truth.shape, bool), np.zeros(truth.shape, bool)
    totals = {"synops": 0, "events": 0, "teacher_macs": 0}
    for k, sample in enumerate(image):
        reference[k] = h.teacher_output(sample, dims)[0] > 0.5
        result = model.run(sample)
        mask[k] = result.outputs["probability"][0] > 0.5
        for key in totals:
            totals[key] += result.counts.totals[key]
    neurons = sum(p.size for p in model.network.populations if p.fires) * len(image)
    return {"teacher": h.dice(reference, truth), "dice": h.dice(mask, truth), "neurons": neurons, **totals}


def row(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    lost = np.array([r["teacher"] - r["dice"] for r in rows])
    sums = {key: sum(r[key] for r in rows) for key in ("synops", "events", "teacher_macs", "neurons")}
    return {
        "kind": name,
        "subjects": len(rows),
        "dice": float(np.mean([r["dice"] for r in rows])),
        "lost": float(lost.mean()),
        "std": float(lost.std(ddof=1)),
        "events_per_neuron": sums["events"] / sums["neurons"],
        "synops_per_teacher_mac": sums["synops"] / sums["teacher_macs"],
    }


def markdown(table: dict[str, list[dict[str, Any]]], split: str) -> str:
    lines = [
        "# Kinds of neuron on real teachers",
        "",
        f"Made by `python -m benchmarks.codes`; hippocampus, {split} split, int8, per channel, no retraining.",
        "lost: paired difference of the 3D Dice, teacher - spiking, mean and standard deviation over subjects.",
        "Thresholds by mse; of `if` and `leaky` by the 99th percentile. Events of max gates and SynOps into them",
        "included. One teacher each. `settled` and `radix` take their T (K) steps in each layer.",
    ]
    for dims, rows in table.items():
        lines += [
            "",
            f"## {dims}: teacher {rows[0]['dice'] + rows[0]['lost']:.4f}",
            "",
            "| neuron | Dice | lost | std of lost | events per neuron | SynOps / teacher MAC |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['kind']} | {r['dice']:.4f} | {r['lost']:+.4f} | {r['std']:.4f} | {r['events_per_neuron']:.3f} | "
            f"{r['synops_per_teacher_mac']:.3f} |"
            for r in rows
        ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--split", default="test", show_default=True)
@click.option("--subjects", "count", type=int, help="only the first N subjects")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/codes"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=h.ROOT / "docs" / "results", show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(split: str, count: int | None, work: Path, out: Path, workers: int) -> None:
    """Measure every kind on every subject and write the tables."""
    jobs: dict[Path, tuple[str, int, Path]] = {}
    groups: dict[tuple[int, str], list[Path]] = {}
    for dims in h.DIMENSIONS:
        for kind, options in KINDS.items():
            file = h.compiled(work, dims, **options)
            for name in h.subjects(split, count):
                part = work / f"{file.name.removesuffix('.snn.onnx')}-{name}.json"
                jobs[part] = (name, dims, file)
                groups.setdefault((dims, kind), []).append(part)
    found = finished(jobs, one_subject, workers)
    table: dict[str, list[dict[str, Any]]] = {}
    for (dims, kind), parts in groups.items():
        table.setdefault(f"{dims}D", []).append(row(kind, [found[part] for part in parts]))
    text = markdown(table, split)
    click.echo(text)
    if split == "test" and count is None and not h.BUNDLED:
        out.mkdir(parents=True, exist_ok=True)
        (out / "codes.md").write_text(text)
        (out / "codes.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
