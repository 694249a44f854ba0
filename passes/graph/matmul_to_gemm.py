"""MatMul with a constant as Gemm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snncc.graph import Graph, Node, frozen
from snncc.onnx_attributes import defaults
from snncc.passes.graph.channelwise import absorb, affine

if TYPE_CHECKING:
    from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class MatMulToGemm:
    """Write MatMul by a constant matrix, and the Add of a constant after it, as Gemm with weights [out, in]."""

    name: ClassVar[str] = "matmul-to-gemm"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Any], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        for node in tuple(graph.find("MatMul")):
            x, w = node.inputs
            matrix = graph.constant(w)
            if matrix is None or matrix.ndim != 2 or x in graph.weights or len(graph.shape(x)) != 2:
                context.note(node.label, "skipped", "not a matrix [1, K] by a constant matrix")
                continue
            weight, bias = graph.fresh(f"{w}.T"), graph.fresh(f"{node.output}.bias")
            zeros = np.zeros(matrix.shape[1], np.float32)
            attrs = {**defaults("Gemm", 0), "transB": 1}
            gemm = Node("Gemm", (x, weight, bias), node.outputs, attrs, node.origin)
            graph = graph.replace_nodes({node: (gemm,)}, weights={weight: frozen(matrix.T), bias: frozen(zeros)})
            context.note(node.label, "folded", "written as Gemm")
            add = graph.sole_user(node.output)
            found = affine(graph, add) if add is not None and add.op == "Add" else None
            if add is not None and found is not None:
                graph, _ = absorb(graph, add, found)
                context.note(add.label, "folded", f"into {gemm.label}")
        return graph
