"""Which of the teacher's nodes that stay analog run where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snncc.graph import Node


def before(nodes: Sequence[Node], values: Iterable[str]) -> tuple[list[Node], list[Node]]:
    """(those that `values` need, the others), each in its order."""
    needed = set(values)
    first: list[Node] = []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            first.insert(0, node)
            needed.update(node.inputs)
    return first, [node for node in nodes if node not in first]


def read_by(nodes: Iterable[Node]) -> list[str]:
    return [value for node in nodes for value in node.inputs]
