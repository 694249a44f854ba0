"""Shapes of teachers that a lowering gets wrong easily: each must be the teacher exactly, or be refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from snncc.errors import PassError, UnsupportedError
from snncc.graph import Array
from snncc.ingest import ingest
from snncc.model import Model
from snncc.network import Network
from snncc.onnx_file import read, write
from snncc.passes.lower import Lower
from snncc.passes.recipe import graph_passes
from snncc.pipeline import Context, run_pipeline
from tests.onnx_models import model
from tests.test_agreement import check_engines, check_lowering, check_model, compiled, sample

IMAGE = "float[1,1,6,6] x, float[2,1,3,3] w, float[2,2,3,3] u"
UP = 'Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
POOLED = "c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p)"
PRUNE = "float[1,1,4,4] x, float[4,1,3,3] w, float[4] s, float[2,2,3,3] u"

# name -> (inputs and weights, body, outputs, given weights, lowest input)
EXACT: Mapping[str, tuple[str, str, str, dict[str, Any], float]] = {
    "the input in the epilogue": (
        f"{IMAGE}, float[1,2,1,1] o",
        "c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) d = Conv(r, o) y = Sub(x, d)", "float y", {}, 0,
    ),
    "a prologue that is read at both ends": (
        f"{IMAGE}, float[1,2,1,1] o",
        "s = Sigmoid(x) c = Conv<pads=[1,1,1,1]>(s, w) r = Relu(c) d = Conv(r, o) y = Sub(s, d)", "float y", {}, -1,
    ),
    "a prologue value as output": (IMAGE, "s = Sigmoid(x) c = Conv(s, w) y = Relu(c)", "float y, float s", {}, -1),
    "max pooling of the input": (
        IMAGE, "s = MaxPool<kernel_shape=[2,2]>(x) c = Conv(s, w) y = Relu(c)", "float y", {}, -1,
    ),
    "one value read out twice": (
        IMAGE, "c = Conv(x, w) r = Relu(c) y = Sigmoid(r) z = Tanh(r)", "float y, float z, float r", {}, -1,
    ),
    "a hidden layer as output": (
        IMAGE, "c = Conv(x, w) r = Relu(c) y = Conv(r, u)", "float c, float r, float y", {}, 0,
    ),
    "a concatenation read out and used again": (
        f"{IMAGE}, float[2,4,3,3] q",
        "c = Conv(x, w) r = Relu(c) t = Concat<axis=1>(r, r) s = Sigmoid(t) d = Conv(t, q) y = Relu(d)",
        "float s, float t, float y", {}, 0,
    ),
    "a value with itself": (
        f"{IMAGE}, float[2,4,3,3] q",
        "a = Add(x, x) c = Conv(a, w) r = Relu(c) b = Add(r, r) t = Concat<axis=1>(b, r) y = Conv(t, q)",
        "float y", {}, -1,
    ),
    "negative factors, then max pooling": (
        f"{IMAGE}, float[1,2,1,1] m",
        "c = Conv(x, w) r = Relu(c) n = Mul(r, m) t = MaxPool<kernel_shape=[2,2]>(n) y = Conv(t, u)",
        "float y", {"m": [-2, 0.5]}, 0,
    ),
    "max pooling after upsampling": (
        f"{IMAGE}, float[4] s",
        f"c = Conv(x, w) r = Relu(c) k = {UP}(r, , s) "
        "t = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(k) y = Conv(t, u)",
        "float y", {"s": [1, 1, 2, 3]}, 0,
    ),
    "max pooling with dilation and ceil_mode": (
        IMAGE, "c = Conv(x, w) r = Relu(c) y = MaxPool<kernel_shape=[2,2], dilations=[2,1], strides=[2,3],"
        " ceil_mode=1>(r)", "float y", {}, 0,
    ),
    "max pooling whose last window ceil_mode drops": (
        IMAGE, "c = Conv(x, w) r = Relu(c) t = MaxPool<kernel_shape=[2,2], strides=[3,3], pads=[1,1,1,1], ceil_mode=1>"
        "(r) y = GlobalAveragePool(t)", "float y", {}, 0,
    ),
    "a pooled input as output": (
        IMAGE, "z = MaxPool<kernel_shape=[2,2]>(x) c = Conv(x, w) y = Relu(c)", "float y, float z", {}, -1,
    ),
    "a slice of channels after upsampling": (
        f"{PRUNE}, int64[3] a, int64[3] b, int64[3] k",
        f"c = Conv(x, w) r = Relu(c) q = {UP}(r, , s) t = Slice(q, a, b, k) d = Conv(t, u) y = Relu(d)",
        "float y", {"s": [1, 1, 2, 2], "a": [1, 1, 0], "b": [3, 4, 3], "k": [1, 2, 3]}, 0,
    ),
    "a slice across a concatenation": (
        f"{IMAGE}, int64[2] a, int64[2] b, int64[2] o, float[2,3,3,3] q",
        "c = Conv(x, w) r = Relu(c) t = Concat<axis=1>(c, r) k = Slice(t, a, b, o) d = Conv<pads=[1,1,1,1]>(k, q)"
        " y = Relu(d)", "float y", {"a": [1, 0], "b": [4, 3], "o": [1, 2]}, 0,
    ),
    "a slice of a whole concatenation": (
        f"{IMAGE}, int64[1] a, int64[1] b, int64[1] o, float[2,4,3,3] q",
        "c = Conv(x, w) r = Relu(c) t = Concat<axis=1>(r, r) k = Slice(t, a, b, o) d = Conv<pads=[1,1,1,1]>(k, q)"
        " y = Relu(d)", "float y", {"a": [1], "b": [4], "o": [3]}, 0,
    ),
    "a slice of pooled numbers": (
        "float[1,1,6,6] x, float[4,1,3,3] w, float[3,2] g, int64[1] a, int64[1] b, int64[1] o",
        f"{POOLED} k = Slice(f, a, b, o) d = Gemm<transB=1>(k, g) y = Relu(d)", "float y",
        {"a": [1], "b": [3], "o": [1]}, 0,
    ),
    "an upsampled sum with a concatenation": (
        f"{PRUNE}, float[2,4,1,1] v, float[2,4,3,3] q",
        f"c = Conv(x, w) r = Relu(c) k = {UP}(r, , s) d = Conv(k, v) a = Relu(d) t = Concat<axis=1>(a, a) z = Add(k, t)"
        " e = Conv(z, q) y = Relu(e)", "float y", {"s": [1, 1, 2, 2]}, 0,
    ),
    "a pooled image beside plain numbers": (
        "float[1,1,6,6] x, float[1,3] x2, float[4,1,3,3] w, float[3,7] g",
        f"{POOLED} t = Concat<axis=-1>(x2, f) d = Gemm<transB=1>(t, g) y = Relu(d)", "float y", {}, -1,
    ),
    "a pooled image plus plain numbers": (
        "float[1,1,6,6] x, float[1,4] x2, float[4,4] q, float[4,1,3,3] w, float[3,4] g",
        f"{POOLED} e = Gemm<transB=1>(x2, q) t = Sub(e, f) d = Gemm<transB=1>(t, g) y = Relu(d)",
        "float y", {}, -1,
    ),
    "a concatenation with a constant": (
        "float[1,1,6,6] x, float[2,1,3,3] w, float[1,1,4,4] k, float[2,3,3,3] q",
        "c = Conv(x, w) r = Relu(c) t = Concat<axis=1>(r, k) d = Conv<pads=[1,1,1,1]>(t, q) y = Relu(d)",
        "float y", {}, 0,
    ),
    "linear resizing of spikes": (
        f"{IMAGE}, float[4] s",
        'c = Conv(x, w) r = Relu(c) k = Resize<mode="linear">(r, , s) d = Conv(k, u) y = Relu(d)', "float y",
        {"s": [1, 1, 2, 2]}, 0,
    ),
    "linear resizing of a sum, read out": (
        f"{IMAGE}, int64[4] s, float[2] b",
        'c = Conv(x, w, b) k = Resize<mode="linear", coordinate_transformation_mode="align_corners">(c, , , s)'
        " d = Conv(x, w) z = Add(k, d) y = Relu(z)",
        "float y, float z", {"s": [1, 2, 4, 4]}, -1,
    ),
    "a resized sum with a convolution": (
        f"{IMAGE}, float[4] s, float[2,1,1,1] v",
        'c = Conv(x, w) r = Relu(c) k = Resize<mode="linear">(r, , s) d = Conv(x, v)'
        ' q = Resize<mode="cubic">(r, , s) a = Sub(k, q) e = MaxPool<kernel_shape=[2,2]>(a) y = Relu(e)',
        "float y", {"s": [1, 1, 2, 2]}, -1,
    ),
    "a resized input beside spikes": (
        f"{IMAGE}, int64[4] s, float[2,3,3,3] q",
        'p = MaxPool<kernel_shape=[3,3]>(x) c = Conv(x, w) r = Relu(c) t = Concat<axis=1>(p, r)'
        ' k = Resize<mode="linear">(t, , , s) d = Conv(k, q) y = Relu(d)', "float y", {"s": [1, 3, 6, 5]}, -1,
    ),
    "a linearly resized input": (
        f"{IMAGE}, float[4] s", 'k = Resize<mode="linear">(x, , s) c = Conv(k, w) y = Relu(c)', "float y",
        {"s": [1, 1, 1.5, 2]}, -1,
    ),
    "nearest resizing by any factor": (
        f"{IMAGE}, int64[4] s", 'c = Conv(x, w) r = Relu(c) k = Resize<mode="nearest">(r, , , s) d = Conv(k, u)'
        " y = Relu(d)", "float y", {"s": [1, 2, 7, 3]}, 0,
    ),
    "padding by reflection, then by the edge": (
        f"{IMAGE}, int64[8] a, int64[4] b, int64[2] k",
        'c = Conv(x, w) r = Relu(c) p = Pad<mode="reflect">(r, a) d = Conv(p, u) s = Relu(d)'
        ' q = Pad<mode="edge">(s, b, , k) e = Conv(q, u) f = Pad<mode="wrap">(e, a) y = MaxPool<kernel_shape=[2,3]>(f)',
        "float y", {"a": [0, 0, 1, 2, 0, 0, 3, 1], "b": [0, 2, 1, 1], "k": [2, 3]}, 0,
    ),
    "a slice of channels of a reflection": (
        f"{PRUNE}, int64[8] p, int64[1] a, int64[1] b",
        'c = Conv(x, w) r = Relu(c) q = Pad<mode="reflect">(r, p) t = Slice(q, a, b, a) d = Conv(t, u) y = Relu(d)',
        "float y", {"p": [0, 0, 1, 1, 0, 0, 1, 1], "a": [1], "b": [3]}, 0,
    ),
    "a slice of channels of a resized sum": (
        f"{PRUNE}, int64[1] a, int64[1] b",
        'c = Conv(x, w) r = Relu(c) q = Resize<mode="linear">(r, , s) t = Slice(q, a, b, a) d = Conv(t, u) y = Relu(d)',
        "float y", {"s": [1, 1, 2, 2], "a": [1], "b": [3]}, 0,
    ),
    "a reflection, flattened": (
        "float[1,1,4,4] x, float[2,1,3,3] w, int64[8] p, float[3,24] g",
        'c = Conv(x, w) r = Relu(c) q = Pad<mode="reflect">(r, p) f = Flatten(q) d = Gemm<transB=1>(f, g) y = Relu(d)',
        "float y", {"p": [0, 0, 1, 0, 0, 0, 1, 1]}, 0,
    ),
    "average pooling that leaves its padding out": (
        IMAGE, "c = Conv(x, w) r = Relu(c) p = AveragePool<kernel_shape=[3,2], pads=[1,1,1,0]>(r) d = Conv(p, u)"
        " y = Relu(d)", "float y", {}, 0,
    ),
    "average pooling of the input with ceil_mode": (
        IMAGE, "p = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x) c = Conv(p, w)"
        " r = Relu(c) y = AveragePool<kernel_shape=[1,1], strides=[2,2], ceil_mode=1>(r)", "float y", {}, -1,
    ),
    "max pooling of the input beside spikes": (
        f"{IMAGE}, float[1,1,6,6] x2, float[2,3,3,3] q",
        "c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) t = Concat<axis=1>(x2, r)"
        " p = MaxPool<kernel_shape=[2,2]>(t) d = Conv(p, q) y = Relu(d)", "float y", {}, -1,
    ),
    "overlapping max pooling with padding and ceil_mode": (
        IMAGE, "c = Conv(x, w) r = Relu(c) p = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1],"
        " ceil_mode=1>(r) d = Conv(p, u) y = Relu(d)", "float y", {"u": np.ones(36)}, 0,
    ),
    "dead channels": (
        f"{IMAGE}, float[2] b", "c = Conv(x, w, b) r = Relu(c) d = Conv(r, u, b) y = Relu(d)", "float y",
        {"b": [-100, 0.1]}, 0,
    ),
    "no weights at all": (
        f"{IMAGE}, float[2] b", "c = Conv(x, w, b) r = Relu(c) y = Conv(r, u)", "float y",
        {"w": np.zeros(18), "u": np.zeros(36), "b": [1, -1]}, 0,
    ),
    "an inner bias that a border cuts off": (
        f"{IMAGE}, float[2] b",
        "c = Conv<pads=[1,1,1,1]>(x, w, b) d = Conv<pads=[1,1,1,1]>(c, u, b) r = Relu(d)"
        " e = Conv(r, u, b) y = Conv(e, u, b)", "float y", {}, 0,
    ),
    "a linear map only": ("float[1,2,4,4] x, float[2,2,3,3] u", "y = Conv(x, u)", "float y", {}, -1),
}

REFUSED = {
    "c = Conv(x, w) r = Relu(c) y = MaxPool<kernel_shape=[2,2], dilations=[5,5], pads=[1,1,1,1]>(r)",
    "c = Conv(x, w) r = Relu(c) y = MaxPool<kernel_shape=[2,2], strides=[3,3], dilations=[2,2], ceil_mode=1>(r)",
    "c = Conv(x, w) r = Relu(c) m = Mul(r, r) y = Relu(m)",
    "c = Conv(x, w) r = Relu(c) p, i = MaxPool<kernel_shape=[2,2]>(r) y = MaxUnpool<kernel_shape=[2,2]>(p, i)",
    "c = Conv(x, w) r = Relu(c) p = AveragePool<kernel_shape=[1,1], pads=[1,1,1,1]>(r) y = Relu(p)",
}


def teacher(name: str) -> Any:
    inputs, body, outputs, given, _ = EXACT[name]
    return model(f"a ({inputs}) => ({outputs}) {{ {body} }}", given)


@pytest.mark.parametrize("name", EXACT)
def test_the_lowered_network_is_the_teacher_and_every_engine_agrees(name: str) -> None:
    low = EXACT[name][4]
    check_lowering(teacher(name), low)
    check_model(teacher(name), low, neuron="signed")


@pytest.mark.parametrize("name", list(EXACT)[:12])
def test_stock_onnxruntime_gives_the_outputs_of_the_written_file(name: str, tmp_path: Path) -> None:
    graph, low = ingest(teacher(name)), EXACT[name][4]
    write(compiled(graph, low), tmp_path / "m.snn.onnx")
    network, feeds = read(tmp_path / "m.snn.onnx"), sample(graph, np.random.default_rng(5), low)
    run = Model(network)
    found = run.run(feeds, 5, over_time=True)
    session = onnxruntime.InferenceSession(tmp_path / "m.snn.onnx", providers=["CPUExecutionProvider"])
    for steps in (1, 3, 5):
        stock: dict[str, Array] = dict(
            zip(network.outputs, session.run(None, {**feeds, "T": np.array([steps], np.int64)}), strict=True)
        )
        alone = run.run(feeds, steps).outputs
        for output in network.outputs:
            np.testing.assert_array_equal(stock[output], alone[output])
            np.testing.assert_array_equal(found.over_time[output][steps - 1], alone[output])


@pytest.mark.parametrize("body", sorted(REFUSED))
def test_what_has_no_exact_counterpart_is_refused_by_name(body: str) -> None:
    graph = ingest(model(f"a ({IMAGE}) => (float y) {{ {body} }}"))
    with pytest.raises(UnsupportedError) as refusal:
        run_pipeline(graph, [*graph_passes(), Lower()], Context())
    assert refusal.value.node and refusal.value.remedy


def test_one_sample_of_a_fixed_batch() -> None:
    text = "a (float[2,1,4,4] x, float[1,1,3,3] w) => (float y) { c = Conv(x, w) y = Relu(c) }"
    assert check_lowering(model(text)).inputs == {"x": (1, 1, 4, 4)}


BATCHES = {
    "moved": "a (float[4,4,8,8] x) => (float y) { y = Transpose <perm=[1,0,2,3]> (x) }",
    "a constant": "a (float[4,4,8,8] x, float[4,1,1,1] c) => (float y) { a = Add (x, c)  y = Relu (a) }",
    "a bias each": "a (float[4,4] x, float[4,4] w, float[4,1] b) => (float y) { y = Gemm <transB=1> (x, w, b) }",
    "joined": "a (float[4,4,8,8] x) => (float y) { s = Constant <value_ints=[-1,8]> () y = Reshape (x, s) }",
    "mean": "a (float[4,4,8,8] x) => (float y) { s = Constant <value_ints=[0]> () y = ReduceMean (x, s) }",
    "two": "a (float[4,4] x, float[3,4] x2) => (float y, float z) { y = Relu (x)  z = Relu (x2) }",
}


@pytest.mark.parametrize("text", BATCHES.values(), ids=BATCHES)
def test_a_batch_that_is_more_than_samples_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedError, match="fixed batch of 4\n  node: input x\n  remedy: "):
        run_pipeline(ingest(model(text)), [*graph_passes(), Lower()], Context())


def test_whole_numbers_are_no_image() -> None:
    graph = ingest(model("a (int64[1,4] x) => (float y) { y = Cast <to=1> (x) }"))
    with pytest.raises(UnsupportedError, match="an input of int64 is no image"):
        run_pipeline(graph, [*graph_passes(), Lower()], Context())


@pytest.mark.parametrize("shape", ["", "[2]"])
def test_an_input_without_a_batch_is_refused(shape: str) -> None:
    graph = ingest(model(f"a (float[1,4] x, float{shape} x2, float[4,4] w) => (float y, float z) "
                         "{ a = MatMul (x, w)  y = Relu (a)  z = Sigmoid (x2) }"))  # fmt: skip
    with pytest.raises(UnsupportedError, match="has no batch\n  node: input x2"):
        run_pipeline(graph, [*graph_passes(), Lower()], Context())


def test_max_pooling_whose_indices_are_an_output_stays_analog() -> None:
    proto = model(f"a ({IMAGE}) => (float y, int64 i) "
                  "{ c = Conv(x, w) r = Relu(c) y, i = MaxPool<kernel_shape=[2,2]>(r) }")  # fmt: skip
    check_lowering(proto, allow_analog=True)
    check_model(proto, 0.0, neuron="signed", allow_analog=True)


def test_work_that_is_not_counted_is_refused() -> None:
    text = """a (float[1,1,6,6] x, float[2,1,3,3] w, float[2,2,1,1] u, float[1,2,4,4] o) => (float y) {
        c = Conv(x, w) r = Relu(c) y = DeformConv<kernel_shape=[1,1]>(r, u, o) }"""
    with pytest.raises(UnsupportedError, match="a deformable convolution"):
        run_pipeline(ingest(model(text)), [*graph_passes(), Lower(allow_analog=True)], Context())


def test_an_unsupported_activation_before_the_last_layer_is_refused() -> None:
    text = """a (float[1,1,6,6] x, float[4,1,3,3] w, float[2,4,1,1] u) => (float y) {
        c = Conv(x, w) l = Elu(c) y = Conv(l, u) }"""
    with pytest.raises(UnsupportedError, match="Elu"):
        run_pipeline(ingest(model(text)), [*graph_passes(), Lower()], Context())


@pytest.mark.parametrize("weight", [4.3125, 4.5625, 5.3])
def test_analog_sums_beyond_23_bits_are_rounded_the_same_everywhere(weight: float) -> None:
    n = 501
    text = f"a (float[1,{n}] x, float[1,{n}] w) => (float y) {{ y = Gemm<transB=1>(x, w) }}"
    graph = ingest(model(text, {"w": np.full((1, n), weight)}))
    network = compiled(graph)
    for k in (3, 8, 20, 51):  # an odd sum with a half added has no float32 if it exceeds 2^23
        x = np.ones((1, n), np.float32)
        x[0, 0] = k / 255
        check_engines(network, {"x": x})


SMALL = """a (float[1,1,6,6] x, float[4,1,3,3] w, float[1,4,1,1] u, float[1,1,1,1] s) => (float y) {
    c = Conv(x, w) r = Relu(c) d = Conv(r, u) y = Mul(d, s) }"""


@pytest.mark.parametrize("scale", [1e-4, 1e-5, 1e-7])
def test_small_outputs_are_as_exact_as_large_ones(scale: float) -> None:
    found: dict[float, Array] = {}
    for factor in (1.0, scale):
        graph = ingest(model(SMALL, {"s": [[[[factor]]]]}))
        network, x = compiled(graph, neuron="signed"), sample(graph, np.random.default_rng(5))
        found[factor] = Model(network).run(x).outputs["y"].astype(np.float64) / factor
        check_engines(network, x)
    np.testing.assert_allclose(found[scale], found[1.0], rtol=0, atol=0.02 * np.abs(found[1.0]).max())


def test_outputs_that_would_vanish_are_refused() -> None:
    with pytest.raises(PassError, match="too small for whole weights"):
        compiled(ingest(model(SMALL, {"s": [[[[1e-14]]]]})))


def test_a_reshape_to_the_same_shape_needs_no_relay() -> None:
    text = f"""a (float[1,1,6,6] x, float[4,1,3,3] w, float[4,4] g, int64[4] s, float[2,4,1,1] u) => (float y) {{
        {POOLED} d = Gemm<transB=1>(f, g) k = Reshape(d, s) e = Conv(k, u) y = Relu(e) }}"""
    network = check_lowering(model(text, {"s": [1, 4, 1, 1]}))
    assert isinstance(network, Network)
    assert not [p.name for p in network.populations if "relay" in p.name]


SHUFFLES = {
    "pixels": "s = DepthToSpace<blocksize = 2, mode = \"CRD\">(r) d = Conv(s, v)",
    "depth first": "s = DepthToSpace<blocksize = 2>(r) d = Conv(s, v)",
    "axes": "s = Transpose<perm = [0, 1, 3, 2]>(r) d = Conv(s, u)",
    "to depth": "s = SpaceToDepth<blocksize = 2>(r) d = Conv(s, q)",
}


@pytest.mark.parametrize("body", SHUFFLES.values(), ids=SHUFFLES)
def test_shuffles_are_weightless(body: str) -> None:
    text = f"""a (float[1,1,6,8] x, float[4,1,1,1] w, float[2,1,3,3] v, float[2,4,3,3] u, float[2,16,3,3] q)
        => (float y) {{ c = Conv(x, w) r = Relu(c) {body} y = Sigmoid(d) }}"""
    network = check_lowering(model(text))
    assert [p.name for p in network.populations] == ["x", "r", "d.readout"]
    check_model(model(text))


def test_channels_that_become_one_share_a_lambda() -> None:
    text = """a (float[1,1,6,8] x, float[8,1,1,1] w, float[2,2,3,3] v) => (float y) {
        c = Conv(x, w) r = Relu(c) s = DepthToSpace<blocksize = 2, mode = "CRD">(r) y = Conv(s, v) }"""
    unit = compiled(ingest(model(text)))["r"].unit
    assert unit is not None and len(set(unit[:4])) == len(set(unit[4:])) == 1 and unit[0] != unit[4]
