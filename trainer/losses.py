"""Losses on the values a network gives, and on what it spends. MONAI's and torch's where they have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from snncc.errors import OptionError
from snncc.trainer.forward import Trace

Loss = Callable[[Tensor, Tensor], Tensor]


def dice(logits: Tensor, truth: Tensor, eps: float = 1e-5) -> Tensor:
    """1 - (2 sum p y + eps) / (sum p + sum y + eps), p = sigmoid(logits), over the batch (Yue et al., 2023: eps)."""
    from monai.losses import DiceLoss

    found: Tensor = DiceLoss(sigmoid=True, smooth_nr=eps, smooth_dr=eps, batch=True)(logits, truth)
    return found


def bce(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, truth)


def bce_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """0.3 BCE + 0.7 Dice (Yue et al., 2023)."""
    return 0.3 * bce(logits, truth) + 0.7 * dice(logits, truth)


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """truth: classes int64 [B] or [B, *spatial]."""
    return F.cross_entropy(logits, truth)


def ncc(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Minus the mean local normalised cross-correlation over windows of 9 (Balakrishnan et al., 2019)."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    rank = moved.ndim - 2
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims=rank, kernel_size=window, kernel_type="rectangular")
    found: Tensor = loss(moved, fixed)
    return found


def diffusion(flow: Tensor) -> Tensor:
    """Mean square of the first derivatives of a displacement field [B, D, *spatial]."""
    from monai.losses import DiffusionLoss

    found: Tensor = DiffusionLoss()(flow)
    return found


def bending(flow: Tensor) -> Tensor:
    """Mean square of the second derivatives of a displacement field [B, D, *spatial], mixed ones twice."""
    from monai.losses import BendingEnergyLoss

    found: Tensor = BendingEnergyLoss()(flow)
    return found


TASKS: dict[str, Loss] = {
    "bce": bce, "dice": dice, "bce-dice": bce_dice, "cross-entropy": cross_entropy, "l1": F.l1_loss, "mse": F.mse_loss,
    "ncc": ncc,
}  # fmt: skip


def rate(trace: Trace) -> Tensor:
    """Sum over populations of events per neuron and step (SpikeReg: weight 1e-4)."""
    return torch.stack(list(trace.rates().values())).sum()


def rate_target(trace: Trace, target: float = 0.1) -> Tensor:
    """Sum over populations of (rate - target)^2 (SpikeReg: weight 0.01, target 0.1)."""
    return (torch.stack(list(trace.rates().values())) - target).square().sum()


def synops(trace: Trace, budget: float = 0.0) -> Tensor:
    """SynOps per teacher MAC above `budget`, mean over the batch."""
    macs = float(trace.module.network.meta["teacher"]["macs"])
    return (trace.synops().mean() / macs - budget).clamp(min=0).float()


COSTS: dict[str, Callable[..., Tensor]] = {"rate": rate, "rate-target": rate_target, "synops": synops}


def task_loss(text: str) -> Loss:
    """`bce-dice`, or a sum `0.3*bce+0.7*dice`. Raises OptionError."""
    parts: list[tuple[float, Loss]] = []
    for item in text.split("+"):
        weight, star, name = item.strip().rpartition("*")
        try:
            parts.append((float(weight) if star else 1.0, TASKS[name.strip()]))
        except (KeyError, ValueError):
            raise OptionError(f"the loss {item!r} is unknown", remedy=f"one of {', '.join(TASKS)}, or a sum") from None
    return partial(_sum, parts)


def _sum(parts: Sequence[tuple[float, Loss]], found: Tensor, truth: Tensor) -> Tensor:
    return torch.stack([weight * loss(found, truth) for weight, loss in parts]).sum()
