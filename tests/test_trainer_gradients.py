"""Surrogate gradients against hand-written recursions, flow against its definition, linear maps by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snncc.encoders import Constant
from snncc.graph import Array
from snncc.ingest import ingest
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, Leaky, Neuron, Radix, Readout, Settled, Signed
from snncc.runtime.host import run_graph
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal
from tests.onnx_models import model

torch = pytest.importorskip("torch")
from snncc.trainer import SpikingModule  # noqa: E402
from snncc.trainer.analog import evaluate  # noqa: E402
from snncc.trainer.linear import linear  # noqa: E402
from snncc.trainer.surrogate import surrogate  # noqa: E402

STEPS, N = 6, 3
ONE, HALF = np.ones(N, np.float32), np.full(N, 0.5, np.float32)


def chain(kind: Neuron, rng: np.random.Generator) -> tuple[Network, list[Array]]:
    """x -> A -> B -> readout, dense, float32."""
    weights = [rng.normal(size=(N, N)).astype(np.float32) * np.float32(0.8) for _ in range(2)]
    weights.append(rng.normal(size=(1, N)).astype(np.float32))
    unit = np.ones(N)
    readout = Readout(np.ones(1, np.float32), integer=False, base=kind.base)
    populations = (
        Population("x", (N,), Constant(), unit=unit, value="x"),
        Population("a", (N,), kind, unit=unit),
        Population("b", (N,), kind, unit=unit),
        Population("y", (1,), readout, unit=np.ones(1), value="y"),
    )
    names = ("x", "a", "b", "y")
    projections = tuple(
        Projection(pre, post, Dense(w)) for pre, post, w in zip(names, names[1:], weights, strict=False)
    )
    meta = {"precision": "float32", "timesteps": STEPS}
    return Network({"x": (1, N)}, ("y",), populations, projections, meta=meta), weights


def triangle(x: Array) -> Array:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def layer(kind: Neuron, current: Array, tangent: Array) -> tuple[Array, Array]:
    """Spikes [T, N] and their derivatives [T, N, P] from those of the current, step by step: forward mode."""
    v, dv = np.full(N, 0.5), np.zeros((N, tangent.shape[2]))
    n = np.zeros(N)
    spikes, derivatives = [], []
    for i, di in zip(current, tangent, strict=True):
        leak = kind.multiplier / 256 if isinstance(kind, Leaky) else 1.0
        v, dv = leak * v + i, leak * dv + di
        s = (v >= 1).astype(float)
        ds = triangle(v - 1)[:, None] * dv
        if isinstance(kind, Signed):
            down = ((v < 0) & (n > 0)).astype(float)
            ds = ds + (triangle(-v) * (n > 0))[:, None] * dv
            s = s - down
        n = n + s
        if isinstance(kind, IntegrateFire) and kind.to_zero:
            v, dv = v * (1 - s), dv * (1 - s)[:, None] - v[:, None] * ds
        else:
            v, dv = v - s, dv - ds
        spikes.append(s)
        derivatives.append(ds)
    return np.stack(spikes), np.stack(derivatives)


@pytest.mark.parametrize(
    "kind",
    [
        IntegrateFire(ONE, HALF),
        IntegrateFire(ONE, HALF, to_zero=True),
        Leaky(ONE, HALF, multiplier=230),
        Signed(ONE, HALF),
    ],
    ids=["soft", "zero", "leaky", "signed"],
)
def test_back_propagation_through_time(kind: Neuron) -> None:
    rng = np.random.default_rng(3)
    network, (w1, w2, w3) = chain(kind, rng)
    x = rng.random(N).astype(np.float32)
    module = SpikingModule(network)
    module(torch.as_tensor(x[None]))["y"].sum().backward()

    size = w1.size + w2.size
    di = np.zeros((STEPS, N, size))
    for o in range(N):
        di[:, o, o * N : (o + 1) * N] = x
    s1, ds1 = layer(kind, np.tile(w1 @ x, (STEPS, 1)), di)
    di = np.einsum("on,tnp->top", w2, ds1)
    for o in range(N):
        di[:, o, w1.size + o * N : w1.size + (o + 1) * N] += s1
    s2, ds2 = layer(kind, s1 @ w2.T, di)
    assert 0 < np.abs(s1).sum() < STEPS * N
    wanted = np.einsum("on,tnp->p", w3, ds2) / STEPS
    found = np.concatenate([module.links[k].weight.grad.numpy().ravel() for k in (0, 1)])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.links[2].weight.grad.numpy()[0], s2.sum(0) / STEPS, rtol=1e-5)


@pytest.mark.parametrize(("kind", "most"), [(Settled(ONE, HALF), STEPS), (Radix(ONE, HALF), 2**STEPS - 1)])
def test_what_waits_is_a_quantised_relu(kind: Neuron, most: int) -> None:
    """Its gradient is 1 between the first level and the last, with a ramp of one level at both ends."""
    rng = np.random.default_rng(5)
    network, (w1, w2, w3) = chain(kind, rng)
    x = rng.random(N).astype(np.float32)
    module = SpikingModule(network)
    module(torch.as_tensor(x[None]))["y"].sum().backward()
    count = STEPS if kind.base == 1 else most

    def level(u: Array) -> tuple[Array, Array]:
        return np.clip(np.floor(u), 0, most), np.clip(np.minimum(u, most + 1 - u), 0, 1)

    n1, g1 = level(w1 @ x * count + 0.5)
    _, g2 = level(w2 @ n1 + 0.5)
    wanted = np.outer((w2.T @ (w3[0] * g2)) * g1, x * count) / count
    np.testing.assert_allclose(module.links[0].weight.grad.numpy(), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.links[1].weight.grad.numpy(), np.outer(w3[0] * g2, n1) / count, rtol=1e-4)


def test_flow_is_its_definition() -> None:
    """dO/dI = 1 / theta where the summed current is above zero (Wu et al., 2021), on the numbers of a simulation."""
    rng = np.random.default_rng(7)
    kind = IntegrateFire(ONE, HALF)
    network, (w1, w2, w3) = chain(kind, rng)
    x = rng.random(N).astype(np.float32)
    module = SpikingModule(network, flow=True)
    module(torch.as_tensor(x[None]))["y"].sum().backward()
    nothing = np.zeros((STEPS, N, 1))
    s1, _ = layer(kind, np.tile(w1 @ x, (STEPS, 1)), nothing)
    gate1, gate2 = (w1 @ x > 0).astype(float), (w2 @ s1.sum(0) > 0).astype(float)
    wanted = np.outer((w2.T @ (w3[0] * gate2)) * gate1, x)
    np.testing.assert_allclose(module.links[0].weight.grad.numpy(), wanted, rtol=1e-4, atol=1e-6)
    wanted = np.outer(w3[0] * gate2, s1.sum(0)) / STEPS
    np.testing.assert_allclose(module.links[1].weight.grad.numpy(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("synapse", "shape"),
    [
        (Conv(np.zeros((4, 1, 3), np.float32), (2,), (1,), (1, 0), 2), (2, 9)),
        (ConvTranspose(np.zeros((2, 3, 2, 3), np.float32), (2, 2), (1, 1), (0, 1, 1, 0), (1, 0)), (2, 4, 3)),
        (Dense(np.zeros((2, 5), np.float32)), (5,)),
        (Diagonal(np.zeros(3, np.float32)), (3, 2, 2)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_linear_maps_by_finite_differences(synapse: Any, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(synapse.weight.shape, dtype=torch.float64, generator=generator, requires_grad=True)
    x = torch.randn((2, *shape), dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, v: linear(synapse, w, v), (weight, x))


def test_the_largest_of_three() -> None:
    graph = ingest(model("""agraph (float[1,60] x, float[1,60] xb, float[1,60] xc) => (float y, float z) {
        y = Max (x, xb, xc)
        z = Min (x, xb, xc) }"""))
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(1, 60)).astype(np.float32) for name in graph.inputs}
    found = evaluate(graph, {name: torch.as_tensor(x) for name, x in feeds.items()}, graph.outputs)
    for name, value in run_graph(graph, feeds, graph.outputs).items():
        assert np.array_equal(found[name].numpy(), value)


def test_surrogates_at_some_points() -> None:
    x = torch.tensor([0.0, 0.5, -2.0])
    assert torch.equal(surrogate("triangle:0.3")(x), torch.tensor([0.3, 0.15, 0.0]))
    torch.testing.assert_close(surrogate("sigmoid:4")(x)[0], torch.tensor(1.0))
    torch.testing.assert_close(surrogate("atan")(x)[0], torch.tensor(1.0))
    torch.testing.assert_close(surrogate("superspike:2")(x), torch.tensor([1.0, 0.25, 0.04]))
    torch.testing.assert_close(surrogate("stdb")(torch.tensor([0.0])), torch.tensor([0.3]))
