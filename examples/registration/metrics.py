"""What a displacement is worth: overlap, distance and smoothness, pair by pair (numpy; MONAI for HD95)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance

from examples.registration.data import Array
from examples.registration.fields import warp


def dice_by_label(fixed: Array, moved: Array, codes: Sequence[int]) -> Array:
    """2 |A and B| / (|A| + |B|) of each label; NaN where neither has it."""
    size = max(codes) + 1
    counts = [np.bincount(np.minimum(x, size).ravel(), minlength=size + 1)
              for x in (fixed, moved, np.where(fixed == moved, fixed, size))]  # fmt: skip
    with np.errstate(invalid="ignore"):
        return np.array([2 * counts[2][c] / np.float64(counts[0][c] + counts[1][c]) for c in codes])


def hd95(fixed: Array, moved: Array, codes: Sequence[int], spacing: float) -> Array:
    """95th percentile of the distances between the surfaces of each label, in mm, the larger of both directions; NaN
    where one has none of it."""
    found = []
    for code in codes:
        pair = [x == code for x in (fixed, moved)]
        if not all(x.any() for x in pair):
            found.append(np.nan)
            continue
        where = np.nonzero(pair[0] | pair[1])
        box = tuple(slice(max(at.min() - 1, 0), at.max() + 2) for at in where)  # elsewhere there is no surface
        one, other = (torch.as_tensor(x[box][None, None]) for x in pair)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # MONAI's own use of itself
            found.append(float(compute_hausdorff_distance(
                one, other, include_background=True, percentile=95, spacing=[spacing] * 3
            )))  # fmt: skip
    return np.array(found)


def jacobian(flow: Array) -> Array:
    """Determinant of the derivative of x + flow(x), by central differences, inside: [*S - 2] of [3, *S] in voxels."""
    inner = (slice(1, -1),) * 3
    rows = [np.stack(np.gradient(part, axis=(0, 1, 2)))[(slice(None), *inner)] for part in flow]
    matrix = np.moveaxis(np.stack(rows), (0, 1), (-2, -1)) + np.eye(3)
    return np.asarray(np.linalg.det(matrix))


def smoothness(flow: Array) -> dict[str, float]:
    """folding: share of voxels with a Jacobian at or below 0; sdlogj: standard deviation of log J where J > 1e-6 (0
    where it is the same everywhere); length, longest: of the displacement, in voxels."""
    found, length = jacobian(flow), np.linalg.norm(flow, axis=0)
    logs = np.log(found[found > 1e-6])
    return {
        "folding": float((found <= 0).mean()),
        "sdlogj": float(logs.std()) if logs.size else 0.0,
        "length": float(length.mean()),
        "longest": float(length.max()),
    }


def moved(labels: Array, flow: Array) -> Array:
    """Labels [*S] by nearest neighbour through [3, *S] in voxels."""
    image = torch.as_tensor(labels[None, None].astype(np.float32))
    return np.asarray(warp(image, torch.as_tensor(flow[None]), "nearest")[0, 0].numpy(), labels.dtype)


def of_pair(fixed: Array, moving: Array, flow: Array, codes: Sequence[int], spacing: float) -> dict[str, Any]:
    """All metrics of one pair of label maps."""
    labels = moved(moving, flow)
    dice, distance = dice_by_label(fixed, labels, codes), hd95(fixed, labels, codes, spacing)
    return {
        "dice": float(np.nanmean(dice)), "by_label": dice.tolist(), "hd95": float(np.nanmean(distance)),
        **smoothness(flow),
    }  # fmt: skip
