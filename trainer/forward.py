"""One batch through a compiled network: every spike, with gradients behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from snncc.bounds import EXACT
from snncc.encoders import Constant, Encoder
from snncc.network import Population
from snncc.neurons import MaxGate, Readout, Settled
from snncc.neurons.base import total_count
from snncc.neurons.leaky import DIVISOR
from snncc.runtime.trace import not_finite
from snncc.trainer.cells import Cell
from snncc.trainer.dynamics import Train, events, settle, stepper
from snncc.trainer.linear import routed, window_maximum
from snncc.trainer.surrogate import Step, rounded

if TYPE_CHECKING:
    from snncc.trainer.module import SpikingModule


@dataclass(eq=False)
class Trace:
    """One forward pass over a batch.

    outputs: as `snncc.load(model).run` gives them, [B, ...]; readouts: the values in front of the epilogue, by name of
    value; values: these, and all else that the epilogue may read; trains: what each population sent. Events and SynOps
    are exact, and have gradients.
    """

    module: SpikingModule
    timesteps: int
    outputs: dict[str, Tensor] = field(default_factory=dict)
    readouts: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    trains: dict[str, Train] = field(default_factory=dict)

    def value(self, name: str) -> Tensor:
        """A readout, or a value of the epilogue behind them, [B, ...]."""
        part = self.module.network.epilogue
        if name not in self.values and part is not None:
            part = replace(part, outputs=(name,)).pruned()
            self.values |= self.module.parts.run(f"epilogue to {name}", part, self.values, [name])
        return self.values[name]

    def events(self) -> dict[str, Tensor]:
        """Population -> [B, C, *spatial]."""
        network = self.module.network
        return {name: events(train, network.levels(network[name])) for name, train in self.trains.items()}

    def rates(self) -> dict[str, Tensor]:
        """Population -> events per neuron and step, a scalar."""
        return {name: found.mean() / self.timesteps for name, found in self.events().items()}

    def synops(self) -> Tensor:
        """[B]: (event, synapse) pairs of a sample, as counting.py defines them. float64: exact up to 2^53."""
        found, total = self.events(), torch.zeros((), dtype=torch.float64)
        for name, fan in self.module.fan_outs().items():
            total = total + found[name].flatten(1).double() @ fan.to(found[name].device).flatten()
        return total


class Forward:
    """One batch through a module, population by population, each over all steps."""

    def __init__(self, module: SpikingModule, values: dict[str, Tensor], steps: int, seed: int):
        self.module, self.network, self.values = module, module.network, values
        self.steps, self.seed = steps, seed
        self.batch = len(next(iter(values.values())))
        self.trace = Trace(module, steps)
        self.currents: dict[str, Tensor] = {}  # of encoders that give a constant one
        self.flowed: dict[str, Tensor] | None = None  # population -> numbers that a simulation gave
        self.weights = {name: link.whole_weight() for name, link in module.link.items()}

    def begin(self) -> None:
        """Run what is analog in front of the encoders."""
        if (part := self.network.prologue) is not None:
            self.values |= self.module.parts.run("prologue", part, self.values, part.outputs)

    def all(self, outputs: bool) -> Trace:
        network, trace = self.network, self.trace
        self.begin()
        for population in network.populations:
            if isinstance(population.kind, Encoder):
                self.encode(population, population.kind)
            elif population.is_gate:
                trace.trains[population.name] = self._gate(population)
            elif isinstance(population.kind, Readout):
                self._read_out(population, population.kind)
            else:
                trace.trains[population.name] = self._neurons(population)
        trace.values = self.values
        if outputs:
            made = [n for n in network.outputs if network.epilogue and network.epilogue.producer(n) is not None]
            found = dict(self.values)
            if network.epilogue is not None and made:
                found |= self.module.parts.run("epilogue", network.epilogue, self.values, made)
            trace.outputs = {name: found[name] for name in network.outputs}
        return trace

    # -- what reads an analog value ------------------------------------------------------------------------------------

    def encode(self, population: Population, kind: Encoder) -> None:
        if population.name in self.module.stretches:
            part = self.module.stretches[population.name]
            self.values |= self.module.parts.run(population.name, part, self.values, part.outputs)
        x = self.values[population.value]
        if not torch.isfinite(x).all():
            raise not_finite(population, self.network.is_midway(population))
        if isinstance(kind, Constant):
            scaled = x.float() * kind.levels
            self.currents[population.name] = rounded(scaled).clamp(kind.low, kind.high) if kind.levels else x.float()
            return
        if kind.timed:
            spikes = x.transpose(0, 1).float()
        else:
            arrays = x.detach().cpu().numpy()
            steps = [[kind.encode(one, t, self.seed) for one in arrays] for t in range(1, self.steps + 1)]
            spikes = torch.as_tensor(np.array(steps, np.float32), device=x.device)
        self.trace.trains[population.name] = Train(self.steps, 1, given_spikes=spikes)

    # -- currents ------------------------------------------------------------------------------------------------------

    def analog_current(self, population: Population) -> Tensor | None:
        """[B or 1, C, *spatial]: constant currents and the bias."""
        total: Tensor | None = self.module.cell[population.name].whole_bias()
        total = None if total is None else total.unsqueeze(0)
        for j in self.network.incoming(population):
            if j.pre in self.currents:
                kind = self.network[j.pre].kind
                assert isinstance(kind, Constant)
                largest = float(max(abs(kind.low), kind.high))
                link, weight = self.module.link[j.name], self.weights[j.name]
                found = link.current(self.currents[j.pre], weight, link.bound(weight, largest))
                total = found if total is None else total + found
        return total

    def _current(self, population: Population, sums: bool) -> tuple[Tensor, float]:
        """(the current [T or 1, B, C, *spatial], or with `sums` what it adds up to [B, C, *spatial]; a bound on the
        size of that sum)."""
        constant, count = self.analog_current(population), total_count(self.network.base, self.steps)
        spiking = [j for j in self.network.incoming(population) if j.pre not in self.currents]
        largest = [float((1 << self.network.levels(self.network[j.pre])) - 1) for j in spiking]
        parts = [self.module.link[j.name].bound(self.weights[j.name], n) for j, n in zip(spiking, largest, strict=True)]
        bound = sum(parts) + (0.0 if constant is None else float(constant.detach().abs().max()))
        wide = self._type(bound * count if sums else bound)
        total = None if constant is None else constant.to(wide) * (count if sums else 1)
        total = total if sums or total is None else total.unsqueeze(0)
        for j, part in zip(spiking, parts, strict=True):
            link, weight, train = self.module.link[j.name], self.weights[j.name], self.trace.trains[j.pre]
            if sums:
                found = link.current(train.numbers, weight, part * count)
            else:
                found = link.current(train.spikes.flatten(0, 1), weight, part).unflatten(0, train.spikes.shape[:2])
            total = found.to(wide) if total is None else total + found.to(wide)
        if total is None:
            total = torch.zeros((1,) * (len(population.shape) + 2 - sums))
        return total.expand(*(() if sums else total.shape[:1]), self.batch, *population.shape), bound * count

    def _type(self, bound: float) -> torch.dtype:
        """What holds every whole number up to a bound."""
        return torch.float64 if self.module.bits is not None and bound >= EXACT else torch.float32

    # -- populations ---------------------------------------------------------------------------------------------------

    def _neurons(self, population: Population) -> Train:
        cell, rule = self.module.cell[population.name], self.module.rule
        theta, kind = cell.theta(), cell.neuron
        if self.flowed is not None and not kind.waits:
            total, _ = self._current(population, sums=True)
            slope = (total > 0).to(total.dtype)
            numbers = Step.apply(total / theta, self.flowed[population.name].to(total.dtype), slope)
            return Train(self.steps, 1, given_numbers=numbers)
        current, bound = self._current(population, sums=kind.waits)
        if isinstance(kind, Settled):
            dtype = self._membrane(cell, bound)
            theta, v0, dip = (x.to(dtype) for x in (theta, cell.v0(theta), cell.dip()))
            return _narrow(settle(kind, current.to(dtype), self.steps, theta, v0, dip, rule))
        step = self.stepper(population, current.shape[1:], bound)
        parts = current.unbind()  # indexing would cost a whole current of zeros a step on the way back
        spikes = torch.stack([step(parts[min(t, len(parts) - 1)]) for t in range(self.steps)])
        return Train(self.steps, 1, given_spikes=spikes)

    def _membrane(self, cell: Cell, bound: float) -> torch.dtype:
        """What holds a membrane whose current adds up to `bound`."""
        multiplier, theta = cell.multiplier(), cell.theta()
        room = bound + 2 * float(theta.detach().max()) + float(cell.v0(theta).detach().abs().max())
        return self._type(room if multiplier is None else room * DIVISOR)

    def stepper(self, population: Population, shape: torch.Size, bound: float) -> Callable[[Tensor], Tensor]:
        """A function from the current of one step, of this shape, to its spikes."""
        cell = self.module.cell[population.name]
        dtype, theta = self._membrane(cell, bound), cell.theta()
        start = cell.v0(theta).to(dtype).expand(population.shape).expand(shape)
        winners = self.module.winners.get(population.name, 1.0)
        step = stepper(
            cell.neuron, start, theta.to(dtype), cell.dip().to(dtype), cell.multiplier(), self.module.rule, winners
        )
        return lambda current: step(current.to(dtype)).float()

    def _gate(self, population: Population) -> Train:
        (j,) = self.network.incoming(population)
        train, window = self.trace.trains[j.pre], j.synapse
        kind = population.kind
        assert isinstance(kind, MaxGate)
        if train.given_numbers is not None:
            return Train(self.steps, train.base, given_numbers=window_maximum(window, routed(train.numbers, j.routing)))  # type: ignore[arg-type]
        n = torch.zeros_like(train.spikes[0])
        before: Tensor | float = 0.0
        sent = []
        for s in train.spikes:
            n = kind.base * n + s
            most = window_maximum(window, routed(n, j.routing))  # type: ignore[arg-type]
            sent.append(most - kind.base * before)
            before = most
        return Train(self.steps, train.base, given_spikes=torch.stack(sent))

    def _read_out(self, population: Population, kind: Readout) -> None:
        total, _ = self._current(population, sums=True)
        scale = self.module.cell[population.name].readout()
        value = total.float() * scale / float(total_count(kind.base, self.steps))
        self.values[population.value] = self.trace.readouts[population.value] = value


def _narrow(train: Train) -> Train:
    """Spikes and their numbers as float32 again."""
    numbers, spikes = train.given_numbers, train.given_spikes
    return replace(
        train,
        given_numbers=None if numbers is None else numbers.float(),
        given_spikes=None if spikes is None else spikes.float(),
    )
