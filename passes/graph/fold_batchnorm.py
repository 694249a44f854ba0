"""BatchNormalization into the linear layer before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Graph
from snncc.passes.graph.channelwise import absorb, affine

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class FoldBatchNorm:
    """Multiply each BatchNormalization into the Conv, ConvTranspose or Gemm before it."""

    name: ClassVar[str] = "fold-batchnorm"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for node in tuple(graph.find("BatchNormalization")):
            found = affine(graph, node)
            if found is None:
                context.note(node.label, "skipped", "its parameters are no constants, or its variance is negative")
                continue
            linear = graph.producer(found.source)
            graph, why_not = absorb(graph, node, found)
            if why_not:
                context.note(node.label, "skipped", why_not)
            elif linear is not None:
                context.note(node.label, "folded", f"into {linear.label}")
        return graph
