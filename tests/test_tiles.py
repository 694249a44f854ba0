"""A volume in many tiles gives what it gives in one: spikes, gates, potentials of each step, counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snncc.encoders import Constant, SpikeTrain
from snncc.network import Network, Population, Projection
from snncc.network_checks import verify_network
from snncc.neurons import IntegrateFire, MaxGate, MultiThreshold, Readout, Settled, Signed
from snncc.runtime.fast import FastEngine
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import Conv, ConvTranspose, Diagonal, Window
from snncc.synapses.routing import Upsample
from tests.fuzz import difference, run, tiles

SHAPE = (7, 20, 33)
HALF = tuple(-(-n // 2) for n in SHAPE)
WHOLE = 1 << 30  # currents in a tile: all of them
MANY = ((1, 1), (1, 3), (33 * 16, 2), (5000, 1), (5000, 7), (WHOLE, 3))  # (currents in a tile, threads)


def volume(real: bool) -> Network:
    """A small U-Net: signed, settled and multi-threshold neurons, a max gate, a skip, readouts of every layer.

    real: float32 weights whose sums round, so that their order shows."""
    rng = np.random.default_rng(1)
    dtype: Any = np.float32 if real else np.int32

    def weight(*shape: int) -> Any:
        whole = rng.integers(-60, 70, shape)
        return (whole * (1 + 0.1 * rng.random(shape)) if real else whole).astype(np.float32)

    def level(channels: int, low: int) -> Any:
        return rng.integers(low, 3 * low, channels).astype(dtype)

    def conv(cout: int, cin: int, stride: int = 1, *size: int) -> Conv:
        return Conv(weight(cout, cin, *(size or (3, 3, 3))), (stride,) * 3, (1,) * 3, (1,) * 6)

    one = np.ones(20, np.float32)
    theta = {name: level(c, low) for name, c, low in (("a", 7, 200), ("b", 20, 500), ("c", 9, 900), ("d", 5, 400))}
    populations = (
        Population("image", (2, *SHAPE), Constant(8.0, -8, 8), value="x"),
        Population("events", (3, *SHAPE), SpikeTrain(True), value="x_events"),
        Population("a", (7, *SHAPE), Signed(theta["a"], theta["a"] // 2, False), weight(7, *SHAPE)),
        Population("gate", (7, *HALF), MaxGate()),
        Population("b", (20, *HALF), MultiThreshold(theta["b"], theta["b"] // 2, 2), weight(20)),
        Population("c", (9, *SHAPE), IntegrateFire(theta["c"], theta["c"] // 2)),
        Population("d", (5, *SHAPE), Settled(theta["d"], theta["d"] // 2)),
        Population("out", (4, *SHAPE), Readout(one[:4], not real), weight(4), value="y"),
        Population("low", (20, *HALF), Readout(one, not real), value="y_low"),
    )
    window = Window(one[:7], (3, 2, 2), (2, 2, 2), (1, 0, 0, 1, 0, 1), (1, 1, 1))
    cut = ConvTranspose(weight(20, 5, 2, 2, 2), (2, 2, 2), (1, 1, 1), (0, 0, 0, *(n % 2 for n in SHAPE)), (0, 0, 0))
    projections = (
        Projection("image", "a", conv(7, 2)),
        Projection("events", "a", conv(7, 3)),
        Projection("a", "gate", window),
        Projection("gate", "b", conv(20, 7)),
        Projection("a", "b", conv(20, 7, 2)),
        Projection("a", "c", conv(9, 7)),
        Projection("b", "c", Conv(weight(9, 20, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1, *(1 - n % 2 for n in SHAPE))),
                   (Upsample((2, 2, 2)),)),
        Projection("b", "d", cut),
        Projection("c", "out", conv(4, 9)),
        Projection("d", "out", Conv(weight(4, 5, 1, 1, 1), (1, 1, 1), (1, 1, 1), (0,) * 6)),
        Projection("b", "low", Diagonal(weight(20))),
    )  # fmt: skip
    inputs = {"x": (1, 2, *SHAPE), "x_events": (1, 3, *SHAPE)}
    meta = {"precision": "float32" if real else "int8"}
    return Network(inputs, ("y", "y_low"), populations, projections, meta=meta)


@pytest.mark.parametrize("real", [False, True], ids=["int", "real"])
def test_tiles_and_threads_do_not_show(real: bool) -> None:
    network, steps, rng = volume(real), 5, np.random.default_rng(2)
    verify_network(network)
    train = rng.choice([-1, 0, 1], (steps, 3, *SHAPE), p=[0.1, 0.7, 0.2]).astype(np.float32)
    values = {"image": rng.uniform(-1, 1, (2, *SHAPE)).astype(np.float32), "events": train}
    with tiles(WHOLE):
        whole = run(FastEngine(network, 1), values, steps)
    if not real:
        assert not difference(network, whole, run(ReferenceEngine(network), values, steps))
    assert all(np.mean(spikes != 0) > 0.01 for spikes in whole.spikes.values())
    for currents, threads in MANY:
        with tiles(currents):
            found = run(FastEngine(network, threads), values, steps)
        assert not (wrong := difference(network, found, whole)), f"{currents} currents, {threads} threads: {wrong}"
