"""The spiking network against ANNs: what is compared, and whether it is said where it is the dearer one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import snncc
from snncc.crossover import SKIPPING, activation_bits, crossover, verdict
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.macs import NonzeroMacs, graph_macs
from snncc.run_counts import RunCounts
from snncc.runtime.host import run_graph
from tests.onnx_models import model
from tests.test_cli import works

RNG = np.random.default_rng(0)
TEXT = """a (float[1,2,6,5] x, float[4,2,3,3] w, float[4,2,2,2] t, float[4,1,3,3] d, float[7,208] g, float[7,3] m)
    => (float[1,3] y) {
    c = Conv <pads = [1, 1, 1, 1], strides = [1, 2]> (x, w)
    r = Relu (c)
    u = ConvTranspose <strides = [2, 1], output_padding = [1, 0], group = 2> (r, t)
    q = Relu (u)
    v = Conv <group = 4, dilations = [2, 1], pads = [2, 1, 2, 1]> (q, d)
    z = Relu (v)
    e = Flatten (z)
    f = Gemm <transB = 1> (e, g)
    h = Relu (f)
    y = MatMul (h, m) }"""
SHAPES = {"w": (4, 2, 3, 3), "t": (4, 2, 2, 2), "d": (4, 1, 3, 3), "g": (7, 208), "m": (7, 3)}
WEIGHTS: dict[str, Any] = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}


def brute_force(graph: Graph, feeds: dict[str, Array]) -> int:
    """Each non-zero value by itself through its node with weights of one: how many weights it meets."""
    found = 0
    for node in graph.find("Conv", "ConvTranspose", "Gemm", "MatMul"):
        name = node.inputs[0]
        x = feeds[name] if name in feeds else run_graph(graph, feeds, [name])[name]
        ones = {v: np.ones_like(graph.weights[v]) for v in node.inputs[1:2]}
        rest = {v: np.zeros_like(graph.weights[v]) for v in node.inputs[2:] if v}
        part = Graph((name,), node.outputs, (node,), {**ones, **rest}, {v: graph.types[v] for v in (name, node.output)})
        for place in np.argwhere(x):
            impulse = np.zeros_like(x)
            impulse[tuple(place)] = 1
            found += round(float(run_graph(part, {name: impulse}, [node.output])[node.output].sum()))
    return found


def test_zeros_are_left_out_exactly() -> None:
    graph = ingest(model(TEXT, WEIGHTS))
    x = RNG.random((1, 2, 6, 5), np.float32)
    feeds = {"x": np.where(x < 0.3, 0, x)}
    macs = NonzeroMacs(graph)
    values = feeds | run_graph(graph, feeds, [name for name in macs.watch if name != "x"])
    for name, show in macs.watch.items():
        show(values[name])
    assert 0 < macs.total == brute_force(graph, feeds) < graph_macs(graph).valid
    dense = NonzeroMacs(graph)
    for name, show in dense.watch.items():
        show(np.ones_like(values[name]))
    assert dense.total == graph_macs(graph).valid


def counts(**options: Any) -> RunCounts:
    """Of two samples of a network of TEXT."""
    data = [np.where((x := RNG.random((2, 6, 5), np.float32)) < 0.3, 0, x) for _ in range(4)]
    run = snncc.load(snncc.compile(model(TEXT, WEIGHTS), calibrate=data, **options))
    found = run.run(data[0]).counts
    return found.merge((other := run.run(data[1]).counts).samples, other.counts)  # type: ignore[arg-type]


def test_the_mean_over_calibration_data_is_kept() -> None:
    graph, data = ingest(model(TEXT, WEIGHTS)), [RNG.random((2, 6, 5), np.float32) - 0.4 for _ in range(3)]
    network = snncc.compile(model(TEXT, WEIGHTS), calibrate=data)
    want = np.mean([brute_force(graph, {"x": x[None]}) for x in data])
    assert network.meta["calibration"]["teacher_macs_nonzero"] == round(float(want))


@pytest.mark.parametrize(
    "options, bits",
    [
        ({}, 4), ({"code": "radix:6"}, 6), ({"timesteps": 15}, 4), ({"timesteps": 16}, 5),
        ({"neuron": "multi-threshold:2", "timesteps": 5}, 4), ({"neuron": "settled", "timesteps": 1}, 1),
    ],
)  # fmt: skip
def test_against_three_anns(options: dict[str, Any], bits: int) -> None:
    run = counts(**options, precision="int6")
    totals, found = run.totals, crossover(run)
    adds = totals["synops"] + totals["neuron_updates"] + totals["bias_adds"]
    assert activation_bits(run) == bits
    assert found["operations"] == adds + totals["macs"]
    own = {"45 nm float32": 0.9 * adds + 4.6 * totals["macs"], "45 nm int8": 0.1 * adds + 0.3 * totals["macs"]}
    dense, left = totals["teacher_macs"], 2 * run.facts.network.meta["calibration"]["teacher_macs_nonzero"]
    want = [
        ("dense teacher", dense, {"45 nm float32": 4.6, "45 nm int8": 0.3}),
        (SKIPPING, left, {"45 nm float32": 4.6, "45 nm int8": 0.3}),
        (f"integer ANN of {bits} x 6 bits", dense, {"45 nm int8": 0.2 * bits * 6 / 64 + 0.1}),
    ]
    for row, (name, macs, mac) in zip(found["against"], want, strict=True):
        assert (row["name"], row["operations"]) == (name, macs) and row["energy_nj"].keys() == mac.keys()
        assert row["times"] == pytest.approx(found["operations"] / macs)
        for profile, energy in mac.items():
            assert row["energy_nj"][profile] * 1000 == pytest.approx(macs * energy)
            assert row["energy_times"][profile] == pytest.approx(own[profile] / (macs * energy))


def test_what_is_not_known_is_left_out() -> None:
    run = counts(precision="float32")
    assert [row["name"] for row in crossover(run)["against"]] == ["dense teacher", SKIPPING]
    network = run.facts.network
    bare = network.with_meta(calibration={}, teacher={"macs": 0, "macs_padded": 0})
    run.facts = replace(run.facts, network=bare, teacher_macs=0)
    assert crossover(run)["against"] == []


def test_it_is_said_where_the_spiking_network_is_not_cheaper() -> None:
    row = {"name": "dense teacher", "times": 0.5, "energy_times": {"a": 0.9, "b": 0.99}}
    assert verdict(row) == "the spiking network is cheaper than the dense teacher"
    row["energy_times"] = {"a": 0.9, "b": 1.0}
    assert verdict(row) == "the spiking network is NOT cheaper than the dense teacher: b 1.00 times"


def test_run_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(model(TEXT, WEIGHTS), "t.onnx")
    np.save("data.npy", RNG.random((3, 2, 6, 5), np.float32))
    for options, dear in ((["--neuron", "settled", "-T", "1"], False), (["-T", "64"], True)):
        works("compile", "t.onnx", "--calibrate", "data.npy", "-o", "m.snn.onnx", *options)
        shown = works("run", "m.snn.onnx", "data.npy", "-o", "o.npy", "--json", "r.json").stdout
        rows = json.loads(Path("r.json").read_text())["crossover"]["against"]
        assert len(rows) == 3
        assert all(verdict(row) in " ".join(shown.split()) for row in rows)
        assert ("NOT cheaper than the dense teacher" in shown) == dear
        assert "not a measurement" in shown and "Horowitz" in shown
