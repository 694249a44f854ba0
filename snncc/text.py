"""IRs as text, for people and for golden tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from snncc.graph import Array, Graph, Node
from snncc.onnx_attributes import defaults

SHOWN = 4  # vectors of at most so many numbers are printed by value


def graph_text(graph: Graph) -> str:
    """A header line each for inputs and outputs, then one line an equation:

    `y: float32[1x16x48x64] = Conv(x, w[16x1x3x3], b[16]) kernel_shape=[3, 3] pads=[1, 1, 1, 1]  # Conv_3`

    Weights appear where they are read, by shape or, if short, by value; attributes at their default are left out.
    """
    header = [
        "inputs: " + ", ".join(f"{name}: {graph.types.get(name, '?')}" for name in graph.inputs),
        "outputs: " + ", ".join(graph.outputs),
    ]
    return "\n".join([*header, *(node_text(graph, node) for node in graph.nodes)]) + "\n"


def node_text(graph: Graph, node: Node) -> str:
    """One equation, without a line break; also of a graph that is not well formed."""
    made = ", ".join(f"{name or '_'}: {graph.types.get(name, '?')}" for name in node.outputs)
    read = ", ".join(_operand(graph, name) for name in node.inputs)
    origin = f"  # {'+'.join(node.origin)}" if node.origin else ""
    return " ".join([f"{made} = {node.op}({read})", *_attributes(graph, node)]) + origin


def _operand(graph: Graph, name: str) -> str:
    constant = graph.constant(name)
    if not name:
        return "_"
    if constant is None:
        return name
    if constant.ndim < 2 and constant.size <= SHOWN:
        return f"{name}={values_text(constant)}"
    return f"{name}[{'x'.join(map(str, constant.shape))}]"


def values_text(array: Array) -> str:
    """A scalar or short vector: `3`, `[0.5, 1]`."""
    numbers = [f"{value:.4g}" if array.dtype.kind == "f" else str(value) for value in np.ravel(array)]
    return numbers[0] if array.ndim == 0 else f"[{', '.join(numbers)}]"


def _attributes(graph: Graph, node: Node) -> Iterator[str]:
    known = node.inputs and (node.inputs[0] in graph.types or node.inputs[0] in graph.weights)
    usual = defaults(node.op, len(graph.shape(node.inputs[0])) - 2) if known else {}
    for name, value in sorted(node.attrs.items()):
        if name not in usual or usual[name] != value:
            yield f"{name}={_attribute(value)}"


def _attribute(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_attribute, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
