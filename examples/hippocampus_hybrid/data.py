"""Slices of the hippocampus volumes, kept in one file, and the subjects of each fold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from examples.hippocampus import data as volumes
from examples.hippocampus_hybrid.settings import Settings
from snncc.errors import DataError
from snncc.onnx_file import replacing

Array = np.ndarray[Any, np.dtype[Any]]
SPLITS = ("train", "val", "test")


def prepare(work: Path, limit: int | None = None) -> Path:
    """All slices as `slices.npz`: images uint8 (k stands for k / 255) and labels [N, 1, 48, 64], the subject of each,
    and the splits as numbers of subjects. limit: subjects of each split.

    Raises:
        DataError: there is no data set.
    """
    file, root = work / "slices.npz", volumes.data_root()
    if file.exists():
        return file
    if not (root / "split.json").exists():
        raise DataError("the hippocampus volumes are not there", file=str(root), remedy="set SNNCC_SHARED; see README")
    names = {split: volumes.split_names(split)[:limit] for split in SPLITS}
    found = [volumes.load_case(name, 2) for name in track([n for s in SPLITS for n in names[s]], "volumes")]
    ends = np.cumsum([len(names[split]) for split in SPLITS])
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as draft:
        np.savez_compressed(
            draft,
            images=np.rint(np.concatenate([image for image, _ in found]) * 255).astype(np.uint8),
            labels=np.concatenate([label for _, label in found]).astype(np.uint8),
            subjects=np.repeat(np.arange(len(found)), [len(image) for image, _ in found]),
            splits=ends,
        )
    return file


@lru_cache(maxsize=1)
def _read(work: Path) -> dict[str, Array]:
    with np.load(prepare(work)) as file:
        return dict(file)


def subjects(work: Path, settings: Settings, fold: int, split: str) -> list[int]:
    """Numbers of the subjects of a split. Of several folds the test subjects are one part of all, in an order drawn
    with the seed; the first ones of the other parts are for validation."""
    ends = [0, *_read(work)["splits"].tolist()]
    if settings.folds == 1:
        k = SPLITS.index(split)
        return list(range(ends[k], ends[k + 1]))
    parts = np.array_split(np.random.default_rng(settings.seed).permutation(ends[-1]), settings.folds)
    others = [int(i) for k, part in enumerate(parts) if k != fold for i in part]
    chosen: dict[str, Any] = {
        "test": parts[fold],
        "val": others[: settings.validation],
        "train": others[settings.validation :],
    }
    return [int(i) for i in chosen[split]]


def scaled(images: Array, kind: str) -> Array:
    """Network inputs of uint8 images: float32 in [0, 1] (binary) or [-1, 1] (ternary)."""
    unit = images.astype(np.float32) / np.float32(255)
    return unit if kind == "binary" else 2 * unit - 1


@dataclass(frozen=True)
class Subject:
    """One volume as a stack of slices. kind: binary or ternary, see `scaled`."""

    work: Path
    number: int
    kind: str

    def load(self) -> tuple[Array, Array]:
        """Inputs float32 and labels uint8, both [slices, 1, 48, 64]."""
        found = _read(self.work)
        mine = found["subjects"] == self.number
        return scaled(found["images"][mine], self.kind), found["labels"][mine]


def slices(work: Path, numbers: list[int], kind: str) -> tuple[Array, Array, Array]:
    """Of several subjects: inputs, labels, and the subject of each slice."""
    found = _read(work)
    mine = np.isin(found["subjects"], numbers)
    return scaled(found["images"][mine], kind), found["labels"][mine], found["subjects"][mine]
