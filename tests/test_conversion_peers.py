"""What the comparison with other converters rests on: the teacher as they get it, the fan-out of its spikes, the counts
and the read-out of a run, and how the best recipe is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import snncc
from benchmarks import networks
from benchmarks.conversion import blueprint, peers, reach
from benchmarks.peers import convert
from snncc.counting import fan_out
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.runtime.host import HostSession
from tests.onnx_models import model

EVERYTHING = """agraph (float[1,2,8,8] x, float[4,2,3,3] w1, float[6,4,3,3] w2, float[5,6,3,3] w3, float[5,3,2,2] w4,
    float[8,7,3,3] w5, float[8,4,3,3] w6, float[10,8] w7, float[10] b7, float[8] vs, float[8] b, float[8] m,
    float[8] vv, float[4] scales) => (float y) {
    c1 = Conv<pads = [1,1,1,1]>(x, w1)
    a = Relu(c1)
    p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(a)
    c2 = Conv<pads = [1,1,1,1], strides = [1,1]>(p, w2)
    b2 = Relu(c2)
    q = AveragePool<kernel_shape = [2,2], strides = [2,2]>(b2)
    c3 = Conv<pads = [1,1,1,1]>(q, w3)
    b3 = Relu(c3)
    r = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(b3, , scales)
    u = ConvTranspose<strides = [2,2], kernel_shape = [2,2]>(r, w4)
    k = Concat<axis = 1>(u, a)
    c5 = Conv<pads = [1,1,1,1], strides = [2,2]>(k, w5)
    n5 = BatchNormalization(c5, vs, b, m, vv)
    d = Relu(n5)
    c6 = Conv<pads = [1,1,1,1], group = 2>(d, w6)
    s = Add(c6, d)
    e = Relu(s)
    g = GlobalAveragePool(e)
    f = Flatten(g)
    z = Gemm<transB = 1>(f, w7, b7)
    y = Sigmoid(z)
}"""


def proto() -> onnx.ModelProto:
    return model(EVERYTHING, {"scales": np.array([1, 1, 2, 2])})


def everything() -> Graph:
    graph, _ = blueprint.without_tail(ingest(proto()), "y")
    return graph


def outputs(graph: Graph, x: Array) -> Array:
    return np.concatenate([HostSession(graph, graph.outputs).run({"x": s[None]})[graph.outputs[0]] for s in x])


@pytest.fixture
def samples() -> Array:
    return np.random.default_rng(0).uniform(0, 1, (3, 2, 8, 8)).astype(np.float32)


def impulses(graph: Graph) -> dict[str, Array]:
    """Fan-out by brute force: all weights 1, no biases, one spike at a time; what it reaches is not 0."""
    ends = [*graph.find("Relu"), *reach.gates(graph)]
    gates = [replace(g, outputs=(f"{g.output}.windows",)) for g in reach.gates(graph)]
    weights = {}
    for node in graph.find("Conv", "ConvTranspose", "Gemm", "BatchNormalization"):
        for k, name in enumerate(node.inputs[1:], 1):
            weights[name] = np.full_like(graph.weights[name], 0 if k in (2, 3) else 1)  # a bias or a mean, or a weight
    cut = replace(
        graph,
        inputs=("x", *(n.output for n in ends)),
        nodes=(*(n for n in graph.nodes if n not in ends), *gates),
        weights={**graph.weights, **weights},
        types={**graph.types, **{g.output: graph.types[g.output.removesuffix(".windows")] for g in gates}},
    )
    sums = {n.inputs[0] for n in graph.find("Relu")} | {n.output for n in gates} | set(graph.outputs)
    session = HostSession(cut, sorted(sums))
    silent = {name: np.zeros(graph.shape(name), np.float32) for name in cut.inputs}
    found = {}
    for node in ends:
        fan = np.zeros(graph.shape(node.output), np.int64)
        for at in np.ndindex(*fan.shape):
            spike = np.zeros(fan.shape, np.float32)
            spike[at] = 1
            reached = session.run({**silent, node.output: spike})
            fan[at] = sum(np.count_nonzero(value) for value in reached.values())
        found[node.output] = fan[0]
    return found


def test_fan_out_by_brute_force() -> None:
    for graph in (everything(), blueprint.pool_first(everything())):
        expected = impulses(graph)
        found = {node.output: fan for node, fan in reach.fan_outs(graph).items()}
        assert found.keys() == expected.keys()
        for name, fan in found.items():
            assert np.array_equal(fan, expected[name]), name


def test_fan_out_is_that_of_the_compiled_network() -> None:
    """Two ways to the same numbers: matrices per axis here, the lowered network's closed form there."""
    net = networks.unet_2d(16)
    teacher = networks.to_onnx(net)
    network = snncc.compile(teacher, calibrate=networks.image(net), **networks.compile_options(net))
    for node, fan in reach.fan_outs(ingest(teacher)).items():
        mine = [fan_out(network, j).synapses for j in network.projections if j.pre == node.output]
        assert mine and np.array_equal(sum(mine), fan), node.label


def test_pool_first_changes_nothing(samples: Array) -> None:
    graph = everything()
    assert len(reach.gates(graph)) == 1 and not reach.gates(blueprint.pool_first(graph))
    assert np.array_equal(outputs(graph, samples), outputs(blueprint.pool_first(graph), samples))


def test_the_torch_module_is_the_teacher(tmp_path: Path, samples: Array) -> None:
    torch = pytest.importorskip("torch")
    graph, tail = blueprint.without_tail(ingest(proto()), "y")
    assert graph.outputs == ("z",)
    blueprint.write(graph, tmp_path / "plain")
    with torch.no_grad():
        z = convert.teacher(tmp_path, "plain")(torch.from_numpy(samples)).numpy()
    np.testing.assert_allclose(z, outputs(graph, samples), rtol=1e-4)
    np.testing.assert_allclose(tail(z), outputs(ingest(proto()), samples), atol=1e-4)


def test_a_run_counts_every_prefix(tmp_path: Path, samples: Array) -> None:
    """Step t puts out t and spikes at its first t neurons; batches, prefixes, delayed read-out are told apart."""
    torch = pytest.importorskip("torch")
    relu = torch.nn.Identity()
    clock = [0]

    def step(x: Any) -> Any:
        clock[0] += 1
        spikes = torch.zeros(len(x), 4)
        spikes[:, : clock[0]] = -0.5
        relu(spikes)
        return torch.full((len(x), 1), float(clock[0]))

    def reset() -> None:
        clock[0] = 0

    net = convert.Spiking(torch.nn.Module(), step, reset, {"r": relu}, skipped=lambda steps: steps // 2)
    found = convert.run(net, {"r": np.array([1, 10, 100, 1000])}, samples, [1, 4], batch=2)
    assert found["outputs-1"].ravel().tolist() == [1, 1, 1] and found["outputs-4"].ravel().tolist() == [2.5] * 3
    assert found["delayed-4"].ravel().tolist() == [3.5] * 3 and "delayed-1" not in found
    assert found["events-4"].tolist() == [10] * 3
    assert found["synops-4"].tolist() == [1 * 4 + 10 * 3 + 100 * 2 + 1000] * 3 and found["synops-1"].tolist() == [1] * 3


def test_the_best_at_each_step() -> None:
    def row(recipe: str, timesteps: int, score: float, cost: float) -> dict[str, Any]:
        return {"recipe": recipe, "timesteps": timesteps, "scores": [score], "synops_per_mac": cost}

    rows = [row("a", 4, 0.5, 1.0), row("b", 4, 0.6, 2.0), row("a", 8, 0.7, 2.0), row("b", 8, 0.65, 3.0)]
    assert peers.best([*rows, {"recipe": "c", "failed": "no"}]) == {4: ["b", "a"], 8: ["a", "b"]}
    assert peers.promising(rows, 1) == ["a", "b"] and peers.promising(rows[2:], 1) == ["a"]
