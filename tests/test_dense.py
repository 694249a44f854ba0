"""The dense kernels: analog currents against plain loops, and spikes against the event-driven kernels."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from snncc.encoders import Constant
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Radix, Readout
from snncc.neurons.base import total_count
from snncc.runtime import buffers, fast
from snncc.runtime.dense import dense_projection, make_panels
from snncc.runtime.fast import FastEngine
from snncc.runtime.layout import padded
from snncc.runtime.plan import Link, make_plan
from snncc.runtime.projections import project
from snncc.synapses import Dense, Diagonal, Synapse
from snncc.synapses.routing import Take
from tests.test_fast_engine import CASES, Step, T, check, integers, neuron, same, through

REFLECT = Take(((2, 1, 0, 1, 2, 3, 4, 3), (1, 0, 1, 2, 3, 4, 5, 5)))
PLACES: dict[str, tuple[tuple[int, ...], Step]] = {
    **CASES,
    "reflected": ((3, 5, 6), ((REFLECT,), same(integers(np.random.default_rng(3), 5, 3, 3, 3)))),
}
OVERFLOWS = ("int32", 40_000)


def listed(link: Link) -> bool:
    return link.kernel == "gather" and link.groups == 1


LISTED = [name for name in PLACES if listed(make_plan(through(*PLACES[name]))[2].links[0])]


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
    """The numbers that the spikes of some steps say, in both codes: same sums as those of the steps' events, whatever
    the lines. The weights are whole, so in float32 too, as long as it holds the sums."""
    network = through(*PLACES[name], pre_signed=signed)
    if numbers == "float32":
        level = np.full(network["b"].channels, 90, np.float32)
        changed = replace(network["b"], kind=IntegrateFire(level, level / 2))
        network = network.with_populations({"b": changed, "out": replace(network["out"], kind=_float(network))})
    stage, scratch = make_plan(network)[2], buffers.Scratch()
    link = stage.links[0]
    train = buffers.new_train(T, 1 + bool(signed), network["a"])
    fired = np.random.default_rng(2).random((T, 1, *network["a"].shape))
    buffers.pack(np.concatenate([fired < 0.4, fired > 0.6], 1)[None, :, : train.shape[2]], train)
    planes = buffers.relayout(train, link.relayout, link.pre_shape)[0]
    panels, level_of_spikes = make_panels(link, stage.dtype, 2.0**T), 1
    depth, height, width = link.out
    corners = [(z, y, min(y + n, height)) for n in (2, 6) for z in range(depth) for y in range(0, height, n)]
    for corner, base, (t0, t1) in product(corners, (1, 2), ((2, 3), (0, T))):
        if base == 2 and numbers == "float32" and t1 - t0 > 1:
            continue  # too large for sums without rounding
        where = (level_of_spikes, base, planes, t0, t1, *corner)
        shape = (corner[2] - corner[1], width, padded(link.channels))
        found = np.full(shape, 7, stage.dtype)
        steps = np.full(((t1 - t0), *shape), 7, stage.dtype)
        for first in (True, False):
            dense_projection(panels, *where, found, first, scratch)
            flat, events = steps.reshape(-1), np.zeros(T, np.uint64)
            low, high = (corner[0] * height + y for y in corner[1:])
            project(link, level_of_spikes, planes, t0, t1, low, high, flat, first, scratch, None, events)
        want = np.zeros_like(found)
        for step in steps:
            want = (want * base + step).astype(stage.dtype)
        assert want.any()
        np.testing.assert_array_equal(found, want)


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


@pytest.mark.parametrize("name", [n for n in LISTED if n not in ("dense", "flatten")])  # one position: listed
def test_any_rate_densely(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above the measured rate, where the engine lists no events."""
    asked: list[int] = []

    def densely(*args: Any) -> None:
        asked.append(1)
        dense_projection(*args)

    monkeypatch.setattr(fast, "BREAK_EVEN", dict.fromkeys(fast.BREAK_EVEN, -1.0))
    monkeypatch.setattr(fast, "dense_projection", densely)
    check(through(*PLACES[name], pre_signed="plain"))
    assert asked
