"""Nodes that change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Graph, Node
from snncc.passes.graph.channelwise import affine
from snncc.passes.graph.clip_to_relu import bounds

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class DropNoop:
    """Drop nodes that give back their input: scale 1, shift 0, empty padding, a second Relu, and the like."""

    name: ClassVar[str] = "drop-noop"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for value in [node.output for node in graph.nodes]:
            node = graph.producer(value)
            source = unchanged(graph, node) if node is not None else None
            if node is None or source is None:
                continue
            label = node.label
            if node.inputs[0] != source:  # 1 · x: bypass looks at the first input
                plain = replace(node, op="Identity", inputs=(source,), attrs={})
                graph, node = graph.replace_nodes({node: (plain,)}), plain
            shorter = graph.bypass(node)
            if shorter is graph:
                context.note(label, "skipped", "changes nothing, but a graph output needs a name of its own")
            else:
                context.note(label, "folded", "changes nothing")
            graph = shorter
        return graph


def unchanged(graph: Graph, node: Node) -> str | None:
    """The input that `node` gives back as its only output, or None."""
    source = node.inputs[0] if node.inputs else ""
    if len(node.outputs) > 1:
        return None
    found = affine(graph, node) if node.op != "BatchNormalization" else None
    if found is not None:
        return None if (found.scale != 1).any() or found.shift.any() else found.source
    if source not in graph.types or graph.types[source] != graph.types[node.output]:
        return None
    return source if _changes_nothing(graph, node, source) else None


def _changes_nothing(graph: Graph, node: Node, source: str) -> bool:
    """For nodes whose output has the very type of `source`."""
    match node.op:
        case "Identity" | "Dropout" | "Reshape" | "Cast" | "Expand":
            return True
        case "Transpose":
            return node.attrs.get("perm") == tuple(range(len(graph.shape(source))))
        case "Concat":
            return len(node.inputs) == 1
        case "Relu":
            return not_negative(graph, source)
        case "Pad":
            pads = graph.constant(node.inputs[1])
            return pads is not None and not pads.any()
        case "MaxPool" | "AveragePool":
            attrs = node.attrs
            return not any(attrs["pads"]) and all(v == 1 for v in (*attrs["kernel_shape"], *attrs["strides"]))
        case "Resize":
            scales = graph.constant(node.inputs[2]) if len(node.inputs) == 3 else None
            plain = node.attrs["coordinate_transformation_mode"] != "tf_crop_and_resize"
            return plain and scales is not None and bool((scales == 1).all())
    return False


def not_negative(graph: Graph, value: str) -> bool:
    """Whether a rectifier or sigmoid, perhaps with MaxPools behind it, makes `value`."""
    node = graph.producer(value)
    while node is not None and node.op == "MaxPool":
        node = graph.producer(node.inputs[0])
    found = bounds(graph, node) if node is not None else None
    return node is not None and (node.op == "Sigmoid" or (found is not None and min(found) >= 0))
