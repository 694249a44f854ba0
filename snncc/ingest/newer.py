"""What onnx's converter cannot bring down to opset 20, written in older operators first."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from snncc.errors import FormatError
from snncc.ingest.limits import node_label


def expand_group_norms(model: onnx.ModelProto) -> None:
    """GroupNormalization of opset 21 (a scale per channel, before: per group), in place, as torch writes it for older
    opsets: InstanceNormalization over [N, groups, -1], then Mul and Add. Raises FormatError for an unknown rank."""
    if not any(node.op_type == "GroupNormalization" for node in model.graph.node):
        return
    graph = shape_inference.infer_shapes(model).graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.value_info)}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes += _expanded(node, ranks, model.graph) if node.op_type == "GroupNormalization" else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _expanded(node: onnx.NodeProto, ranks: dict[str, int], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    attrs = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    (x, scale, bias), y, groups = node.input, node.output[0], attrs.get("num_groups", 0)
    if ranks.get(x, 0) < 3 or groups < 1:
        raise FormatError(f"{groups} groups over {x!r} of unknown shape", node=node_label(node))

    def constant(stem: str, value: object, dtype: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), f"{y}.{stem}"))
        return f"{y}.{stem}"

    def op(kind: str, inputs: list[str], stem: str, **given: float) -> onnx.NodeProto:
        made = helper.make_node(kind, inputs, [f"{y}.{stem}" if stem else y], name=node.name or y)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in given.items())
        return made

    axes = constant("axes", range(1, ranks[x] - 1), np.int64)
    ones, zeros = constant("ones", np.ones(groups), np.float32), constant("zeros", np.zeros(groups), np.float32)
    return [
        op("Shape", [x], "shape"),
        op("Reshape", [x, constant("grouped", [0, groups, -1], np.int64)], "groups"),
        op("InstanceNormalization", [f"{y}.groups", ones, zeros], "normal", epsilon=attrs.get("epsilon", 1e-5)),
        op("Reshape", [f"{y}.normal", f"{y}.shape"], "back"),
        op("Unsqueeze", [scale, axes], "scale"),
        op("Unsqueeze", [bias, axes], "bias"),
        op("Mul", [f"{y}.back", f"{y}.scale"], "scaled"),
        op("Add", [f"{y}.scaled", f"{y}.bias"], ""),
    ]
