"""What the benchmarks of performance rest on: their networks, ratios, tables, and systems that take turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import snncc
from benchmarks import alternate, networks, unets
from benchmarks.alternate import Entry
from benchmarks.goals import Goal, table
from benchmarks.networks import Architecture
from benchmarks.peers.worker import Job
from snncc.ingest import ingest
from snncc.macs import graph_macs
from snncc.runtime.host import HostSession

SMALL = [networks.unet_2d(16), networks.unet_3d((8, 8, 8))]


@pytest.mark.parametrize(
    ("net", "gmacs"),
    [(networks.unet_2d(), 0.458), (networks.unet_3d(), 10.45), (SMALL[0], 0.00716), (SMALL[1], 0.0204)],
)
def test_macs(net: Architecture, gmacs: float) -> None:
    """Those stated for the networks, and those of the model that comes of the description."""
    assert networks.macs(net) / 1e9 == pytest.approx(gmacs, rel=0.005)
    assert networks.macs(net) == graph_macs(ingest(networks.to_onnx(net))).padded


@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_every_layer_becomes_a_population(net: Architecture) -> None:
    image = networks.image(net)
    assert image.min() >= 0 and image.max() <= 1 and np.array_equal(np.rint(image * 255), image * 255)
    compiled = snncc.compile(networks.to_onnx(net), calibrate=image, **networks.compile_options(net))
    assert [p.name for p in compiled.populations if p.fires] == [layer.name for layer in net.spiking]
    assert all(np.unique(np.asarray(p.unit)).size == 1 for p in compiled.populations if p.fires)
    output = snncc.load(compiled).run(image).outputs[networks.OUTPUT]
    assert output.shape == (1, *networks.shapes(net)[networks.OUTPUT])


def run_relus(net: Architecture, weights: networks.Weights) -> dict[str, networks.Array]:
    """Values behind every ReLU and the output, of the network with these weights."""
    model = networks.to_onnx(net)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    graph = ingest(model)
    wanted = [layer.name for layer in net.convs]
    return dict(HostSession(graph, wanted).run({networks.INPUT: networks.image(net)}))


@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_weights_in_units_of_the_thresholds(net: Architecture) -> None:
    """What the peers get: behind each ReLU the teacher's value over its threshold, the output the same."""
    thresholds = {layer.name: 0.5 + k / 3 for k, layer in enumerate(net.spiking)}
    want = run_relus(net, networks.weights(net))
    found = run_relus(net, networks.in_units_of(thresholds, net))
    for name, value in want.items():
        np.testing.assert_allclose(found[name] * thresholds.get(name, 1.0), value, rtol=1e-4, atol=1e-4)


def row(label: str, *times: float, **more: Any) -> dict[str, Any]:
    return {"label": label, "remark": "", "milliseconds": {"2": list(times), "1": [2 * t for t in times]}, **more}


def test_goals() -> None:
    rows = [row("a", 10.0, 12.0), row("b", 300.0, 340.0), row("once", 4.0), row("gone", failed="not | installed")]
    goals = [Goal("a", "b", 35), Goal("a", "b", 30, threads=1), Goal("a", "once", 1 / 5), Goal("a", "gone", 2)]
    assert [goal.outcome(rows)["reached"] for goal in goals] == [False, True, True, None]
    text = "\n".join(table([goal.outcome(rows) for goal in goals]))
    assert "| a: 35 times as fast as b | 30 times as fast | **short**, 86% of the goal |" in text
    assert "| a: at most 5 times as long as once | 2.5 times as long | reached |" in text
    assert "| a: 2 times as fast as gone |  | not measured |" in text


def test_table_of_systems() -> None:
    """Minimum and median; a system that did not run says why, and cannot break the table."""
    rates = {"rates": {"x": 0.1, "y": 0.12}, "synops": 2_000_000_000, "version": "s 1.0", "peak_mb": 100.4}
    lines = unets.table([row("a", 10.0, 12.0, 11.0, **rates), row("gone", failed="no | x")])
    assert lines[2] == "| a (s 1.0) | 10 | 11 | 20 | 22 | 11.0% | 100 |  | 2.00 G SynOps |"
    assert lines[3] == "| gone |  |  |  |  |  |  |  | **did not run**: no / x |"
    assert len({line.count("|") for line in lines}) == 1


def test_a_peer_that_is_missing_is_left_out(tmp_path: Path) -> None:
    """Workers take turns; the teacher's output is what the others are compared with."""
    net = SMALL[1]
    onnx.save(networks.to_onnx(net), tmp_path / "ann.onnx")
    np.save(tmp_path / "images.npy", networks.image(net))
    entries = [Entry("gone", "norse", environment="nowhere"), Entry("broken", "onnxruntime", "none"), unets.ANN]
    gone, broken, teacher = alternate.run(entries, Job(str(tmp_path)), rounds=2, threads=(1,))
    assert "not installed" in gone["failed"] and "none.onnx" in broken["failed"]
    assert len(teacher["milliseconds"]["1"]) == 2 * alternate.TIMES and teacher["correlation"] == pytest.approx(1)
    least, middle = alternate.best(teacher, 1), alternate.typical(teacher, 1)
    assert alternate.best(gone, 1) is None and least is not None and middle is not None and 0 < least <= middle
