"""What onnx's converter cannot bring down to opset 20, written in older operators first."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from snncc.errors import FormatError
from snncc.ingest.limits import REEXPORT, node_label

MAX_GROUPS = 2**16


def expand_group_norms(model: onnx.ModelProto) -> None:
    """GroupNormalization of opset 21 (a scale per channel, before: per group), in place, much as torch writes it for
    older opsets: InstanceNormalization over [N, groups, -1], then Mul and Add over [N, C, -1]. Raises FormatError."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes += _expanded(node, model.graph) if node.op_type == "GroupNormalization" else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _expanded(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    attrs = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    (x, scale, bias), y, groups = node.input, node.output[0], attrs["num_groups"]
    if not 1 <= groups <= MAX_GROUPS:
        raise FormatError(f"{groups} groups", node=node_label(node), remedy=REEXPORT)

    def constant(stem: str, value: object, dtype: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), f"{y}.{stem}"))
        return f"{y}.{stem}"

    def op(kind: str, inputs: list[str], stem: str, **given: float) -> onnx.NodeProto:
        made = helper.make_node(kind, inputs, [f"{y}.{stem}" if stem else y], name=node.name or y)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in given.items())
        return made

    keep, rest = constant("keep", [0], np.int64), constant("rest", [-1], np.int64)
    ones, zeros = constant("ones", np.ones(groups), np.float32), constant("zeros", np.zeros(groups), np.float32)
    return [
        op("Reshape", [x, constant("grouped", [0, groups, -1], np.int64)], "groups"),
        op("InstanceNormalization", [f"{y}.groups", ones, zeros], "normal", epsilon=attrs.get("epsilon", 1e-5)),
        op("Shape", [scale], "channels"),
        op("Concat", [keep, f"{y}.channels", rest], "split", axis=0),
        op("Reshape", [f"{y}.normal", f"{y}.split"], "flat"),
        op("Unsqueeze", [scale, constant("one", [1], np.int64)], "scale"),
        op("Unsqueeze", [bias, f"{y}.one"], "bias"),
        op("Mul", [f"{y}.flat", f"{y}.scale"], "scaled"),
        op("Add", [f"{y}.scaled", f"{y}.bias"], "shifted"),
        op("Shape", [x], "shape"),
        op("Reshape", [f"{y}.shifted", f"{y}.shape"], ""),
    ]
