"""The scales of an integer network: left out (float32), or chosen anew after training moved its weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from snncc.bounds import RADIX_STEPS
from snncc.encoders import Constant
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Neuron, Readout
from snncc.rows import Rows
from snncc.trainer.cells import Cell, Link, row_scale


def in_float(network: Network) -> Network:
    """The same network in float32, every threshold 1; membranes that start at half of it go on to do so."""
    populations = {p.name: _float_population(p) for p in network.populations if not p.is_gate}
    projections = {j: _float_projection(network, j) for j in network.projections if not network[j.post].is_gate}
    changed = network.with_populations(populations).with_projections(projections)
    limit = {"t_max": RADIX_STEPS} if network.base == 2 else {"t_max": None}
    meta = {key: value for key, value in {**changed.meta, "precision": "float32", **limit}.items() if value is not None}
    return replace(changed, meta=meta)


def _float_population(population: Population) -> Population:
    kind, bias = population.kind, population.bias
    if isinstance(kind, Constant):
        return replace(population, kind=Constant(), unit=np.ones(population.channels))
    if not isinstance(kind, Neuron):
        return population
    scale = row_scale(population)
    if isinstance(kind, Readout):
        kind = replace(kind, scale=np.ones(population.channels, np.float32), integer=False)
    else:
        given = kind.parameters()
        found = {key: given[key] / scale.reshape(-1, *(1,) * (given[key].ndim - 1)) for key in given}
        if "v0" in found and np.array_equal(given["v0"], given["theta"] // 2):
            found["v0"] = found["theta"] / 2
        kind = replace(kind, **{key: value.astype(np.float32) for key, value in found.items()})  # type: ignore[type-var]
    if bias is not None:
        bias = (bias / scale.reshape(-1, *(1,) * (bias.ndim - 1))).astype(np.float32)
    return replace(population, kind=kind, bias=bias)


def _float_projection(network: Network, projection: Projection) -> Projection:
    synapse, kind = projection.synapse, network[projection.pre].kind
    rows = np.asarray(synapse.rows(), np.float64)
    shift = np.zeros(len(rows)) if synapse.shift is None else synapse.shift
    factor = (kind.levels if isinstance(kind, Constant) else 1.0) * 2.0**shift / row_scale(network[projection.post])
    return replace(projection, synapse=synapse.with_rows((rows * factor[:, None]).astype(np.float32), None))


@torch.no_grad()
def rescale(network: Network, cell: Cell, links: list[Link], bits: int) -> None:
    """Scales for the rows of a population as the pass `quantize` chooses them, from the weights as they are now.

    network: the integer network, whose encoders are on their grid.

    Raises:
        PassError: the weights of a row have grown beyond what 24 bits hold.
    """
    rows: dict[Projection, Array] = {}
    for link in links:
        weight = link.weight.double().cpu().numpy().reshape(link.synapse.weight.shape)
        rows[link.projection] = replace(link.synapse, weight=weight).rows()  # type: ignore[type-var]
    bias = None if cell.bias is None else cell.bias.double().cpu().numpy()
    found = Rows(replace(cell.population, bias=bias), tuple(rows), network, (1 << (bits - 1)) - 1, rows)
    cell.scale.copy_(torch.as_tensor(found.theta))
    for link in links:
        whole, shift = found.integers(link.projection)
        spread, factor = link.spread(found.theta.astype(np.float64), np.zeros(len(whole)) if shift is None else shift)
        link.scale.copy_(spread)
        link.factor.copy_(factor)
