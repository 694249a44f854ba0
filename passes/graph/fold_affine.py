"""Scaling and shifting of channels: one form, then into the linear layer before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snncc.graph import Array, Graph, Node
from snncc.passes.graph.channelwise import Affine, absorb, affine, channel_constant

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class FoldAffine:
    """Turn what scales or shifts channels into Mul and Add, and multiply these into the linear layer before."""

    name: ClassVar[str] = "fold-affine"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for value in [node.output for node in graph.nodes]:
            node = graph.producer(value)
            found = affine(graph, node) if node is not None else None
            if node is None or found is None:
                continue
            linear = graph.producer(found.source)
            graph, why_not = absorb(graph, node, found)
            if not why_not and linear is not None:
                context.note(node.label, "folded", f"into {linear.label}")
            else:
                context.note(node.label, "skipped", why_not)
                graph = _canonical(graph, node, found)
        return graph


def _canonical(graph: Graph, node: Node, found: Affine) -> Graph:
    """`node` as Mul, as Add, or as both; its constant second, in shape [C, 1, ...]."""
    rank = len(graph.shape(found.source))
    steps: list[tuple[str, Array]] = []
    if (found.scale != 1).any() or not found.shift.any():
        steps.append(("Mul", channel_constant(found.scale, rank)))
    if found.shift.any():
        steps.append(("Add", channel_constant(found.shift, rank)))
    if not all(np.isfinite(constant).all() for _, constant in steps):
        return graph
    if len(steps) == 1 and node.op == steps[0][0] and _same(graph.constant(node.inputs[1]), steps[0][1]):
        return graph
    weights, types, nodes, source = {}, {}, [], found.source
    for op, constant in steps:
        name = graph.fresh(f"{node.output}.{'scale' if op == 'Mul' else 'shift'}")
        last = op == steps[-1][0]
        made = node.output if last else graph.fresh(f"{node.output}.scaled")
        weights[name], types[made] = constant, graph.types[node.output]
        nodes.append(Node(op, (source, name), (made,), origin=node.origin))
        source = made
    return graph.replace_nodes({node: nodes}, weights=weights, types=types)


def _same(constant: Array | None, wanted: Array) -> bool:
    return constant is not None and constant.shape == wanted.shape
