"""Where membranes start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snncc.errors import OptionError
from snncc.graph import Array
from snncc.network import Network, Population
from snncc.neurons.base import total_count
from snncc.passes.network.probes import mean_error
from snncc.passes.network.quantize import has_neurons
from snncc.pipeline import Context, Level

STARTS = ("half", "zero", "channel", "neuron")


@dataclass(frozen=True)
class VInit:
    """sets v0, where membranes start: zero, half of theta, or that corrected on data, per channel or per neuron

    Half rounds to the nearest instead of down (Deng & Gu, 2021). channel and neuron, layer after layer:
    v0 = theta / 2 + T (mean teacher activation - mean rate * lambda) theta / lambda over the calibration data (Li et
    al., 2021, potential correction), with T = steps, or 0: the network's time steps (2^T - 1 for a radix code).
    """

    at: str = "half"
    steps: int = 0

    name: ClassVar[str] = "v-init"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (has_neurons,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        if self.at not in STARTS:
            raise OptionError(f"v-init: at={self.at!r} is unknown", remedy=f"one of {', '.join(STARTS)}")
        if self.steps < 0:
            raise OptionError(f"v-init: steps={self.steps}", remedy="1 or more; 0: the network's time steps")

    def run(self, network: Network, context: Context) -> Network:
        charged = [p for p in network.populations if hasattr(p.kind, "v0")]
        start = 0.0 if self.at == "zero" else 0.5
        network = network.with_populations({p.name: _started(p, np.full(p.channels, start)) for p in charged})
        if self.at in ("half", "zero"):
            return network
        timesteps = self.steps or context.timesteps
        total = total_count(network.base, timesteps)
        for done, population in enumerate(charged, 1):
            now = network[population.name]
            error = mean_error(network, now, timesteps, context, self.name)
            if self.at == "channel":
                error = error.reshape(now.channels, -1).mean(1)
            network = network.with_populations({now.name: _started(now, start - total * error)})
            context.progress(self.name, done, len(charged))
        return network


def _started(population: Population, share: Array) -> Population:
    """v0 = share * theta; share: [C] or [C, *spatial]."""
    theta: Array = population.kind.theta  # type: ignore[union-attr]
    theta = theta.reshape(-1, *(1,) * (share.ndim - 1))
    kind = replace(population.kind, v0=(share * theta).astype(theta.dtype))  # type: ignore[type-var]
    return replace(population, kind=kind)
