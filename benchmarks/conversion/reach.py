"""Exact fan-out of every spike of a network that keeps the teacher's layers and has neurons where it has ReLUs.

The same definitions as snncc/counting.py, worked out on the teacher's graph without snncc's lowering: a synapse is a
distinct (pre neuron, sum) pair, linear layers without neurons between them are folded into one map (a spike before an
average pooling or an upsampling fans out through it and the convolution behind it), border taps are left out, weights
do not matter. A max pooling of spikes is a gate: one synapse per (spike, window), and what it lets through counts as
its events. A max pooling of currents (before the neurons) costs nothing; the convolution before it counts into the
sums that it reads, once whoever reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np

from benchmarks.conversion.blueprint import scale
from snncc.graph import Array, Graph, Node

SAME = ("BatchNormalization", "Identity", "Dropout", "Flatten", "Reshape")  # of a flattening: see _dense


@dataclass(frozen=True)
class Product:
    """Pairs (source neuron, position) that factor: boolean [in, out] for the channels and for each axis."""

    factors: tuple[Array, ...]

    def then(self, maps: Iterable[Array]) -> Product:
        return Product(tuple((f.astype(np.int64) @ m) > 0 for f, m in zip(self.factors, maps, strict=True)))

    def both(self, other: Product) -> Product:
        return Product(tuple(a & b for a, b in zip(self.factors, other.factors, strict=True)))

    def per_source(self) -> Array:
        return np.asarray(reduce(np.multiply.outer, [f.sum(1, dtype=np.int64) for f in self.factors]))


Paths = dict[str, list[Product]]  # source -> its ways to a value


def per_source(ways: list[Product]) -> Array:
    """Distinct pairs of some ways together, by inclusion and exclusion."""
    total: Array = np.zeros((), np.int64)
    for size in range(1, len(ways) + 1):
        for some in combinations(ways, size):
            total = total + (-1) ** (size + 1) * reduce(Product.both, some).per_source()
    return total


def gates(graph: Graph) -> tuple[Node, ...]:
    """Max poolings of spikes."""
    spikes = {node.output for node in graph.find("Relu")}
    found = []
    for node in graph.find("MaxPool"):
        if node.inputs[0] in spikes:
            spikes.add(node.output)
            found.append(node)
    return tuple(found)


def fan_outs(graph: Graph) -> dict[Node, Array]:
    """ReLUs and gates -> int64 [C, *spatial]: synapses of each neuron. Raises ValueError for an operator unknown."""
    pools = gates(graph)
    paths: dict[str, Paths] = {value: {} for value in graph.inputs}
    sums = set(graph.outputs)
    found: dict[str, Array] = {}
    for node in graph.nodes:
        if node.op in ("Relu", "MaxPool"):
            sums |= {node.inputs[0]} - {pool.inputs[0] for pool in pools if node is pool}
        paths[node.output] = _through(graph, node, paths, node in pools)
    for node in pools:
        window = _spatial(graph, node)
        ways = {
            s: [w.then([np.eye(w.factors[0].shape[1], dtype=bool), *window]) for w in p]
            for s, p in paths[node.inputs[0]].items()
        }
        _add(found, ways)
    for value in sums:
        _add(found, paths[value])
    sources = [node for node in graph.nodes if node.op == "Relu" or node in pools]
    return {node: found.get(node.output, np.zeros(graph.shape(node.output)[1:], np.int64)) for node in sources}


def _add(found: dict[str, Array], ways: Paths) -> None:
    for source, some in ways.items():
        found[source] = found.get(source, np.zeros((), np.int64)) + per_source(some)


def _through(graph: Graph, node: Node, paths: dict[str, Paths], gate: bool) -> Paths:
    """The ways to what a node makes."""
    inputs = [paths[value] for value in node.inputs if value in paths]
    if node.op == "Relu" or gate:
        return {node.output: [Product(tuple(np.eye(n, dtype=bool) for n in graph.shape(node.output)[1:]))]}
    if node.op in SAME:
        return inputs[0]
    if node.op in ("Add", "Sub"):
        return {s: [w for p in inputs for w in p.get(s, [])] for p in inputs for s in p}
    if node.op == "Concat":
        return _joined(graph, node, inputs)
    if node.op == "Gemm":
        return {s: [_dense(w, graph.shape(node.output)[1]) for w in p] for s, p in inputs[0].items()}
    maps = [_channels(graph, node), *_spatial(graph, node)]
    return {s: [w.then(maps) for w in p] for s, p in inputs[0].items()}


def _dense(way: Product, outputs: int) -> Product:
    """Whatever reaches any input of a dense layer reaches all of its outputs; so its input need not be flat."""
    live = [np.asarray(f.any(1, keepdims=True)) for f in way.factors]
    return Product((np.repeat(live[0], outputs, 1), *live[1:]))


def _joined(graph: Graph, node: Node, inputs: list[Paths]) -> Paths:
    total, start = graph.shape(node.output)[1], 0
    found: Paths = {}
    for value, part in zip(node.inputs, inputs, strict=True):
        width = graph.shape(value)[1]
        place = np.eye(total, dtype=bool)[start : start + width]
        for source, ways in part.items():
            for w in ways:
                moved = Product((w.factors[0] @ place, *w.factors[1:]))
                found.setdefault(source, []).append(moved)
        start += width
    return found


def _channels(graph: Graph, node: Node) -> Array:
    channels, made = graph.shape(node.inputs[0])[1], graph.shape(node.output)[1]
    if node.op not in ("Conv", "ConvTranspose"):
        return np.eye(channels, dtype=bool)
    groups = int(node.attrs["group"])
    block = np.ones((channels // groups, made // groups), bool)
    return np.kron(np.eye(groups, dtype=bool), block)


def _spatial(graph: Graph, node: Node) -> list[Array]:
    before, after = graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:]
    rank = len(before)
    if node.op in ("GlobalAveragePool", "ReduceMean"):
        return [np.ones((n, 1), bool) for n in before]
    if node.op == "Resize":
        return [np.repeat(np.eye(n, dtype=bool), f, 1) for n, f in zip(before, scale(graph, node), strict=True)]
    if node.op not in ("Conv", "ConvTranspose", "AveragePool", "MaxPool"):
        raise ValueError(f"{node.label}: no fan-out for this operator")
    maps = []
    for a in range(rank):
        kernel, stride = node.attrs["kernel_shape"][a], node.attrs["strides"][a]
        dilation, pad = node.attrs["dilations"][a], node.attrs["pads"][a]
        coarse, fine = (after[a], before[a]) if node.op != "ConvTranspose" else (before[a], after[a])
        index = np.arange(coarse)[:, None] * stride + np.arange(kernel) * dilation - pad
        table = np.zeros((coarse, fine), bool)
        inside = (index >= 0) & (index < fine)
        table[np.nonzero(inside)[0], index[inside]] = True
        maps.append(table if node.op == "ConvTranspose" else table.T)
    return maps
