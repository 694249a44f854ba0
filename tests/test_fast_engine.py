"""The fast engine against the definitions, written out densely here: same spikes, potentials and counts."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snncc.counting import closed_form
from snncc.encoders import Constant, Poisson
from snncc.errors import DataError, PlanError
from snncc.graph import Array
from snncc.network import Kind, Network, Population, Projection
from snncc.neurons import KINDS, IntegrateFire, MaxGate, Readout, Signed
from snncc.runtime.fast import FastEngine
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Synapse, Window
from snncc.synapses.routing import Pad, Reshape, Route, Slice, Upsample, apply_all

T = 9
ALL = slice(None)


def at(*parts: Any) -> Any:
    """An index of several parts (which type checkers take for anything)."""
    return parts


def same(weight: Array, group: int = 1, shift: Array | None = None) -> Conv:
    """A 2D convolution that keeps the size."""
    half = weight.shape[2] // 2
    return Conv(weight, (1, 1), (1, 1), (half,) * 4, group, shift)


def weighted(synapse: Synapse, x: Array, post: tuple[int, ...]) -> Array:
    """The linear map by its textbook definition, in float64 (exact for the integers here)."""
    w = np.asarray(synapse.weight, np.float64)
    out = np.zeros(post)
    if isinstance(synapse, Dense):
        return np.asarray(w @ x)
    if isinstance(synapse, Diagonal):
        return w.reshape(-1, *(1,) * (x.ndim - 1)) * x
    if isinstance(synapse, Pool):
        w = np.broadcast_to(w.reshape(-1, 1, *(1,) * len(synapse.kernel)), (len(w), 1, *synapse.kernel))
        synapse = Conv(w, synapse.stride, synapse.dilation, synapse.pads, len(w))
    assert isinstance(synapse, Conv | ConvTranspose)
    groups, sizes = synapse.groups, w.shape[2:]
    cig, cog = x.shape[0] // groups, post[0] // groups
    back = isinstance(synapse, ConvTranspose)
    small, large = (x.shape, post) if back else (post, x.shape)  # which side the stride steps over
    for position in product(*(range(n) for n in small[1:])):
        for k in product(*(range(n) for n in sizes)):
            other = tuple(
                p * s + i * d - b
                for p, s, i, d, b in zip(position, synapse.stride, k, synapse.dilation, synapse.pads, strict=False)
            )
            if any(o < 0 or o >= n for o, n in zip(other, large[1:], strict=True)):
                continue
            source, target = (position, other) if back else (other, position)
            for g in range(groups):
                i, o = slice(g * cig, (g + 1) * cig), slice(g * cog, (g + 1) * cog)
                kernel = w[at(i, ALL, *k)].T if back else w[at(o, ALL, *k)]
                out[at(o, *target)] += kernel @ x[at(i, *source)]
    return out


def window_max(synapse: Window, n: Array, post: tuple[int, ...]) -> Array:
    out = np.zeros(post, np.int32)
    rank = len(synapse.kernel)
    for position in product(*(range(m) for m in post[1:])):
        met = []
        for k in product(*(range(m) for m in synapse.kernel)):
            other = tuple(
                position[a] * synapse.stride[a] + k[a] * synapse.dilation[a] - synapse.pads[a] for a in range(rank)
            )
            if all(0 <= o < m for o, m in zip(other, n.shape[1:], strict=True)):
                met.append(n[at(ALL, *other)])
        out[at(ALL, *position)] = np.max(met, axis=0)
    return out


def brute(network: Network, values: dict[str, Array], seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Spikes int8 [T, *shape] and potentials [T, *shape], all populations step by step."""
    kinds: dict[str, Any] = {p.name: p.kind for p in network.populations}
    states: dict[str, Any] = {p.name: kinds[p.name].initial(p.shape) for p in network.populations if not p.is_encoder}
    running: dict[str, Array] = {}
    spikes: dict[str, list[Array]] = {p.name: [] for p in network.populations if p.fires}
    potentials: dict[str, list[Array]] = {p.name: [] for p in network.readouts}
    for t in range(1, T + 1):
        now: dict[str, Array] = {}
        for p in network.populations:
            if p.is_encoder:
                now[p.name] = kinds[p.name].encode(values[p.name], t, seed)
            else:
                current = np.zeros(p.shape)
                for j in network.incoming(p):
                    x = apply_all(j.routing, now[j.pre].astype(np.float64), network[j.pre].shape)
                    if isinstance(j.synapse, Window):
                        running[p.name] = running.get(p.name, 0) + x.astype(np.int32)
                        current = window_max(j.synapse, running[p.name], p.shape)
                        break
                    part = weighted(j.synapse, x, p.shape)
                    if j.synapse.shift is not None:
                        part = part * np.exp2(j.synapse.shift).reshape(-1, *(1,) * (part.ndim - 1))
                        part = np.floor(part + 0.5) if network.analog(j) else part
                    current += part
                if p.bias is not None:
                    current += p.bias if p.bias.ndim == len(p.shape) else p.bias.reshape(-1, *(1,) * (len(p.shape) - 1))
                state = states[p.name]
                dtype = next(iter(state.values())).dtype
                now[p.name] = kinds[p.name].step(state, current.astype(dtype))
                if p.is_readout:
                    potentials[p.name].append(state["V"].copy())
            if p.fires:
                spikes[p.name].append(now[p.name].copy())
    return {k: np.stack(v) for k, v in spikes.items()}, {k: np.stack(v) for k, v in potentials.items()}


def integers(rng: np.random.Generator, *shape: int, top: int = 40) -> Array:
    return np.where(rng.random(shape) < 0.1, 0, rng.integers(-top, top + 6, shape)).astype(np.float32)


def neuron(rng: np.random.Generator, channels: int, signed: str, theta: int = 90) -> Kind:
    level = rng.integers(theta, 2 * theta, channels).astype(np.int32)
    return IntegrateFire(level, level // 2) if not signed else Signed(level, level // 2, signed == "memory")


Step = tuple[tuple[Route, ...], Synapse]


def check(network: Network, *, threads: tuple[int, ...] = (1, 3), seed: int = 5) -> None:
    rng = np.random.default_rng(seed)
    values = {p.name: rng.random(p.shape).astype(np.float32) for p in network.encoders}
    spikes, potentials = brute(network, values, seed)
    for n in threads:
        engine = FastEngine(network, n)
        trace = engine.run(values, T, seed=seed, record=True, prefixes=True)
        assert trace.spikes.keys() == spikes.keys()
        for name, train in spikes.items():
            assert trace.spikes[name].dtype == np.int8
            np.testing.assert_array_equal(trace.spikes[name], train, err_msg=name)
        for name, potential in potentials.items():
            np.testing.assert_array_equal(trace.potentials[name], potential)
        assert trace.counts.same(closed_form(network, trace.spikes))
        last = engine.run(values, T, seed=seed)
        assert not last.spikes and last.counts.same(trace.counts)
        for name, potential in potentials.items():
            np.testing.assert_array_equal(last.potentials[name], potential[-1])
    for name, train in spikes.items():
        assert np.any(train), f"{name} is silent: the test shows nothing"


def through(
    shape: tuple[int, ...], step: Step, signed: str = "", pre_signed: str = "", seed: int = 0, shift: bool = False
) -> Network:
    """Constant encoder -> relay -> [step] -> neurons -> readout."""
    rng = np.random.default_rng(seed)
    routing, synapse = step
    routed = shape
    for route in routing:
        routed = route.shape(routed)
    post = synapse.shape(routed)
    kind = neuron(rng, post[0], signed)
    populations = (
        Population("in", shape, Constant(255.0, 0, 255)),
        Population("a", shape, neuron(rng, shape[0], pre_signed, 200), integers(rng, shape[0], top=30)),
        Population("b", post, kind, integers(rng, post[0], top=9) + 20),
        Population("out", post, Readout(np.ones(post[0], np.float32))),
    )
    low = integers(rng, shape[0], top=3)
    projections = (
        Projection("in", "a", Diagonal(np.where(low == 0, 1, low), np.full(shape[0], -1 if shift else 0))),
        Projection("a", "b", synapse, routing),
        Projection("b", "out", Diagonal(integers(rng, post[0]))),
    )
    return Network({}, (), populations, projections)


R = np.random.default_rng(1)
E3 = (1, 1, 1)
CASES: dict[str, tuple[tuple[int, ...], Step]] = {
    "conv1d": ((5, 11), ((), Conv(integers(R, 7, 5, 3), (1,), (1,), (1, 1)))),
    "conv2d": ((3, 7, 6), ((), Conv(integers(R, 20, 3, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1)))),
    "conv3d": ((4, 4, 5, 3), ((), Conv(integers(R, 6, 4, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1,) * 6))),
    "wide": ((19, 4, 5), ((), Conv(integers(R, 120, 19, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1)))),
    "int32": ((5, 6, 6), ((), Conv(integers(R, 9, 5, 3, 3, top=30000), (1, 1), (1, 1), (1, 1, 1, 1)))),
    "strided": ((3, 9, 8), ((), Conv(integers(R, 5, 3, 3, 2), (2, 3), (1, 1), (1, 0, 2, 1)))),
    "dilated": ((3, 9, 8), ((), Conv(integers(R, 5, 3, 3, 3), (1, 2), (2, 3), (2, 3, 2, 3)))),
    "groups": ((6, 5, 5), ((), Conv(integers(R, 4, 3, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2))),
    "depthwise": ((18, 5, 5), ((), Conv(integers(R, 18, 1, 3, 3), (2, 1), (1, 1), (1, 1, 1, 1), 18))),
    "multiplier": ((4, 5, 5), ((), Conv(integers(R, 12, 1, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 4))),
    "transpose": ((3, 4, 5), ((), ConvTranspose(integers(R, 3, 5, 3, 2), (2, 2), (1, 1), (1, 0, 1, 0), (1, 1)))),
    "transpose3d": ((3, 2, 3, 2), ((), ConvTranspose(integers(R, 3, 4, 2, 2, 2), (2,) * 3, E3, (0,) * 6, (0,) * 3))),
    "transpose_groups": ((4, 4), ((), ConvTranspose(integers(R, 4, 3, 3), (2,), (2,), (1, 1), (1,), 2))),
    "pool": ((5, 6, 7), ((), Pool(integers(R, 5) + 50, (2, 3), (2, 2), (0, 1, 1, 1), (1, 1)))),
    "diagonal": ((17, 3, 4), ((), Diagonal(integers(R, 17)))),
    "dense": ((24,), ((), Dense(integers(R, 33, 24)))),
    "flatten": ((3, 4, 2), ((Reshape((24,)),), Dense(integers(R, 10, 24)))),
    "unflatten": ((24,), ((Reshape((2, 3, 4)),), Conv(integers(R, 5, 2, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1)))),
    "upsample": ((3, 4, 3), ((Upsample((2, 3)),), Conv(integers(R, 6, 3, 3, 3), (1, 1), (1, 1), (1, 1, 1, 1)))),
    "upsample3d": ((2, 2, 3, 2), ((Upsample((2, 2, 2)),), Conv(integers(R, 6, 2, 3, 3, 3), E3, E3, (1,) * 6))),
    "upsample_pool": ((3, 4, 3), ((Upsample((2, 2)),), Pool(integers(R, 3) + 30, (3, 3), (1, 1), (1,) * 4, (1, 1)))),
    "upsample_groups": ((4, 4), ((Upsample((2,)),), Conv(integers(R, 6, 2, 3), (1,), (1,), (1, 1), 2))),
    "pad": ((3, 4, 5), ((Pad((1, 0), (2, 3)),), Conv(integers(R, 6, 3, 3, 3), (1, 1), (1, 1), (0,) * 4))),
    "crop": ((3, 6, 5), ((Slice((0, 1, 2), (3, 5, 5)),), Conv(integers(R, 6, 3, 3, 3), (1, 1), (1, 1), (1,) * 4))),
    "slice": (
        (9, 4, 5),
        ((Slice((2, 0, 1), (7, 4, 5)), Upsample((1, 2))), Conv(integers(R, 6, 5, 3, 3), (1, 1), (1, 1), (1,) * 4)),
    ),
    # a block of four groups, and the last group, which has fewer channels and so another form
    "groups_left_over": ((20, 4, 3), ((), Conv(integers(R, 80, 4, 3, 1), (1, 1), (1, 1), (1, 0, 1, 0), 5))),
}  # fmt: skip


@pytest.mark.parametrize("signs", [("", ""), ("memory", "free")], ids=["unsigned", "signed"])
@pytest.mark.parametrize("case", CASES)
def test_every_synapse(case: str, signs: tuple[str, str]) -> None:
    shape, step = CASES[case]
    check(through(shape, step, *signs))


GATES: dict[str, tuple[tuple[int, ...], tuple[Route, ...], Window]] = {
    "plain": ((3, 6, 4), (), Window(np.ones(3), (2, 2), (2, 2), (0,) * 4, (1, 1))),
    "overlap": ((9, 7, 6), (), Window(np.ones(9), (3, 3), (2, 1), (1, 1, 1, 1), (1, 1))),
    "dilated1d": ((2, 9), (), Window(np.ones(2), (3,), (1,), (2, 2), (2,))),
    "3d": ((3, 4, 3, 4), (), Window(np.ones(3), (2, 2, 2), (2, 1, 2), (0,) * 6, (1, 1, 1))),
    "pad_route": ((3, 5, 4), (Pad((1, 1), (1, 0)),), Window(np.ones(3), (2, 2), (2, 1), (0,) * 4, (1, 1))),
    "upsample": ((3, 3, 3), (Upsample((2, 2)),), Window(np.ones(3), (3, 3), (1, 1), (1,) * 4, (1, 1))),
    "slice": ((5, 4, 4), (Slice((1, 0, 0), (4, 4, 4)),), Window(np.ones(3), (2, 2), (1, 1), (0,) * 4, (1, 1))),
}


@pytest.mark.parametrize("signed", ["", "memory", "free"])
@pytest.mark.parametrize("case", GATES)
def test_max_gate(case: str, signed: str) -> None:
    rng = np.random.default_rng(3)
    shape, routing, window = GATES[case]
    routed = shape
    for route in routing:
        routed = route.shape(routed)
    post = window.shape(routed)
    populations = (
        Population("in", shape, Poisson(0.9)),
        Population("a", shape, neuron(rng, shape[0], signed, 40), np.full(shape[0], 10)),
        Population("gate", post, MaxGate()),
        Population("b", post, neuron(rng, post[0], signed, 20), np.full(post[0], 5)),
        Population("out", post, Readout(np.ones(post[0], np.float32))),
    )
    rank = len(shape) - 1
    one = (1,) * rank
    projections = (
        Projection("in", "a", Conv(integers(rng, shape[0], shape[0], *(3,) * rank), one, one, one * 2)),
        Projection("a", "gate", window, routing),
        Projection("gate", "b", Diagonal(integers(rng, post[0]))),
        Projection("b", "out", Diagonal(integers(rng, post[0]))),
    )
    check(Network({}, (), populations, projections))


def test_currents_of_many_kinds_add() -> None:
    """Analog and spikes, shifts, two projections between the same populations, a bias map, a population on its own."""
    rng = np.random.default_rng(4)
    shape, post = (3, 5, 6), (20, 5, 6)
    populations = (
        Population("x", shape, Constant(200.0, 0, 150)),
        Population("noise", (2, 5, 6), Poisson()),
        Population("alone", (2, 5, 6), neuron(rng, 2, "", 20), np.array([7, 11])),
        Population("b", post, neuron(rng, 20, "free", 400), integers(rng, *post)),
        Population("small", (4,), neuron(rng, 4, "memory", 300), integers(rng, 4) + 60),
        Population("out", post, Readout(np.ones(20, np.float32)), integers(rng, 20)),
        Population("flat", (3,), Readout(np.ones(3, np.float32))),
    )
    projections = (
        Projection("x", "b", same(integers(rng, 20, 3, 3, 3), 1, rng.integers(-6, 1, 20))),
        Projection("noise", "b", same(integers(rng, 20, 2, 3, 3), 1, rng.integers(0, 3, 20))),
        Projection("alone", "b", same(integers(rng, 20, 1, 3, 3), 2, rng.integers(0, 3, 20))),
        Projection("alone", "b", Conv(integers(rng, 20, 2, 1, 1), (1, 1), (1, 1), (0,) * 4), (), (), 1),
        Projection("x", "b", Conv(integers(rng, 20, 3, 1, 1), (1, 1), (1, 1), (0,) * 4), (), (), 1),
        Projection("x", "small", Dense(integers(rng, 4, 90), rng.integers(-8, -5, 4)), (Reshape((90,)),)),
        Projection("b", "small", Dense(integers(rng, 4, 600)), (Reshape((600,)),)),
        Projection("b", "out", Pool(integers(rng, 20), (3, 3), (1, 1), (1,) * 4, (1, 1), rng.integers(0, 2, 20))),
        Projection("small", "flat", Dense(integers(rng, 3, 4))),
    )
    check(Network({}, (), populations, projections))


def test_float_network() -> None:
    """With weights on a grid, float32 sums are exact and the order cannot matter; without one they are close."""
    rng = np.random.default_rng(6)
    shape, post = (6, 5, 6), (40, 5, 6)

    def network(grid: float) -> Network:
        def real(*size: int) -> Array:
            return (integers(rng, *size) / 64 + (0 if grid else rng.random(size) / 64)).astype(np.float32)

        level = np.full(40, 1.0, np.float32)
        populations = (
            Population("x", shape, Constant(16.0, 0, 16) if grid else Constant()),
            Population("p", shape, Poisson()),
            Population("b", post, IntegrateFire(level, level / 2), real(40)),
            Population("c", post, Signed(level, level / 2, False), real(*post)),
            Population("out", (7, 5, 6), Readout(np.ones(7, np.float32), integer=False)),
        )
        projections = (
            Projection("x", "b", same(real(40, 6, 3, 3))),
            Projection("p", "b", same(real(40, 6, 3, 3))),
            Projection("b", "c", same(real(40, 1, 3, 3), 40)),
            Projection("c", "out", Conv(real(7, 40, 1, 1), (1, 1), (1, 1), (0,) * 4)),
        )
        return Network({}, (), populations, projections)

    check(network(1.0))
    free = network(0.0)
    values = {p.name: rng.random(p.shape).astype(np.float32) for p in free.encoders}
    one, two = (FastEngine(free, n).run(values, T, record=True) for n in (1, 2))
    np.testing.assert_array_equal(one.potentials["out"], two.potentials["out"])
    assert one.counts.same(two.counts) and one.counts.same(closed_form(free, one.spikes))
    spikes, _ = brute(free, values, 0)
    assert np.mean(spikes["b"] != one.spikes["b"]) < 0.01


def test_refuses_what_it_cannot_run() -> None:
    rng = np.random.default_rng(7)
    good = through(*CASES["dense"])
    pre, post = good.populations[1:3]
    with pytest.raises(DataError, match="nothing was given"):
        FastEngine(good).run({}, T)
    with pytest.raises(DataError, match="shape"):
        FastEngine(good).run({"in": np.zeros(3, np.float32)}, T)
    half = Projection(pre.name, post.name, Dense(rng.random((33, 24)).astype(np.float32)))
    with pytest.raises(PlanError, match="integer weights"):
        FastEngine(good.with_projections({good.projections[1]: half}))
    down = Projection(pre.name, post.name, Dense(integers(rng, 33, 24), np.full(33, -1)))
    with pytest.raises(PlanError, match="shifts"):
        FastEngine(good.with_projections({good.projections[1]: down}))


def test_every_neuron_has_a_kernel() -> None:
    """A file in snncc/neurons, or that of the kind it derives from, has one of the same name in runtime/kernels."""
    kernels = {p.stem for p in (Path(__file__).resolve().parents[1] / "runtime" / "kernels").glob("*.py")}

    def covered(kind: type) -> bool:
        return any(base.__module__.rpartition(".")[2] in kernels for base in kind.__mro__ if base in KINDS)

    missing = [kind.op for kind in KINDS if not covered(kind)]
    assert not missing, f"no kernel in runtime/kernels for {missing}"
