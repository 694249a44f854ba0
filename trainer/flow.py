"""Training on accumulated flow (Wu et al., 2021): numbers of spikes are simulated step by step, without gradients, and
memory does not grow with the steps; the gradient of a number by its summed current is 1 / theta where that is above
zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snncc.encoders import Encoder
from snncc.errors import OptionError
from snncc.network import Network, Population
from snncc.trainer.forward import Forward
from snncc.trainer.linear import routed, window_maximum


def check_flow(network: Network) -> None:
    """Raises OptionError if the time steps of a network cannot be simulated one by one."""
    waiting = [p.name for p in network.populations if p.waits]
    if network.interlude is not None or waiting:
        what = f"{waiting[0]} waits" if waiting else "its interlude waits"
        raise OptionError(
            f"flow: {what} for a whole window", remedy="leave flow out: without it memory is that of one window, too"
        )


class Simulation:
    """All populations step after step, in memory for one step; `forward`: of the same batch."""

    def __init__(self, forward: Forward):
        self.forward, self.network = forward, forward.network
        self.steppers: dict[str, Callable[[Tensor], Tensor]] = {}
        self.gates: dict[str, tuple[Tensor, Tensor]] = {}  # what came in so far, and the maxima sent for it
        forward.begin()
        for population in self.network.populations:
            if isinstance(population.kind, Encoder):
                forward.encode(population, population.kind)
        neurons = [self.network[name] for name in forward.module.cell]
        self.constants = {p.name: forward.analog_current(p) for p in neurons}

    @torch.no_grad()
    def numbers(self) -> dict[str, Tensor]:
        """Population -> how many spikes it sends, [B, C, *spatial]."""
        numbers: dict[str, Tensor] = {}
        for t in range(self.forward.steps):
            now = {name: train.spikes[t] for name, train in self.forward.trace.trains.items()}
            for population in self.network.populations:
                if population.is_encoder or population.is_readout:
                    continue
                name = population.name
                now[name] = self._gate(population, now) if population.is_gate else self._fire(population, now)
                numbers[name] = numbers[name] + now[name] if name in numbers else now[name]
        return numbers

    def _gate(self, population: Population, now: dict[str, Tensor]) -> Tensor:
        (j,) = self.network.incoming(population)
        n, before = self.gates.get(population.name, (torch.zeros_like(now[j.pre]), torch.zeros(())))
        n = n + now[j.pre]
        most = window_maximum(j.synapse, routed(n, j.routing))  # type: ignore[arg-type]
        self.gates[population.name] = n, most
        return most - before.to(most.device)

    def _fire(self, population: Population, now: dict[str, Tensor]) -> Tensor:
        forward, total = self.forward, self.constants[population.name]
        bound = 0.0 if total is None else float(total.abs().max())
        for j in self.network.incoming(population):
            if j.pre not in forward.currents:
                link, weight = forward.module.link[j.name], forward.weights[j.name]
                largest = float((1 << self.network.levels(self.network[j.pre])) - 1)
                own = link.bound(weight, largest)
                bound, found = bound + own, link.current(now[j.pre], weight, own)
                total = found if total is None else total + found
        assert total is not None
        total = total.expand(forward.batch, *population.shape)
        if population.name not in self.steppers:
            self.steppers[population.name] = forward.stepper(population, total.shape, bound * forward.steps)
        return self.steppers[population.name](total)
