"""Which neuron where; weights and biases in units of lambda, so that every threshold is 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snncc.encoders import Constant, Encoder, Poisson
from snncc.errors import OptionError, PassError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Linear, MaxGate, Neuron, Readout, Rectifier, Signed
from snncc.passes.network.calibrate import routed_unit
from snncc.pipeline import Context, Level


def calibrated(network: Network) -> None:
    """Raises PassError if a population has no lambda."""
    for population in network.populations:
        if population.unit is None:
            raise PassError("no lambda", node=population.name, remedy="run the pass `calibrate` before `neurons`")


@dataclass(frozen=True)
class Neurons:
    """gives every population its neuron (kind=if or signed), every input its encoder (constant or poisson)

    A rectifier becomes an integrate-and-fire neuron or a signed one with memory; a relay is always signed and free.
    With w' = w * lambda_pre / lambda_post and b' = b / lambda_post every threshold is 1 (Diehl et al., 2015); the
    membrane starts at half the threshold.
    """

    kind: str = "signed"
    encoder: str = "constant"

    name: ClassVar[str] = "neurons"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (calibrated,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        for key, value, known in (
            ("kind", self.kind, ("if", "signed")),
            ("encoder", self.encoder, ("constant", "poisson")),
        ):
            if value not in known:
                raise OptionError(f"neurons: {key}={value!r} is unknown", remedy=f"one of {', '.join(known)}")

    def run(self, network: Network, context: Context) -> Network:
        populations = {p.name: self._population(p, network) for p in network.populations}
        projections = {j: _normalised(network, j, populations) for j in network.projections}
        changed = network.with_populations(populations).with_projections(projections)
        return changed.with_meta(precision="float32")

    def _population(self, population: Population, network: Network) -> Population:
        unit = population.unit
        assert unit is not None
        if population.is_encoder:
            encoder, step = self._encoder(population, network)
            return replace(population, kind=encoder, unit=np.full(population.channels, step))
        bias = population.bias
        if bias is not None:
            scale = _inverse(unit).reshape(-1, *(1,) * (bias.ndim - 1))
            bias = (bias * scale).astype(np.float32)
        return replace(population, kind=self._neuron(population), bias=bias)

    def _encoder(self, population: Population, network: Network) -> tuple[Encoder, float]:
        if self.encoder == "constant":
            return Constant(), 1.0
        low, high = network.meta["calibration"]["ranges"][population.name]
        if low < 0:
            raise OptionError(
                f"a Poisson encoder cannot carry negative values (calibration minimum {low:g})",
                node=population.name, remedy="use --encoder constant",
            )
        top = max(high, 1.0)
        return Poisson(top), top

    def _neuron(self, population: Population) -> Neuron:
        theta = np.ones(population.channels, np.float32)
        match population.kind:
            case Rectifier() if self.kind == "if":
                return IntegrateFire(theta, theta / 2)
            case Rectifier():
                return Signed(theta, theta / 2, memory=True)
            case Linear():
                return Signed(theta, theta / 2, memory=False)
            case MaxGate() | Readout() as kept:
                return kept
        raise PassError(f"{type(population.kind).__name__} is a neuron already", node=population.name)


def _inverse(unit: Array) -> Array:
    """1 / lambda; 0 for a channel that never fires."""
    return np.where(unit > 0, 1.0 / np.where(unit > 0, unit, 1.0), 0.0)


def _normalised(network: Network, projection: Projection, populations: dict[str, Population]) -> Projection:
    pre, post = populations[projection.pre].unit, populations[projection.post].unit
    assert pre is not None and post is not None
    if populations[projection.post].is_gate:
        return projection
    incoming = routed_unit(network, projection.pre, pre, projection.routing, projection.name)
    synapse = projection.synapse.scaled(incoming, _inverse(post))
    return replace(projection, synapse=replace(synapse, weight=synapse.weight.astype(np.float32)))  # type: ignore[type-var]
