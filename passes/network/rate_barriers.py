"""Blocks of a network that exchange rates in place of spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from snncc.encoders import Constant
from snncc.errors import OptionError
from snncc.graph import Graph, Node, Type
from snncc.network import Network, Population, Projection
from snncc.neurons import Readout
from snncc.neurons.base import total_count
from snncc.passes.network.quantize import GRID, has_neurons
from snncc.pipeline import Context, Level
from snncc.synapses import Diagonal


@dataclass(frozen=True)
class RateBarriers:
    """lets populations hand on their mean rate over the T steps, as a constant current, in place of spikes

    The block-synchronous time of SpikeReg (arXiv 2605.25144): a block runs all its T steps on the rates of the
    block before it, and within a block spikes are exchanged step by step. A barrier is a readout of the spikes, and an
    encoder that gives what it read out as the same current at every step. What reads that current multiplies: it counts
    as MACs, not as SynOps, and each barrier in a row adds T steps of latency. Max gates go on reading spikes.

    Args:
        layers: the last populations of blocks, `pattern;pattern` (`*` matches all).
    """

    layers: str = "*"

    name: ClassVar[str] = "rate-barriers"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (has_neurons,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def run(self, network: Network, context: Context) -> Network:
        patterns = [pattern.strip() for pattern in self.layers.split(";") if pattern.strip()]
        hidden = [p for p in network.populations if p.fires and not p.is_encoder and not p.is_gate]
        for pattern in patterns:
            if not any(fnmatchcase(p.name, pattern) for p in hidden):
                what = f"rate-barriers: no population is called {pattern!r}"
                raise OptionError(what, remedy=f"there are {', '.join(p.name for p in hidden)}")
        for population in hidden:
            if any(fnmatchcase(population.name, pattern) for pattern in patterns):
                network = _barrier(network, population, context.timesteps)
        return network


def _barrier(network: Network, population: Population, timesteps: int) -> Network:
    """A readout and an encoder between a population and what reads its spikes."""
    through = [j for j in network.outgoing(population) if not network[j.post].is_gate]
    if not through:
        return network
    spikes, rate = f"{population.name}.spikes", f"{population.name}.rate"
    readout = Readout(np.ones(population.channels, np.float32), integer=False, base=network.base)
    made = (
        Population(spikes, population.shape, readout, unit=population.unit, value=spikes, origin=population.origin),
        Population(rate, population.shape, Constant(), unit=population.unit, value=rate, origin=population.origin),
    )
    moved = {j: replace(j, pre=rate) for j in through}
    one = Projection(population.name, spikes, Diagonal(np.ones(population.channels, np.float32)))
    place = network.populations.index(population) + 1
    calibration = network.meta["calibration"]
    ranges = {**calibration["ranges"], rate: _range(network, population, timesteps)}
    changed = network.with_projections(moved)
    return replace(
        changed,
        populations=(*network.populations[:place], *made, *network.populations[place:]),
        projections=(one, *changed.projections),
        interlude=_interlude(network, population, spikes, rate),
    ).with_meta(calibration={**calibration, "ranges": ranges})


def _range(network: Network, population: Population, timesteps: int) -> tuple[float, float]:
    """(lowest, highest value) of a grid of `GRID` steps on which all rates of T steps lie, if they are not too many."""
    most = (1 << network.levels(population)) - 1
    total = total_count(network.base, timesteps)
    span = most * (2 if network.signed(population) else 1)
    steps = total * max(GRID // (span * total), 1)  # for one spike a step
    high = most * max(GRID / (span * steps), 1.0)
    return (-high if network.signed(population) else 0.0), high


def _interlude(network: Network, population: Population, spikes: str, rate: str) -> Graph:
    """One node more, behind those whose readouts stand before it."""
    shape = Type((1, *population.shape))
    node = Node("Identity", (spikes,), (rate,), origin=population.origin)
    old = network.interlude or Graph((), (), (), {}, {})
    place = {p.value: k for k, p in enumerate(network.populations) if p.is_readout}
    ready: dict[str, int] = {}
    for other in old.nodes:
        ready[other.output] = max((ready.get(v, place.get(v, 0)) for v in other.inputs), default=0)
    here = network.populations.index(population)
    later = next((k for k, other in enumerate(old.nodes) if ready[other.output] > here), len(old.nodes))
    return replace(
        old,
        inputs=(*old.inputs, spikes),
        outputs=(*old.outputs, rate),
        nodes=(*old.nodes[:later], node, *old.nodes[later:]),
        types={**old.types, spikes: shape, rate: shape},
    )
