"""The neurons of the IR on tensors, with surrogate gradients: the same numbers as snncc/neurons, batched.

A current is [T, B, C, *spatial] or, where it is the same at every step, [1, B, C, *spatial]. All tensors hold whole
numbers in an integer network; the module picks a type that holds them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snncc.bounds import RADIX_STEPS
from snncc.neurons import IntegrateFire, MultiThreshold, Neuron, Settled, Signed
from snncc.neurons.base import total_count
from snncc.neurons.leaky import DIVISOR
from snncc.trainer.surrogate import KINDS, Step, Surrogate, spike, staircase


@dataclass(frozen=True)
class Rule:
    """How gradients pass a spike, and the reset behind it: by the surrogate."""

    shape: Surrogate

    @property
    def by_time(self) -> bool:
        """Is the surrogate a function of the time since the last spike?"""
        return getattr(self.shape, "args", (self.shape,))[0] is KINDS["stdb"]


@dataclass(eq=False)
class Train:
    """What a population sent in T steps.

    numbers: [B, C, *spatial], sum over t of base^(T - t) s_t; spikes: [T, B, C, *spatial]. One of them is given; a
    kind that waits gives numbers, and its spikes follow.
    """

    timesteps: int
    base: int
    given_numbers: Tensor | None = None
    given_spikes: Tensor | None = None

    @cached_property
    def numbers(self) -> Tensor:
        if self.given_numbers is not None:
            return self.given_numbers
        assert self.given_spikes is not None
        if self.base == 1:
            return self.given_spikes.sum(0)
        weights = [float(self.base ** (self.timesteps - t)) for t in range(1, self.timesteps + 1)]
        parts = [w * s for w, s in zip(weights, self.given_spikes, strict=True)]
        return torch.stack(parts).sum(0)

    @cached_property
    def spikes(self) -> Tensor:
        """Of numbers: a spike at steps 1..n, or the digits; the gradient is spread over the steps evenly."""
        if self.given_spikes is not None:
            return self.given_spikes
        n = self.numbers
        with torch.no_grad():
            size, sign, steps = n.abs(), n.sign(), range(1, self.timesteps + 1)
            if self.base == 1:
                sent = torch.stack([sign * (size >= t) for t in steps])
            else:
                sent = torch.stack([sign * (torch.floor(size / 2.0 ** (self.timesteps - t)) % 2) for t in steps])
        share = torch.full_like(n, 1.0 / total_count(self.base, self.timesteps))
        return torch.stack([spike(n, s, share) for s in sent])


def stepper(
    kind: Neuron, start: Tensor, theta: Tensor, dip: Tensor | None, leak: Tensor | None, rule: Rule, winners: float = 1
) -> Callable[[Tensor], Tensor]:
    """A function from the current of one step, [B, C, *spatial], to its spikes, for neurons that do not wait.

    start: v0 in the shape of a current; theta, dip: [C, 1, ...]; leak: the multiplier of a leaky neuron; winners: see
    `strongest`, of neurons with one threshold.
    """
    match kind:
        case IntegrateFire():
            return _integrate_fire(kind, start, theta, leak, rule, winners)
        case Signed() if dip is not None:
            return _signed(kind, start, theta, dip, rule)
        case MultiThreshold() if dip is not None:
            return _multi_threshold(kind, start, theta, dip, rule)
    raise TypeError(f"no torch form of the neuron {kind.op}")


def strongest(v: Tensor, share: float) -> Tensor:
    """Membranes [B, ...] with zero in place of all but this share of each sample, those with the most (and what equals
    the last of them): the winners-take-all of SpikeReg's code."""
    rows = v.flatten(1)
    least = rows.kthvalue(rows.shape[1] - max(1, round(share * rows.shape[1])) + 1, dim=1).values
    return v * (v >= least.reshape(-1, *(1,) * (v.ndim - 1)))


def _integrate_fire(
    kind: IntegrateFire, v: Tensor, theta: Tensor, leak: Tensor | None, rule: Rule, winners: float
) -> Callable[[Tensor], Tensor]:
    since = torch.full_like(v, 1e6)  # steps since the last spike

    def step(current: Tensor) -> Tensor:
        nonlocal v, since
        v = v if winners == 1 else strongest(v, winners)
        u = v if leak is None else _leaked(v, leak, kind)
        charged = v if kind.fire_first else u + current
        with torch.no_grad():
            fired = charged >= theta
            slope = rule.shape(since if rule.by_time else (charged - theta) / theta)
            if rule.by_time:
                since = torch.where(fired, 0.0, since + 1)
        s = spike(charged / theta, fired, slope)
        left = u if kind.fire_first else charged
        left = left * (1 - s) if kind.to_zero else left - s * theta
        v = left + current if kind.fire_first else left
        return s

    return step


def _leaked(v: Tensor, leak: Tensor, kind: IntegrateFire) -> Tensor:
    product = v * leak / DIVISOR
    whole = kind.theta.dtype.kind == "i"  # then toward zero
    return product + (torch.trunc(product) - product).detach() if whole else product


def _signed(kind: Signed, v: Tensor, theta: Tensor, dip: Tensor, rule: Rule) -> Callable[[Tensor], Tensor]:
    if kind.memory:
        return _remembering(v, theta, rule)
    n, wide, zero = torch.zeros_like(v), theta + 2 * dip, torch.zeros_like(theta)

    def step(current: Tensor) -> Tensor:
        nonlocal v, n
        charged = v + current
        below, above = n < 0, n > 0
        up_at, down_at = torch.where(below, theta + dip, theta), torch.where(above, zero, -dip)
        rise, fall = (charged - up_at) / theta, (down_at - charged) / theta
        up = spike(rise, charged >= up_at, rule.shape(rise.detach()))
        down = spike(fall, charged < down_at, rule.shape(fall.detach()))
        n = n + (up - down).detach()
        v = charged - torch.where(below, wide, theta) * up
        v = v + torch.where(above, theta, wide) * down
        return up - down

    return step


def _remembering(v: Tensor, theta: Tensor, rule: Rule) -> Callable[[Tensor], Tensor]:
    """Signed neurons that take back only what they sent: they never are below zero, where thresholds are others."""
    n = torch.zeros_like(v)

    def step(current: Tensor) -> Tensor:
        nonlocal v, n
        charged = v + current
        x = charged / theta
        with torch.no_grad():
            above = n > 0
            fired = (charged >= theta).to(v.dtype) - ((charged < 0) & above).to(v.dtype)
            slope = rule.shape(x - 1) + rule.shape(-x) * above if x.requires_grad else x
            n = n + fired
        s: Tensor = Step.apply(x, fired, slope)
        v = charged - theta * s
        return s

    return step


def _multi_threshold(
    kind: MultiThreshold, total: Tensor, theta: Tensor, dip: Tensor, rule: Rule
) -> Callable[[Tensor], Tensor]:
    n, low, high = torch.zeros_like(total), float(-kind.most if kind.negative else 0), float(kind.most)

    def step(current: Tensor) -> Tensor:
        nonlocal total, n
        total = total + current
        x, level = _levels(total, theta, dip)
        wanted = (level.clamp(min=0) if kind.memory else level) - n.detach()
        s = staircase(x - n, wanted.clamp(low, high), low, high, rule.shape)
        n = n + s
        return s

    return step


def settle(
    kind: Settled, total: Tensor, steps: int, theta: Tensor, v0: Tensor, dip: Tensor, rule: Rule
) -> Train:
    """What settled and radix neurons send; total: [B, C, *spatial], sum over t of base^(T - t) I_t."""
    x, level = _levels(total + v0, theta, dip)
    most = float(total_count(kind.base, steps))
    low = -most if kind.negative else 0.0
    return Train(steps, kind.base, given_numbers=staircase(x, level.clamp(low, most), low, most, rule.shape))


def _levels(total: Tensor, theta: Tensor, dip: Tensor) -> tuple[Tensor, Tensor]:
    """(total in units of the level it lies on, its whole part): see snncc/neurons/levels.py.

    The quotient of two whole numbers below 2^24 in float32 (2^53 in float64) never rounds up to a whole number.
    """
    x = torch.where(total < 0, (total + dip) / (theta + 2 * dip), total / theta)
    return x, torch.floor(x.detach())


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, n: Tensor) -> Tensor:
        ctx.save_for_backward(n)  # type: ignore[attr-defined]
        size = n.abs().to(torch.int64)
        known = torch.arange(int(size.max()) + 1, device=n.device)
        bits = sum((known >> t) & 1 for t in range(RADIX_STEPS))
        return torch.take(bits.to(n.dtype), size)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        (n,) = ctx.saved_tensors  # type: ignore[attr-defined]
        # a number n has about log2(1 + n) / 2 bits that are set; 0 is pushed down no further
        return gradient * n.sign() * 0.72 / n.abs().clamp(min=1)


def events(train: Train, levels: int) -> Tensor:
    """[B, C, *spatial]: events of each neuron, exactly; their gradient is that of |s|, or of log2(1 + n) / 2."""
    if train.base == 1 and levels == 1:
        return train.numbers.abs() if train.given_numbers is not None else train.spikes.abs().sum(0)
    counted: Callable[[Tensor], Tensor] = _Events.apply
    return counted(train.numbers) if train.base == 2 else counted(train.spikes).sum(0)
