"""A pass by somebody else, found through an entry point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from snncc.network import Network
from snncc.pipeline import Context


@dataclass(frozen=True)
class DoubleHead:
    """Multiply what every readout gives by a factor."""

    factor: float = 2.0

    name: ClassVar[str] = "double-head"
    level: ClassVar[Literal["network"]] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def run(self, network: Network, context: Context) -> Network:
        """Scale the weights and biases that reach a readout."""
        readouts = {p.name: p for p in network.readouts}
        projections = {
            j: replace(j, synapse=replace(j.synapse, weight=j.synapse.weight * self.factor))  # type: ignore[type-var]
            for j in network.projections
            if j.post in readouts
        }
        populations = {
            name: replace(p, bias=None if p.bias is None else p.bias * self.factor) for name, p in readouts.items()
        }
        return network.with_projections(projections).with_populations(populations)
