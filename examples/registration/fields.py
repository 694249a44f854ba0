"""Displacement fields in torch: warping, integration of a velocity, and the losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SQUARINGS = 7


def warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """image(x + flow(x)): [B, C, *S] and [B, 3, *S] in voxels, by array axis; beyond the border its value."""
    size = flow.shape[2:]
    axes = [torch.arange(n, dtype=flow.dtype, device=flow.device) for n in size]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij")) + flow
    span = torch.tensor([max(n - 1, 1) for n in size], dtype=flow.dtype, device=flow.device).view(3, 1, 1, 1)
    grid = (2 * at / span - 1).flip(1).permute(0, 2, 3, 4, 1)  # grid_sample wants the last axis first, in -1..1
    return F.grid_sample(image, grid, mode, "border", align_corners=True)


def integrate(velocity: Tensor, squarings: int = SQUARINGS) -> Tensor:
    """The displacement at time 1 of a stationary velocity, by scaling and squaring: u <- u + u(x + u)."""
    flow = velocity / 2**squarings
    for _ in range(squarings):
        flow = flow + warp(flow, flow)
    return flow


def _windowed(x: Tensor, window: int) -> Tensor:
    """Means over cubes; zeros outside count. Axis by axis, by a matrix of ones around its diagonal."""
    for axis, size in enumerate(x.shape[2:], start=2):
        near = torch.arange(size, device=x.device)
        band = ((near[:, None] - near).abs() <= window // 2).to(x.dtype) / window
        x = (band @ x.flatten(axis + 1).flatten(0, axis - 1)).view(x.shape) if axis < 4 else x @ band
    return x


def ncc(moved: Tensor, fixed: Tensor, window: int = 9, mask: Tensor | None = None) -> Tensor:
    """Minus the mean squared local correlation over cubes: without a mask as `snncc.trainer.losses.ncc` (MONAI), in
    separable sums; with one over what lies in it alone.

    In float32 throughout: variances are differences of near numbers.
    """
    with torch.autocast(moved.device.type, enabled=False):
        i, j = moved.float(), fixed.float()
        m = torch.ones_like(i) if mask is None else mask
        n, *sums = _windowed(torch.cat([x * m for x in (m, i, j, i * i, j * j, i * j)], 1), window).split(1, 1)
        mi, mj, ii, jj, ij = sums if mask is None else (x / n.clamp(min=window**-3) for x in sums)
        cross, vi, vj = ij - mi * mj, (ii - mi * mi).clamp(min=0), (jj - mj * mj).clamp(min=0)
        return -(cross * cross / (vi * vj + 1e-5) * m).sum() / m.sum()


def diffusion(flow: Tensor) -> Tensor:
    """Mean square of the first derivatives (central differences, inside), in voxels per voxel."""
    parts = (flow.movedim(axis, 0) for axis in (2, 3, 4))
    return torch.stack([((part[2:] - part[:-2]) / 2).square().mean() for part in parts]).mean()


def soft_dice(moved: Tensor, fixed: Tensor) -> Tensor:
    """1 - mean Dice over labels of one-hot maps [B, L, *S]."""
    axes = (2, 3, 4)
    overlap = 2 * (moved * fixed).sum(axes)
    return 1 - (overlap / (moved.sum(axes) + fixed.sum(axes)).clamp(min=1)).mean()
