"""Nodes that no output needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Graph

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class DeadNodes:
    """Drop nodes and weights that no graph output needs."""

    name: ClassVar[str] = "dead-nodes"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        pruned = graph.pruned()
        kept = set(map(id, pruned.nodes))
        for node in graph.nodes:
            if id(node) not in kept:
                context.note(node.label, "folded", "no output needs it")
        return pruned
