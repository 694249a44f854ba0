"""One network, every engine, every count: equal means ==."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from snncc.counting import Counts, closed_form
from snncc.encoders import SpikeTrain
from snncc.errors import PassError
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.interlude import stretches
from snncc.network import Network, Population, Projection
from snncc.neurons import LeakyRectifier, Linear, MaxGate, Readout, Rectifier
from snncc.passes.lower import Lower
from snncc.passes.recipe import default_pipeline, graph_passes
from snncc.pipeline import Context, run_pipeline
from snncc.runtime.fast import FastEngine
from snncc.runtime.host import InterludeSession, run_graph
from snncc.runtime.onnx_engine import OnnxEngine
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import ConvTranspose, Dense, Diagonal, Pool, Resample
from snncc.synapses.apply import apply
from snncc.synapses.routing import apply_all
from tests.random_teachers import teachers

NEURONS = (
    "if", "if:zero", "if:first", "if:zero:first", "leaky", "leaky:0.5:zero", "leaky:0.8:first", "signed", "settled",
    "multi-threshold:1", "multi-threshold:2", "multi-threshold:4", "multi-threshold:3:signed",
)  # fmt: skip
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
THOROUGH = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def sample(graph: Graph, rng: np.random.Generator, low: float = 0.0) -> dict[str, Array]:
    """Numbers from `low` to 1 for every input."""
    return {name: (low + rng.random(graph.shape(name)) * (1 - low)).astype(np.float32) for name in graph.inputs}


def context(graph: Graph, low: float = 0.0, samples: int = 3) -> Context:
    rng = np.random.default_rng(0)
    data = [sample(graph, rng, low) for _ in range(samples)]

    def stream() -> Iterator[dict[str, Array]]:
        yield from data

    return Context(samples=stream, evaluate=run_graph)


def compiled(graph: Graph, low: float = 0.0, **options: Any) -> Network:
    """By default a rate code of signed neurons: it runs any number of steps."""
    options = {"code": "rate", "calibration": "percentile:99.9", **options}
    network = run_pipeline(graph, default_pipeline(**options), context(graph, low))
    assert isinstance(network, Network)
    return network.with_meta(timesteps=4)


def before_encoders(network: Network, feeds: dict[str, Array]) -> dict[str, Array]:
    """Inputs and values of the prologue."""
    return feeds | (run_graph(network.prologue, feeds, network.prologue.outputs) if network.prologue else {})


def ideal(network: Network, feeds: dict[str, Array]) -> dict[str, Array]:
    """Outputs of the lowered network on analog values: rectifiers rectify, gates take the maximum."""
    found: dict[str, Array] = {}
    values, analog = before_encoders(network, feeds), stretches(network)
    for population in network.populations:
        if population.name in analog:
            part = analog[population.name]
            values |= run_graph(part, values, part.outputs)
        if population.is_encoder:
            found[population.name] = values[population.value][0]
            continue
        total = np.zeros(population.shape)
        for projection in network.incoming(population):
            pre = network[projection.pre]
            routed = apply_all(projection.routing, found[pre.name], pre.shape)
            if isinstance(population.kind, MaxGate):
                total = window_max(projection, routed)
            else:
                total = total + apply(projection.synapse, routed)
        if population.bias is not None:
            bias = population.bias
            total = total + bias.reshape(bias.shape + (1,) * (total.ndim - bias.ndim))
        found[population.name] = activation(population, total)
        if population.is_readout:
            values[population.value] = found[population.name][None].astype(np.float32)
    left = [name for name in network.outputs if name not in values]
    return values | (run_graph(network.epilogue, values, left) if network.epilogue and left else {})


def activation(population: Population, x: Array) -> Array:
    match population.kind:
        case Rectifier(ceiling=top):
            return np.clip(x, 0, top)
        case LeakyRectifier(slope=slope):
            return np.where(x < 0, x * slope.reshape(-1, *(1,) * (x.ndim - 1)), x)
        case kind:
            assert isinstance(kind, Linear | MaxGate | Readout)
            return x


def window_max(projection: Projection, x: Array) -> Array:
    pool = projection.synapse
    assert isinstance(pool, Pool)
    for axis in range(x.ndim - 1):
        padded = np.concatenate([x, np.full_like(np.take(x, [0], axis=1 + axis), -np.inf)], axis=1 + axis)
        x = np.take(padded, pool.taps(axis, x.shape[1 + axis]), axis=1 + axis).max(axis=2 + axis)
    return x


def brute_force(network: Network, projection: Projection) -> tuple[Array, Array, Array]:
    """(synapses, nonzero, paths) per pre neuron by walking every output, kernel index and channel in plain loops."""
    pre = network[projection.pre]
    neurons = apply_all(projection.routing, np.arange(1, pre.size + 1).reshape(pre.shape), pre.shape)
    synapse, shape = projection.synapse, network.routed_shape(projection)
    weights: dict[tuple[int, tuple[int, ...]], float] = {}
    paths = np.zeros(pre.size, np.int64)

    def meet(source: tuple[int, ...], post: tuple[int, ...], weight: float) -> None:
        neuron = int(neurons[source]) - 1
        if neuron >= 0:
            paths[neuron] += 1
            weights[neuron, post] = weights.get((neuron, post), 0.0) + weight

    out = synapse.shape(shape)
    if isinstance(synapse, Dense):
        for o, i in product(range(out[0]), range(shape[0])):
            meet((i,), (o,), float(synapse.weight[o, i]))
    elif isinstance(synapse, Diagonal):
        for place in product(*map(range, shape)):
            meet(place, place, float(synapse.weight[place[0]]))
    elif isinstance(synapse, Resample):
        for place, target in product(product(*map(range, shape)), product(*map(range, out[1:]))):
            entries = [m[o, i] for m, o, i in zip(synapse.matrices, target, place[1:], strict=True)]
            if all(entries):
                meet(place, (place[0], *target), float(synapse.weight[place[0]] * np.prod(entries)))
    elif isinstance(synapse, ConvTranspose):
        cin, per_group = synapse.weight.shape[:2]
        for place in product(*map(range, shape)):
            group = place[0] // (cin // synapse.group)
            for k in product(*map(range, synapse.weight.shape[2:])):
                at = tuple(
                    i * s + j * d - p
                    for i, s, j, d, p in zip(place[1:], synapse.stride, k, synapse.dilation, synapse.pads, strict=False)
                )
                if all(0 <= o < n for o, n in zip(at, out[1:], strict=True)):
                    for c in range(per_group):
                        meet(place, (group * per_group + c, *at), float(synapse.weight[(place[0], c, *k)]))
    else:
        pool = isinstance(synapse, Pool)
        kernel = synapse.kernel if isinstance(synapse, Pool) else synapse.weight.shape[2:]
        per_row = 1 if pool else synapse.weight.shape[1]
        geometry = synapse.attributes()
        for post in product(*map(range, out)):
            first = post[0] if pool else post[0] // (out[0] // synapse.groups) * per_row
            for k in product(*map(range, kernel)):
                at = tuple(
                    o * s + j * d - p
                    for o, s, j, d, p in zip(
                        post[1:], geometry["stride"], k, geometry["dilation"], geometry["pads"], strict=False
                    )
                )
                if all(0 <= i < n for i, n in zip(at, shape[1:], strict=True)):
                    for c in range(per_row):
                        w = float(synapse.weight[post[0]] if pool else synapse.weight[(post[0], c, *k)])
                        meet((first + c, *at), post, w)
    synapses, nonzero = np.zeros(pre.size, np.int64), np.zeros(pre.size, np.int64)
    for (neuron, _), weight in weights.items():
        synapses[neuron] += 1
        nonzero[neuron] += weight != 0
    return synapses, nonzero, paths


def brute_counts(network: Network, spikes: dict[str, Array]) -> Counts:
    steps = next(iter(spikes.values())).shape[0]
    counts = Counts(steps)
    events = {
        name: np.array([bin(abs(int(s))).count("1") for s in train.ravel()], np.int64).reshape(steps, -1)
        for name, train in spikes.items()
    }
    counts.events |= {name: train.sum(1).astype(np.uint64) for name, train in events.items()}
    for projection in network.projections:
        fans = brute_force(network, projection)
        if network.analog(projection):
            counts.macs[projection.name] = int(fans[0].sum())
            continue
        train = events[projection.pre]
        stores = (counts.synops, counts.synops_nonzero, counts.synops_paths)
        for store, fan in zip(stores, fans, strict=True):
            store[projection.name] = (train @ fan).astype(np.uint64)
    return counts


def check_lowering(model: onnx.ModelProto, low: float = 0.0, allow_analog: bool = False) -> Network:
    """The lowered network computes what the teacher does."""
    graph = ingest(model)
    feeds = sample(graph, np.random.default_rng(1), low)
    network = run_pipeline(graph, [*graph_passes(), Lower(allow_analog)], Context())
    assert isinstance(network, Network)
    found, want = ideal(network, feeds), run_graph(graph, feeds, graph.outputs)
    for name in graph.outputs:
        assert found[name].shape == want[name].shape
        scale = float(np.abs(want[name]).max()) + 1e-3
        np.testing.assert_allclose(found[name], want[name], rtol=0, atol=2e-5 * scale)
    return network


def check_engines(network: Network, feeds: dict[str, Array], steps: int = 4) -> None:
    """Every engine gives the same spikes, potentials and counts."""
    before = before_encoders(network, feeds)
    values = {p.name: before[p.value][0] for p in network.encoders if not network.is_midway(p)}
    between = InterludeSession(network)
    rng = np.random.default_rng(4)
    for p in network.encoders:
        if isinstance(p.kind, SpikeTrain):
            values[p.name] = rng.integers(-p.kind.negative, 2, (steps, *p.shape)).astype(np.float32)
    run: dict[str, Any] = {"seed": 3, "record": True, "prefixes": True}
    reference = ReferenceEngine(network).run(values, steps, interlude=between.during(dict(before), steps), **run)
    counts = closed_form(network, reference.spikes)
    counts.timesteps = steps  # which no spike train tells where nothing fires
    assert counts.same(reference.counts)
    assert not reference.spikes or counts.same(brute_counts(network, reference.spikes))
    for engine in (FastEngine(network), OnnxEngine(network)):
        trace = engine.run(values, steps, interlude=between.during(dict(before), steps), **run)
        assert trace.spikes.keys() == reference.spikes.keys()
        for name, train in reference.spikes.items():
            np.testing.assert_array_equal(trace.spikes[name], train, err_msg=f"{type(engine).__name__} {name}")
        for name, potential in reference.potentials.items():
            np.testing.assert_array_equal(trace.potentials[name], potential, err_msg=name)
        assert counts.same(trace.counts), type(engine).__name__


def check_model(model: onnx.ModelProto, low: float = 0.0, **options: Any) -> Network:
    graph = ingest(model)
    try:
        network = compiled(graph, low, **options)
    except PassError as error:
        assert "could overflow in one step" in error.message  # a leak times a large sum
        reject()
    steps = min(4, network.meta.get("t_max", 4))
    check_engines(network, sample(graph, np.random.default_rng(2), low), steps)
    return network


@st.composite
def codes(draw: st.DrawFn) -> dict[str, Any]:
    """Options of the recipe: every kind of neuron, every variant of it, with the encoders that go with it."""
    if draw(st.integers(0, 4)) == 0:
        return {"code": f"radix:{draw(st.integers(1, 4))}"}
    neuron = draw(st.sampled_from(NEURONS))
    return {"neuron": neuron, "encoder": draw(st.sampled_from(["constant", "constant", "poisson", "spikes"]))}


@QUICK
@given(teachers())
def test_the_lowered_network_is_the_teacher(model: onnx.ModelProto) -> None:
    check_lowering(model, low=-1.0)


@QUICK
@given(teachers(), codes(), st.sampled_from([0.0, -0.5]))
def test_every_engine_gives_the_same_spikes_and_counts(
    model: onnx.ModelProto, options: dict[str, Any], low: float
) -> None:
    check_model(model, low, **options)


@pytest.mark.slow
@THOROUGH
@given(teachers())
def test_the_lowered_network_is_the_teacher_thoroughly(model: onnx.ModelProto) -> None:
    check_lowering(model, low=-1.0)


@pytest.mark.slow
@THOROUGH
@given(teachers(), codes(), st.sampled_from([0.0, -0.5]))
def test_every_engine_agrees_thoroughly(model: onnx.ModelProto, options: dict[str, Any], low: float) -> None:
    check_model(model, low, **options)
