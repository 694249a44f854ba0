"""ReLU, ReLU6, hard tanh and their chains in one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snncc.graph import Array, Graph, Node, frozen

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level

UNBOUNDED = 1e38  # exporters write the largest float32 for "no bound"
Bounds = tuple[float, float]


@dataclass(frozen=True)
class ClipToRelu:
    """Write Clip as Relu or as Clip from 0 to a ceiling, its lower bound shifted to 0; chains of them as one."""

    name: ClassVar[str] = "clip-to-relu"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for value in [node.output for node in graph.find("Clip", "Relu")]:
            node = graph.producer(value)
            found = bounds(graph, node) if node is not None else None
            if node is None or found is None:
                continue
            graph, node, found = _joined(graph, node, found, context)
            steps = _steps(found)
            if value in graph.outputs and steps is not None and len(steps) > 1:
                context.note(node.label, "skipped", "at the end it is kept as it is")
            elif steps is None:
                context.note(node.label, "skipped", f"its bounds {found[0]:g} and {found[1]:g} leave one value")
            elif not _canonical(graph, node, found):
                graph = _rewritten(graph, node, steps)
                context.note(node.label, "folded", f"from {found[0]:g} to {found[1]:g}: {_text(steps)}")
        return graph


def bounds(graph: Graph, node: Node) -> Bounds | None:
    """Smallest and largest output of a Relu or Clip of float32, if they are constant."""
    if node.op == "Relu":
        return 0.0, inf
    if node.op != "Clip" or graph.types[node.output].dtype != "float32":
        return None
    found = []
    for name, default in zip((*node.inputs[1:], "", "")[:2], (-inf, inf), strict=True):
        constant = graph.constant(name) if name else np.asarray(default)
        if constant is None or constant.size != 1:
            return None
        bound = float(constant.reshape(()))
        found.append(default if abs(bound) > UNBOUNDED else bound)
    return found[0], found[1]


def _joined(graph: Graph, node: Node, found: Bounds, context: Context) -> tuple[Graph, Node, Bounds]:
    """Takes in the Relu or Clip before `node`, where nothing else reads that one."""
    low, high = found
    while (before := graph.producer(node.inputs[0])) is not None and graph.sole_user(before.output) is node:
        inner = bounds(graph, before)
        if inner is None or inner[0] > inner[1]:
            break
        low, high = (min(max(bound, low), high) for bound in inner)
        names = [graph.fresh(f"{node.output}.min"), graph.fresh(f"{node.output}.max")]
        one = Node("Clip", (before.inputs[0], *names), node.outputs, {}, (*before.origin, *node.origin))
        constants = (frozen(np.asarray(bound, np.float32)) for bound in (low, high))
        graph = graph.replace_nodes({before: (), node: (one,)}, weights=dict(zip(names, constants, strict=True)))
        context.note(before.label, "folded", f"into {node.label}")
        node = one
    return graph, node, (low, high)


def _steps(found: Bounds) -> list[tuple[str, tuple[float, ...]]] | None:
    """Operators and their scalar constants, in order; None where `found` leaves a single value."""
    low, high = found
    if low >= high:
        return None
    if low == -inf:  # high - relu(high - x)
        down: list[tuple[str, tuple[float, ...]]] = [("Mul", (-1.0,)), ("Add", (high,))]
        return [] if high == inf else [*down, ("Relu", ()), *down]
    core = ("Relu", ()) if high == inf else ("Clip", (0.0, high - low))
    return [core] if low == 0 else [("Add", (-low,)), core, ("Add", (low,))]


def _text(steps: list[tuple[str, tuple[float, ...]]]) -> str:
    return " -> ".join(op for op, _ in steps) or "changes nothing"


def _canonical(graph: Graph, node: Node, found: Bounds) -> bool:
    """Relu, or Clip by the scalars 0 and a ceiling."""
    scalars = all(name and graph.weights[name].ndim == 0 for name in node.inputs[1:])
    return node.op == "Relu" or (found[0] == 0 and found[1] < inf and scalars)


def _rewritten(graph: Graph, node: Node, steps: list[tuple[str, tuple[float, ...]]]) -> Graph:
    nodes: list[Node] = []
    weights: dict[str, Array] = {}
    types = {}
    source = node.inputs[0]
    for index, (op, constants) in enumerate(steps or [("Identity", ())]):
        last = index == max(len(steps), 1) - 1
        made = node.output if last else graph.fresh(f"{node.output}.step{index}")
        types[made] = graph.types[node.output]
        names = [graph.fresh(f"{node.output}.step{index}.{k}") for k in range(len(constants))]
        weights |= {n: frozen(np.asarray(c, np.float32)) for n, c in zip(names, constants, strict=True)}
        nodes.append(Node(op, (source, *names), (made,), {}, node.origin))
        source = made
    return graph.replace_nodes({node: nodes}, weights=weights, types=types)
