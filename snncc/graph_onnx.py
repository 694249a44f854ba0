"""Graph -> ModelProto: for running analog parts on onnxruntime, and for embedding them in a compiled file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from snncc.graph import Graph, Node, Type

OPSET, IR_VERSION = 20, 10


def to_onnx(graph: Graph, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """The graph as a standard model (opset 20, IR 10); the same graph gives the same bytes.

    Args:
        outputs: values to give out in place of the graph's outputs; any value a node makes.
    """
    wanted = tuple(graph.outputs if outputs is None else dict.fromkeys(outputs))
    graph = replace(graph, outputs=wanted).pruned()
    read = {name for node in graph.nodes for name in node.inputs if name in graph.weights}
    proto = helper.make_graph(
        [onnx_node(node) for node in graph.nodes],
        "snncc",
        [value_info(name, graph.types[name]) for name in graph.inputs],
        [value_info(name, graph.types[name]) for name in wanted],
        [numpy_helper.from_array(np.asarray(graph.weights[name]), name) for name in sorted(read)],
    )
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="snncc"
    )


def onnx_node(node: Node) -> onnx.NodeProto:
    """One equation, attributes sorted by name, called by its first output."""
    proto = helper.make_node(node.op, node.inputs, node.outputs, name=node.output)
    kinds = onnx.defs.get_schema(node.op, OPSET, "").attributes
    for name, value in sorted(node.attrs.items()):
        kind = int(kinds[name].type.value)  # type: ignore[attr-defined]  # an enum, unlike onnx says
        proto.attribute.append(helper.make_attribute(name, _listed(value), attr_type=kind))
    return proto


def value_info(name: str, kind: Type) -> onnx.ValueInfoProto:
    """Name, element type and shape of a value."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype)), kind.shape)


def static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape, or None if it is not fully known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def inputs_read(graph: Graph) -> Mapping[str, Type]:
    """The graph inputs that some node reads, with their types."""
    return {name: graph.types[name] for name in graph.inputs if graph.users(name)}
