"""The neurons' kernels where tiles and chunks of steps begin anew; odd numbers of channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from snncc.encoders import Constant, SignedPoisson
from snncc.errors import PassError
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Leaky, MaxGate, MultiThreshold, Neuron, Radix, Readout, Settled, Signed
from snncc.passes.network.quantize import Quantize
from snncc.pipeline import Context
from snncc.runtime import fast
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import Conv, Diagonal, Window

SHAPE = (5, 4)
ONE = np.ones(1, np.float32)
KINDS: dict[str, Any] = {
    "if": lambda theta, v0, dip: IntegrateFire(theta, v0),
    "if:zero": lambda theta, v0, dip: IntegrateFire(theta, v0, True),
    "if:first": lambda theta, v0, dip: IntegrateFire(theta, v0, False, True),
    "leaky": lambda theta, v0, dip: Leaky(theta, v0, multiplier=230),
    "leaky:zero:first": lambda theta, v0, dip: Leaky(theta, v0, True, True, 200),
    "signed": lambda theta, v0, dip: Signed(theta, v0),
    "signed, dip": lambda theta, v0, dip: Signed(theta, v0, False, dip),
    "multi-threshold": lambda theta, v0, dip: MultiThreshold(theta, v0, 3),
    "multi-threshold, dip": lambda theta, v0, dip: MultiThreshold(theta, v0, 2, True, False, dip),
    "multi-threshold, memory": lambda theta, v0, dip: MultiThreshold(theta, v0, 4, True),
    "settled": lambda theta, v0, dip: Settled(theta, v0),
    "settled, dip": lambda theta, v0, dip: Settled(theta, v0, True, dip),
    "radix": lambda theta, v0, dip: Radix(theta, v0),
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
        if dtype == np.float32 and "leaky" in name:
            continue  # its leak is no whole number
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
