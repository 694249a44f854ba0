"""Normalisation by the statistics of each sample -> by those of the calibration set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snncc.errors import PassError
from snncc.graph import Array, Graph, Node
from snncc.passes.graph.approximate import note_error
from snncc.passes.graph.channelwise import channel_constant
from snncc.passes.graph.fold_affine import FoldAffine

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class FreezeNorm:
    """Replace InstanceNorm and GroupNorm by one scale and shift a channel, from calibration data; notes its error."""

    name: ClassVar[str] = "freeze-norm"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    approximate: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> Graph:
        before = graph
        for node in tuple(graph.find("InstanceNormalization")):
            value, last = _ends(graph, node)
            if last is None:
                context.note(node.label, "skipped", "its output is not shaped back: not a group normalisation")
                continue
            scale, shift = self._fitted(graph, value, last.output, context)
            graph = _replaced(graph, value, last, scale, shift)
            context.note(node.label, "folded", "its scale and shift frozen over the calibration set")
        if graph is before:
            return graph
        note_error(before, graph, context, self.name)
        return FoldAffine().run(graph, context)

    def _fitted(self, graph: Graph, value: str, result: str, context: Context) -> tuple[Array, Array]:
        """The least-squares line `result` = scale · `value` + shift of each channel, float64 [C].

        Evaluated on `graph`, in which the normalisations before this one are frozen already. The line changed the
        outputs of two small trained U-Nets less than the mean of the samples' means and variances did.
        """
        if context.evaluate is None:
            raise PassError("no engine was handed in to evaluate the teacher")
        channels, count = graph.shape(value)[1], 0
        sums = np.zeros((4, channels))  # means of x, y, x², xy
        for feeds in context.stream(self.name):
            found = context.evaluate(graph, context.analog(feeds), [value, result])
            x, y = (found[name].astype(np.float64).reshape(channels, -1) for name in (value, result))
            sums, count = sums + np.stack([x.mean(1), y.mean(1), (x * x).mean(1), (x * y).mean(1)]), count + 1
        if not count:
            raise PassError("the calibration set is empty")
        x, y, xx, xy = sums / count
        spread = xx - x * x
        scale = np.where(spread > 1e-12 * xx, (xy - x * y) / np.where(spread > 0, spread, 1), 0)
        return scale, y - scale * x


def _ends(graph: Graph, node: Node) -> tuple[str, Node | None]:
    """What is normalised, and the node that gives the result. In a group normalisation a Reshape from [1, C, *S] to
    [1, G, ...] stands before `node` and one back after it; None in place of the latter if it is not there."""
    before, after = graph.producer(node.inputs[0]), graph.sole_user(node.output)
    if before is None or before.op != "Reshape" or len(graph.shape(before.inputs[0])) < 3:
        return node.inputs[0], node
    whole = graph.shape(before.inputs[0])
    if whole[1] % graph.shape(node.output)[1] or after is None or after.op != "Reshape":
        return node.inputs[0], None
    return before.inputs[0], after if graph.shape(after.output) == whole else None


def _replaced(graph: Graph, value: str, last: Node, scale: Array, shift: Array) -> Graph:
    """scale · value + shift in place of `last`."""
    rank = len(graph.shape(value))
    factor, offset = graph.fresh(f"{last.output}.scale"), graph.fresh(f"{last.output}.shift")
    scaled = graph.fresh(f"{last.output}.scaled")
    nodes = (
        Node("Mul", (value, factor), (scaled,), {}, last.origin),
        Node("Add", (scaled, offset), last.outputs, {}, last.origin),
    )
    return graph.replace_nodes(
        {last: nodes},
        weights={factor: channel_constant(scale, rank), offset: channel_constant(shift, rank)},
        types={scaled: graph.types[last.output]},
    )
