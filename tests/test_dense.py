"""The dense kernels: analog currents against plain loops, and spikes against the event-driven kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snncc.encoders import Constant
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Readout
from snncc.runtime import buffers
from snncc.runtime.dense import dense_projection, make_panels
from snncc.runtime.fast import FastEngine
from snncc.runtime.layout import by_plane, padded
from snncc.runtime.projections import project
from snncc.synapses import Diagonal, Synapse
from snncc.synapses.routing import Take
from tests.test_fast_engine import CASES, Step, T, check, integers, neuron, same, through

REFLECT = Take(((2, 1, 0, 1, 2, 3, 4, 3), (1, 0, 1, 2, 3, 4, 5, 5)))
PLACES: dict[str, tuple[tuple[int, ...], Step]] = {
    **CASES,
    "reflected": ((3, 5, 6), ((REFLECT,), same(integers(np.random.default_rng(3), 5, 3, 3, 3)))),
}
OVERFLOWS = ("int32", 40_000)
LINKS = {name: FastEngine(through(*PLACES[name])).stages[2].links[0] for name in PLACES}
LISTED = [name for name, link in LINKS.items() if link.kernel == "gather" and link.groups == 1]


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
    scratch, events = buffers.Scratch(), np.zeros(T, np.uint64)
    for lines in (stage.block[0], 3 * stage.block[0]):
        for low in range(0, depth * height, lines):
            high = min(low + lines, depth * height)
            listed, dense = (np.full((high - low, width, padded(link.channels)), 7, stage.dtype) for _ in range(2))
            for first in (True, False):
                project(link, 1, planes, 2, 3, low, high, listed.reshape(-1), first, scratch, None, events)
                for z, y0, y1 in by_plane(low, high, height):
                    part = dense[z * height + y0 - low : z * height + y1 - low]
                    dense_projection(panels, 1, 1, planes, 2, 3, z, y0, y1, part, first, scratch)
            np.testing.assert_array_equal(dense, listed)


def _float(network: Network) -> Readout:
    kind = network["out"].kind
    assert isinstance(kind, Readout)
    return replace(kind, integer=False)
