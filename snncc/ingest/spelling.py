"""Spelled anew before the opset conversion: half precision as float32, GroupNormalization by older operators."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from snncc.errors import FormatError
from snncc.graph import Array
from snncc.ingest.limits import REEXPORT, node_label

MAX_GROUPS = 2**16
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def to_float32(model: onnx.ModelProto) -> None:
    """Half-precision inputs, weights and casts as float32, in place: every value of the former is one of the latter."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in HALVES:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        _widen(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen(attribute.t)
            if attribute.name in ("to", "dtype") and attribute.i in HALVES:
                attribute.i = TensorProto.FLOAT


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in HALVES:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def expand_group_norm(model: onnx.ModelProto) -> None:
    """GroupNormalization in place as exporters spell it for older opsets: Reshape to groups, InstanceNormalization,
    Reshape back, Mul, Add. Of opset 21 and later: there is no way back to 20, where it is deprecated."""
    if not any(node.op_type == "GroupNormalization" for node in model.graph.node):
        return
    alike = onnx.ModelProto()  # onnx infers nothing behind GroupNormalization: InstanceNormalization has its shapes
    alike.CopyFrom(model)
    for node in alike.graph.node:
        if node.op_type == "GroupNormalization":
            node.op_type = "InstanceNormalization"
            del node.attribute[:]
    inferred = shape_inference.infer_shapes(alike).graph
    ranks = {
        v.name: len(v.type.tensor_type.shape.dim)
        for v in (*inferred.input, *inferred.value_info, *inferred.output)
        if v.type.tensor_type.HasField("shape")
    }
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        grouped = node.op_type == "GroupNormalization" and node.input[0] in ranks
        nodes += _grouped(model.graph, node, ranks[node.input[0]]) if grouped else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _grouped(graph: onnx.GraphProto, node: onnx.NodeProto, rank: int) -> list[onnx.NodeProto]:
    x, scale, shift = node.input
    out, stem, name = node.output[0], f"{node.output[0]}.group", node.name
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    groups = int(attrs["num_groups"])
    if not 1 <= groups <= MAX_GROUPS:
        raise FormatError(f"{groups} groups", node=node_label(node), remedy=REEXPORT)
    constants: dict[str, Array] = {
        "split": np.asarray([0, groups, -1], np.int64), "one": np.ones(groups, np.float32),
        "zero": np.zeros(groups, np.float32), "vector": np.asarray([-1] + [1] * (rank - 2), np.int64),
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(value, f"{stem}.{key}") for key, value in constants.items())
    return [
        helper.make_node("Shape", [x], [f"{stem}.shape"]),
        helper.make_node("Reshape", [x, f"{stem}.split"], [f"{stem}.split_x"], name=name),
        helper.make_node("InstanceNormalization", [f"{stem}.split_x", f"{stem}.one", f"{stem}.zero"],
                         [f"{stem}.normal"], name=name, epsilon=attrs.get("epsilon", 1e-5)),
        helper.make_node("Reshape", [f"{stem}.normal", f"{stem}.shape"], [f"{stem}.back"], name=name),
        helper.make_node("Reshape", [scale, f"{stem}.vector"], [f"{stem}.scale"]),
        helper.make_node("Reshape", [shift, f"{stem}.vector"], [f"{stem}.shift"]),
        helper.make_node("Mul", [f"{stem}.back", f"{stem}.scale"], [f"{stem}.scaled"], name=name),
        helper.make_node("Add", [f"{stem}.scaled", f"{stem}.shift"], [out], name=name),
    ]  # fmt: skip
