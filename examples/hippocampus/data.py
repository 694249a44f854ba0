"""Load and preprocess the hippocampus volumes (numpy and nibabel only, no torch).

The same steps are written into the exported ONNX files as ``snncc.preprocess``, so that a volume is
prepared identically for training, evaluation and the compiled network.
"""

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

GRID = (48, 64, 48)  # holds every volume of the data set; each side divides by 4
SLICE_AXIS = 2
PERCENTILES = (0.5, 99.5)

Array = NDArray[np.float32]


def data_root() -> Path:
    """Folder with ``imagesTr``, ``labelsTr`` and ``split.json``."""
    repository = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("SNNCC_SHARED", repository.parent / "shared"))
    return shared / "data" / "hippocampus"


def split_names(split: str, root: Path | None = None) -> list[str]:
    """Subject names of ``train``, ``val`` or ``test``."""
    return json.loads(((root or data_root()) / "split.json").read_text())[split]


def read_ras(path: Path) -> NDArray[np.float64]:
    """Voxels of a NIfTI file with the axes turned to RAS."""
    image: Any = nib
    return image.as_closest_canonical(image.load(path)).get_fdata(dtype=np.float64)


def normalise(volume: NDArray[np.float64]) -> Array:
    """Map the volume to [0, 1] by its own percentiles, on the grid k/255.

    The scanner values are arbitrary (maxima from 1e2 to 1e6), hence per-volume percentiles. The uint8 grid
    makes the network's input exactly representable by an 8-bit spike encoding.
    """
    low, high = np.percentile(volume, PERCENTILES)
    unit = (np.clip(volume, low, high) - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.rint(unit * 255).astype(np.float32) / np.float32(255)


def centre_pad(volume: Array, shape: tuple[int, ...]) -> Array:
    """Zero-pad to ``shape``; an odd remainder goes behind the volume."""
    before = [(target - size) // 2 for target, size in zip(shape, volume.shape, strict=True)]
    if min(before) < 0:
        raise ValueError(f"volume {volume.shape} does not fit in {shape}")
    after = [t - s - b for t, s, b in zip(shape, volume.shape, before, strict=True)]
    return np.pad(volume, list(zip(before, after, strict=True)))


def to_network(volume: Array, dims: int) -> Array:
    """Stack of network inputs: [slices, 1, 48, 64] for 2D, [1, 1, 48, 64, 48] for 3D."""
    if dims == 2:
        in_plane = centre_pad(volume, (GRID[0], GRID[1], volume.shape[SLICE_AXIS]))
        return np.ascontiguousarray(np.moveaxis(in_plane, SLICE_AXIS, 0)[:, None])
    return centre_pad(volume, GRID)[None, None]


def load_case(name: str, dims: int, root: Path | None = None) -> tuple[Array, Array]:
    """Preprocessed image and binary label (anterior and posterior merged) of one subject."""
    root = root or data_root()
    image = normalise(read_ras(root / "imagesTr" / f"{name}.nii.gz"))
    label = (read_ras(root / "labelsTr" / f"{name}.nii.gz") > 0).astype(np.float32)
    return to_network(image, dims), to_network(label, dims)


def preprocess_metadata(dims: int) -> str:
    """The ``snncc.preprocess`` entry for a network that takes inputs of this module."""
    return json.dumps(
        {
            "version": 1,
            "orientation": "RAS",
            "intensity": {"percentiles": list(PERCENTILES)},
            "slice_axis": SLICE_AXIS if dims == 2 else None,
            "labels": {"threshold": 0.5},
        }
    )
