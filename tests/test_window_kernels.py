"""Max gates, depthwise and grouped projections on the fast engine against the reference: any window, tile and code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from snncc.encoders import Constant, SpikeTrain
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, MaxGate, MultiThreshold, Neuron, Radix, Readout, Signed
from snncc.runtime import fast
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import Conv, Diagonal, Pool, Synapse, Window
from snncc.synapses.routing import Pad, Route, Upsample

CHANNELS = (1, 3, 16, 18, 40, 64, 70, 100)
RANDOM = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def kinds(channels: int) -> dict[str, Neuron]:
    theta = np.full(channels, 20, np.int32)
    return {
        "binary": IntegrateFire(theta, theta // 2),
        "signed": Signed(theta, theta // 2, False),
        "levels": MultiThreshold(theta // 5, theta // 9, 3),
        "signed levels": MultiThreshold(theta // 5, theta // 9, 2, True, False),
        "radix": Radix(theta // 9, theta // 9),
        "signed radix": Radix(theta // 9, theta // 9, True),
    }


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Route, ...], Window]:
    """Shape, routing and window: one to three axes, every mixture of overlap, gap, dilation and padding."""
    rank, channels = draw(st.integers(1, 3)), draw(st.sampled_from(CHANNELS))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    shape: tuple[int, ...] = (channels, *each(1, 4 if rank == 3 else 9))
    routes: dict[str, Route] = {"pad": Pad(each(0, 2), each(0, 2)), "upsample": Upsample(each(1, 2))}
    chosen: tuple[str, ...] = draw(st.sampled_from([(), (), ("pad",), ("upsample",), ("upsample", "pad")]))
    routing = tuple(routes[name] for name in chosen)
    kernel, dilation = each(1, 3), each(1, 2)
    pads = tuple(draw(st.integers(0, 2 * k - 2)) for k in kernel * 2)
    window = Window(np.ones(channels, np.float32), kernel, each(1, 3), pads, dilation)
    routed = shape
    for route in routing:
        routed = route.shape(routed)
    sizes = zip(routed[1:], pads, pads[rank:], dilation, kernel, strict=False)
    assume(all(n + a + b > d * (k - 1) for n, a, b, d, k in sizes))
    return shape, routing, window


def network(
    shape: tuple[int, ...], routing: tuple[Route, ...], synapse: Synapse, kind: Neuron, seed: int, *, gate: bool
) -> Network:
    """Input -> neurons of the kind -> [routing, synapse] -> a gate, or a readout that adds another projection."""
    rng, channels = np.random.default_rng(seed), shape[0]
    routed = shape
    for route in routing:
        routed = route.shape(routed)
    post = synapse.shape(routed)
    rate = kind.base == 1
    populations = [
        Population("in", shape, SpikeTrain(True) if rate else Constant(20.0, -20, 20)),
        Population("a", shape, kind, rng.integers(-9, 12, shape).astype(np.float32)),
        Population("b", post, MaxGate(kind.base) if gate else Readout(np.ones(post[0], np.float32), True, kind.base)),
    ]
    projections = [
        Projection("in", "a", Diagonal(rng.integers(1, 15, channels).astype(np.float32))),
        Projection("a", "b", synapse, routing),
    ]
    if gate:
        populations.append(Population("out", post, Readout(np.ones(post[0], np.float32), True, kind.base)))
        projections.append(Projection("b", "out", Diagonal(rng.integers(-9, 9, post[0]).astype(np.float32))))
    else:  # what came first stays
        projections.insert(1, Projection("a", "b", synapse, routing, (), 1))
    return Network({}, (), tuple(populations), tuple(projections), meta={"precision": "int8"})


def check(made: Network, tile: int, seed: int) -> None:
    rng, steps = np.random.default_rng(seed), 5
    pre = made.encoders[0]
    if isinstance(pre.kind, SpikeTrain):
        x = rng.integers(-1, 2, (steps, *pre.shape)).astype(np.float32)
    else:
        x = rng.uniform(-1, 1, pre.shape).astype(np.float32)
    run: dict[str, Any] = {"record": True, "prefixes": True}
    want = ReferenceEngine(made).run({"in": x}, steps, **run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_TILE", tile)
        for threads in (1, 2, 3):
            found = fast.FastEngine(made, threads).run({"in": x}, steps, **run)
            for name, train in want.spikes.items():
                np.testing.assert_array_equal(found.spikes[name], train, err_msg=name)
            for name, potential in want.potentials.items():
                np.testing.assert_array_equal(found.potentials[name], potential, err_msg=name)
            assert found.counts.same(want.counts)


TILES = st.sampled_from([1, 1000, 5000, 1 << 18])
SEEDS = st.integers(0, 9)
NAMES = st.sampled_from(sorted(kinds(1)))


@RANDOM
@given(windows(), NAMES, TILES, SEEDS)
def test_max_gates(case: tuple[Any, Any, Window], name: str, tile: int, seed: int) -> None:
    shape, routing, window = case
    check(network(shape, routing, window, kinds(shape[0])[name], seed, gate=True), tile, seed)


@RANDOM
@given(windows(), NAMES, TILES, SEEDS, st.sampled_from(["pool", "depthwise", "wide", "groups"]), st.booleans())
def test_groups(case: tuple[Any, Any, Window], name: str, tile: int, seed: int, what: str, shifted: bool) -> None:
    shape, routing, window = case
    rng, channels = np.random.default_rng(seed), shape[0]
    if what == "groups":
        per, fan = rng.integers(1, 40, 2)
        per = max(d for d in range(1, per + 1) if channels % d == 0)
        groups = channels // per
    else:
        per, fan, groups = 1, 1, channels
    post, top = groups * int(fan), 30000 if what == "wide" else 9
    shift = rng.integers(0, 3, post) if shifted else None
    weight = rng.integers(-top, top + 1, (post, per, *window.kernel)).astype(np.float32)
    if what == "pool":
        pool = (window.kernel, window.stride, window.pads, window.dilation)
        synapse: Synapse = Pool(weight.reshape(post, -1)[:, 0] + 1, *pool, shift)
    else:
        synapse = Conv(weight, window.stride, window.dilation, window.pads, groups, shift)
    check(network(shape, routing, synapse, kinds(channels)[name], seed, gate=False), tile, seed)


@pytest.mark.parametrize(("levels", "steps"), [(1, 127), (1, 128), (7, 258), (7, 259)])
def test_counts_of_a_gate_grow(levels: int, steps: int) -> None:
    """The largest count that int8 and int16 hold, and the next one."""
    shape = (3, 4, 5)
    window = Window(np.ones(3, np.float32), (2, 2), (2, 1), (0,) * 4, (1, 1))
    one = np.full(3, 1, np.int32)
    populations = (
        Population("in", shape, SpikeTrain()),
        Population("a", shape, MultiThreshold(one, 0 * one, levels)),
        Population("b", window.shape(shape), MaxGate()),
    )
    drive = Projection("in", "a", Diagonal(np.full(3, 127, np.float32)))
    made = Network({}, (), populations, (drive, Projection("a", "b", window)), meta={"precision": "int8"})
    x = {"in": np.ones((steps, *shape), np.float32)}
    want, found = (engine.run(x, steps, record=True) for engine in (ReferenceEngine(made), fast.FastEngine(made)))
    np.testing.assert_array_equal(found.spikes["b"], want.spikes["b"])
    assert np.all(found.spikes["b"] == (1 << levels) - 1) and found.counts.same(want.counts)
