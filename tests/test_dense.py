"""The dense kernels: analog currents against plain loops, and spikes against the event-driven kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snncc.encoders import Constant
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Radix, Readout
from snncc.neurons.base import total_count
from snncc.runtime import buffers
from snncc.runtime.dense import dense_projection, make_panels
from snncc.runtime.fast import FastEngine
from snncc.runtime.plan import padded
from snncc.synapses import Dense, Diagonal, Synapse
from snncc.synapses.routing import Take
from tests.test_fast_engine import CASES, Step, T, check, integers, neuron, same, through

REFLECT = Take(((2, 1, 0, 1, 2, 3, 4, 3), (1, 0, 1, 2, 3, 4, 5, 5)))
PLACES: dict[str, tuple[tuple[int, ...], Step]] = {
    **CASES,
    "reflected": ((3, 5, 6), ((REFLECT,), same(integers(np.random.default_rng(3), 5, 3, 3, 3)))),
}
OVERFLOWS = ("int32", 40_000)
LISTED = [name for name in PLACES if FastEngine(through(*PLACES[name])).stages[2].links[0].kernel == "gather"]


def shifted(synapse: Synapse, channels: int) -> Synapse:
    """With a shift a channel, from 4 down to 2 up."""
    return replace(synapse, shift=np.arange(channels, dtype=np.int32) % 7 - 4)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("name", "reach"), [(name, reach) for name in PLACES for reach in (255, 40_000) if (name, reach) != OVERFLOWS]
)
def test_analog_current(name: str, reach: int) -> None:
    """Two constant currents and a bias map; what int16 cannot hold (40,000) goes through int32."""
    rng = np.random.default_rng(1)
    shape, (routing, synapse) = PLACES[name]
    routed = shape
    for route in routing:
        routed = route.shape(routed)
    post = synapse.shape(routed)
    bias = integers(rng, *post) + 20
    populations = (
        Population("in", shape, Constant(float(reach), 0, reach)),
        Population("signed", post, Constant(90.0, -20, 90)),
        Population("b", post, neuron(rng, post[0], "plain", 2000), bias),
        Population("out", post, Readout(np.ones(post[0], np.float32)), integers(rng, post[0])),
    )
    own = Diagonal(integers(rng, post[0]), np.zeros(post[0], np.int32))
    projections = (
        Projection("in", "b", shifted(synapse, post[0]), routing),
        Projection("signed", "b", own),
        Projection("b", "out", Diagonal(integers(rng, post[0]))),
        Projection("signed", "out", own),
    )
    check(Network({}, (), populations, projections))


@pytest.mark.parametrize("numbers", ["integer", "float32"])
@pytest.mark.parametrize("signed", ["", "plain"])
@pytest.mark.parametrize("name", LISTED)
def test_spikes_densely(name: str, signed: str, numbers: str) -> None:
    """Same sums (the weights are whole, so in float32 too) and counts as from events, whatever the lines."""
    network = through(*PLACES[name], pre_signed=signed)
    if numbers == "float32":
        level = np.full(network["b"].channels, 90, np.float32)
        changed = replace(network["b"], kind=IntegrateFire(level, level / 2))
        network = network.with_populations({"b": changed, "out": replace(network["out"], kind=_float(network))})
    engine = FastEngine(network)
    stage = engine.stages[2]
    link = stage.links[0]
    train = buffers.new_train(T, 1 + bool(signed), network["a"])
    fired = np.random.default_rng(2).random((T, 1, *network["a"].shape))
    buffers.pack(np.concatenate([fired < 0.4, fired > 0.6], 1)[None, :, : train.shape[2]], train)
    planes = buffers.relayout(train, link.relayout, link.pre_shape)[0]
    panels = make_panels(link, stage.dtype, 1)
    depth, height, width = link.out
    scale = level_scale(link, 1)
    for lines in (1, 3):
        for z in range(depth):
            for y0 in range(0, height, lines):
                corner = (2, z, y0, min(y0 + lines, height))
                found: list[tuple[Array, Array]] = []
                for k in range(2):
                    current = np.full((3, corner[3] - y0, width, padded(link.channels)), 7, stage.dtype)
                    counts = np.zeros((3, T), np.uint64)
                    for first in (True, False):
                        if k:
                            dense_projection(panels, planes, scale, *corner, current, first, counts, engine._scratch)
                        else:
                            engine._project(link, planes, scale, *corner, current, first, counts)
                    found.append((current, counts))
                np.testing.assert_array_equal(found[1][0], found[0][0])
                np.testing.assert_array_equal(found[1][1], found[0][1])


@pytest.mark.parametrize("base", [1, 2])
def test_readout_of_numbers_beyond_int16(base: int) -> None:
    """A dense product of what all steps say works on pairs of int16, which here cannot hold it."""
    steps = {1: 1 << 15, 2: 16}[base]
    ones = np.ones(3, np.int32)
    kind = IntegrateFire(ones, 0 * ones) if base == 1 else Radix(ones, 0 * ones)
    populations = (
        Population("in", (3,), Constant(1.0, 0, 1)),
        Population("a", (3,), kind),
        Population("out", (2,), Readout(np.ones(2, np.float32), base=base)),
    )
    weight = np.array([[1, 2, 3], [-4, 5, 6]], np.float32)
    projections = (Projection("in", "a", Diagonal(ones)), Projection("a", "out", Dense(weight)))
    network = Network({}, (), populations, projections)
    found = FastEngine(network).run({"in": np.ones(3, np.float32)}, steps).potentials["out"]
    np.testing.assert_array_equal(found, weight.sum(1) * total_count(base, steps))


def _float(network: Network) -> Readout:
    kind = network["out"].kind
    assert isinstance(kind, Readout)
    return replace(kind, integer=False)
