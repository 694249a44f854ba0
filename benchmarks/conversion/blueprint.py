"""A teacher as a peer's process gets it: a list of layers (JSON) and weights (.npz), from its ONNX file.

The peers' environments have torch but no onnx; peers/convert.py builds the torch module of it. What follows the last
layer that the peers see (a sigmoid, a softmax) is cut off and put back behind their mean output.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snncc.graph import Array, Graph, Node

SCHEMA = ("kernel_shape", "strides", "pads", "dilations", "group", "output_padding", "count_include_pad", "ceil_mode")


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


TAILS: dict[str, Callable[[Array], Array]] = {"Sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2, "Softmax": _softmax}


def without_tail(graph: Graph, output: str) -> tuple[Graph, Callable[[Array], Array]]:
    """The graph with one output, the value before a last sigmoid or softmax, and that function of [n, *shape]."""
    last = graph.producer(output)
    if last is None or last.op not in TAILS:
        return replace(graph, outputs=(output,)).pruned(), lambda x: x
    return replace(graph, outputs=(last.inputs[0],)).pruned(), TAILS[last.op]


def pool_first(graph: Graph) -> Graph:
    """max(relu(x)) as relu(max(x)), which is equal; a ReLU that others read too stays for them."""
    changes: dict[Node, list[Node]] = {}
    types = {}
    for pool in graph.find("MaxPool"):
        relu = graph.producer(pool.inputs[0])
        if relu is not None and relu.op == "Relu":
            value = graph.fresh(f"{pool.output}.current")
            types[value] = graph.types[pool.output]
            changes[pool] = [
                replace(pool, inputs=relu.inputs, outputs=(value,)),
                Node("Relu", (value,), pool.outputs, origin=relu.origin),
            ]
    return graph.replace_nodes(changes, types=types)


def names(graph: Graph) -> dict[Node, str]:
    """What the layers are called in a peer's process."""
    return {node: f"{node.op.lower()}_{k}" for k, node in enumerate(graph.nodes)}


def scale(graph: Graph, resize: Node) -> tuple[int, ...]:
    """Whole factors of a nearest upsampling, batch and channels left out."""
    before, after = graph.shape(resize.inputs[0]), graph.shape(resize.output)
    if resize.attrs["mode"] != "nearest" or any(b % a for a, b in zip(before, after, strict=True)):
        raise ValueError(f"{resize.label}: only a nearest upsampling by whole factors")
    return tuple(b // a for a, b in zip(before[2:], after[2:], strict=True))


def write(graph: Graph, stem: Path) -> None:
    """stem.json: input, output, layers (name, op, values read and made, attributes); stem.npz: `LAYER.K`, a layer's
    constant input K."""
    layers: list[dict[str, Any]] = []
    weights: dict[str, Array] = {}
    for node, name in names(graph).items():
        attrs = {key: node.attrs[key] for key in (*SCHEMA, "epsilon", "axis") if key in node.attrs}
        if node.op == "Resize":
            attrs["scale"] = scale(graph, node)
        values = [value for value in node.inputs if value and graph.constant(value) is None]
        shape = graph.shape(node.output)
        layers.append({"name": name, "op": node.op, "reads": values, "makes": node.output, "shape": shape, **attrs})
        constants = ((k, graph.constant(value)) for k, value in enumerate(node.inputs))
        weights |= {f"{name}.{k}": value for k, value in constants if value is not None}
    (value,), (output,) = graph.inputs, graph.outputs
    described = {"input": value, "output": output, "layers": layers}
    stem.with_suffix(".json").write_text(json.dumps(described))
    np.savez(stem.with_suffix(".npz"), allow_pickle=False, **weights)
