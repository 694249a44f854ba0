"""Losses on the values that a network gives, and on what it spends. MONAI's and torch's where they have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from snncc.errors import DataError, OptionError
from snncc.network import Network
from snncc.trainer.forward import Trace
from snncc.trainer.surrogate import finite

EPS = 1e-5  # of Dice (Yue et al., 2023)
FINAL = ("Sigmoid", "Softmax", "LogSoftmax", "ArgMax")


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - (2 sum p y + eps) / (sum p + sum y + eps) over the batch; p = sigmoid(logits) of one channel. Of several:
    p = softmax(logits), and the mean over the classes above 0."""
    from monai.losses import DiceLoss

    several = logits.shape[1] > 1
    loss = DiceLoss(
        include_background=not several, to_onehot_y=several, softmax=several, sigmoid=not several,
        smooth_nr=EPS, smooth_dr=EPS, batch=True,
    )  # fmt: skip
    return loss(logits, truth.unsqueeze(1) if several else truth)


def bce(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, truth)


def bce_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """0.3 BCE + 0.7 Dice (Yue et al., 2023)."""
    return 0.3 * bce(logits, truth) + 0.7 * dice(logits, truth)


def ncc(moved: Tensor, fixed: Tensor) -> Tensor:
    """Minus the mean squared local correlation coefficient over windows of 9 (Balakrishnan et al., 2019)."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    loss = LocalNormalizedCrossCorrelationLoss(moved.ndim - 2, kernel_size=9, kernel_type="rectangular")
    return loss(moved, fixed)


def diffusion(flow: Tensor) -> Tensor:
    """Of a displacement field [B, D, *spatial]: the squares of its first derivatives (central differences), summed
    over their directions, mean over the rest."""
    from monai.losses import DiffusionLoss

    return DiffusionLoss()(flow)


def bending(flow: Tensor) -> Tensor:
    """The same of its second derivatives; mixed ones count twice (Rueckert et al., 1999)."""
    from monai.losses import BendingEnergyLoss

    return BendingEnergyLoss()(flow)


def rate(trace: Trace) -> Tensor:
    """Sum over populations of events per neuron and step."""
    return torch.stack(list(trace.rates().values())).sum()


def rate_target(trace: Trace, target: float = 0.1) -> Tensor:
    """Sum over populations of (rate - target)^2."""
    return (torch.stack(list(trace.rates().values())) - target).square().sum()


def synops(trace: Trace, budget: float = 0.0) -> Tensor:
    """SynOps per teacher MAC above `budget`, mean over the batch. Raises OptionError without a teacher's MACs."""
    macs = trace.module.network.meta.get("teacher", {}).get("macs")
    if not macs:
        raise OptionError("the cost synops: the model does not say how many MACs its teacher has", remedy="use rate")
    return (trace.synops().mean() / macs - budget).clamp(min=0).float()


def value_read(network: Network, logits: bool) -> str:
    """The first output; with `logits` what a sigmoid, softmax or argmax at its end reads, if there is one."""
    name, part = network.outputs[0], network.epilogue
    while logits and part is not None and (node := part.producer(name)) is not None and node.op in FINAL:
        name = node.inputs[0]
    return name


def output(trace: Trace) -> Tensor:
    return trace.value(value_read(trace.module.network, logits=False))


@dataclass(frozen=True)
class Task:
    """loss: of the value that `value_read` names, and the truth. classes: are several channels compared with class
    numbers?"""

    loss: Callable[[Tensor, Tensor], Tensor]
    logits: bool = False
    classes: bool = False

    def __call__(self, trace: Trace, truth: Tensor) -> Tensor:
        """Raises DataError where the truth does not have the value's size."""
        found = trace.value(value_read(trace.module.network, self.logits))
        wanted = found.shape
        if self.classes and found.shape[1] > 1:
            wanted, truth = torch.Size([len(found), *found.shape[2:]]), truth.long()
        else:
            truth = truth.to(found.dtype)
        if truth.numel() != wanted.numel():
            raise DataError(f"targets of shape {tuple(truth.shape)} for values of shape {tuple(found.shape)}")
        return self.loss(found, truth.reshape(wanted))


TASKS: dict[str, Task] = {
    "bce": Task(bce, logits=True), "dice": Task(dice, logits=True, classes=True),
    "bce-dice": Task(bce_dice, logits=True), "cross-entropy": Task(F.cross_entropy, logits=True, classes=True),
    "l1": Task(F.l1_loss), "mse": Task(F.mse_loss), "ncc": Task(ncc),
}  # fmt: skip
DISTILL = Task(F.mse_loss, logits=True)  # against the teacher's logits, or displacements
# name -> (cost, its usual weight: rates as in SpikeReg)
COSTS: dict[str, tuple[Callable[..., Tensor], float]] = {
    "rate": (rate, 1e-4), "rate-target": (rate_target, 0.01), "synops": (synops, 1.0),
    "diffusion": (lambda trace: diffusion(output(trace)), 1.0),
    "bending": (lambda trace: bending(output(trace)), 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """What training makes small: a weighted sum of losses, costs, and the distance from the teacher.

    Args:
        tasks, costs: (weight, function). distill: weight of the mean squared difference from the teacher's value that
            `value_read(network, logits=True)` stands for; 0: none.
    """

    tasks: Sequence[tuple[float, Task]]
    costs: Sequence[tuple[float, Callable[[Trace], Tensor]]] = ()
    distill: float = 0.0

    @classmethod
    def of(cls, loss: str, costs: Sequence[str] = (), distill: float = 0.0) -> Self:
        """Of texts: `bce-dice`, or `0.3*bce+0.7*dice`; `synops:0.3`, or `2*synops:0.3`. Raises OptionError."""
        if not isfinite(distill):
            raise OptionError(f"distill {distill}", remedy="a number, 0 for none")
        tasks = [_weighted(item, "loss", TASKS) for item in loss.split("+")] if loss else []
        found = []
        for text in costs:
            weight, (function, usual) = _weighted(text.partition(":")[0], "cost", COSTS)
            argument = text.partition(":")[2]
            found.append((usual if weight is None else weight, _bound(text, function, argument)))
        return cls([(1.0 if weight is None else weight, task) for weight, task in tasks], found, distill)

    def __call__(self, trace: Trace, target: Tensor | Mapping[str, Tensor]) -> Tensor:
        """target: the truth; with `distill`, or without a truth, {"truth": ..., "teacher": ...}."""
        given = {"truth": target} if isinstance(target, Tensor) else target
        parts = [weight * task(trace, given["truth"]) for weight, task in self.tasks]
        parts += [weight * cost(trace) for weight, cost in self.costs]
        parts += [self.distill * DISTILL(trace, given["teacher"])] if self.distill else []
        return torch.stack([part.float() for part in parts]).sum()


def _weighted(text: str, what: str, known: Mapping[str, Any]) -> tuple[float | None, Any]:
    weight, star, name = text.strip().rpartition("*")
    try:
        return (finite(weight) if star else None), known[name.strip()]
    except (KeyError, ValueError):
        remedy = f"one of {', '.join(known)}; with a weight 0.5*{next(iter(known))}"
        raise OptionError(f"the {what} {text!r} is unknown", remedy=remedy) from None


def _bound(text: str, cost: Callable[..., Tensor], argument: str) -> Callable[[Trace], Tensor]:
    """The cost with the number behind its colon."""
    if not argument:
        return cost
    try:
        number = finite(argument)
    except ValueError:
        raise OptionError(f"the cost {text!r}: {argument!r} is no number", remedy="form: synops:0.3") from None
    if cost not in (rate_target, synops):
        raise OptionError(f"the cost {text!r} takes no number", remedy="leave it out")
    return lambda trace: cost(trace, number)
