"""Multiply-accumulates of a Graph (the teacher, an analog part); see counting.py for the definitions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from snncc.graph import Array, Graph, Node
from snncc.synapses.base import conv_taps
from snncc.synapses.conv_transpose import ConvTranspose


@dataclass(frozen=True)
class Macs:
    """Dense multiply-accumulates of one inference, without and with the taps that fall on padding."""

    valid: int = 0
    padded: int = 0

    def __add__(self, other: Macs) -> Macs:
        return Macs(self.valid + other.valid, self.padded + other.padded)


def graph_macs(graph: Graph | None) -> Macs:
    """Of all Conv, ConvTranspose, Gemm and MatMul nodes; every other op counts as none."""
    return sum((node_macs(graph, node) for node in graph.nodes), Macs()) if graph is not None else Macs()


def node_macs(graph: Graph, node: Node) -> Macs:
    """Conv: out * prod(W[1:]); ConvTranspose: in * prod(W[1:]); Gemm, MatMul: M * N * K."""
    if node.op in ("Conv", "ConvTranspose"):
        return _conv(graph, node)
    if node.op in ("Gemm", "MatMul"):
        inner = graph.shape(node.inputs[0])[0 if node.attrs.get("transA") else -1]
        dense = prod(graph.shape(node.output)) * inner
        return Macs(dense, dense)
    return Macs()


class NonzeroMacs:
    """Adds up, sample by sample, the multiply-accumulates that are left where activations of 0 are skipped.

    watch: activation -> what to show its value of each sample. Of two activations multiplied the first one counts.
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
    for node in graph.find("Conv", "ConvTranspose", "Gemm", "MatMul"):
        for name in [name for name in node.inputs[:2] if name not in graph.weights][:1]:
            found.setdefault(name, []).append(node)
    return found


def nonzero_macs(graph: Graph, node: Node, x: Array) -> int:
    """Of one node whose activation is x."""
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
