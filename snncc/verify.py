"""Is an IR well formed? What fails here is a fault of a pass, and the message shows where."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from snncc.errors import VerifyError
from snncc.graph import Graph, Node, Type
from snncc.graph_onnx import OPSET, onnx_node, static_shape
from snncc.text import graph_text

CONTEXT = 3  # lines shown on either side
HEADER = 2  # lines of graph_text before the first equation


def verify_graph(graph: Graph) -> None:
    """Raises VerifyError unless each value is made once, before its use, with the type ONNX infers for it."""
    for index, fault in _graph_faults(graph):
        node = graph.nodes[index] if index is not None else None
        shown = excerpt(graph_text(graph), HEADER + index if index is not None else 0)
        raise VerifyError(f"{fault}\n{shown}", node=node.label if node else None)


def excerpt(text: str, line: int) -> str:
    """The lines around `line` (from 0), an arrow before it."""
    first = max(0, line - CONTEXT)
    shown = enumerate(text.splitlines()[first : line + CONTEXT + 1], first)
    return "\n".join(f"{'-->' if number == line else '   '} {content}" for number, content in shown)


def _graph_faults(graph: Graph) -> Iterator[tuple[int | None, str]]:
    """(index of the node or None, what is wrong), in order."""
    defined = set(graph.inputs)
    for name in graph.inputs:
        if name not in graph.types:
            yield None, f"input {name!r} has no type"
    if len(defined) != len(graph.inputs) or len(set(graph.outputs)) != len(graph.outputs):
        yield None, "an input or output is listed twice"
    for name in defined & set(graph.weights):
        yield None, f"{name!r} is both an input and a weight"
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name and name not in defined and name not in graph.weights:
                yield index, f"{name!r} is read before it is made"
        for name in node.outputs:
            if name in defined or name in graph.weights:
                yield index, f"{name!r} is made twice"
            if name and name not in graph.types:
                yield index, f"{name!r} has no type"
            defined.add(name)
        for fault in _type_faults(graph, node):
            yield index, fault
    for name in graph.outputs:
        if name not in defined:
            yield None, f"output {name!r} is never made"
    yield from _weight_faults(graph)


def _weight_faults(graph: Graph) -> Iterator[tuple[None, str]]:
    for name, array in graph.weights.items():
        if not graph.users(name):
            yield None, f"weight {name!r} is never read"
        if array.flags.writeable:
            yield None, f"weight {name!r} is not read-only"


def _type_faults(graph: Graph, node: Node) -> Iterator[str]:
    """Differences between `graph.types` and what ONNX infers for this node alone."""
    kinds = {
        name: Type(graph.shape(name), graph.weights[name].dtype.name) if name in graph.weights else graph.types[name]
        for name in node.inputs
        if name
    }
    small = {  # shapes, pads, scales: their values decide the output's shape
        name: numpy_helper.from_array(np.asarray(graph.weights[name]), name)
        for name in kinds
        if name in graph.weights and graph.weights[name].size < 64
    }
    try:
        schema = onnx.defs.get_schema(node.op, OPSET, "")
        found = onnx.shape_inference.infer_node_outputs(
            schema, onnx_node(node), {name: _proto(kind) for name, kind in kinds.items()}, small,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )  # fmt: skip
    except Exception as error:  # whatever onnx's C++ side throws
        yield f"ONNX does not accept this node: {str(error).strip()[:200]}"
        return
    for name, proto in found.items():
        shape = static_shape(onnx.ValueInfoProto(name=name, type=proto))
        if not proto.tensor_type.elem_type:
            continue
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type)).name
        kind = graph.types.get(name)
        if kind is not None and ((shape is not None and shape != kind.shape) or dtype != kind.dtype):
            yield f"{name!r} is said to be {kind}, but is {Type(shape or (), dtype)}"


def _proto(kind: Type) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(kind.dtype)), list(kind.shape))
