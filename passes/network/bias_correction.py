"""Biases that take back the mean error of spiking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snncc.errors import OptionError
from snncc.network import Network
from snncc.passes.network.probes import mean_error
from snncc.passes.network.quantize import has_neurons
from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class BiasCorrection:
    """takes the mean error of each channel on calibration data from its bias, layer after layer, `rounds` times

    b <- b - mean(rate * lambda - teacher's activation) (Li et al., 2021). For few steps and plain integrate-and-fire
    neurons; steps=0: the network's time steps.
    """

    rounds: int = 1
    steps: int = 0

    name: ClassVar[str] = "bias-correction"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (has_neurons,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.steps < 0:
            raise OptionError(
                f"bias-correction: rounds={self.rounds}, steps={self.steps}",
                remedy="rounds: 1 or more; steps: 1 or more, or 0: the network's time steps",
            )

    def run(self, network: Network, context: Context) -> Network:
        fired = [p.name for p in network.populations if p.fires and not (p.is_encoder or p.is_gate)] * self.rounds
        for done, name in enumerate(fired, 1):
            now = network[name]
            error = mean_error(network, now, self.steps or context.timesteps, context, self.name)
            error = error.reshape(now.channels, -1).mean(1)
            bias = np.zeros(now.channels, np.float32) if now.bias is None else now.bias
            bias = (bias - error.reshape(-1, *(1,) * (bias.ndim - 1))).astype(np.float32)
            network = network.with_populations({name: replace(now, bias=bias)})
            context.progress(self.name, done, len(fired))
        return network
