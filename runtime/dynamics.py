"""What neurons do with their current: the rule of their kind, its parameters, and the state of a tile of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.neurons import IntegrateFire, Leaky, MultiThreshold, Radix, Readout, Settled, Signed
from snncc.neurons.base import total_count
from snncc.neurons.leaky import DIVISOR
from snncc.runtime import buffers
from snncc.runtime.kernels.integrate_fire import integrate_fire, leaky
from snncc.runtime.kernels.multi_threshold import cascade, multi_threshold
from snncc.runtime.kernels.neurons import driver
from snncc.runtime.kernels.readout import integrate
from snncc.runtime.kernels.settled import send, settle, settle_digits
from snncc.runtime.kernels.signed import signed
from snncc.runtime.layout import padded
from snncc.runtime.plan import Stage

MOST = np.iinfo(np.int32).max


class Dynamics:
    """A population's neurons over one run: what its tiles share.

    Args:
        train: of the whole population (buffers.py); tiles write it.
        scratch: holds the state of the tile that a thread is at; fresh memory would cost a page fault every 4 KiB.
        history: [T, positions, channels] for the potentials of a readout after each step, or empty.
    """

    def __init__(self, stage: Stage, train: Array, timesteps: int, scratch: buffers.Scratch, history: Array):
        self.stage, self.timesteps, self.words = stage, timesteps, buffers.words(train)
        self.scratch, self.history = scratch, history
        theta, dip = (stage.parameters.get(name, np.zeros(1)).astype(np.float64) for name in ("theta", "dip"))
        self.dipped = bool(dip.any())
        self.widths = (theta, theta + 2 * dip, dip, self.dipped)
        # its numbers are a cascade of comparisons; else floor(charge / theta) takes a division
        self.digital = stage.dtype == np.int32 and stage.planes == 1 and not self.dipped

    def rule(self, v: Array) -> tuple[Any, tuple[Any, ...]]:
        """The rule of a step (kernels/neurons.py) and its state, for the membranes v [n, padded channels]."""
        kind, parameters = self.stage.population.kind, self.stage.parameters
        match kind:
            case Settled() | Readout():
                return integrate, (v, kind.base, self.history)
            case MultiThreshold() if self.digital:
                return cascade, (v, parameters["theta"])
            case MultiThreshold():
                return multi_threshold, (v, self.held("net", v.shape, np.int32), kind.memory, self.widths)
            case Signed():
                net = self.held("net", v.shape if kind.memory or self.dipped else (0, 0), np.int32)
                return signed, (v, net, parameters["theta"], parameters["dip"], self.dipped, kind.memory)
            case IntegrateFire(to_zero=False, fire_first=False) if not isinstance(kind, Leaky):
                return integrate_fire, (v, parameters["theta"])
        assert isinstance(kind, IntegrateFire)
        multiplier = kind.multiplier if isinstance(kind, Leaky) else DIVISOR
        return leaky, (v, parameters["theta"], multiplier, kind.to_zero, kind.fire_first)

    def held(self, name: str, shape: tuple[int, ...], dtype: Any, start: Any = 0) -> Array:
        """State of the tile that this thread is at."""
        state = self.scratch.array(name, shape, dtype)
        state[:] = start
        return state

    def settling(self, numbers: Array) -> tuple[Any, tuple[Any, ...]]:
        """The same for the numbers int32 [n, padded channels] that neurons which wait are to send."""
        base = self.stage.population.kind.base  # type: ignore[union-attr]
        if self.digital:
            digits = self.timesteps.bit_length() if base == 1 else min(self.timesteps, 31)
            return settle_digits, (numbers, self.stage.parameters["theta"], digits)
        most = min(total_count(base, self.timesteps), MOST)
        return settle, (numbers, self.widths, -most if self.stage.planes == 2 else 0, most)


class Tile:
    """The neurons at positions first..first + n of a population, over all steps.

    Args:
        constant: part of the current that is the same at every step, flat [n * padded channels]; if `shared` by all
            positions [padded channels], as often as the stage's blocks are wide.
        start: its first position in the train, if that is another one.
    """

    def __init__(
        self, dynamics: Dynamics, first: int, n: int, constant: Array, shared: bool, start: int | None = None
    ):
        self.dynamics, self.constant, self.start = dynamics, constant, first if start is None else start
        stage = dynamics.stage
        self.waits = isinstance(stage.population.kind, Settled)
        v0 = stage.parameters.get("v0", np.zeros((1, 1)))
        self.v0 = v0[first : first + n] if len(v0) > 1 else v0
        channels = padded(stage.population.channels)
        self.stride = 0 if shared else channels
        self.v = dynamics.held("v", (n, channels), stage.dtype, 0 if self.waits else self.v0)
        self.rule, self.state = dynamics.rule(self.v)

    def fits(self, n: int, steps: int) -> bool:
        """May a kernel let n positions respond until this step?"""
        _, known, _, positions, words = self.dynamics.words.shape
        channels, times = self.v.shape[1], self.dynamics.stage.block[1]
        constant = channels * (n if self.stride else times)
        parameters = self.dynamics.stage.parameters
        per_channel = [parameters[name] for name in ("theta", "dip") if name in parameters]
        return (
            len(self.v) == n and self.start + n <= positions and steps <= known and 16 * words == channels
            and self.constant.size >= constant and all(p.size == channels * times for p in per_channel)
        )  # fmt: skip

    def neurons(self) -> tuple[Any, ...]:
        """The arguments of a kernel that lets them respond (kernels/conv.py)."""
        return self.constant, self.stride, self.state, self.dynamics.words, self.start

    def advance(self, current: Array, t0: int, t1: int, events: Array) -> None:
        """The steps t0..t1. current [steps, n, channels], or empty; events uint64 [T] is counted up."""
        constant, stride, state, words, start = self.neurons()
        shape = (t1 - t0, *self.v.shape)
        driver(self.rule)(current.ravel(), shape, constant, stride, state, words, t0, start, events)

    def finish(self, events: Array) -> None:
        """What is sent after the last step by kinds that wait."""
        if self.waits:
            words, numbers = self.dynamics.words, self.v.view(np.int32)
            rule, state = self.dynamics.settling(numbers)
            stride = self.v.shape[1] if len(self.v0) > 1 else 0
            values, shape = self.v.ravel(), (1, *self.v.shape)
            driver(rule)(values, shape, self.v0.ravel(), stride, state, words, 0, self.start, events)
            send(numbers, isinstance(self.dynamics.stage.population.kind, Radix), words, self.start, events)

