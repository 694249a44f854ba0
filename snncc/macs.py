"""Multiply-accumulates of a Graph (the teacher, an analog part); see counting.py for the definitions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from snncc.graph import Array, Graph, Node
from snncc.synapses.base import conv_taps
from snncc.synapses.conv_transpose import ConvTranspose

SPARSE = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # whose work on activations of 0 can be left out
WHOLE = ("Einsum", "MatMulInteger", "QLinearMatMul")  # an integer's zero point is not 0


@dataclass(frozen=True)
class Macs:
    """Dense multiply-accumulates of one inference, without and with the taps that fall on padding."""

    valid: int = 0
    padded: int = 0

    def __add__(self, other: Macs) -> Macs:
        return Macs(self.valid + other.valid, self.padded + other.padded)


def graph_macs(graph: Graph | None) -> Macs:
    """Of all SPARSE and WHOLE nodes; every other op counts as none. (`lower` refuses those where that is no answer.)"""
    return sum((node_macs(graph, node) for node in graph.nodes), Macs()) if graph is not None else Macs()


def node_macs(graph: Graph, node: Node) -> Macs:
    """Conv: out * prod(W[1:]); ConvTranspose: in * prod(W[1:]); Gemm, MatMul of any kind: M * N * K; Einsum: the sizes
    of all its labels multiplied, for each operand after the first."""
    if node.op in ("Conv", "ConvTranspose"):
        return _conv(graph, node)
    if node.op == "Einsum":
        dense = (len(node.inputs) - 1) * prod(_labels(graph, node).values())
        return Macs(dense, dense)
    if node.op in ("Gemm", "MatMul", *WHOLE):
        inner = graph.shape(node.inputs[0])[0 if node.attrs.get("transA") else -1]
        dense = prod(graph.shape(node.output)) * inner
        return Macs(dense, dense)
    return Macs()


def _labels(graph: Graph, node: Node) -> dict[str, int]:
    """Label of an Einsum -> its size. Of an ellipsis each axis is a label, by its place from the last."""
    sizes: dict[str, int] = {}
    for term, name in zip(node.attrs["equation"].partition("->")[0].split(","), node.inputs, strict=True):
        before, dots, after = term.replace(" ", "").partition("...")
        shape = graph.shape(name)
        free = range(len(before) + len(after) - len(shape), 0) if dots else ()
        for label, size in zip((*before, *map(str, free), *after), shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return sizes


class NonzeroMacs:
    """Adds up, sample by sample, the multiply-accumulates that are left where activations of 0 are skipped.

    watch: activation -> what to show its value of each sample. Of two activations multiplied the first one counts. Of
    WHOLE nodes all are left.
    """

    def __init__(self, graph: Graph | None):
        self.total = 0
        self.watch = {}
        if graph is not None:
            self.watch = {name: partial(self._add, graph, nodes) for name, nodes in _readers(graph).items()}

    def _add(self, graph: Graph, nodes: list[Node], x: Array) -> None:
        self.total += sum(nonzero_macs(graph, node, x) for node in nodes)


def _readers(graph: Graph) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for node in graph.find(*SPARSE, *WHOLE):
        read = node.inputs if node.op in WHOLE else node.inputs[:2]
        for name in [name for name in read if name and name not in graph.weights][:1]:
            found.setdefault(name, []).append(node)
    return found


def nonzero_macs(graph: Graph, node: Node, x: Array) -> int:
    """Of one node whose activation is x."""
    if node.op in WHOLE:
        return node_macs(graph, node).valid
    if node.op in ("Gemm", "MatMul"):  # a value meets a row or a column of the output
        axis = -1 if node.inputs[0] not in graph.weights else -2
        return int(np.count_nonzero(x)) * graph.shape(node.output)[axis]
    w, left = graph.shape(node.inputs[1]), np.count_nonzero(x, axis=(0, 1))
    for table, size in zip(_tables(graph, node), x.shape[2:], strict=True):
        left = np.tensordot(left, np.bincount(table[table >= 0], minlength=size), axes=(0, 0))
    return int(left) * (w[1] if node.op == "ConvTranspose" else w[0] // int(node.attrs["group"]))


def _conv(graph: Graph, node: Node) -> Macs:
    """Valid taps factor over the axes: (channel pairs) * product of the valid (output, kernel index) pairs."""
    x, w = graph.shape(node.inputs[0]), graph.shape(node.inputs[1])
    places = graph.shape(node.output) if node.op == "Conv" else x
    valid = prod(int(np.count_nonzero(table >= 0)) for table in _tables(graph, node))
    return Macs(x[0] * w[0] * w[1] * valid, x[0] * prod(places[1:]) * prod(w[1:]))


def _tables(graph: Graph, node: Node) -> list[Array]:
    """Taps of each spatial axis, see `Synapse.taps`."""
    x, w = graph.shape(node.inputs[0]), graph.shape(node.inputs[1])
    stride, dilation, pads = (tuple(node.attrs[key]) for key in ("strides", "dilations", "pads"))
    rank = len(x) - 2
    if node.op == "Conv":
        return [conv_taps(x[2 + a], w[2 + a], stride[a], dilation[a], pads[a], pads[rank + a]) for a in range(rank)]
    extra = tuple(node.attrs.get("output_padding") or (0,) * rank)
    map_ = ConvTranspose(np.zeros(w, np.int8), stride, dilation, pads, extra, int(node.attrs.get("group", 1)))
    return [map_.taps(a, x[2 + a]) for a in range(rank)]
