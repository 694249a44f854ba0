"""The teacher: an immutable list of equations over named values, in execution order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Type:
    """Static shape (batch first; 1 in whatever spikes) and NumPy dtype name of a value."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.dtype}[{'x'.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One equation, `outputs = op(inputs)`, in canonical ONNX (opset 20) with every attribute's default resolved.

    `origin` holds the teacher's own node names; every rewrite hands them on, so errors and reports can name them.
    An absent optional input is "".
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    origin: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        return self.outputs[0]

    @property
    def label(self) -> str:
        """What a user knows this node by."""
        return f"{self.op} {'+'.join(self.origin) or self.output}"


@dataclass(frozen=True, eq=False)
class Graph:
    """An ANN. Values are unique names; `weights` are read-only constants; `types` covers every value."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    weights: Mapping[str, Array]
    types: Mapping[str, Type]
    meta: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def _users(self) -> dict[str, tuple[Node, ...]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                users.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in users.items()}

    def producer(self, value: str) -> Node | None:
        return self._producers.get(value)

    def users(self, value: str) -> tuple[Node, ...]:
        return self._users.get(value, ())

    def sole_user(self, value: str) -> Node | None:
        """The one node that reads `value`, or None if there are several or it is a graph output."""
        users = self.users(value)
        return users[0] if len(users) == 1 and value not in self.outputs else None

    def find(self, *ops: str) -> Iterator[Node]:
        return (node for node in self.nodes if node.op in ops)

    def shape(self, value: str) -> tuple[int, ...]:
        if value in self.weights:
            return tuple(self.weights[value].shape)
        return self.types[value].shape

    def constant(self, value: str) -> Array | None:
        return self.weights.get(value)

    def fresh(self, stem: str) -> str:
        """A value name that is not taken yet."""
        taken = {*self.types, *self.weights}
        name, k = stem, 1
        while name in taken:
            name, k = f"{stem}_{k}", k + 1
        return name

    def replace_nodes(
        self,
        changes: Mapping[Node, Iterable[Node]],
        *,
        weights: Mapping[str, Array] = _NOTHING,
        types: Mapping[str, Type] = _NOTHING,
    ) -> Graph:
        """Put the new nodes of each entry where its old node stood, then drop what nobody reads."""
        nodes = [new for node in self.nodes for new in changes.get(node, (node,))]
        return replace(
            self, nodes=tuple(nodes), weights={**self.weights, **weights}, types={**self.types, **types}
        ).pruned()

    def pruned(self) -> Graph:
        """Without nodes, weights and types that no graph output needs."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        values = {*self.inputs, *self.outputs, *(v for n in kept for v in (*n.inputs, *n.outputs))}
        return replace(
            self,
            nodes=tuple(reversed(kept)),
            weights={k: v for k, v in self.weights.items() if k in values},
            types={k: v for k, v in self.types.items() if k in values},
        )

    def part(self, nodes: Sequence[Node], outputs: Iterable[str]) -> Graph | None:
        """Some of its nodes as a graph (None if there are none): its inputs are what they read and do not make, its
        outputs those of `outputs` that they make."""
        made = {v for n in nodes for v in n.outputs}
        read = dict.fromkeys(v for n in nodes for v in n.inputs if v and v not in made)
        inputs = tuple(v for v in read if v not in self.weights)
        return None if not nodes else Graph(
            inputs,
            tuple(v for v in dict.fromkeys(outputs) if v in made),
            tuple(nodes),
            {v: w for v, w in self.weights.items() if v in read},
            {v: t for v, t in self.types.items() if v in made or v in inputs},
        )

    def pieces(self, wanted: Iterable[str]) -> list[Graph]:
        """The nodes up to these values, cut behind each: the pieces' outputs are values of `wanted` and what later
        pieces read. No node is in two of them."""
        wanted, left, groups = set(wanted), list(self.nodes), []
        for target in [node for node in self.nodes if wanted.intersection(node.outputs)]:
            needed, group, rest = set(target.outputs), list[Node](), list[Node]()
            for node in reversed(left):
                mine = needed.intersection(node.outputs)
                (group if mine else rest).append(node)
                needed.update(node.inputs if mine else ())
            left = rest[::-1]
            groups.append(group[::-1])
        found, read = [], wanted
        for group in reversed(groups):
            found += [part] if (part := self.part(group, sorted(read))) else []
            read = read.union(*(node.inputs for node in group))
        return found[::-1]

    def bypass(self, node: Node) -> Graph:
        """Without `node`: its readers read its first input. Keeps the name if the node made a graph output."""
        old, new = node.outputs[0], node.inputs[0]
        if old in self.outputs:
            if new in self.inputs or new in self.outputs or new in self.weights:
                return self  # a graph output must keep its own name; an Identity is left for the epilogue
            old, new = new, old
        renamed = tuple(
            replace(
                other,
                inputs=tuple(new if v == old else v for v in other.inputs),
                outputs=tuple(new if v == old else v for v in other.outputs),
            )
            if old in other.inputs or old in other.outputs
            else other
            for other in self.nodes
            if other is not node
        )
        return replace(self, nodes=renamed).pruned()


def frozen(array: Array) -> Array:
    """A read-only contiguous copy-on-need of `array`."""
    array = np.asarray(array, order="C")  # ascontiguousarray would make a scalar one-dimensional
    array.flags.writeable = False
    return array
