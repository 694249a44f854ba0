"""Which neuron where; weights and biases in units of lambda, so that every threshold is 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from snncc.bounds import RADIX_STEPS
from snncc.encoders import Constant, Encoder, Poisson, SignedPoisson, SpikeTrain
from snncc.errors import OptionError, PassError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import LeakyRectifier, Linear, MaxGate, Readout, Rectifier
from snncc.passes.network.calibrate import inherited_unit, routed_unit
from snncc.passes.network.choose import Choice, choice
from snncc.pipeline import Context, Level

ENCODERS = ("constant", "poisson", "spikes")


def calibrated(network: Network) -> None:
    """Raises PassError if a population has no lambda."""
    for population in network.populations:
        if population.unit is None:
            raise PassError("no lambda", node=population.name, remedy="run the pass `calibrate` before `neurons`")


@dataclass(frozen=True)
class Neurons:
    """gives every population its neuron and every input its encoder

    A rectifier becomes a neuron of `kind`; a relay or a leaky rectifier one of that kind that can also carry negative
    values. With w' = w * lambda_pre / lambda_post and b' = b / lambda_post every threshold is 1 (Diehl et al., 2015);
    the membrane starts at half the threshold. A multi-threshold spike of k levels says up to 2^k - 1: its unit is
    lambda / (2^k - 1).

    Args:
        kind: see choose.py. layers: exceptions by name of population, `pattern:kind;pattern:kind` (`*` matches all).
        encoder: constant, poisson (with a sign where the input has negative values) or spikes (the input is a spike
            train, [T, C, *spatial], whose mean over T the teacher would see).
    """

    kind: str = "signed"
    encoder: str = "constant"
    layers: str = ""

    name: ClassVar[str] = "neurons"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (calibrated,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise OptionError(f"neurons: encoder={self.encoder!r} is unknown", remedy=f"one of {', '.join(ENCODERS)}")
        bases = {found.base for found in (choice(self.kind), *(c for _, c in self._exceptions()))}
        if len(bases) > 1:
            raise OptionError("neurons: a network speaks one code", remedy="radix everywhere, or nowhere")
        if bases == {2} and self.encoder != "constant":
            raise OptionError(f"the encoder {self.encoder} gives no digits of a radix code", remedy="use constant")

    def _exceptions(self) -> list[tuple[str, Choice]]:
        items = [item.strip().partition(":") for item in self.layers.split(";") if item.strip()]
        return [(pattern, choice(text)) for pattern, _, text in items]

    def _choice(self, population: Population) -> Choice:
        found = (c for pattern, c in self._exceptions() if fnmatchcase(population.name, pattern))
        return next(found, choice(self.kind))

    def run(self, network: Network, context: Context) -> Network:
        names = [p.name for p in network.populations if isinstance(p.kind, Rectifier | LeakyRectifier | Linear)]
        for pattern, _ in self._exceptions():
            if not any(fnmatchcase(name, pattern) for name in names):
                known = ", ".join(names)
                raise OptionError(f"neurons: no population is called {pattern!r}", remedy=f"there are {known}")
        populations: dict[str, Population] = {}
        units: dict[str, Array] = {}
        for population in network.populations:
            encodes = population.is_encoder
            made = self._encoder(population, network, context) if encodes else self._population(population)
            if population.is_gate:
                made = replace(made, unit=inherited_unit(network, population, units))
            assert made.unit is not None
            populations[population.name], units[population.name] = made, made.unit
        projections = {j: _normalised(network, j, populations) for j in network.projections}
        changed = network.with_populations(populations).with_projections(projections)
        limit = {"t_max": RADIX_STEPS} if changed.base == 2 else {}
        return changed.with_meta(precision="float32", **limit)

    def _population(self, population: Population) -> Population:
        chosen, unit = self._choice(population), population.unit
        assert unit is not None
        match population.kind:
            case Rectifier() | LeakyRectifier() | Linear() as ideal:
                kind, unit = chosen.neuron(ideal, population.channels), unit / chosen.most
            case MaxGate() | Readout() as kept:
                kind = replace(kept, base=choice(self.kind).base)
            case other:
                raise PassError(f"{other.op} is a neuron already", node=population.name)
        bias = population.bias
        if bias is not None:
            scale = inverse(unit).reshape(-1, *(1,) * (bias.ndim - 1))
            bias = (bias * scale).astype(np.float32)
        return replace(population, kind=kind, bias=bias, unit=unit)

    def _encoder(self, population: Population, network: Network, context: Context) -> Population:
        low, high = network.meta["calibration"]["ranges"][population.name]
        encoder: Encoder
        if network.is_midway(population):  # of the code of the inputs it knows nothing
            encoder, step = Constant(), 1.0
        elif self.encoder == "poisson":
            top = max(high, -low, 1.0)
            encoder, step = (Poisson(top) if low >= 0 else SignedPoisson(top)), top
        elif self.encoder == "spikes":
            encoder, step = SpikeTrain(low < 0 or _some_negative(population.value, context)), 1.0
        else:
            encoder, step = Constant(), 1.0
        return replace(population, kind=encoder, unit=np.full(population.channels, step))


def _some_negative(name: str, context: Context) -> bool:
    """Is a value of these spike trains negative, though their means over time are not?"""
    trains = (feeds[name] for feeds in context.stream("neurons") if name in feeds)
    return context.once(("negative", name), lambda: any(bool((x < 0).any()) for x in trains))


def inverse(unit: Array) -> Array:
    """1 / lambda; 0 for a channel that never fires."""
    return np.where(unit > 0, 1.0 / np.where(unit > 0, unit, 1.0), 0.0)


def _normalised(network: Network, projection: Projection, populations: dict[str, Population]) -> Projection:
    pre, post = populations[projection.pre].unit, populations[projection.post].unit
    assert pre is not None and post is not None
    if populations[projection.post].is_gate:
        return projection
    incoming = routed_unit(network, projection.pre, pre, projection.routing, projection.name)
    synapse = projection.synapse.scaled(incoming, inverse(post))
    return replace(projection, synapse=replace(synapse, weight=synapse.weight.astype(np.float32)))  # type: ignore[type-var]
