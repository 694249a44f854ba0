"""Multiply-accumulates of a Graph (the teacher, an analog part); see counting.py for the definitions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from snncc.graph import Graph, Node
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


def _conv(graph: Graph, node: Node) -> Macs:
    """Valid taps factor over the axes: (channel pairs) * product of the valid (output, kernel index) pairs."""
    x, w = graph.shape(node.inputs[0]), graph.shape(node.inputs[1])
    stride, dilation, pads = (tuple(node.attrs[key]) for key in ("strides", "dilations", "pads"))
    rank = len(x) - 2
    if node.op == "Conv":
        pairs, padded = w[0] * w[1], prod(graph.shape(node.output)[1:]) * prod(w[1:])
        tables = [conv_taps(x[2 + a], w[2 + a], stride[a], dilation[a], pads[a], pads[rank + a]) for a in range(rank)]
    else:
        pairs, padded = w[0] * w[1], prod(x[1:]) * prod(w[1:])
        extra = tuple(node.attrs.get("output_padding") or (0,) * rank)
        map_ = ConvTranspose(np.zeros(w, np.int8), stride, dilation, pads, extra, int(node.attrs.get("group", 1)))
        tables = [map_.taps(a, x[2 + a]) for a in range(rank)]
    valid = prod(int(np.count_nonzero(table >= 0)) for table in tables)
    return Macs(x[0] * pairs * valid, x[0] * padded)
