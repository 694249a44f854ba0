"""Nearest upsampling spelled as repetition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snncc.graph import Graph, Node, frozen
from snncc.onnx_attributes import defaults

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class RepeatToResize:
    """Write Reshape -> Expand or Tile -> Reshape that repeats each element along spatial axes as a nearest Resize."""

    name: ClassVar[str] = "repeat-to-resize"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for repeat in tuple(graph.find("Expand", "Tile")):
            split, join = graph.producer(repeat.inputs[0]), graph.sole_user(repeat.output)
            if split is None or join is None or split.op != "Reshape" or join.op != "Reshape":
                continue
            factors = _factors(graph, split, repeat, join)
            if factors is None:
                continue
            scales = graph.fresh(f"{join.output}.scales")
            attrs = {**defaults("Resize", len(factors) - 2), "coordinate_transformation_mode": "asymmetric",
                     "mode": "nearest", "nearest_mode": "floor"}  # fmt: skip
            origin = (*split.origin, *repeat.origin, *join.origin)
            resize = Node("Resize", (split.inputs[0], "", scales), join.outputs, dict(sorted(attrs.items())), origin)
            graph = graph.replace_nodes(
                {repeat: (), join: (resize,)}, weights={scales: frozen(np.asarray(factors, np.float32))}
            )
            context.note(repeat.label, "folded", "repeats each element: written as nearest upsampling")
        return graph


def _factors(graph: Graph, split: Node, repeat: Node, join: Node) -> tuple[int, ...] | None:
    """Repetitions an axis of the input of `split`, each right behind its own axis; None if it is not that."""
    source, out = graph.shape(split.inputs[0]), graph.shape(join.output)
    narrow, wide = graph.shape(split.output), graph.shape(repeat.output)
    if len(source) != len(out) or len(narrow) != len(wide) or repeat.inputs[1] not in graph.weights:
        return None
    factors, axis = [], 0  # `axis` of the split value
    for size, joined in zip(source, out, strict=True):
        if narrow[axis : axis + 1] != (size,) or wide[axis] != size or joined % size:
            return None
        axis += 1
        factors.append(joined // size)
        if joined > size:
            if narrow[axis : axis + 1] != (1,) or wide[axis] != joined // size:
                return None
            axis += 1
    return tuple(factors) if axis == len(narrow) and factors[:2] == [1, 1] else None
