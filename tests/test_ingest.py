"""Reading teachers: good ones give the same numbers, bad ones a message that helps."""

import contextlib
import io
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from snncc.errors import FormatError, OptionError, VerifyError
from snncc.graph import Graph, Node, Type
from snncc.graph_onnx import to_onnx
from snncc.ingest import ingest
from snncc.provenance import sha256_of
from snncc.runtime.host import run_graph
from snncc.text import graph_text
from snncc.verify import verify_graph
from tests.onnx_models import Array, expected, feeds, model

TEACHERS = sorted((Path(__file__).resolve().parents[1] / "examples" / "hippocampus").glob("*.onnx"))
X = "float[1,4,8,8] x"


def check(proto: onnx.ModelProto, graph: Graph, values: dict[str, Array]) -> None:
    """The graph, run by us and written out again, computes what onnxruntime finds for the original."""
    verify_graph(graph)
    wanted = expected(proto, values)
    for found in (run_graph(graph, values, graph.outputs), expected(to_onnx(graph), values)):
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
    onnx.checker.check_model(to_onnx(graph), full_check=True)
    assert to_onnx(graph).SerializeToString() == to_onnx(graph).SerializeToString()


def test_a_split_keeps_its_parts_though_nobody_reads_the_last() -> None:
    proto = model("a (float[1,4,2] x) => (float y) { a, b = Split<axis=1, num_outputs=2>(x) y = Sigmoid(a) }")
    check(proto, ingest(proto), feeds(proto))


@pytest.mark.parametrize("path", TEACHERS, ids=lambda path: path.stem)
def test_teachers(path: Path) -> None:
    graph = ingest(path)
    proto = onnx.load(path)
    check(proto, graph, feeds(proto))
    assert "snncc.preprocess" in graph.meta
    assert all(node.origin for node in graph.nodes)


GOOD: dict[str, tuple[str, dict[str, Any], str]] = {
    "identities": (
        f"agraph ({X}) => (float y) "
        "{ a = Identity (x)  b = Dropout (a)  c = Cast <to=1> (b)  d = Relu (c)  y = Identity (d) }",
        {},
        "Relu",
    ),
    "values whose places nobody reads": (
        "agraph (float[1,4] x, int64[1] k) => (float y) { a, i = TopK (x, k)  y = Sigmoid (a) }",
        {"k": [2]},
        "TopK Sigmoid",
    ),
    "slopes of a vector": ("agraph (float[4] x, float[4] s) => (float y) { y = PRelu (x, s) }", {}, "PRelu"),
    "input to output": (f"agraph ({X}) => (float y) {{ a = Identity (x)  y = Identity (a) }}", {}, "Identity"),
    "global mean": (
        f"agraph ({X}, int64[2] a) => (float y, float z) "
        "{ y = ReduceMean (x, a)  z = ReduceMean <keepdims=0> (x, a) }",
        {"a": [-1, 2]},
        "GlobalAveragePool GlobalAveragePool Reshape",
    ),
    "mean over channels": (
        f"agraph ({X}, int64[1] a) => (float y) {{ y = ReduceMean (x, a) }}",
        {"a": [1]},
        "ReduceMean",
    ),
    "reshapes": (
        f"agraph ({X}, int64[3] s, int64[1] a) => (float y) "
        "{ b = Reshape (x, s)  c = Unsqueeze (b, a)  d = Squeeze (c)  y = Flatten (d) }",
        {"s": [0, -1, 4], "a": [1]},
        "Reshape Reshape Reshape Reshape",
    ),
    "reshape computed from a shape": (
        f"agraph ({X}) => (float y) "
        "{ s = Shape <end=2> (x)  k = Constant <value_ints=[-1]> ()  t = Concat <axis=0> (s, k)  y = Reshape (x, t) }",
        {},
        "Reshape",
    ),
    "constants cast like data": (
        f"agraph ({X}) => (float y) "
        "{ k = Constant <value_int=2> ()  c = CastLike (k, x)  d = CastLike (x, x)  y = Div (d, c) }",
        {},
        "Div",
    ),
    "sum": (f"agraph ({X}) => (float y) {{ a = Sum (x)  b = Relu (a)  y = Sum (x, b) }}", {}, "Relu Add"),
    "gemm": (
        "agraph (float[1,6] x, float[6,4] w, float[1,4] b) => (float y) { y = Gemm <alpha=2.0, beta=0.5> (x, w, b) }",
        {},
        "Gemm",
    ),
    "gemm, scalar bias": (
        "agraph (float[1,6] x, float[4,6] w, float b) => (float y) { y = Gemm <transB=1> (x, w, b) }",
        {},
        "Gemm",
    ),
    "transposed conv with output_shape": (
        f"agraph ({X}, float[4,2,4,4] w) => (float y) "
        "{ y = ConvTranspose <strides=[2,2], output_shape=[16,16]> (x, w) }",
        {},
        "ConvTranspose",
    ),
    "transposed conv with an odd or too large output_shape": (
        f"agraph ({X}, float[4,2,3,3] w) => (float y, float z) "
        "{ y = ConvTranspose <strides=[2,2], output_shape=[16,18]> (x, w) "
        '  z = ConvTranspose <strides=[2,2], output_shape=[15,14], auto_pad="SAME_LOWER"> (x, w) }',
        {},
        "ConvTranspose ConvTranspose",
    ),
    "pools whose last window ceil_mode drops": (
        '<ir_version: 10, opset_import: ["": 22]>\n'
        f"agraph ({X}) => (float y) "
        "{ a = MaxPool <kernel_shape=[2,2], strides=[3,3], pads=[1,1,0,0], ceil_mode=1> (x)"
        "  y = AveragePool <kernel_shape=[1,1], strides=[3,3], ceil_mode=1> (a) }",
        {},
        "MaxPool AveragePool",
    ),
    "the same in an old opset": (
        '<ir_version: 10, opset_import: ["": 11]>\n'
        f"agraph ({X}) => (float y) {{ a = MaxPool <kernel_shape=[2,2], strides=[3,3], pads=[1,1,0,0], ceil_mode=1> (x)"
        "  y = GlobalAveragePool (a) }",
        {},
        "MaxPool GlobalAveragePool",
    ),
    "a fixed batch": (
        "agraph (float[2,4,3] x, float[3] w) => (float y) { a = Add (x, w)  y = Flatten <axis=2> (a) }",
        {},
        "Add Reshape",
    ),
    "resize by sizes": (
        f'agraph ({X}, int64[4] s) => (float y) {{ y = Resize <mode="nearest"> (x, , , s) }}',
        {"s": [1, 4, 16, 24]},
        "Resize",
    ),
    "resize by a fraction": (
        f"agraph ({X}, int64[2] s) => (float y) "
        '{ y = Resize <mode="linear", axes=[2,3], coordinate_transformation_mode="align_corners"> (x, , , s) }',
        {"s": [13, 11]},
        "Resize",
    ),
    "resize by a scale that float32 cannot hold": (
        'agraph (float[1,1,24,24] x, int64[4] s) => (float y) { a = Resize <mode="linear"> (x, , , s)  y = Relu (a) }',
        {"s": [1, 1, 25, 31]},
        "Resize Relu",
    ),
    "resize, asymmetric and ceil": (
        f"agraph ({X}, float[4] s) => (float y) "
        '{ y = Resize <mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="ceil"> (x, , s) }',
        {"s": [1, 1, 3, 2]},
        "Resize",
    ),
    "clip and constants": (
        f"agraph ({X}) => (float y) "
        "{ l = Constant <value_float=-0.5> ()  u = Constant <value_float=0.7> ()  y = Clip (x, l, u) }",
        {},
        "Clip",
    ),
    "bounds by Max and Min": (
        f"agraph ({X}, float[1] l, float u) => (float y) {{ a = Max (l, x)  y = Min (a, u) }}",
        {"l": [-0.5], "u": 0.7},
        "Clip Clip",
    ),
    "relu by where": (
        f"agraph ({X}, float n) => (float y) {{ c = Greater (x, n)  y = Where (c, x, n) }}", {"n": 0.0}, "Relu"
    ),
    "hard sigmoid": (f"agraph ({X}) => (float y) {{ y = HardSigmoid (x) }}", {}, "Mul Add Clip"),
    "negative": (f"agraph ({X}) => (float y) {{ a = Neg (x)  y = Relu (a) }}", {}, "Mul Relu"),
    "sum and mean of three": (
        f"agraph ({X}, float[4,1,1] c) => (float y, float z) {{ r = Relu (x)  y = Sum (c, r, x)  z = Mean (x, c, r) }}",
        {},
        "Relu Add Add Add Add Mul",
    ),
    "split": (
        f"agraph ({X}) => (float y, float z) "
        "{ y, z = Split <axis=-3, num_outputs=2> (x) }",
        {},
        "Slice Slice",
    ),
    "slopes that are equal": (
        f"agraph ({X}, float[4,1,1] s, float[1] n, float[1,4,1,1] t) => (float y) "
        "{ a = PRelu (x, s)  b = PRelu (a, t)  c = LeakyRelu <alpha=1.0> (b)  y = PRelu (c, n) }",
        {"s": [0.25] * 4, "n": [0.0]},
        "LeakyRelu PRelu Relu",
    ),
    "maximum over all positions": (
        f"agraph ({X}, int64[2] a) => (float y, float z) "
        "{ y = GlobalMaxPool (x)  z = ReduceMax <keepdims=0> (x, a) }",
        {"a": [2, 3]},
        "MaxPool MaxPool Reshape",
    ),
    "average over all positions": (
        f"agraph ({X}) => (float y) {{ y = AveragePool <kernel_shape=[8,8]> (x) }}", {}, "GlobalAveragePool"
    ),
    "unread indices": (f"agraph ({X}) => (float y) {{ y, i = MaxPool <kernel_shape=[2,2]> (x) }}", {}, "MaxPool"),
    "old opset": (
        '<ir_version: 3, opset_import: ["": 9]>\n'
        f"agraph ({X}, float[4] s) => (float y) "
        '{ a = Upsample <mode="nearest"> (x, s)  y = Clip <min=0.0, max=6.0> (a) }',
        {"s": [1, 1, 2, 3]},
        "Resize Clip",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    text, weights, operators = GOOD[name]
    proto = model(text, weights)
    if proto.ir_version < 4:  # there every weight is an input too
        proto.graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in proto.graph.initializer
        )
    graph = ingest(proto)
    check(proto, graph, feeds(proto))
    assert " ".join(node.op for node in graph.nodes) == operators


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("kind", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad(kind: str, size: int) -> None:
    proto = model(
        f"agraph (float[1,2,{size},{size}] x, float[2,1,3,4] w, float[2,2,2,2] u, float[2,2,3,3] t) "
        "=> (float y, float z, float s) "
        f'{{ a = Conv <auto_pad="{kind}", strides=[2,2], group=2> (x, w) '
        f'  y = MaxPool <auto_pad="{kind}", kernel_shape=[2,2]> (a) '
        f'  z = ConvTranspose <auto_pad="{kind}", strides=[2,2]> (x, u) '
        f'  s = ConvTranspose <auto_pad="{kind}", strides=[2,2]> (x, t) }}'
    )
    graph = ingest(proto)
    check(proto, graph, feeds(proto))
    assert {node.attrs["auto_pad"] for node in graph.nodes} == {"NOTSET"}


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_normalisation_of_opset_21(groups: int) -> None:
    proto = model(
        f'<ir_version: 10, opset_import: ["": 21]> agraph ({X}, float[4] g, float[4] b) => (float y) '
        "{ a = InstanceNormalization <epsilon=0.1> (x, g, b)  y = InstanceNormalization (a, b, g) }"
    )
    for node in proto.graph.node:  # for whose output onnx infers no type
        node.op_type = "GroupNormalization"
        node.attribute.append(helper.make_attribute("num_groups", groups))
    graph = ingest(proto)
    check(proto, graph, feeds(proto))
    wanted = ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]
    assert [node.op for node in graph.nodes] == 2 * wanted


@pytest.mark.parametrize("factors", [(2, 3), (2.5, 1.25), (1.75, 1), (0.3, 0.75), (0.5, 1)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_resizes_before_opset_11(opset: int, mode: str, factors: tuple[float, float]) -> None:
    """Their formulas are older; onnxruntime on the file itself knows them."""
    if min(factors) < 1 and opset < 10:
        pytest.skip("an Upsample never shrinks")
    head = f'<ir_version: 4, opset_import: ["": {opset}]> agraph (float[1,2,12,20] x'
    if opset == 7:
        scales = ", ".join(map(str, (1.0, 1.0, *map(float, factors))))
        proto = model(f'{head}) => (float y) {{ y = Upsample <mode="{mode}", scales=[{scales}]> (x) }}')
    else:
        op = "Resize" if opset == 10 else "Upsample"
        text = f'{head}, float[4] s) => (float y) {{ y = {op} <mode="{mode}"> (x, s) }}'
        proto = model(text, {"s": [1, 1, *factors]})
    check(proto, ingest(proto), feeds(proto))


def test_attributes_are_resolved() -> None:
    (node,) = ingest(model(f"agraph ({X}, float[2,4,3,3] w) => (float y) {{ y = Conv (x, w) }}")).nodes
    assert dict(node.attrs) == {
        "auto_pad": "NOTSET",
        "dilations": (1, 1),
        "group": 1,
        "kernel_shape": (3, 3),
        "pads": (0, 0, 0, 0),
        "strides": (1, 1),
    }


def test_dimensions_are_bound() -> None:
    batch = model("agraph (float[N,1,8,8] x) => (float[N,1,8,8] y) { y = Relu (x) }")
    assert ingest(batch).types["y"].shape == (1, 1, 8, 8)
    proto = model("agraph (float[N,1,H,W] x, float[2,1,3,3] w) => (float y) { y = Conv (x, w) }")
    with pytest.raises(FormatError, match=r"--shape x=1x1xHxW"):
        ingest(proto)
    assert ingest(proto, {"x": (1, 1, 9, 8)}).types["y"].shape == (1, 2, 7, 6)
    for shapes in ({"z": (1, 1, 8, 8)}, {"x": (1, 1, 8)}, {"x": (1, 3, 8, 8)}):
        with pytest.raises(OptionError):
            ingest(proto, shapes)


def test_named_dimensions_and_expressions() -> None:
    proto = model("agraph (float[N,1,H,W] x) => (float y) { y = Relu (x) }")
    for axis, text in ((2, "4*h"), (3, "w + 2")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = text
    with pytest.raises(FormatError, match=r"4\*h.* is open"):
        ingest(proto)
    assert ingest(proto, {"x": (1, 1, 8, 6)}).types["y"].shape == (1, 1, 8, 6)


def test_a_size_that_cannot_be_halved() -> None:
    proto = model(
        "agraph (float[N,1,H,W] x, float[1,1,2,2] w) => (float y) "
        "{ a = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x)  b = ConvTranspose <strides=[2,2]> (a, w) "
        "  c = Concat <axis=1> (b, x)  y = Relu (c) }"
    )
    with pytest.raises(FormatError, match="--shape x=1x1x8x10"):
        ingest(proto, {"x": (1, 1, 9, 10)})
    assert ingest(proto, {"x": (1, 1, 8, 10)}).types["y"].shape == (1, 2, 8, 10)


@pytest.mark.parametrize("shapes", [{}, {"x": (1, 2, 8, 8)}])
def test_one_sample_of_a_fixed_batch(shapes: dict[str, tuple[int, ...]]) -> None:
    proto = model(
        "agraph (float[4,2,8,8] x, float[4,2,3,3] w, int64[2] s, float[5,144] g) => (float y) "
        "{ a = Conv (x, w)  b = Reshape (a, s)  y = Gemm <transB=1> (b, g) }",
        {"s": [4, 144]},
    )
    graph, values = ingest(proto, shapes), feeds(proto)
    verify_graph(graph)
    for k, wanted in enumerate(expected(proto, values)["y"]):
        found = run_graph(graph, {"x": values["x"][k : k + 1]}, ["y"])["y"]
        np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-5)


def test_half_precision_is_widened() -> None:
    proto = model(
        "agraph (float16[1,4,8,8] x, float16[2,4,3,3] w) => (float16 y) "
        "{ k = Constant <value_float=0.5> ()  c = Cast <to=10> (k)  a = Conv (x, w)  y = Mul (a, c) }"
    )
    graph, values = ingest(proto), feeds(proto)
    assert {kind.dtype for kind in graph.types.values()} == {"float32"}
    half = expected(proto, {name: value.astype(np.float16) for name, value in values.items()})["y"]
    np.testing.assert_allclose(run_graph(graph, values, ["y"])["y"], half, atol=0.02)


def test_group_norm_of_opset_21() -> None:
    text = '<ir_version: 10, opset_import: ["": 21]> agraph (float[1,4,8,8] x) => (float[1,4,8,8] y) '
    proto = onnx.parser.parse_model(text + "{ r = Relu (x)  y = GroupNormalization <num_groups=2> (r, s, b) }")
    ramp = np.arange(1, 5, dtype=np.float32)
    proto.graph.initializer.extend(numpy_helper.from_array(ramp, name) for name in "sb")
    graph = ingest(proto)
    check(proto, graph, feeds(proto))
    assert [node.op for node in graph.nodes] == ["Relu", "Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]


def test_overridable_weights_are_weights() -> None:
    proto = model(f"agraph ({X}, float[2,4,3,3] w) => (float y) {{ y = Conv (x, w) }}")
    proto.graph.input.append(helper.make_tensor_value_info("w", 1, [2, 4, 3, 3]))
    graph = ingest(proto)
    assert graph.inputs == ("x",) and set(graph.weights) == {"w"}
    assert not graph.weights["w"].flags.writeable


def test_external_weights(tmp_path: Path) -> None:
    proto = model(f"agraph ({X}, float[2,4,3,3] w) => (float y) {{ y = Conv (x, w) }}")
    file = tmp_path / "m.onnx"
    onnx.save(proto, file, save_as_external_data=True, location="m.data", size_threshold=0, convert_attribute=False)
    proto = model(f"agraph ({X}, float[2,4,3,3] w) => (float y) {{ y = Conv (x, w) }}")
    check(proto, ingest(file), feeds(proto))
    with pytest.raises(FormatError, match="another file"):
        ingest(onnx.load(file, load_external_data=False))
    before = sha256_of(file)
    onnx.save(proto, tmp_path / "whole.onnx")
    assert sha256_of(tmp_path / "whole.onnx") == sha256((tmp_path / "whole.onnx").read_bytes()).hexdigest() != before
    weights = bytearray((tmp_path / "m.data").read_bytes())
    weights[0] ^= 1
    (tmp_path / "m.data").write_bytes(weights)
    assert sha256_of(file) != before
    (tmp_path / "m.data").unlink()
    with pytest.raises(FormatError, match="missing"):
        sha256_of(file)
    with pytest.raises(FormatError, match="missing"):
        ingest(file)


def conv(**attributes: Any) -> onnx.ModelProto:
    proto = model(f"agraph ({X}, float[2,4,3,3] w) => (float y) {{ y = Conv (x, w) }}")
    proto.graph.node[0].attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return proto


def edited(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = conv()
    change(proto)
    return proto


def weight(proto: onnx.ModelProto, value: Array) -> None:
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(value.astype(np.float32), "w"))


def call_input(proto: onnx.ModelProto, name: str) -> None:
    proto.graph.input[0].name = proto.graph.node[0].input[0] = name


def text(body: str, inputs: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 20, "evil": 1]> agraph ({X}{inputs}) => (float[1,4,8,8] y) {{ {body} }}'
    )


IF = (
    "b = ReduceMax <keepdims=0> (x)  c = Cast <to=9> (b) "
    "y = If (c) <then_branch = t () => (float[1,4,8,8] p) { p = Relu (x) }, "
    "else_branch = e () => (float[1,4,8,8] q) { q = Sigmoid (x) }>"
)
FUNCTION = onnx.parser.parse_function('<domain: "evil", opset_import: ["": 20]> f (a) => (b) { b = Relu (a) }')
BAD: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "NaN": (lambda: edited(lambda m: weight(m, np.full((2, 4, 3, 3), np.nan))), "NaN"),
    "infinity": (lambda: edited(lambda m: weight(m, np.full((2, 4, 3, 3), np.inf))), "infinity"),
    "no channels": (lambda: edited(lambda m: weight(m, np.ones((0, 4, 3, 3)))), "empty"),
    "other channels": (lambda: edited(lambda m: weight(m, np.ones((2, 3, 3, 3)))), "channels"),
    "groups": (lambda: conv(group=3), "channels|groups"),
    "no groups": (lambda: conv(group=0), r"\S"),
    "stride 0": (lambda: conv(strides=[0, 0]), r"\S"),
    "negative pads": (lambda: conv(pads=[-1, 0, 0, 0]), "pads"),
    "too large a kernel": (lambda: edited(lambda m: weight(m, np.ones((2, 4, 11, 11)))), r"\S"),
    "bias": (
        lambda: model(f"agraph ({X}, float[2,4,3,3] w, float[3] b) => (float y) {{ y = Conv (x, w, b) }}"),
        "bias",
    ),
    "domain": (lambda: text("y = evil.Thing (x)"), "domain"),
    "compiled": (
        lambda: onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["": 20, "ai.snncc": 1]> a ({X}) => (float y) {{ y = ai.snncc.If (x) }}'
        ),
        "compiled",
    ),
    "function": (lambda: edited(lambda m: m.functions.append(FUNCTION)), "functions"),
    "if": (lambda: text(IF), "control flow"),
    "unknown operator": (lambda: text("y = Bogus (x)"), "Bogus"),
    "random": (lambda: text("r = RandomUniformLike (x)  y = Add (x, r)"), "random"),
    "batchnorm in training": (
        lambda: model(
            f"agraph ({X}, float[4] g, float[4] t, float[4] m, float[4] v) => (float y) "
            "{ y, a, b = BatchNormalization <training_mode=1> (x, g, t, m, v) }"
        ),
        "training mode",
    ),
    "dropout in training": (
        lambda: model(f"agraph ({X}, float r, bool t) => (float y) {{ y = Dropout (x, r, t) }}", {"r": 0.5, "t": True}),
        "training mode",
    ),
    "opset 999": (lambda: edited(lambda m: setattr(m.opset_import[0], "version", 999)), "opset"),
    "opset 0": (lambda: edited(lambda m: setattr(m.opset_import[0], "version", 0)), "opset"),
    "ir 99": (lambda: edited(lambda m: setattr(m, "ir_version", 99)), "IR version"),
    "no nodes": (lambda: edited(lambda m: m.graph.ClearField("node")), "no network"),
    "dims overflow": (lambda: edited(lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**60)), "bytes"),
    "negative dims": (lambda: edited(lambda m: m.graph.initializer[0].dims.__setitem__(0, -2)), "shape"),
    "too few bytes": (lambda: edited(lambda m: m.graph.initializer[0].dims.__setitem__(0, 200)), r"\S"),
    "two weights of one name": (
        lambda: edited(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "same name",
    ),
    "weight missing": (lambda: edited(lambda m: m.graph.ClearField("initializer")), r"\S"),
    "read before made": (lambda: text("y = Relu (c)  c = Sigmoid (x)"), r"\S"),
    "made twice": (lambda: text("y = Relu (x)  y = Sigmoid (x)"), r"\S"),
    "output never made": (lambda: text("z = Relu (x)"), r"\S"),
    "output shape is a lie": (lambda: text("y = Flatten (x)"), "shapes"),
    "constant output": (lambda: text("c = Constant <value_float=1.0> ()  y = Identity (c)"), r"\S"),
    "a pool of which ceil_mode drops a window on one axis": (
        lambda: model(
            "agraph (float[1,1,2,3] x) => (float y) "
            "{ a = MaxPool <kernel_shape=[1,2], strides=[2,2], ceil_mode=1> (x)  y = GlobalAveragePool (a) }"
        ),
        "beyond the input",
    ),
    "an output_shape out of reach": (
        lambda: model(
            f"agraph ({X}, float[4,2,3,3] w) => (float y) {{ y = ConvTranspose <output_shape=[12,12]> (x, w) }}"
        ),
        "out of reach",
    ),
    "empty input": (lambda: model("agraph (float[1,0,4,4] x) => (float y) { y = Relu (x) }"), "dimension 1"),
    "a name like channels of another": (lambda: edited(lambda m: call_input(m, "x[0:2]")), "reads like channels"),
    "double precision": (lambda: model("agraph (double[1,4] x) => (double y) { y = Relu (x) }"), "float32"),
    "shape depends on data": (lambda: model(f"agraph ({X}) => (int64 y) {{ y = NonZero (x) }}"), "depends on the data"),
    "a nearest resize of opset 10 both ways": (
        lambda: model(
            '<ir_version: 5, opset_import: ["": 10]> a (float[1,1,6,6] x, float[4] s) => (float y) '
            "{ y = Resize (x, s) }",
            {"s": [1, 1, 0.75, 2]},
        ),
        "shrinks one axis",
    ),
    "hardmax before opset 13": (
        lambda: model('<ir_version: 7, opset_import: ["": 12]> a (float[1,3,4] x) => (float y) { y = Hardmax (x) }'),
        "Hardmax of opset 12",
    ),
    "huge constant": (
        lambda: model(
            f"agraph ({X}, int64[1] s) => (float y) {{ c = ConstantOfShape (s)  y = ReduceMax (c) }}", {"s": 10**11}
        ),
        "elements",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    file = tmp_path / "teacher.onnx"
    file.write_bytes(make().SerializeToString())
    with pytest.raises(FormatError, match=message) as caught:
        ingest(file)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "teacher.onnx"
    with pytest.raises(FormatError, match="No such file"):
        ingest(file)
    with pytest.raises(FormatError):
        ingest(tmp_path)
    rng = np.random.default_rng(0)
    for content in (b"", b"# a text file\n" * 40, rng.bytes(400), b"\x00" * 100, b"PK\x03\x04" + rng.bytes(60)):
        file.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            ingest(file)
        assert str(file) in str(caught.value)


def test_truncated(tmp_path: Path) -> None:
    whole = conv().SerializeToString()
    file = tmp_path / "teacher.onnx"
    for length in range(0, len(whole) - 1, 3):
        file.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            ingest(file)


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    whole = conv().SerializeToString()
    file = tmp_path / "teacher.onnx"
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(256)
        file.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            verify_graph(ingest(file))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin", "missing.bin"])
def test_external_data_stays_in_its_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.ones(72, np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    proto = conv()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError):
        ingest(folder / "m.onnx")


def test_host_gives_any_value() -> None:
    graph = ingest(conv())
    x = np.ones((1, 4, 8, 8), np.float32)
    found = run_graph(graph, {"x": x}, ["x", "y", "w"])
    assert [value.shape for value in found.values()] == [(1, 4, 8, 8), (1, 2, 6, 6), (2, 4, 3, 3)]
    np.testing.assert_array_equal(found["y"], run_graph(graph, {"x": x}, ["y"])["y"])


def test_verify_shows_where() -> None:
    relu = Node("Relu", ("x",), ("y",), {}, ("first",))
    again = Node("Relu", ("q",), ("z",), {}, ("second",))
    kind = Type((1, 4))
    graph = Graph(("x",), ("z",), (relu, again), {}, {"x": kind, "y": kind, "z": kind})
    with pytest.raises(VerifyError, match=r"'q' is read before it is made\n(.*\n)+--> z: .*# second"):
        verify_graph(graph)
    wrong = Graph(("x",), ("y",), (relu,), {}, {"x": kind, "y": Type((1, 5))})
    with pytest.raises(VerifyError, match=r"float32\[1x5\], but is float32\[1x4\]"):
        verify_graph(wrong)
    unread = Graph(("x",), ("y",), (relu,), {"w": np.ones(1)}, {"x": kind, "y": kind})
    with pytest.raises(VerifyError, match="never read"):
        verify_graph(unread)


def test_text() -> None:
    proto = model(f"agraph ({X}, float[2,4,3,3] w, float[2] b) => (float y) {{ y = Conv (x, w, b) }}", {"b": [1, 0.5]})
    proto.graph.node[0].name = "Conv_3"
    assert graph_text(ingest(proto)) == (
        "inputs: x: float32[1x4x8x8]\noutputs: y\n"
        "y: float32[1x2x6x6] = Conv(x, w[2x4x3x3], b=[1, 0.5]) kernel_shape=[3, 3]  # Conv_3\n"
    )


@pytest.mark.parametrize("size", [24, 23])
def test_legacy_torch_export(size: int) -> None:
    """A U-Net of the TorchScript exporter, with its six-operator padding idiom and open dimensions."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.down, self.bottom = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 8, 3, padding=1)
            self.up, self.last = torch.nn.ConvTranspose2d(8, 4, 2, 2), torch.nn.Conv2d(8, 2, 1)
            self.norm = torch.nn.BatchNorm2d(4)

        def forward(self, x: Any) -> Any:
            a = self.norm(torch.relu(self.down(x)))
            b = self.up(torch.relu(self.bottom(torch.nn.functional.max_pool2d(a, 2))))
            rows, columns = a.shape[2] - b.shape[2], a.shape[3] - b.shape[3]
            b = torch.nn.functional.pad(b, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
            return self.last(torch.cat([a, b], 1)).mean((2, 3))

    torch.manual_seed(0)
    file = io.BytesIO()
    axes = {"x": {0: "n", 2: "h", 3: "w"}}
    example = torch.ones(1, 1, size, size)
    torch.onnx.export(
        Net().eval(), (example,), file, input_names=["x"], dynamic_axes=axes, opset_version=17, dynamo=False
    )
    proto = onnx.load_from_string(file.getvalue())
    graph = ingest(proto, {"x": (1, 1, size, size)})
    check(proto, graph, {"x": np.random.default_rng(0).normal(size=(1, 1, size, size)).astype(np.float32)})
    assert {node.op for node in graph.nodes} <= {
        *("Conv", "ConvTranspose", "BatchNormalization", "Relu", "MaxPool"),
        *("Pad", "Concat", "GlobalAveragePool", "Reshape"),
    }
