"""Closed form of teacher MACs against a count of every tap."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx.parser
import pytest

from snncc.graph import Array
from snncc.ingest import ingest
from snncc.macs import Macs, NonzeroMacs, graph_macs
from tests import onnx_models

RNG = np.random.default_rng(0)


def model(text: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\nnet {text}')
    for name, shape in weights.items():
        values = RNG.normal(size=shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return proto


def brute_conv(x: tuple[int, ...], w: tuple[int, ...], stride: int, dilation: int, pad: int, out: Array) -> int:
    """Every (output position, tap) inside the input, times channel pairs."""
    inside = 0
    for o in product(*(range(n) for n in out)):
        for k in product(*(range(n) for n in w[2:])):
            at = [p * stride + q * dilation - pad for p, q in zip(o, k, strict=True)]
            inside += all(0 <= i < n for i, n in zip(at, x[2:], strict=True))
    return inside * w[0] * w[1]


GEOMETRY = [(3, 1, 1, 1, 1), (3, 2, 2, 2, 2), (2, 2, 1, 0, 4)]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "pad", "group"), GEOMETRY)
def test_conv(rank: int, kernel: int, stride: int, dilation: int, pad: int, group: int) -> None:
    size = (7, 6, 5)[:rank]
    x, w = (1, 4, *size), (8, 4 // group, *(kernel,) * rank)
    out = [(n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n in size]
    proto = model(
        f"""(float[{",".join(map(str, x))}] x) => (float[{",".join(map(str, (1, 8, *out)))}] y) {{
        y = Conv<strides = {[stride] * rank}, dilations = {[dilation] * rank}, pads = {[pad] * 2 * rank},
                 group = {group}>(x, w) }}""",
        w=w,
    )
    found = graph_macs(ingest(proto))
    assert found.valid == brute_conv(x, w, stride, dilation, pad, np.array(out))
    assert found.padded == 8 * np.prod(out) * np.prod(w[1:])


@pytest.mark.parametrize(("kernel", "stride", "pad", "extra"), [(2, 2, 0, 0), (3, 2, 1, 1), (3, 1, 1, 0)])
def test_conv_transpose(kernel: int, stride: int, pad: int, extra: int) -> None:
    size = (5, 4)
    out = [stride * (n - 1) + extra + kernel - 2 * pad for n in size]
    proto = model(
        f"""(float[1,3,5,4] x) => (float[1,2,{out[0]},{out[1]}] y) {{
        y = ConvTranspose<strides = {[stride] * 2}, pads = {[pad] * 4}, output_padding = {[extra] * 2}>(x, w) }}""",
        w=(3, 2, kernel, kernel),
    )
    inside = sum(
        all(0 <= i * stride + k - pad < n for i, k, n in zip(at, tap, out, strict=True))
        for at in product(*(range(n) for n in size))
        for tap in product(range(kernel), repeat=2)
    )
    assert graph_macs(ingest(proto)) == Macs(inside * 6, 20 * 6 * kernel**2)


EINSUMS = {
    ("bi,oi->bo", "6", "5,6"): 30,
    ("bi, oi", "6", "5,6"): 30,
    ("b...k,...kd->b...d", "3,6", "3,6,2"): 36,
    ("...i,oi->...o", "3,6", "5,6"): 90,
}


@pytest.mark.parametrize(("equation", "x", "w"), EINSUMS)
def test_einsum(equation: str, x: str, w: str) -> None:
    text = f'a (float[1,{x}] x, float[{w}] w) => (float y) {{ y = Einsum<equation = "{equation}">(x, w) }}'
    graph = ingest(onnx_models.model(text))
    assert graph_macs(graph) == Macs(*[EINSUMS[equation, x, w]] * 2)
    assert NonzeroMacs(graph).watch.keys() == {"x"}


def test_an_einsum_of_one_multiplies_nothing() -> None:
    proto = model('(float[1,6] x) => (float[6,1] y) { y = Einsum<equation = "ij->ji">(x) }')
    assert graph_macs(ingest(proto)) == Macs()


def test_integers() -> None:
    proto = model(
        """(float[1,6] x) => (int32[1,5] y) { q, s, z = DynamicQuantizeLinear(x)
        y = MatMulInteger(q, w, z) }"""
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((6, 5), np.int8), "w"))
    graph = ingest(proto)
    assert graph_macs(graph) == Macs(30, 30)
    nonzero = NonzeroMacs(graph)
    nonzero.watch["q"](np.zeros((1, 6), np.uint8))  # the zero point may be another number
    assert nonzero.total == 30


def test_gemm_and_sum() -> None:
    proto = model(
        """(float[1,6] x) => (float[1,3] y) { h = MatMul(x, v)
        r = Relu(h)
        y = Gemm<transB = 1>(r, w) }""",
        v=(6, 5),
        w=(3, 5),
    )
    assert graph_macs(ingest(proto)) == Macs(45, 45)
    assert graph_macs(None) == Macs()
