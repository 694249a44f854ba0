"""Channels-last parts of a teacher (Keras, TensorFlow) as channels-first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snncc.graph import Array, Graph, Node, Type, frozen
from snncc.ingest.canonical import canonicalise
from snncc.onnx_attributes import defaults

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level

ELEMENTWISE = (
    "Abs", "Cast", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Relu", "Selu", "Sigmoid",
    "Softplus", "Sqrt", "Tanh",
)  # fmt: skip
BROADCAST = ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu")


@dataclass(frozen=True)
class Layout:
    """Move each Transpose between channels-first and -last to the edges of the graph, where it does not cancel."""

    name: ClassVar[str] = "layout"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        turns = [node for node in graph.nodes if _to_last(graph, node) or _to_first(graph, node)]
        if not any(_to_last(graph, node) for node in turns):
            return graph
        moved = _Walk(graph).run()
        for node in turns:
            if (kept := moved.producer(node.output)) is not None and kept.op == node.op:
                context.note(node.label, "skipped", "what reads it wants this layout")
            else:
                context.note(node.label, "folded", "channels come first throughout")
        return moved


def _last(rank: int) -> tuple[int, ...]:
    """Axes of a channels-last value by their place in its channels-first twin."""
    return (0, *range(2, rank), 1)


def _first(rank: int) -> tuple[int, ...]:
    return (0, rank - 1, *range(1, rank - 1))


def _permutes(graph: Graph, node: Node, perm: tuple[int, ...]) -> bool:
    """Whether `node` is Transpose by `perm`, or the Reshape that is the same on an axis of size 1."""
    source, out = graph.shape(node.inputs[0]), graph.shape(node.output)
    if len(source) < 3 or tuple(source[axis] for axis in perm[: len(source)]) != out:
        return False
    if node.op == "Transpose":
        return tuple(node.attrs.get("perm", range(len(source))[::-1])) == perm
    moves = [axis for axis in perm if source[axis] > 1]
    return node.op == "Reshape" and source != out and moves == sorted(moves)


def _to_last(graph: Graph, node: Node) -> bool:
    return node.op in ("Transpose", "Reshape") and _permutes(graph, node, _last(len(graph.shape(node.inputs[0]))))


def _to_first(graph: Graph, node: Node) -> bool:
    return node.op in ("Transpose", "Reshape") and _permutes(graph, node, _first(len(graph.shape(node.inputs[0]))))


@dataclass
class _Walk:
    """One walk in execution order. `twins` holds the channels-first twin of values that are channels-last; such a value
    itself is only made where something reads it that cannot do with the twin."""

    graph: Graph
    twins: dict[str, str] = field(default_factory=dict)
    flat: dict[str, tuple[int, ...]] = field(default_factory=dict)  # flattened value -> shape of its twin
    same: dict[str, str] = field(default_factory=dict)  # value -> equal value
    nodes: list[Node] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    weights: dict[str, Array] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)

    def run(self) -> Graph:
        self.made.update(self.graph.inputs)
        for node in self.graph.nodes:
            inputs = tuple(self.same.get(name, name) for name in node.inputs)
            self._visit(replace(node, inputs=inputs))
        for name in self.graph.outputs:
            self._make(self.same.get(name, name))
            if name in self.same:
                self._emit([Node("Identity", (self.same[name],), (name,), {}, ())])
        graph = replace(
            self.graph, nodes=tuple(self.nodes), weights={**self.graph.weights, **self.weights},
            types={**self.graph.types, **self.types},
        )  # fmt: skip
        return canonicalise(graph.pruned(), ("ReduceMean", "ReduceMax")).pruned()

    def _visit(self, node: Node) -> None:
        graph = self._known()
        if _to_first(graph, node) and node.inputs[0] in self.twins:
            self.same[node.output] = self.twins[node.inputs[0]]
        elif _to_last(graph, node) and node.inputs[0] not in self.twins:
            self.twins[node.output] = node.inputs[0]
        elif any(name in self.twins or name in self.flat for name in node.inputs):
            new = self._moved(node)
            self._emit([node] if new is None else new, make=new is None)
        else:
            self._emit([node])

    def _known(self) -> Graph:
        return replace(self.graph, weights={**self.graph.weights, **self.weights},
                       types={**self.graph.types, **self.types})  # fmt: skip

    def _emit(self, nodes: Iterable[Node], make: bool = True) -> None:
        for node in nodes:
            for name in node.inputs if make else ():
                self._make(name)
            self.nodes.append(node)
            self.made.update(node.outputs)

    def _make(self, name: str) -> None:
        """A channels-last value itself, from its twin."""
        if name in self.twins and name not in self.made:
            node = self.graph.producer(name)
            assert node is not None
            perm = _last(len(self.graph.shape(name)))
            self.nodes.append(Node("Transpose", (self.twins[name],), (name,), {"perm": perm}, node.origin))
            self.made.add(name)

    # -- one node, on twins -------------------------------------------------------------------------------------------

    def _moved(self, node: Node) -> list[Node] | None:
        """The nodes that take the place of `node`, or None if it needs its channels-last inputs."""
        if len(node.outputs) > 1:
            return None
        if node.op in ("MatMul", "Gemm"):
            return self._dense(node)
        if node.inputs[0] not in self.twins and node.op not in (*BROADCAST, "Concat"):
            return None
        if node.op in ELEMENTWISE:
            return self._twin(node, (self.twins[node.inputs[0]], *node.inputs[1:]))
        if node.op in BROADCAST:
            return self._broadcast(node)
        rules = {
            "Concat": self._concat, "Pad": self._pad, "Reshape": self._reshape, "Expand": self._by_axis,
            "Tile": self._by_axis, "Resize": self._resize, "ReduceMean": self._reduce, "ReduceMax": self._reduce,
            "Slice": self._slice,
        }  # fmt: skip
        return rules[node.op](node) if node.op in rules else None

    def _twin(self, node: Node, inputs: tuple[str, ...], **attrs: Any) -> list[Node]:
        """`node` on twins, its output the twin of the old one."""
        kind = self.graph.types[node.output]
        twin = self._value(f"{node.output}.first", replace(kind, shape=_shuffled(kind.shape)))
        self.twins[node.output] = twin
        return [replace(node, inputs=inputs, outputs=(twin,), attrs={**node.attrs, **attrs})]

    def _value(self, stem: str, kind: Type) -> str:
        name = self._known().fresh(stem)
        self.types[name] = kind
        return name

    def _weight(self, stem: str, value: Array) -> str:
        name = self._known().fresh(stem)
        self.weights[name] = frozen(value)
        return name

    def _constant(self, node: Node, index: int) -> Array | None:
        return self.graph.constant(node.inputs[index]) if index < len(node.inputs) and node.inputs[index] else None

    def _operand(self, name: str, rank: int) -> str | None:
        """`name` channels-first: the twin, a moved constant, or a new Transpose; None for a value of another rank."""
        if name in self.twins:
            return self.twins[name]
        constant = self.graph.constant(name)
        if constant is not None:
            full = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
            return name if constant.ndim == 0 else self._weight(f"{name}.first", full.transpose(_first(rank)))
        kind = self._known().types[name]
        if len(kind.shape) != rank:
            return None
        twin = self._value(f"{name}.first", replace(kind, shape=_shuffled(kind.shape)))
        self.nodes.append(Node("Transpose", (name,), (twin,), {"perm": _first(rank)}, ()))
        self.made.add(twin)
        self.twins[name] = twin
        return twin

    def _broadcast(self, node: Node) -> list[Node] | None:
        rank = len(self.graph.shape(node.output))
        if any(len(self._known().shape(name)) > rank for name in node.inputs):
            return None
        operands = [self._operand(name, rank) for name in node.inputs]
        return None if None in operands else self._twin(node, tuple(name for name in operands if name))

    def _concat(self, node: Node) -> list[Node] | None:
        rank = len(self.graph.shape(node.output))
        operands = [self._operand(name, rank) for name in node.inputs]
        axis = _first(rank).index(node.attrs["axis"] % rank)
        return None if None in operands else self._twin(node, tuple(name for name in operands if name), axis=axis)

    def _pad(self, node: Node) -> list[Node] | None:
        amounts, axes = self._constant(node, 1), self._constant(node, 3)
        rank = len(self.graph.shape(node.output))
        if amounts is None or (len(node.inputs) > 3 and axes is None):
            return None
        full = np.zeros((2, rank), np.int64)
        full[:, np.arange(rank) if axes is None else axes] = amounts.reshape(2, -1)
        pads = self._weight(f"{node.output}.pads", full[:, _first(rank)].reshape(-1))
        return self._twin(node, (self.twins[node.inputs[0]], pads, *node.inputs[2:3]))

    def _by_axis(self, node: Node) -> list[Node] | None:
        sizes, rank = self._constant(node, 1), len(self.graph.shape(node.output))
        if sizes is None or len(self.graph.shape(node.inputs[0])) != rank:
            return None
        full = np.concatenate([np.ones(rank - len(sizes), np.int64), sizes])
        moved = self._weight(f"{node.output}.first.{node.op.lower()}", full[list(_first(rank))])
        return self._twin(node, (self.twins[node.inputs[0]], moved))

    def _resize(self, node: Node) -> list[Node] | None:
        scales = self._constant(node, 2)
        if scales is None or len(scales) != len(self.graph.shape(node.output)):
            return None
        moved = self._weight(f"{node.output}.first.scales", scales[list(_first(len(scales)))])
        return self._twin(node, (self.twins[node.inputs[0]], "", moved))

    def _slice(self, node: Node) -> list[Node] | None:
        axes, rank = self._constant(node, 3), len(self.graph.shape(node.output))
        if axes is None:
            return None
        moved = np.asarray([_first(rank).index(int(axis) % rank) for axis in axes], np.int64)
        name = self._weight(f"{node.output}.first.axes", moved)
        return self._twin(node, (self.twins[node.inputs[0]], *node.inputs[1:3], name, *node.inputs[4:]))

    def _reduce(self, node: Node) -> list[Node] | None:
        axes, rank = self._constant(node, 1), len(self.graph.shape(node.inputs[0]))
        if axes is None:
            return None
        moved = sorted(_first(rank).index(int(axis) % rank) for axis in axes)
        name = self._weight(f"{node.output}.first.axes", np.asarray(moved, np.int64))
        inputs = (self.twins[node.inputs[0]], name)
        if node.attrs["keepdims"]:
            return self._twin(node, inputs)
        return [replace(node, inputs=inputs)] if moved == list(range(2, rank)) else None

    def _reshape(self, node: Node) -> list[Node] | None:
        """Where it splits or joins spatial axes only, where the order in memory stays, or before a Dense layer."""
        source, out = self.graph.shape(node.inputs[0]), self.graph.shape(node.output)
        twin = self.twins[node.inputs[0]]
        spatial = prod(source[1:-1])
        if len(out) > 2 and out[-1] == source[-1] and spatial > 1:
            shape = self._weight(f"{node.output}.first.shape", np.asarray(_shuffled(out), np.int64))
            return self._twin(node, (twin, shape))
        if spatial == 1 or source[-1] == 1:
            return [replace(node, inputs=(twin, node.inputs[1]))]
        users = self.graph.users(node.output)
        dense = all(u.op in ("MatMul", "Gemm") and u.inputs[0] == node.output and self._matrix(u) for u in users)
        if out != (1, prod(source)) or not users or not dense or node.output in self.graph.outputs:
            return None
        self.flat[node.output] = _shuffled(source)
        return [replace(node, inputs=(twin, node.inputs[1]))]

    def _matrix(self, node: Node) -> bool:
        constant = self._constant(node, 1)
        return constant is not None and constant.ndim == 2 and not node.attrs.get("transA", 0)

    def _dense(self, node: Node) -> list[Node] | None:
        """A Dense layer after a flattened map: its weights in channels-first order; on a map: a pointwise Conv."""
        weight = self._constant(node, 1)
        if weight is None or node.inputs[1] in self.flat:
            return None
        if node.inputs[0] in self.flat:
            channels, *spatial = self.flat[node.inputs[0]][1:]
            matrix = weight.T if node.attrs.get("transB", 0) else weight
            moved = np.moveaxis(matrix.reshape(*spatial, channels, -1), len(spatial), 0).reshape(matrix.shape)
            name = self._weight(f"{node.inputs[1]}.first", moved.T if node.attrs.get("transB", 0) else moved)
            return [replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]))]
        if node.op != "MatMul" or weight.ndim != 2:
            return None
        ones = (1,) * (len(self.graph.shape(node.output)) - 2)
        name = self._weight(f"{node.inputs[1]}.first", weight.T.reshape(*weight.T.shape, *ones))
        attrs = dict(sorted({**defaults("Conv", len(ones)), "kernel_shape": ones}.items()))
        conv = replace(node, op="Conv", attrs=attrs)
        return self._twin(conv, (self.twins[node.inputs[0]], name))


def _shuffled(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A channels-last shape as channels-first."""
    return tuple(shape[axis] for axis in _first(len(shape)))
