"""What the hippocampus benchmarks share: the data, the teachers, the compiled models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import snncc
from examples.hippocampus import data
from snncc.runtime.host import HostSession

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "hippocampus"
DIMENSIONS = (2, 3)
BUNDLED = not data.data_root().is_dir()  # without the data set, the example's volumes stand for every split
DATA = EXAMPLE / "volumes" if BUNDLED else data.data_root()
CALIBRATION_SUBJECTS = 8  # of the train split
SLICE_STEP = 2  # every second slice of them
Array = np.ndarray[Any, np.dtype[Any]]


@lru_cache(maxsize=1)
def _say_bundled() -> None:
    print(f"no data set at {data.data_root()}: the three bundled volumes stand for every split", file=sys.stderr)


def subjects(split: str, count: int | None = None) -> list[str]:
    if BUNDLED:
        _say_bundled()
    names: list[str] = data.split_names("test" if BUNDLED else split, DATA)
    return names[:count]


def case(name: str, dims: int) -> tuple[Array, Array]:
    """Image and label as network inputs: [slices, 1, 48, 64] or [1, 1, 48, 64, 48]."""
    image, label = data.load_case(name, dims, DATA)
    return image, label


def calibration(dims: int) -> list[Array]:
    """Training slices or volumes, each [1, *spatial]."""
    volumes = [case(name, dims)[0] for name in subjects("train", CALIBRATION_SUBJECTS)]
    return [sample for volume in volumes for sample in volume[:: SLICE_STEP if dims == 2 else 1]]


def compiled(folder: Path, dims: int, **options: Any) -> Path:
    """The compiled model's file, made if it is not there."""
    text = "-".join(str(v) for v in options.values()).replace(":", "")
    file = folder / f"{dims}d{'-' + text if text else ''}.snn.onnx"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        snncc.compile(EXAMPLE / f"teacher_{dims}d.onnx", file, calibrate=calibration(dims), **options)
    return file


@lru_cache(maxsize=4)
def load(file: Path, engine: str = "fast") -> snncc.Model:
    return snncc.load(file, engine=engine)


@lru_cache(maxsize=2)
def teacher(dims: int) -> HostSession:
    from snncc.ingest import ingest

    graph = ingest(EXAMPLE / f"teacher_{dims}d.onnx")
    return HostSession(graph, graph.outputs)


def teacher_output(sample: Array, dims: int) -> Array:
    return np.asarray(teacher(dims).run({"image": sample[None]})["probability"])


def samples(name: str, dims: int) -> Iterator[Array]:
    yield from case(name, dims)[0]


def dice(mask: Array, truth: Array) -> float:
    """Overlap of two boolean volumes."""
    return 2.0 * int(np.logical_and(mask, truth).sum()) / max(int(mask.sum()) + int(truth.sum()), 1)
