"""Parts of a spiking network that end in readouts, to be run on calibration data."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import networkx
import numpy as np

from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Readout
from snncc.pipeline import Context
from snncc.synapses import Diagonal

PROBE = "probe of"


def current_probe(network: Network, population: Population) -> Network:
    """What `population` depends on, and a readout in its place: it sums up the population's current."""
    part = _before(network, [population])
    probe = replace(population, kind=_readout(network, population), unit=np.ones(population.channels), value=PROBE)
    return replace(part, populations=(*part.populations[:-1], probe), outputs=(PROBE,))


def spikes_probe(network: Network, populations: Iterable[Population]) -> Network:
    """What `populations` depend on, and behind each a readout, `probe of NAME`, that adds up what its spikes say."""
    populations = tuple(populations)
    part = _before(network, populations)
    probes = [Population(f"{PROBE} {p.name}", p.shape, _readout(network, p), value=f"{PROBE} {p.name}")
              for p in populations]
    joined = [Projection(p.name, probe.name, Diagonal(np.ones(p.channels, np.float32)))
              for p, probe in zip(populations, probes, strict=True)]
    return replace(
        part,
        outputs=tuple(probe.value for probe in probes),
        populations=(*part.populations, *probes),
        projections=(*part.projections, *joined),
    )


def mean_error(network: Network, population: Population, timesteps: int, context: Context, why: str) -> Array:
    """[C, *spatial]: the mean over the calibration data of what `population`'s spikes say minus the teacher's value, in
    units of lambda; 0 where lambda is."""
    part, unit = spikes_probe(network, [population]), population.unit
    assert unit is not None
    readout = _readout(network, population)
    unit = unit.reshape(-1, *(1,) * (len(population.shape) - 1))
    total, samples = np.zeros(population.shape), 0
    for feeds in context.stream(why):
        teacher = context.values(feeds, [population])[population.name]
        potential = context.potentials(part, feeds, timesteps)[f"{PROBE} {population.name}"]
        total += readout.value(potential, timesteps) * unit - teacher
        samples += 1
    return np.asarray(np.divide(total, unit * samples, out=np.zeros_like(total), where=unit > 0))


def _readout(network: Network, population: Population) -> Readout:
    integer = str(network.meta.get("precision", "")).startswith("int")
    return Readout(np.ones(population.channels, np.float32), integer, network.base)


def _before(network: Network, populations: Collection[Population]) -> Network:
    """`populations` and what they depend on."""
    kept = {name for p in populations for name in (p.name, *networkx.ancestors(network.nx, p.name))}
    before = tuple(p for p in network.populations if p.name in kept)
    analog = tuple(p.value for p in before if network.is_midway(p))
    return replace(
        network,
        populations=before,
        projections=tuple(j for j in network.projections if j.post in kept),
        interlude=replace(network.interlude, outputs=analog).pruned() if network.interlude and analog else None,
        epilogue=None,
    )
