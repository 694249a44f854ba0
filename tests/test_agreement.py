"""One network, every engine, every count: equal means ==."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snncc.counting import Counts, closed_form
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.network import Network, Projection
from snncc.neurons import Linear, MaxGate, Readout, Rectifier
from snncc.passes.lower import Lower
from snncc.passes.recipe import default_pipeline, graph_passes
from snncc.pipeline import Context, run_pipeline
from snncc.runtime.fast import FastEngine
from snncc.runtime.host import run_graph
from snncc.runtime.onnx_engine import OnnxEngine
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import ConvTranspose, Dense, Diagonal, Pool
from snncc.synapses.apply import apply
from snncc.synapses.routing import apply_all
from tests.random_teachers import teachers

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
THOROUGH = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def context(graph: Graph, seed: int = 0, samples: int = 3) -> Context:
    rng = np.random.default_rng(seed)
    shape = graph.shape("x")
    data = [{"x": rng.random(shape).astype(np.float32)} for _ in range(samples)]

    def stream() -> Iterator[dict[str, Array]]:
        yield from data

    return Context(samples=stream, evaluate=run_graph)


def compiled(model: onnx.ModelProto, **options: Any) -> Network:
    graph = ingest(model)
    network = run_pipeline(graph, default_pipeline(**options), context(graph))
    assert isinstance(network, Network)
    return network.with_meta(timesteps=4)


def ideal(network: Network, x: Array) -> dict[str, Array]:
    """The lowered network on analog values: rectifiers rectify, gates take the maximum. Value -> array."""
    found: dict[str, Array] = {}
    for population in network.populations:
        if population.is_encoder:
            found[population.name] = x
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
        found[population.name] = np.maximum(total, 0) if isinstance(population.kind, Rectifier) else total
        assert isinstance(population.kind, Rectifier | Linear | MaxGate | Readout)
    return {p.value: found[p.name] for p in network.readouts}


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
    for name, train in spikes.items():
        counts.events[name] = np.array([np.count_nonzero(s) for s in train], np.uint64)
    for projection in network.projections:
        fans = brute_force(network, projection)
        if network.analog(projection):
            counts.macs[projection.name] = int(fans[0].sum())
            continue
        train = np.abs(spikes[projection.pre]).reshape(steps, -1).astype(np.int64)
        stores = (counts.synops, counts.synops_nonzero, counts.synops_paths)
        for store, fan in zip(stores, fans, strict=True):
            store[projection.name] = (train @ fan).astype(np.uint64)
    return counts


def check_lowering(model: onnx.ModelProto) -> None:
    graph = ingest(model)
    x = np.random.default_rng(1).random(graph.shape("x")).astype(np.float32)
    network = run_pipeline(graph, [*graph_passes(), Lower()], Context())
    assert isinstance(network, Network)
    found = ideal(network, x[0])
    want = run_graph(graph, {"x": x}, graph.outputs)
    feeds = {value: found[value][None].astype(np.float32) for value in found}
    if network.epilogue is not None:
        feeds = dict(run_graph(network.epilogue, feeds | {"x": x}, network.epilogue.outputs))
    for name in graph.outputs:
        scale = float(np.abs(want[name]).max()) + 1e-3
        np.testing.assert_allclose(feeds[name], want[name], rtol=0, atol=2e-5 * scale)


def check_engines(model: onnx.ModelProto, neuron: str, encoder: str) -> None:
    network = compiled(model, neuron=neuron, encoder=encoder)
    rng = np.random.default_rng(2)
    values = {p.name: rng.random(p.shape).astype(np.float32) for p in network.encoders}
    run: dict[str, Any] = {"seed": 3, "record": True, "prefixes": True}
    reference = ReferenceEngine(network).run(values, 4, **run)
    counts = closed_form(network, reference.spikes)
    assert counts.same(reference.counts)
    assert counts.same(brute_counts(network, reference.spikes))
    for engine in (FastEngine(network), OnnxEngine(network)):
        trace = engine.run(values, 4, **run)
        assert trace.spikes.keys() == reference.spikes.keys()
        for name, train in reference.spikes.items():
            np.testing.assert_array_equal(trace.spikes[name], train, err_msg=f"{type(engine).__name__} {name}")
        for name, potential in reference.potentials.items():
            np.testing.assert_array_equal(trace.potentials[name], potential, err_msg=name)
        assert counts.same(trace.counts), type(engine).__name__


@QUICK
@given(teachers())
def test_the_lowered_network_is_the_teacher(model: onnx.ModelProto) -> None:
    check_lowering(model)


@QUICK
@given(teachers(), st.sampled_from(["if", "signed"]), st.sampled_from(["constant", "constant", "poisson"]))
def test_every_engine_gives_the_same_spikes_and_counts(model: onnx.ModelProto, neuron: str, encoder: str) -> None:
    check_engines(model, neuron, encoder)


@pytest.mark.slow
@THOROUGH
@given(teachers())
def test_the_lowered_network_is_the_teacher_thoroughly(model: onnx.ModelProto) -> None:
    check_lowering(model)


@pytest.mark.slow
@THOROUGH
@given(teachers(), st.sampled_from(["if", "signed"]), st.sampled_from(["constant", "poisson"]))
def test_every_engine_agrees_thoroughly(model: onnx.ModelProto, neuron: str, encoder: str) -> None:
    check_engines(model, neuron, encoder)
