"""Pairs of volumes: hippocampi (1 mm) for the ablations, whole brains for the main result.

Volumes become network inputs by the steps that the exported teacher records (`snncc.preprocess`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.kit.paths import data_root
from snncc.cli.files import write_arrays
from snncc.cli.preprocess import Preprocess
from snncc.cli.volumes import read_volume
from snncc.errors import DataError

Array = NDArray[Any]
Pair = tuple[str, str]  # fixed, moving
FLOW = "flow"  # the networks' output
GRIDS = {"hippocampus": (48, 64, 48), "brain-2mm": (80, 96, 112), "brain-1mm": (160, 192, 224)}
SPACING = {"hippocampus": 1.0, "brain-2mm": 2.0, "brain-1mm": 1.0}


def preprocess(name: str) -> dict[str, Any]:
    """The `snncc.preprocess` entry of a set's teacher. The brains' arrays lie along L, I, A."""
    return {
        "version": 1,
        "orientation": "RAS" if name == "hippocampus" else "LIA",
        "intensity": {"percentiles": [1, 99]},
        "labels": None,
        "displacement": {"output": FLOW, "moving": "moving"},
    }


def root() -> Path:
    """The folder of all data sets. Raises DataError where there is none."""
    folder = data_root()
    if not folder.is_dir():
        raise DataError("there are no data", file=str(folder), remedy="set SNNCC_SHARED to the folder that has data/")
    return folder


@dataclass(frozen=True)
class Split:
    """train: names; val, test, extended: pairs (fixed, moving); tuning: those that choose the epoch of fine-tuning, val
    and where that is short also validation volumes with labelled training ones; codes: of the labels that count."""

    train: tuple[str, ...]
    val: tuple[Pair, ...]
    test: tuple[Pair, ...]
    extended: tuple[Pair, ...]
    tuning: tuple[Pair, ...]
    codes: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        return sorted({*self.train, *(name for pair in (*self.val, *self.test, *self.extended) for name in pair)})


@cache
def split(name: str) -> Split:
    """The fixed split of a set. Synthetic brains are only ever trained on, and there are none at 1 mm."""
    if name == "hippocampus":
        found = json.loads((root() / "hippocampus" / "split.json").read_text())
        pairs = found["registration_pairs_fixed_moving"]
        val = _pairs(pairs["val"])
        return Split(tuple(found["train"]), val, _pairs(pairs["test"]), (), val, (1, 2))
    found = json.loads((root() / "registration" / "split.json").read_text())
    train = [*found["train_labelled"], *found["train_unlabelled"]]
    train += found["train_synth_2mm_only"] if name == "brain-2mm" else []
    more = [(fixed, moving) for fixed in found["val"] for moving in found["train_labelled"]]
    return Split(
        tuple(train), _pairs(found["val_pairs"]), _pairs(found["test_pairs"]), _pairs(found["test_pairs_extended_20"]),
        (*_pairs(found["val_pairs"]), *_pairs(more)), tuple(found["eval_labels_freesurfer"]),
    )  # fmt: skip


def _pairs(items: Sequence[Sequence[str]]) -> tuple[Pair, ...]:
    return tuple((fixed, moving) for fixed, moving in items)


def path(name: str, volume: str, kind: str = "images") -> Path:
    """File of a volume's image, or with "labels" its labels."""
    if name == "hippocampus":
        return root() / name / f"{kind}Tr" / f"{volume}.nii.gz"
    folder = "synth_2mm" if volume.startswith("synth") else f"real_{name.removeprefix('brain-')}"
    return root() / "registration" / folder / kind / f"{volume}.nii.gz"


def image(name: str, volume: str) -> Array:
    """A network input, uint8 [*S]: its values times 255."""
    return np.asarray(np.rint(_read(path(name, volume), name, preprocess(name)) * 255), np.uint8)


def labels(name: str, volume: str) -> Array:
    """Labels of a volume on the network's grid, uint8 [*S]."""
    return _read(path(name, volume, "labels"), name, {**preprocess(name), "intensity": None}).astype(np.uint8)


def _read(file: Path, name: str, how: Mapping[str, Any]) -> Array:
    (sample,) = read_volume(file, (1, 1, *GRIDS[name]), Preprocess.of(how)).samples()
    return np.asarray(sample[0, 0])


def prepare(name: str, file: Path, keep: Sequence[str] | None = None) -> None:
    """Write all volumes of a set (or those of `keep`) as one .npz: `images/NAME`, and `labels/NAME` where there are."""
    arrays = {}
    for volume in split(name).names if keep is None else keep:
        arrays[f"images/{volume}"] = image(name, volume)
        if path(name, volume, "labels").exists():
            arrays[f"labels/{volume}"] = labels(name, volume)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(file, arrays)


@cache
def volumes(file: Path) -> Mapping[str, Array]:
    """What `prepare` wrote."""
    with np.load(file) as archive:
        return dict(archive)
