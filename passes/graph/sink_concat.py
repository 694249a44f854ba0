"""Concat of channels below what acts on each channel alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Array, Graph, Node, Type
from snncc.passes.graph.channelwise import affine, channel_constant, channel_vector
from snncc.passes.graph.fold_pad import zero_padding

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level

ELEMENTWISE = ("Relu", "LeakyRelu", "Clip", "Sigmoid")
MAX_BRANCHES = 256  # 20 Concats of the one before with itself would have 2^20
POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")


@dataclass(frozen=True)
class SinkConcat:
    """Move a Concat of channels below elementwise maps, per-channel maps and pools: one copy of these a branch."""

    name: ClassVar[str] = "sink-concat"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for value in [node.output for node in graph.nodes]:
            concat = graph.producer(value)
            if concat is None or not _joins_channels(graph, concat):
                continue
            graph = _flattened(graph, concat, context)
            while (concat := graph.producer(value)) is not None and (below := graph.sole_user(value)) is not None:
                if not _by_channel(graph, below, value):
                    if below.op not in ("Conv", "Concat"):
                        context.note(below.label, "skipped", f"mixes the branches of {concat.label}")
                    break
                graph = _swapped(graph, concat, below)
                context.note(below.label, "folded", f"moved above {concat.label}, one a branch")
                value = below.output
        return graph


def _joins_channels(graph: Graph, node: Node) -> bool:
    rank = len(graph.shape(node.output))
    return node.op == "Concat" and rank >= 2 and node.attrs["axis"] % rank == 1


def _flattened(graph: Graph, concat: Node, context: Context) -> Graph:
    """A Concat of Concats as one. Inner ones come first, so one level is enough."""
    inputs: list[str] = []
    origin: tuple[str, ...] = ()
    for name in concat.inputs:
        inner = graph.producer(name)
        if inner is not None and _joins_channels(graph, inner):
            inputs += inner.inputs
            origin += inner.origin
            context.note(inner.label, "folded", f"into {concat.label}")
        else:
            inputs.append(name)
    if not origin or len(inputs) > MAX_BRANCHES:
        return graph
    return graph.replace_nodes(
        {concat: (replace(concat, inputs=tuple(inputs), origin=tuple(dict.fromkeys(origin + concat.origin))),)}
    )


def _by_channel(graph: Graph, node: Node, value: str) -> bool:
    """Whether `node` maps each channel of `value` alone, by constants only."""
    if len(node.outputs) > 1 or len(graph.shape(value)) < 2:
        return False
    others = [name for name in node.inputs if name != value]
    if node.inputs.count(value) != 1 or any(name and name not in graph.weights for name in others):
        return False
    if node.op in ELEMENTWISE or node.op in POOLS:
        return True
    if node.op == "Pad":
        return zero_padding(graph, node) is not None
    if node.op == "Resize":
        scales = graph.constant(node.inputs[2]) if len(node.inputs) == 3 else None
        return scales is not None and bool((scales[:2] == 1).all()) and len(scales) == len(graph.shape(value))
    return affine(graph, node) is not None


def _swapped(graph: Graph, concat: Node, below: Node) -> Graph:
    """op(Concat(a, b)) -> Concat(op(a), op(b))."""
    weights: dict[str, Array] = {}
    types: dict[str, Type] = {}
    branches: list[Node] = []
    out = graph.types[below.output]
    for k, (source, channels) in enumerate(zip(concat.inputs, _ranges(graph, concat), strict=True)):
        made = graph.fresh(f"{below.output}.branch{k}")
        types[made] = Type((out.shape[0], channels.stop - channels.start, *out.shape[2:]), out.dtype)
        inputs = []
        for index, name in enumerate(below.inputs):
            part = _part(graph, below, index, channels)
            if name == concat.output:
                inputs.append(source)
            elif part is None:
                inputs.append(name)
            else:
                inputs.append(graph.fresh(f"{name}.{below.output}.branch{k}"))
                weights[inputs[-1]] = part
        branches.append(replace(below, inputs=tuple(inputs), outputs=(made,)))
    joined = replace(concat, inputs=tuple(types), outputs=below.outputs)
    return graph.replace_nodes({concat: (), below: (*branches, joined)}, weights=weights, types=types)


def _ranges(graph: Graph, concat: Node) -> Iterator[slice]:
    """The channels of each input within the output."""
    ends = list(accumulate((graph.shape(name)[1] for name in concat.inputs), initial=0))
    return (slice(a, b) for a, b in pairwise(ends))


def _part(graph: Graph, below: Node, index: int, channels: slice) -> Array | None:
    """The constant at input `index` cut to `channels`; None if it is the same for all channels."""
    constant = graph.constant(below.inputs[index])
    if constant is None or below.op in (*ELEMENTWISE, *POOLS, "Pad", "Resize"):
        return None
    if below.op == "BatchNormalization":
        return channel_constant(constant[channels], 2)
    shape = graph.shape(below.output)
    vector = channel_vector(constant, shape)
    return None if vector is None else channel_constant(vector[channels], len(shape))
