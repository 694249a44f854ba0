"""Parts of a spiking network that end in a readout, to be run on calibration data."""

from __future__ import annotations

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
    part = _before(network, population)
    readout = _readout(network, population)
    probe = replace(population, kind=readout, unit=np.ones(population.channels), value=PROBE)
    return replace(part, populations=(*part.populations[:-1], probe))


def mean_error(network: Network, population: Population, timesteps: int, context: Context, why: str) -> Array:
    """[C, *spatial]: the mean over the calibration data of what `population`'s spikes say minus the teacher's value, in
    units of lambda; 0 where lambda is."""
    part, unit = _before(network, population), population.unit
    assert unit is not None
    readout = _readout(network, population)
    probe = Population(f"{PROBE} {population.name}", population.shape, readout, value=PROBE)
    projection = Projection(population.name, probe.name, Diagonal(np.ones(population.channels, np.float32)))
    part = replace(part, populations=(*part.populations, probe), projections=(*part.projections, projection))
    unit = unit.reshape(-1, *(1,) * (len(population.shape) - 1))
    total, samples = np.zeros(population.shape), 0
    for feeds in context.stream(why):
        teacher = context.values(feeds, [population])[population.name]
        potential = context.potentials(part, feeds, timesteps)[probe.name]
        total += readout.value(potential, timesteps) * unit - teacher
        samples += 1
    return np.asarray(np.divide(total, unit * samples, out=np.zeros_like(total), where=unit > 0))


def _readout(network: Network, population: Population) -> Readout:
    return Readout(np.ones(population.channels, np.float32), integer=False, base=network.base)


def _before(network: Network, population: Population) -> Network:
    """`population`, last, and what it depends on."""
    kept = networkx.ancestors(network.nx, population.name)
    return replace(
        network,
        outputs=(PROBE,),
        populations=(*(p for p in network.populations if p.name in kept), population),
        projections=tuple(j for j in network.projections if j.post in kept or j.post == population.name),
        epilogue=None,
    )
