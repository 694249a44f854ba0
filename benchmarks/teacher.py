"""The 3D hippocampus teacher on real volumes: two spiking networks of it, itself on onnxruntime, and its dense int8
form (onnxruntime's static quantisation, calibrated on the same training volumes). Times take turns; Dice of the test
split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

import snncc
from benchmarks import hippocampus as h
from benchmarks.alternate import BENCH, Entry, run
from benchmarks.goals import Goal
from benchmarks.networks import Array
from benchmarks.peers.worker import Job
from benchmarks.unets import ANN, table

RADIX, SIGNED = Entry("snncc int8, radix:3", "snncc", "radix3"), Entry("snncc int8, signed, T = 8", "snncc", "signed8")
DENSE8 = Entry("teacher, onnxruntime, int8 (QDQ)", "onnxruntime", "int8")
ENTRIES = (RADIX, SIGNED, DENSE8, ANN)
OPTIONS: dict[str, dict[str, Any]] = {
    "radix3": {"code": "radix:3", "calibration": "mse"},
    "signed8": {"neuron": "signed", "timesteps": 8, "calibration": "mse"},
}
GOALS = (Goal(RADIX.label, ANN.label, 2.5), Goal(SIGNED.label, ANN.label, 1))
TIMED = 4  # volumes


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands the training volumes to onnxruntime's calibration."""

    def __init__(self, images: list[Array]):
        self.feeds: Iterator[dict[str, Array]] = iter([{"image": image[None]} for image in images])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.feeds, None)


def prepared(volumes: list[str]) -> Job:
    """All models, and the volumes that are timed."""
    folder = BENCH / "work" / "teacher-3d"
    folder.mkdir(parents=True, exist_ok=True)
    source, training = h.EXAMPLE / "teacher_3d.onnx", h.calibration(3)
    shutil.copy(source, folder / "ann.onnx")
    for name, options in OPTIONS.items():
        snncc.compile(source, folder / f"{name}.snn.onnx", calibrate=training, **options)
    quant_pre_process(str(source), str(folder / "folded.onnx"), skip_symbolic_shape=True)  # norms into convolutions
    quantization.quantize_static(
        folder / "folded.onnx", folder / "int8.onnx", Reader(training), per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    np.save(folder / "images.npy", np.concatenate([h.case(name, 3)[0] for name in volumes]))
    return Job(str(folder))


def measure(quick: bool) -> dict[str, Any]:
    volumes = h.subjects("test")
    timed = volumes[: 1 if quick else TIMED]
    job = prepared(timed)
    rows = run(ENTRIES, job, rounds=1 if quick else 5, threads=(1,) if quick else (2, 1))
    scored = timed if quick else volumes
    for row, (mean, deviation) in zip(rows, dice(Path(job.folder), scored), strict=True):
        row["remark"] = f"Dice {mean:.4f}, standard deviation {deviation:.4f}"
    training = len(h.subjects("train", h.CALIBRATION_SUBJECTS))
    facts = {"bundled": h.BUNDLED, "timed": len(timed), "scored": len(scored), "training": training}
    return {**facts, "rows": rows, "goals": [goal.outcome(rows) for goal in GOALS]}


def dice(folder: Path, volumes: list[str]) -> list[tuple[float, float]]:
    """Mean and standard deviation over the volumes, of each entry."""
    predict = [_predictor(folder, entry) for entry in ENTRIES]
    found = []
    for name in volumes:
        image, label = h.case(name, 3)
        found.append([h.dice(one(image) > 0.5, label > 0) for one in predict])
    return [(float(np.mean(column)), float(np.std(column))) for column in zip(*found, strict=True)]


def _predictor(folder: Path, entry: Entry) -> Callable[[Array], Array]:
    """Image [1, 1, *size] -> probability of the same shape."""
    if entry.worker == "snncc":
        model = snncc.load(folder / f"{entry.variant}.snn.onnx")
        return lambda image: model.run(image).outputs["probability"]
    session = onnxruntime.InferenceSession(folder / f"{entry.variant}.onnx", providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run(None, {"image": image})[0])


def lines(found: dict[str, Any]) -> list[str]:
    text = [f"examples/hippocampus/teacher_3d, 48x64x48. Mean time of {found['timed']} test volumes, Dice of"]
    text += [f"{found['scored']}; calibrated on {found['training']} training volumes. Rates, SynOps: the last volume."]
    if found["bundled"]:
        text.append("The data set is absent: the example's own volumes serve for calibration and test.")
    return [*text, "", *table(found["rows"])]
