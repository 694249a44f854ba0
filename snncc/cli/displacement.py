"""A displacement that a network gives: as a field in millimetres, and what it does to an image and its labels."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from snncc.cli.volumes import Volume, load_nifti, named, save_nifti, turns
from snncc.errors import DataError
from snncc.graph import Array

nib: Any = nibabel
LPS = np.array([-1, -1, 1])  # NIfTI's world is RAS; fields of ITK and ANTs lie in LPS


def write(path: Path, flow: Array, fixed: Volume, moving: Volume, labels: Path | None, axes: str | None) -> list[Path]:
    """Write the field, the moving image it moves, and its labels, each on the grid and with the affine of `fixed`.

    Args:
        path: of the field, float32 [X, Y, Z, 1, 3] with intent "vector": from each voxel of `fixed` to its point in
            `moving`, in mm along L, P, S. Where the affines differ, that is in the field, too. The others get "_moved"
            (linear, float32) and "_labels" (nearest neighbour) into their names; beyond the border its value.
        flow: [3, *S] in voxels, along the axes of the network's input. axes: what these are ("RAS"); None: the files'.
        labels: of the moving image; None: none.

    Raises:
        DataError: labels that do not lie on the moving image's grid.
    """
    here = np.indices(flow.shape[1:])
    apart = np.subtract(_corner(fixed), _corner(moving))  # both are centred in the network's input
    at = here + flow + apart[:, None, None, None]
    image, moves = _turned(moving.image, axes)
    stays = _turned(fixed.image, axes)[1]
    shift = np.tensordot(moves[:3, :3], at, 1) - np.tensordot(stays[:3, :3], here, 1)
    shift += (moves[:3, 3] - stays[:3, 3])[:, None, None, None]
    field = np.moveaxis(shift * LPS[:, None, None, None], 0, -1)[..., None, :]
    found = {path: (field.astype(np.float32), "vector"), named(path, "moved"): (sampled(image, at), "none")}
    if labels is not None:
        segments = load_nifti(labels)
        if segments.shape != moving.image.shape:
            what = f"labels of {segments.shape} for an image of {moving.image.shape}"
            raise DataError(what, file=str(labels), remedy="give the labels of the moving image")
        found[named(path, "labels")] = (nearest(_turned(segments, axes)[0], at), "none")
    for target, (values, intent) in found.items():
        if fixed.back is not None:
            values = nib.orientations.apply_orientation(values, fixed.back)
        save_nifti(target, values, fixed.image, intent)
    return list(found)


def _corner(volume: Volume) -> list[int]:
    """Where its first voxel lies in the network's input."""
    return [inner.start - outer.start for outer, inner in zip(*volume.windows[0], strict=True)]


def _turned(image: Any, axes: str | None) -> tuple[Array, Array]:
    """Voxels along `axes`, integers as stored if they have no scale, and the affine that goes with them."""
    values = np.asanyarray(image.dataobj)
    if axes is None:
        return values, image.affine
    there, _ = turns(image, axes)
    affine = image.affine @ nib.orientations.inv_ornt_aff(there, image.shape)
    return nib.orientations.apply_orientation(values, there), affine


def sampled(image: Array, at: Array) -> Array:
    """float32: linear interpolation of [*S] at points [3, ...] in voxels."""
    last = np.array(image.shape).reshape(-1, *[1] * (at.ndim - 1)) - 1
    at = np.clip(at, 0, last)
    low = np.floor(at).astype(np.intp)
    part, total = at - low, np.zeros(at.shape[1:])
    for corner in product((0, 1), repeat=len(at)):
        weight = np.prod([p if c else 1 - p for c, p in zip(corner, part, strict=True)], axis=0)
        index = tuple(np.minimum(n + c, size - 1) for n, c, size in zip(low, corner, image.shape, strict=True))
        total += weight * image[index]
    return total.astype(np.float32)


def nearest(image: Array, at: Array) -> Array:
    """The values of [*S] nearest to points [3, ...] in voxels."""
    index = (np.clip(np.rint(x), 0, n - 1).astype(np.intp) for x, n in zip(at, image.shape, strict=True))
    return np.asarray(image[tuple(index)])
