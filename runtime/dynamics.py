"""What the neurons of one tile do with their current: picks the kernel of their kind and keeps their state."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array
from snncc.neurons import IntegrateFire, Leaky, MultiThreshold, Radix, Readout, Settled, Signed
from snncc.neurons.base import total_count
from snncc.neurons.leaky import DIVISOR
from snncc.runtime import buffers
from snncc.runtime.kernels.cascade import cascade, sent
from snncc.runtime.kernels.integrate_fire import integrate_fire
from snncc.runtime.kernels.leaky import leaky
from snncc.runtime.kernels.multi_threshold import multi_threshold
from snncc.runtime.kernels.readout import integrate
from snncc.runtime.kernels.settled import settled
from snncc.runtime.kernels.signed import signed
from snncc.runtime.plan import Link, Stage, aligned, padded

NEVER = np.iinfo(np.int32).max  # a threshold that no charge reaches


class Tile:
    """The neurons at positions start..start + n of a population, over all steps.

    Args:
        train: of the whole population (buffers.py), written at these positions only.
        history: [T, n, channels] for the potentials of a readout after each step, or None.
    """

    def __init__(self, stage: Stage, train: Array, start: int, n: int, timesteps: int, history: Array | None):
        self.stage, self.start, self.timesteps = stage, start, timesteps
        self.words, self.history = buffers.words(train), history
        channels = padded(stage.population.channels)
        self.v = aligned((n, channels), stage.dtype)
        v0 = stage.parameters.get("v0")
        if v0 is not None:
            self.v0 = v0[start : start + n] if len(v0) > 1 else v0
            if not isinstance(stage.population.kind, Settled):
                self.v += self.v0
        counts = isinstance(stage.population.kind, Signed | MultiThreshold)
        self.net = np.zeros((n if counts else 0, channels), np.int32)
        self.theta = stage.parameters.get("theta", self.net)
        self.dipped = bool(np.any(stage.parameters.get("dip", False)))
        self.cascades = _cascades(stage, timesteps)
        if self.cascades:  # the thresholds of padding lanes must not overflow either
            self.theta = np.minimum(self.theta, NEVER >> (_highest(stage, timesteps) - 1))

    def advance(self, current: Array, constant: Array, shared: bool, t0: int, events: Array) -> None:
        """Some steps. current [steps, n, channels]; constant, flat [channels] (shared) or [n, channels], is added at
        each; events uint64 [T] is counted up."""
        kind, parameters = self.stage.population.kind, self.stage.parameters
        driven = (current, constant, shared)
        out = (t0, self.start, events)
        match kind:
            case Settled() | Readout():
                keep = self.history is not None
                history = self.history if keep else current  # unused, but of the same type
                integrate(*driven, self.v.ravel(), kind.base, history, keep, t0)
            case MultiThreshold() if self.cascades:
                cascade(*driven, self.v, self.theta, self.words, *out)
            case MultiThreshold():
                multi_threshold(*driven, self.v, self.net, self.theta, parameters["dip"], kind.memory, self.words, *out)
            case Signed():
                dip = parameters["dip"]
                signed(*driven, self.v, self.net, self.theta, dip, self.dipped, kind.memory, self.words[0], *out)
            case IntegrateFire(to_zero=False, fire_first=False) if not isinstance(kind, Leaky):
                integrate_fire(*driven, self.v, self.theta, self.words[0], *out)
            case IntegrateFire():
                multiplier = float(kind.multiplier if isinstance(kind, Leaky) else DIVISOR)
                how = (multiplier, float(DIVISOR), self.v.dtype == np.int32, kind.to_zero, kind.fire_first)
                leaky(*driven, self.v, self.theta, *how, self.words[0], *out)

    def finish(self, events: Array) -> None:
        """What is sent after the last step by kinds that wait."""
        kind, parameters = self.stage.population.kind, self.stage.parameters
        if isinstance(kind, Settled):
            self.v += self.v0
            most = total_count(kind.base, self.timesteps)
            digits = isinstance(kind, Radix)
            if self.cascades:
                sent(self.v, self.theta, digits, self.words[0], self.start, events)
                return
            settled(self.v, self.theta, parameters["dip"], digits, most, self.words[0], self.start, events)


def _cascades(stage: Stage, timesteps: int) -> bool:
    """Is its rule a cascade of comparisons that int32 can hold?"""
    kind = stage.population.kind
    if not isinstance(kind, MultiThreshold | Settled) or kind.negative or stage.dtype != np.int32 or np.any(kind.dip):
        return False
    highest = _highest(stage, timesteps)
    return highest < 31 and int(kind.theta.max()) <= NEVER >> (highest - 1)


def _highest(stage: Stage, timesteps: int) -> int:
    """How many thresholds, each twice the one before, its cascade has."""
    match stage.population.kind:
        case MultiThreshold(levels=levels):
            return levels
        case Radix():
            return timesteps
    return 1


def level_scale(link: Link, level: int) -> Array:
    """What the current of one level of spikes is multiplied with, per channel; the link's own scale for level 0."""
    if level == 0:
        return link.scale
    scale = aligned(link.scale.shape, link.scale.dtype)
    scale[:] = link.scale * link.scale.dtype.type(1 << level)
    return scale
