"""Small networks that, together, have every kind of neuron, encoder, synapse and route."""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.encoders import Constant, Poisson, SignedPoisson, SpikeTrain
from snncc.graph import Array, Graph, Node, Type, frozen
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Leaky, MaxGate, MultiThreshold, Neuron, Radix, Readout, Settled, Signed
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Resample, Window
from snncc.synapses.routing import Pad, Reshape, Slice, Take, Transpose, Upsample

STEPS = 7
META = {"timesteps": STEPS, "t_max": 1000, "precision": "int8", "quantiles": {"e1": [0.1, 1 / 3]}}


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).integers(-127, 128, shape).astype(np.int8)


def fire(*theta: int) -> IntegrateFire:
    return IntegrateFire(i32(*theta), i32(*(t // 2 for t in theta)))


def readout(*scale: float, integer: bool = True) -> Readout:
    return Readout(np.array(scale, np.float32), integer)


def conv(cout: int, cin: int, k: int, rank: int, pad: int = 0, **other: Any) -> Conv:
    return Conv(weights(cout, cin, *(k,) * rank), (1,) * rank, (1,) * rank, (pad,) * 2 * rank, **other)


def skips() -> Network:
    """Analog input with a shift, a max gate, a signed relay, upsampling, two projections between one pair."""
    unit = np.array([0.1, 1 / 3, 0.3, 0.7])
    populations = (
        Population("input", (1, 8, 8), Constant(255, 0, 255), value="x"),
        Population("e1", (4, 8, 8), fire(300, 400, 500, 600), i32(1, -2, 3, 0), unit, "r1", ("relu",)),
        Population("p1", (4, 4, 4), MaxGate()),
        Population("d1", (3, 8, 8), Signed(i32(300, 400, 500), i32(150, 200, 250), False)),
        Population("out", (2, 8, 8), readout(0.01, 0.02), value="y"),
    )
    projections = (
        Projection("input", "e1", conv(4, 1, 3, 2, 1, shift=i32(-3, -2, -1, 0)), origin=("conv_1", "bn_1")),
        Projection("p1", "d1", conv(3, 4, 3, 2, 1), (Upsample((2, 2)),)),
        Projection("e1", "p1", Window(np.ones(4, np.int8), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1))),
        Projection("e1", "d1", conv(3, 4, 1, 2)),
        Projection("e1", "d1", conv(3, 4, 1, 2, shift=i32(1, 2, 0)), tag=1),
        Projection("d1", "out", conv(2, 3, 1, 2)),
        Projection("input", "out", conv(2, 1, 1, 2, shift=i32(-1, 0))),
    )
    return Network({"x": (1, 1, 8, 8)}, ("y",), populations, projections, meta=META)


def relays() -> Network:
    """Poisson input, dense and diagonal synapses, a reshape, a bias map, a population that only its bias drives."""
    populations = (
        Population("input", (2, 3, 3), Poisson(0.8), value="x"),
        Population("h", (4,), Signed(i32(200, 300, 250, 100), i32(100, 150, 125, 50)), unit=np.ones(4, np.float32)),
        Population("lone", (4,), fire(30, 20, 10, 5), i32(7, -1, 3, 5)),
        Population("silent", (4,), fire(30, 20, 10, 5)),
        Population("r", (2, 2), fire(100, 90), np.arange(4, dtype=np.int32).reshape(2, 2)),
        Population("out", (3,), readout(0.01, 0.02, 0.03), i32(1, 2, -3), value="y"),
        Population("constant", (1, 2), readout(0.5), np.array([[3, -4]], np.int16), value="z"),
    )
    projections = (
        Projection("input", "h", Dense(weights(4, 18)), (Reshape((18,)),)),
        Projection("h", "r", Diagonal(i32(60, 3000)), (Reshape((2, 2)), Transpose((1, 0)))),
        Projection("lone", "r", Diagonal(i32(9, -70), i32(0, 2)), (Reshape((2, 2)),)),
        Projection("silent", "out", Dense(weights(3, 4))),
        Projection("r", "out", Dense(weights(3, 4, seed=1)), (Reshape((4,)),)),
    )
    return Network({"x": (1, 2, 3, 3)}, ("z", "y"), populations, projections, meta=META)


def geometry(rank: int) -> Network:
    """Every geometry a synapse and a route can have, over `rank` spatial axes."""
    zeros, ones, two, three, size = ((n,) * rank for n in (0, 1, 2, 3, 7))
    populations = (
        Population("x", (2, *size), Constant(127, -127, 127), value="x"),
        Population("a", (4, *(4,) * rank), fire(200, 250, 300, 350)),
        Population("b", (4, *(10,) * rank), fire(150, 250, 200, 100)),
        Population("c", (4, *(5,) * rank), fire(200, 100, 150, 70)),
        Population("g", (4, *(2,) * rank), MaxGate()),
        Population("r", (4, *(5,) * rank), Signed(i32(900, 800, 700, 600), i32(450, 400, 350, 300), False)),
        Population("y", (2, *(4,) * rank), readout(0.1, 0.3), value="y"),
    )
    thirds, turn = np.array([[0, 3, 0], [-1, 2, 2], [0, 2, 2], [1, 1, 1], [3, 0, 0]]), (1, 0, 1)
    resample = Resample(i32(30, -20, 10, 40), (thirds,) * rank, i32(0, 1, 0, 0))
    transposed = ConvTranspose(weights(4, 2, *three), two, ones, ones + ones, ones, 2)
    window = Window(np.ones(4, np.float32), three, two, zeros + two, two)
    projections = (
        Projection("x", "a", Conv(weights(4, 1, *three), two, ones, (1,) * 2 * rank, 2, i32(0, -1, -2, -9))),
        Projection("a", "b", transposed, (Pad(ones, zeros),)),
        Projection("b", "c", Pool(i32(40, 50, 60, 30), three, two, ones + ones, ones, i32(1, 0, 1, 2))),
        Projection("c", "g", window),
        Projection("g", "r", resample, (Take((turn,) * rank),)),
        Projection("r", "y", conv(2, 4, 2, rank)),
        Projection("g", "y", conv(2, 2, 1, rank), (Slice((1, *zeros), (3, *two)), Upsample(two))),
    )
    return Network({"x": (1, 2, *size)}, ("y",), populations, projections, meta=META)


def analog_parts() -> Network:
    """Prologue and epilogue; names that get in the way of the writer's own."""
    x, out = Type((1, 2, 4)), Type((1, 2, 4))
    prologue = Graph(
        ("T",),
        ("e1",),
        (Node("Mul", ("T", "half"), ("e1",), {}, ("scale",)),),
        {"half": frozen(np.array(0.5, np.float32))},
        {"T": x, "e1": x},
        {"a": "b"},
    )
    epilogue = Graph(
        ("seed", "T", "e1"),
        ("prob", "label"),
        (
            Node("Sub", ("T", "seed"), ("left",)),
            Node("Softmax", ("left",), ("soft",), {"axis": 1}, ("softmax",)),
            Node("Mul", ("soft", "half"), ("prob",)),
            Node("ArgMax", ("seed",), ("label",), {"axis": 1, "keepdims": 1, "select_last_index": 0}),
        ),
        {"half": frozen(np.array(0.5, np.float32))},
        {"seed": out, "T": x, "e1": x, "left": out, "soft": out, "prob": out, "label": Type((1, 1, 4), "int64")},
    )
    populations = (
        Population("input", (2, 4), Poisson(), value="e1"),
        Population("again", (2, 4), Constant(255, 0, 255), value="T"),
        Population("e1", (2, 4), fire(100, 120)),
        Population("out", (2, 4), readout(0.1, 0.1), value="seed"),
    )
    projections = (
        Projection("input", "e1", conv(2, 2, 3, 1, 1)),
        Projection("again", "e1", Diagonal(i32(3, -1))),
        Projection("e1", "out", Diagonal(i32(9, 7))),
    )
    inputs = {"T": (1, 2, 4)}
    return Network(inputs, ("label", "seed", "prob"), populations, projections, prologue, epilogue, META)


def free_floats() -> Network:
    """A float network; on a dyadic grid, so that every order of addition gives the same sums."""
    grid = np.float32(1 / 64)
    one = IntegrateFire(np.ones(3, np.float32), np.full(3, 0.5, np.float32))
    populations = (
        Population("x", (1, 5), Constant(), value="x"),
        Population("h", (3, 5), one, np.array([-1, 2, 3], np.float32) * grid),
        Population("y", (1, 5), readout(0.3, integer=False), value="y"),
    )
    projections = (
        Projection("x", "h", Conv(weights(3, 1, 3) * grid, (1,), (1,), (1, 1))),
        Projection("h", "y", Conv(weights(1, 3, 1) * grid, (1,), (1,), (0, 0))),
    )
    meta = {"timesteps": STEPS, "precision": "float32"}
    return Network({"x": (1, 1, 5)}, ("y",), populations, projections, meta=meta)


def chain(encoder: Constant | SignedPoisson | SpikeTrain, *kinds: Neuron, base: int = 1) -> Network:
    """One population of each kind after the other, then a max gate and a readout."""
    shape = (2, 4, 4)
    names = [f"p{k}" for k in range(len(kinds))]
    populations = (
        Population("in", shape, encoder, value="x"),
        *(Population(n, shape, kind, i32(20, -30)) for n, kind in zip(names, kinds, strict=True)),
        Population("gate", (2, 2, 2), MaxGate(base)),
        Population("out", (2, 2, 2), Readout(np.array([0.1, 0.2], np.float32), base=base), value="y"),
    )
    before = ["in", *names]
    projections = (
        *(Projection(a, b, conv(2, 2, 3, 2, 1)) for a, b in zip(before, names, strict=False)),
        Projection(names[-1], "gate", Window(np.ones(2, np.float32), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1))),
        Projection("gate", "out", conv(2, 2, 1, 2)),
    )
    meta = {**META, "t_max": 20}
    return Network({"x": (1, *shape)}, ("y",), populations, projections, meta=meta)


THETA, V0, DIP = i32(300, 200), i32(150, 100), i32(40, 0)
V0_MAP = np.arange(32, dtype=np.int32).reshape(2, 4, 4)
NETWORKS = {
    "rates": chain(
        SignedPoisson(0.8),
        IntegrateFire(THETA, V0_MAP, True),
        IntegrateFire(THETA, V0, False, True),
        Leaky(THETA, V0, multiplier=230),
        Leaky(THETA, V0, True, True, 200),
        Signed(THETA, V0_MAP, False, DIP),
        MultiThreshold(THETA, V0, 3),
        MultiThreshold(THETA, V0, 2, True, False, DIP),
    ),
    "settled": chain(SpikeTrain(True), Settled(THETA, V0), Settled(THETA, V0_MAP, True, DIP)),
    "radix": chain(Constant(127, -127, 127), Radix(THETA, V0), Radix(THETA, V0, True, DIP), base=2),
    "skips": skips(),
    "relays": relays(),
    "geometry-1d": geometry(1),
    "geometry-2d": geometry(2),
    "geometry-3d": geometry(3),
    "analog parts": analog_parts(),
    "floats": free_floats(),
}
