"""The neurons' kernels where tiles and chunks of steps begin anew; odd numbers of channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

from snncc.counting import events_of
from snncc.encoders import Constant, SignedPoisson
from snncc.errors import PassError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Leaky, MaxGate, MultiThreshold, Neuron, Radix, Readout, Settled, Signed
from snncc.passes.network.quantize import Quantize
from snncc.pipeline import Context
from snncc.runtime import fast
from snncc.runtime.buffers import Scratch, dense, new_train, words
from snncc.runtime.dynamics import Dynamics, Tile
from snncc.runtime.kernels.vectors import load
from snncc.runtime.layout import padded
from snncc.runtime.plan import make_plan
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import Conv, Diagonal, Window

SHAPE = (5, 4)
ONE = np.ones(1, np.float32)
KINDS: dict[str, Any] = {
    "if": lambda theta, v0, dip: IntegrateFire(theta, v0),
    "if:zero": lambda theta, v0, dip: IntegrateFire(theta, v0, True),
    "if:first": lambda theta, v0, dip: IntegrateFire(theta, v0, False, True),
    "if:zero:first": lambda theta, v0, dip: IntegrateFire(theta, v0, True, True),
    "leaky": lambda theta, v0, dip: Leaky(theta, v0, multiplier=230),
    "leaky:zero": lambda theta, v0, dip: Leaky(theta, v0, True, multiplier=250),
    "leaky:zero:first": lambda theta, v0, dip: Leaky(theta, v0, True, True, 200),
    "signed": lambda theta, v0, dip: Signed(theta, v0),
    "signed, free": lambda theta, v0, dip: Signed(theta, v0, False),
    "signed, dip": lambda theta, v0, dip: Signed(theta, v0, False, dip),
    "signed, memory, dip": lambda theta, v0, dip: Signed(theta, v0, True, dip),
    "multi-threshold": lambda theta, v0, dip: MultiThreshold(theta, v0, 3),
    "multi-threshold, dip": lambda theta, v0, dip: MultiThreshold(theta, v0, 2, True, False, dip),
    "multi-threshold, free": lambda theta, v0, dip: MultiThreshold(theta, v0, 1, True, False),
    "multi-threshold, memory": lambda theta, v0, dip: MultiThreshold(theta, v0, 4, True),
    "multi-threshold, memory, dip": lambda theta, v0, dip: MultiThreshold(theta, v0, 3, True, True, dip),
    "settled": lambda theta, v0, dip: Settled(theta, v0),
    "settled, signed": lambda theta, v0, dip: Settled(theta, v0, True),
    "settled, dip": lambda theta, v0, dip: Settled(theta, v0, True, dip),
    "radix": lambda theta, v0, dip: Radix(theta, v0),
    "radix, signed": lambda theta, v0, dip: Radix(theta, v0, True),
    "radix, dip": lambda theta, v0, dip: Radix(theta, v0, True, dip),
}


def through(make: Any, channels: int, dtype: Any, mapped: bool) -> Network:
    """Signed spikes -> the kind, with a map of biases -> the kind again -> max gate -> readout."""
    rng = np.random.default_rng(channels)
    shape, half = (channels, *SHAPE), (channels, 3, 2)
    theta = rng.integers(60, 300, channels).astype(dtype)
    v0 = rng.integers(-100, 200, shape if mapped else channels).astype(dtype)
    dip = rng.integers(0, 90, channels).astype(dtype)
    kind: Neuron = make(theta, v0, dip)
    encoder = SignedPoisson(0.9) if kind.base == 1 else Constant(20.0, -20, 20)
    bias = rng.integers(-40, 60, shape).astype(np.float32)

    def conv(seed: int) -> Conv:
        weight = np.random.default_rng(seed).integers(-40, 60, (channels, channels, 3, 1)).astype(np.float32)
        return Conv(weight, (1, 1), (1, 1), (1, 0, 1, 0))

    populations = (
        Population("in", shape, encoder),
        Population("a", shape, kind, bias),
        Population("b", shape, kind, bias[:, 0, 0]),
        Population("gate", half, MaxGate(kind.base)),
        Population("out", half, Readout(np.ones(channels, np.float32), dtype == np.int32, kind.base)),
    )
    projections = (
        Projection("in", "a", conv(1)),
        Projection("a", "b", conv(2)),
        Projection("in", "b", Diagonal(np.full(channels, 30, np.float32))),
        Projection("b", "gate", Window(np.ones(channels, np.float32), (2, 2), (2, 2), (0, 0, 1, 0), (1, 1))),
        Projection("gate", "out", Diagonal(rng.integers(-9, 9, channels).astype(np.float32))),
    )
    precision = {"precision": "int8" if dtype == np.int32 else "float32"}
    return Network({}, (), populations, projections, meta=precision)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("channels", "tile"), [(1, 100), (17, 700)])
def test_tiles_and_chunks_do_not_show(monkeypatch: Any, name: str, channels: int, tile: int) -> None:
    """Integers below 2^24, so that float32 networks are exact, too."""
    steps = 23 if "radix" not in name else 7
    monkeypatch.setattr(fast, "_TILE", tile)
    for dtype, mapped in ((np.int32, True), (np.int32, False), (np.float32, True)):
        network = through(KINDS[name], channels, dtype, mapped)
        x = np.random.default_rng(2).uniform(-1, 1, (channels, *SHAPE)).astype(np.float32)
        want = ReferenceEngine(network).run({"in": x}, steps, record=True, prefixes=True)
        assert all(np.any(want.spikes[p]) for p in ("a", "b", "gate"))
        for threads in (1, 3):
            found = fast.FastEngine(network, threads).run({"in": x}, steps, record=True, prefixes=True)
            for p, train in want.spikes.items():
                np.testing.assert_array_equal(found.spikes[p], train, err_msg=p)
            np.testing.assert_array_equal(found.potentials["out"], want.potentials["out"])
            assert found.counts.same(want.counts)


def tile_of(kind: Neuron, channels: int, n: int, steps: int) -> tuple[Tile, Array]:
    """A population of such neurons as one tile, and its train."""
    populations = (
        Population("in", (channels, n), Constant()),
        Population("a", (channels, n), kind),
    )
    projection = Projection("in", "a", Diagonal(np.ones(channels, np.float32)))
    stage = make_plan(Network({}, (), populations, (projection,), meta={}))[1]
    train = new_train(steps, stage.planes, stage.population, stage.levels)
    constant = np.zeros(padded(channels), stage.dtype)
    dynamics = Dynamics(stage, train, steps, Scratch(), np.zeros((0, n, 32), stage.dtype))
    return Tile(dynamics, 0, n, constant, True), train


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_any_charge(name: str, large: bool, dtype: Any) -> None:
    """Charges up to what int32 holds, charges that just meet thresholds, and float32 ones that are no whole numbers."""
    rng, channels, n, steps = np.random.default_rng(5), 19, 40, 7
    top = (2**31 - 2**28) // (2**steps if "radix" in name else steps * 256 if "leaky" in name else steps)
    width = 9 if not large else 2**15 if "leaky" in name else 2**26
    theta: Array = rng.integers(1, width, channels).astype(dtype)
    dip: Array = rng.integers(0, width, channels).astype(dtype)
    v0: Array = rng.integers(-width, width, (channels, n)).astype(dtype)
    low, high = (-top, top) if large else (-30, 40)
    current: Array = rng.integers(low, high, (steps, channels, n)).astype(dtype)
    if dtype == np.float32:
        theta, dip, current = theta / np.float32(3), dip / np.float32(7), current * np.float32(0.1)
    kind: Neuron = KINDS[name](theta, v0, dip)
    state = kind.initial((channels, n))
    want = np.stack([kind.step(state, now.copy()) for now in current])
    if kind.waits:
        want = kind.emit(state, steps)
    tile, train = tile_of(kind, channels, n, steps)
    currents = np.zeros((steps, n, 32), dtype)
    currents[:, :, :channels] = current.swapaxes(1, 2)
    events = np.zeros(steps, np.uint64)
    for t in range(0, steps, 3):
        tile.advance(currents[t : t + 3], t, events)
    tile.finish(events)
    np.testing.assert_array_equal(dense(train, (channels, n)), want)
    np.testing.assert_array_equal(events, events_of(want).reshape(steps, -1).sum(1))
    if "v" in state:
        np.testing.assert_array_equal(tile.v[:, :channels].T, state["v"])


@pytest.mark.parametrize("name", ["if", "leaky:zero:first", "signed, memory, dip", "multi-threshold, dip", "settled"])
@pytest.mark.parametrize("lanes", [32, 64])
def test_rules_at_other_widths(name: str, lanes: int) -> None:
    """As a kernel that has more currents in registers calls them."""
    rng, channels = np.random.default_rng(6), 64
    theta, v0, dip = (rng.integers(low, 60, channels).astype(np.int32) for low in (20, -30, 0))
    current = rng.integers(-90, 150, (1, 8, channels)).astype(np.int32)
    kind = KINDS[name](theta, v0, dip)
    tile, train = tile_of(kind, channels, 8, 1)
    other, again = tile_of(kind, channels, 8, 1)
    events = np.zeros(1, np.uint64)
    tile.advance(current, 0, events)
    rule = other.rule

    @numba.njit
    def together(current: Array, state: Any, train: Array) -> int:
        fired = 0
        for at in range(0, current.size, lanes):
            fired += rule(load(current, at, lanes), state, at, at % 64, train, at // 16)
        return fired

    assert together(current, other.state, words(again)) == events[0]
    np.testing.assert_array_equal(again, train)
    np.testing.assert_array_equal(other.v, tile.v)


def quantized(kind: Signed, *seen: float) -> Network:
    """One such neuron in a quantised network; seen: least and largest input in calibration."""
    populations = (
        Population("in", (1,), Constant(), unit=ONE),
        Population("a", (1,), kind, unit=ONE),
        Population("out", (1,), Readout(ONE, False), unit=ONE),
    )
    projections = (Projection("in", "a", Diagonal(ONE)), Projection("a", "out", Diagonal(ONE)))
    meta = {"precision": "float32", "calibration": {"ranges": {"in": seen}}}
    return Quantize().run(Network({}, (), populations, projections, meta=meta), Context())


@pytest.mark.parametrize(("field", "fault"), [("v0", "start too high or low"), ("dip", "slope too flat")])
def test_parameters_that_int32_cannot_hold(field: str, fault: str) -> None:
    with pytest.raises(PassError, match=fault):
        quantized(replace(Signed(ONE, ONE, False), **{field: ONE * np.float32(1e7)}), 0, 1)  # type: ignore[arg-type]


def test_inputs_too_small_for_a_grid() -> None:
    encoder = quantized(Signed(ONE, ONE), -1e-39, 1e-39).encoders[0].kind
    assert isinstance(encoder, Constant) and np.isfinite(encoder.levels)
    assert not encoder.encode(np.array([0.0, 1e-39], np.float32)).any()
