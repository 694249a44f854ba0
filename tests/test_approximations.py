"""Passes that change the function on purpose: they do what they say, and say by how much."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from snncc.errors import OptionError, UnsupportedError
from snncc.graph import Graph
from snncc.ingest import ingest
from snncc.passes.graph.freeze_norm import FreezeNorm
from snncc.passes.graph.maxpool_to_avgpool import MaxPoolToAvgPool
from snncc.passes.lower import Lower
from snncc.passes.recipe import graph_passes
from snncc.pipeline import Context, Pass, run_pipeline
from snncc.runtime.host import run_graph
from tests.onnx_models import Array, model

INSTANCE = (
    "agraph (float[1,2,8,8] x, float[4,2,3,3] w, float[4] g, float[4] b, float[3,4,3,3] u, float[3] h, float[3] c) "
    "=> (float y) { a = Conv (x, w)  d = InstanceNormalization (a, g, b)  e = Relu (d) "
    "  f = Conv (e, u)  i = InstanceNormalization (f, h, c)  y = Relu (i) }"
)
GROUPS = (
    "agraph (float[1,2,8,8] x, float[4,2,3,3] w, int64[3] s, float[2] one, float[2] zero, int64[4] t, float[4,1,1] g, "
    "float[4,1,1] b) => (float y) { a = Conv (x, w)  d = Reshape (a, s)  e = InstanceNormalization (d, one, zero) "
    "  f = Reshape (e, t)  h = Mul (f, g)  i = Add (h, b)  y = Relu (i) }"
)
GIVEN = {"s": [0, 2, -1], "t": [1, 4, 6, 6], "one": [1, 1], "zero": [0, 0]}
NORMS: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "instance": (INSTANCE, {}, "Conv Relu Conv Relu"),
    "groups": (GROUPS, GIVEN, "Conv Relu"),
}


def calibrated(spread: float) -> Context:
    """Eight samples whose mean and contrast differ by `spread`."""

    def samples() -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng(0)
        pattern = rng.normal(size=(1, 2, 8, 8))
        for k in range(8):
            yield {"x": ((1 + spread * k) * pattern + spread * k).astype(np.float32)}

    return Context(samples=samples, evaluate=run_graph)


def change(before: Graph, after: Graph, context: Context) -> float:
    """Relative error of the only output over the calibration set."""
    pairs = [(run_graph(before, f, before.outputs), run_graph(after, f, after.outputs)) for f in context.stream("test")]
    (name,) = before.outputs
    off = sum(float(np.square(new[name] - old[name]).sum()) for old, new in pairs)
    return float(np.sqrt(off / sum(float(np.square(old[name]).sum()) for old, _ in pairs)))


def said(context: Context, owner: str) -> float:
    (text,) = [note.reason for note in context.notes if note.node.startswith("output")]
    found = re.match(rf"{owner} changed it by ([\d.]+)% over 8 sample", text)
    assert found
    return float(found[1]) / 100


@pytest.mark.parametrize("name", NORMS)
def test_frozen_norms(name: str) -> None:
    text, weights, operators = NORMS[name]
    graph = ingest(model(text, weights))
    errors = []
    for spread in (0.0, 0.05, 0.5):
        context = calibrated(spread)
        after = run_pipeline(graph, [*graph_passes(), FreezeNorm()], context)
        assert isinstance(after, Graph)
        assert " ".join(node.op for node in after.nodes) == operators
        errors.append(change(graph, after, context))
        assert said(context, "freeze-norm") == pytest.approx(errors[-1], abs=1e-4)
    assert errors[0] < 1e-5 < errors[1] < errors[2]  # alike samples have the same statistics: nothing changes


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_refused_with_advice(name: str) -> None:
    text, weights, _ = NORMS[name]
    graph = run_pipeline(ingest(model(text, weights)), graph_passes(), Context())
    with pytest.raises(UnsupportedError, match="--pass freeze-norm") as caught:
        run_pipeline(graph, [Lower()], Context())
    assert "InstanceNormalization" in str(caught.value)


def test_max_pool_as_average() -> None:
    text = "agraph (float[1,2,8,8] x) => (float y) { a = Relu (x)  y = MaxPool <kernel_shape=[2,2]> (a) }"
    graph = ingest(model(text))
    context = calibrated(0.1)
    after = MaxPoolToAvgPool().run(graph, context)
    assert isinstance(after, Graph) and [node.op for node in after.nodes] == ["Relu", "AveragePool"]
    x = next(context.stream("test"))
    windows = np.lib.stride_tricks.sliding_window_view(np.maximum(x["x"], 0), (2, 2), axis=(2, 3))
    np.testing.assert_allclose(run_graph(after, x, ["y"])["y"], windows.mean((-1, -2)), rtol=1e-5, atol=1e-6)
    assert said(context, "maxpool-to-avgpool") == pytest.approx(change(graph, after, context), abs=1e-4)


@pytest.mark.parametrize("step", [FreezeNorm(), MaxPoolToAvgPool()])
def test_calibration_data_is_asked_for(step: Pass) -> None:
    text = (
        "agraph (float[1,2,8,8] x, float[2] g, float[2] b) => (float y) "
        "{ a = InstanceNormalization (x, g, b)  y = MaxPool <kernel_shape=[2,2]> (a) }"
    )
    with pytest.raises(OptionError, match="calibrat"):
        step.run(ingest(model(text)), Context(evaluate=run_graph))
