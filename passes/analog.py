"""The teacher's nodes that stay analog, as graphs of their own."""

from __future__ import annotations

from collections.abc import Iterable

from snncc.graph import Graph, Node


def analog_part(graph: Graph, nodes: list[Node], outputs: Iterable[str], readers: Iterable[Node] = ()) -> Graph | None:
    """`nodes` of `graph` (None if there are none), giving those of `outputs` and of the values of `readers` that they
    make."""
    if not nodes:
        return None
    made = {v for n in nodes for v in n.outputs}
    read = dict.fromkeys(v for n in nodes for v in n.inputs if v and v not in made)
    inputs = tuple(v for v in read if v not in graph.weights)
    types = {v: t for v, t in graph.types.items() if v in made or v in inputs}
    weights = {v: w for v, w in graph.weights.items() if any(v in n.inputs for n in nodes)}
    wanted = dict.fromkeys((*outputs, *(v for n in readers for v in n.inputs)))
    return Graph(inputs, tuple(v for v in wanted if v in made), tuple(nodes), weights, types)
