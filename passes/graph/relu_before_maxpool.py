"""ReLU above the max pooling before it, next to the layer it rectifies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Graph, Node
from snncc.passes.graph.channelwise import affine

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level

RECTIFIERS = ("Relu", "Clip")


@dataclass(frozen=True)
class ReluBeforeMaxPool:
    """Turn MaxPool -> rising per-channel maps -> Relu into the maps -> Relu -> MaxPool: equal, as all are monotone."""

    name: ClassVar[str] = "relu-before-maxpool"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for pool in tuple(graph.find("MaxPool")):
            before = graph.producer(pool.inputs[0])
            if before is not None and before.op in RECTIFIERS:
                continue
            chain, why_not = _chain(graph, pool)
            if why_not:
                context.note(pool.label, "skipped", why_not)
            elif chain:
                graph = _swapped(graph, pool, chain)
                context.note(chain[-1].label, "folded", f"moved above {pool.label}")
        return graph


def _chain(graph: Graph, pool: Node) -> tuple[list[Node], str]:
    """The maps below `pool` down to its Relu, and why they may not move up ("" if they may, or if there is no Relu)."""
    chain: list[Node] = []
    value, falls = pool.output, ""
    while (node := graph.sole_user(value)) is not None:
        if node.op in RECTIFIERS:
            data = node.inputs[0] == value and all(not name or name in graph.weights for name in node.inputs[1:])
            if not data or len(pool.outputs) > 1:
                return [], "its indices are read, or the bounds of the rectifier are no constants"
            return [*chain, node], falls
        found = affine(graph, node)
        if found is None:
            return [], ""
        if (found.scale < 0).any():
            falls = f"{node.label} has a negative scale: its largest output is not that of the largest input"
        chain.append(node)
        value = node.output
    return [], ""


def _swapped(graph: Graph, pool: Node, chain: list[Node]) -> Graph:
    types, moved = {}, []
    below, above = pool.output, pool.inputs[0]  # the value that the next map read, and the one that it reads now
    for node in chain:
        made = graph.fresh(f"{node.output}.unpooled")
        types[made] = graph.types[pool.inputs[0]]
        moved.append(replace(node, inputs=tuple(above if n == below else n for n in node.inputs), outputs=(made,)))
        below, above = node.output, made
    pooled = replace(pool, inputs=(above,), outputs=(chain[-1].output,))
    changes: dict[Node, tuple[Node, ...]] = {node: () for node in (pool, *chain)}
    return graph.replace_nodes({**changes, chain[-1]: (*moved, pooled)}, types=types)
