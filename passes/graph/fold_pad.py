"""Zero padding into the layer that follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from snncc.graph import Graph, Node
from snncc.passes.graph.drop_noop import not_negative

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level

WINDOWS = ("Conv", "MaxPool", "AveragePool")


@dataclass(frozen=True)
class FoldPad:
    """Move a constant zero Pad into the `pads` of the Conv or pool that reads it, where that is the same."""

    name: ClassVar[str] = "fold-pad"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for value in [node.output for node in graph.find("Pad")]:
            pad = graph.producer(value)
            amounts = zero_padding(graph, pad) if pad is not None else None
            for user in graph.users(value):
                if pad is None or user.op not in WINDOWS or user.inputs[0] != value:
                    continue
                why_not = _obstacle(graph, pad, amounts, user)
                if why_not or amounts is None:
                    context.note(pad.label, "skipped", why_not)
                    continue
                total = tuple(a + b for a, b in zip(amounts, user.attrs["pads"], strict=True))
                attrs = {**user.attrs, "pads": total}
                if user.op == "AveragePool":
                    attrs["count_include_pad"] = 1
                merged = replace(
                    user, inputs=(pad.inputs[0], *user.inputs[1:]), attrs=attrs, origin=pad.origin + user.origin
                )
                graph = graph.replace_nodes({user: (merged,)})
                context.note(pad.label, "folded", f"into {user.label}")
        return graph


def zero_padding(graph: Graph, pad: Node) -> tuple[int, ...] | None:
    """Padding of the spatial axes, begins then ends, if it is constant, zero-valued and not negative; else None."""
    inputs = (*pad.inputs, "", "")[:4]
    pads = graph.constant(inputs[1])
    fill, chosen = graph.constant(inputs[2]), graph.constant(inputs[3])
    if pads is None or (inputs[2] and (fill is None or fill.any())) or (inputs[3] and chosen is None):
        return None
    rank = len(graph.shape(inputs[0]))
    axes = range(rank) if chosen is None else [int(axis) % rank for axis in chosen]
    begins, ends = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = int(pads[position]), int(pads[position + len(axes)])
    if pad.attrs["mode"] != "constant" or min(begins + ends) < 0 or any(begins[:2] + ends[:2]):
        return None
    return (*begins[2:], *ends[2:])


def _obstacle(graph: Graph, pad: Node, amounts: tuple[int, ...] | None, user: Node) -> str:
    """Why `pad` may not move into `user`, or ""."""
    if amounts is None:
        return "it does not pad spatial axes with a constant number of zeros"
    if user.op == "Conv":
        return ""
    attrs = user.attrs
    if attrs["ceil_mode"] or any(d != 1 for d in attrs["dilations"]) or len(user.outputs) > 1:
        return f"{user.label} has ceil_mode, dilation or indices"
    if any(a + b >= k for a, b, k in zip(amounts, attrs["pads"], attrs["kernel_shape"] * 2, strict=True)):
        return f"windows of {user.label} would lie wholly in the padding"
    if user.op == "AveragePool":
        if attrs["count_include_pad"] or not any(attrs["pads"]):
            return ""
        return f"{user.label} does not count padding in its mean"
    # A MaxPool pads with -inf: the same only where no value lies below the zeros.
    if not not_negative(graph, pad.inputs[0]):
        return f"{user.label} pads with -inf, and its input may be negative"
    return ""
