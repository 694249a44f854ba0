"""A teacher whose file fixes a batch of several samples -> the same network for one sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snncc.errors import FormatError
from snncc.graph import Graph, Node, frozen
from snncc.graph_onnx import static_shape, to_onnx
from snncc.ingest.fold import infer

REMEDY = "export with batch 1 or a dynamic batch"


def one_sample(graph: Graph) -> Graph:
    """`graph` with batch 1, where the first axis is the batch all the way through.

    Raises:
        FormatError: a node mixes samples, moves the batch axis, or holds a constant of the batch's size.
    """
    sizes = {graph.shape(name)[0] for name in graph.inputs if len(graph.shape(name)) > 1}
    if sizes <= {1}:
        return graph
    if len(sizes) > 1:
        raise FormatError(f"the inputs have different fixed batches: {sorted(sizes)}", remedy=REMEDY)
    (batch,) = sizes
    batched = {name for name in graph.inputs if graph.shape(name)[:1] == (batch,)}
    for node in graph.nodes:
        if batched.isdisjoint(node.inputs):
            continue
        if _mixes(graph, node, batch):
            raise FormatError(f"the fixed batch of {batch} is more than a first axis here", node=node.label,
                              remedy=REMEDY)  # fmt: skip
        batched.update(node.outputs)
    shapes = {node.inputs[1] for node in graph.find("Reshape") if node.inputs[0] in batched}
    cut = replace(
        graph,
        types={n: replace(kind, shape=(1, *kind.shape[1:])) if n in batched else kind
               for n, kind in graph.types.items()},
        weights={n: frozen(np.asarray([1, *value[1:]], np.int64)) if n in shapes else value
                 for n, value in graph.weights.items()},
    )  # fmt: skip
    model = to_onnx(cut)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = infer(model).graph
    for value in (*inferred.value_info, *inferred.output):
        maker = cut.producer(value.name)
        if maker is not None and static_shape(value) != cut.shape(value.name):
            raise FormatError(f"does not work with a batch of 1 in place of {batch}", node=maker.label, remedy=REMEDY)
    return cut


def _mixes(graph: Graph, node: Node, batch: int) -> bool:
    """Whether the first axis of an output of `node` may be another than that of its inputs."""
    if any(graph.shape(name)[:1] != (batch,) for name in node.outputs if name):
        return True
    if node.op == "Gemm" and len(node.inputs) > 2 and graph.shape(node.inputs[2])[:-1] == (batch,):
        return True  # a bias for each sample
    rank = len(graph.shape(node.output))
    perm = node.attrs.get("perm", tuple(range(rank))[::-1])
    return (node.op == "Transpose" and perm[0] != 0) or ("axis" in node.attrs and node.attrs["axis"] % rank == 0)
