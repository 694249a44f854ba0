"""Average in place of maximum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Graph
from snncc.onnx_attributes import defaults
from snncc.passes.graph.approximate import note_error

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class MaxPoolToAvgPool:
    """Replace each MaxPool by the AveragePool over the same windows: cheaper, but another function; notes its error."""

    name: ClassVar[str] = "maxpool-to-avgpool"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    approximate: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> Graph:
        changes = {}
        for node in graph.find("MaxPool"):
            if len(node.outputs) > 1:
                context.note(node.label, "skipped", "its indices are read")
                continue
            usual = defaults("AveragePool", len(graph.shape(node.output)) - 2)
            attrs = {name: value for name, value in node.attrs.items() if name in usual or name == "kernel_shape"}
            attrs = dict(sorted({**usual, **attrs, "count_include_pad": 1}.items()))
            changes[node] = (replace(node, op="AveragePool", attrs=attrs),)
            context.note(node.label, "folded", "the mean of each window in place of its maximum")
        if not changes:
            return graph
        pooled = graph.replace_nodes(changes)
        note_error(graph, pooled, context, self.name)
        return pooled
