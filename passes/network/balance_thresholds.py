"""Threshold balancing on spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np

from snncc.errors import OptionError
from snncc.graph import Array
from snncc.network import Network, Population
from snncc.passes.network.calibrate import Calibrate, lowered, with_units
from snncc.passes.network.neurons import Neurons
from snncc.passes.network.probes import current_probe
from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class BalanceThresholds:
    """in place of calibrate: lambda = the largest current of one step when the layers before it spike already

    Layer after layer, over steps, neurons (per=layer; or per=channel) and the first `samples` of the calibration data
    (0: all of it) (Sengupta et al., 2019; Rathi et al., 2020). Integrate-and-fire neurons; encoder as in `neurons`.
    """

    steps: int = 100
    encoder: str = "poisson"
    samples: int = 0
    per: str = "layer"

    name: ClassVar[str] = "balance-thresholds"
    level: ClassVar[Level] = "network"
    instead_of: ClassVar[str] = "calibrate"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (lowered,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        if self.steps < 1 or self.samples < 0 or self.per not in ("layer", "channel"):
            raise OptionError(
                f"balance-thresholds: steps={self.steps}, samples={self.samples}, per={self.per}",
                remedy="steps: 1 or more; samples: 0 (all) or more; per: layer or channel",
            )
        Neurons(encoder=self.encoder)

    def run(self, network: Network, context: Context) -> Network:
        network = Calibrate(method="max").run(network, context)  # input ranges; a lambda where none is found yet
        units = {p.name: p.unit for p in network.populations if p.unit is not None}
        todo = [p for p in network.populations if not (p.is_encoder or p.is_gate or p.is_readout)]
        for done, population in enumerate(todo, 1):
            units[population.name] = self._largest(with_units(network, units), population, context)
            context.progress(self.name, done, len(todo))
        return with_units(network, units)

    def _largest(self, network: Network, population: Population, context: Context) -> Array:
        """[C]: the largest current of one step, of a relay in magnitude."""
        part = Neurons(kind="if", encoder=self.encoder).run(current_probe(network, population), context)
        top = np.zeros(population.channels)
        for feeds in islice(context.stream(self.name), self.samples or None):
            potentials = context.potentials(part, feeds, self.steps, True)[population.name]
            current = np.diff(potentials, axis=0, prepend=0).swapaxes(0, 1).reshape(population.channels, -1)
            top = np.maximum(top, (np.abs(current) if population.kind.signed else current).max(1))
        return np.full_like(top, top.max()) if self.per == "layer" else top
