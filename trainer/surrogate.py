"""Derivatives that stand in for that of a spike, as functions of x = (v - theta) / theta."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite, pi
from typing import Any

import torch
from torch import Tensor

from snncc.errors import OptionError

Surrogate = Callable[[Tensor], Tensor]


def triangle(x: Tensor, gamma: float = 1.0) -> Tensor:
    """gamma max(0, 1 - |x|) (Bellec et al., 2018; Rathi et al., 2020: gamma = 0.3)."""
    return gamma * (1 - x.abs()).clamp(min=0)


def sigmoid(x: Tensor, a: float = 10.0) -> Tensor:
    """a s(ax) (1 - s(ax)), s the logistic function (SpikeReg: a = 10)."""
    s = torch.sigmoid(a * x)
    return a * s * (1 - s)


def atan(x: Tensor, a: float = 2.0) -> Tensor:
    """a / 2 / (1 + (pi a x / 2)^2) (Fang et al., 2021)."""
    return a / 2 / (1 + (pi / 2 * a * x).square())


def superspike(x: Tensor, a: float = 10.0) -> Tensor:
    """1 / (1 + a |x|)^2 (Zenke & Ganguli, 2018)."""
    return 1 / (1 + a * x.abs()).square()


def stdb(since: Tensor, alpha: float = 0.3, beta: float = 0.01) -> Tensor:
    """alpha exp(-dt)^beta = alpha exp(-beta dt), dt the steps since the neuron's last spike (Rathi et al., 2020)."""
    return alpha * torch.exp(-beta * since)


KINDS: dict[str, Callable[..., Tensor]] = {
    "triangle": triangle, "sigmoid": sigmoid, "atan": atan, "superspike": superspike, "stdb": stdb,
}  # fmt: skip


def finite(text: str) -> float:
    """Raises ValueError for NaN and infinity, too."""
    if not isfinite(number := float(text)):
        raise ValueError(text)
    return number


def surrogate(text: str) -> Surrogate:
    """`triangle`, or `triangle:0.3` with the constant that comes first in its definition. Raises OptionError."""
    name, _, constant = text.partition(":")
    if name not in KINDS:
        raise OptionError(f"the surrogate {text!r} is unknown", remedy=f"one of {', '.join(KINDS)}")
    try:
        given = [finite(constant)] if constant else []
    except ValueError:
        raise OptionError(f"the surrogate {text!r}: {constant!r} is no number", remedy="form: triangle:0.3") from None
    return partial(_call, KINDS[name], *given) if given else KINDS[name]


def _call(function: Callable[..., Tensor], constant: float, x: Tensor) -> Tensor:
    return function(x, constant)


class Step(torch.autograd.Function):
    """Whole numbers in the forward pass, `slope` in place of their derivative by x in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, whole: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None


def spike(x: Tensor, fired: Tensor, slope: Tensor) -> Tensor:
    """`fired` as numbers of x's type, with slope * dx behind them."""
    whole: Tensor = Step.apply(x, fired.to(x.dtype), slope)
    return whole


def staircase(x: Tensor, whole: Tensor, low: Tensor | float, high: Tensor | float, shape: Surrogate) -> Tensor:
    """`whole` = floor(x) clipped to [low, high], with the sum of one surrogate for each of its steps behind it.

    With one step that is shape(x - high). With more of them the triangles of neighbouring steps add up to 1: the
    straight-through estimator, with a ramp at both ends; that is taken for every shape.
    """
    with torch.no_grad():
        ramp = torch.minimum(x - low, high + 1 - x).clamp(0, 1)
        one = torch.as_tensor(high - low) == 1
        slope = torch.where(one, shape(x - high), ramp) if bool(one.any()) else ramp
    out: Tensor = Step.apply(x, whole, slope)
    return out


def rounded(x: Tensor) -> Tensor:
    """round(x) (half to even), with the derivative 1."""
    return x + (torch.round(x) - x).detach()


def floored(x: Tensor) -> Tensor:
    """floor(x), with the derivative 1."""
    return x + (torch.floor(x) - x).detach()
