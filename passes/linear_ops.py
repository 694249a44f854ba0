"""The teacher's linear operators as synapses and routes: reading of attributes and constants, no decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from snncc.errors import UnsupportedError
from snncc.graph import Array, Graph, Node
from snncc.passes.resampling import chosen, nearest_indices, pad_amounts, pad_indices
from snncc.synapses import Conv, ConvTranspose, Dense, Synapse, Window
from snncc.synapses.routing import Pad, Reshape, Route, Slice, Transpose

_RECURRENT = "a recurrent layer", "in place of recurrent layers use convolutions over time"
_INTEGERS = "a convolution of integers", "export the network before its quantisation"
UNCOUNTED = {  # operator -> what it is, and the remedy
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _RECURRENT),
    **dict.fromkeys(("ConvInteger", "QLinearConv"), _INTEGERS),
    "DeformConv": ("a deformable convolution", "use a plain convolution"),
}
ADVICE = {
    "Sigmoid": "train with ReLU inside the network; a sigmoid at the end is kept",
    "Tanh": "train with ReLU inside the network",
    "Elu": "train with ReLU",
    "Gelu": "train with ReLU",
    "Selu": "train with ReLU",
    "Mul": "products of two activations (gates, attention, SiLU) do not spike: train with ReLU",
    "Div": "quotients of two activations do not spike",
    "LeakyRelu": "train with a slope above 0 and at most 1, or with ReLU",
    "PRelu": "train with one slope a channel, above 0 and at most 1, or with ReLU",
    "Clip": "train with ReLU or ReLU6",
    "InstanceNormalization": "freeze its statistics over the calibration set (changes the outputs; says by how much): "
    "--pass freeze-norm; or train with BatchNorm",
    "GroupNormalization": "freeze its statistics over the calibration set (changes the outputs; says by how much): "
    "--pass freeze-norm; or train with BatchNorm",
    "LayerNormalization": "train with BatchNorm, whose statistics are frozen",
    "LRN": "train with BatchNorm, whose statistics are frozen",
    "Softmax": "a softmax at the end is kept; inside the network train with ReLU",
    "Resize": "resize by constant factors without antialias or crop; nearest: asymmetric and floor",
    "AveragePool": "let no window lie wholly in the padding",
    "MaxPool": "use a MaxPool without ceil_mode with padding smaller than its kernel and indices that nobody reads",
    "Concat": "concatenate along channels",
    "Conv": "let each of its groups read from one branch of the concatenation",
    "Pad": "pad spatial axes by constant amounts: with zeros, or by reflect, edge or wrap",
    "Transpose": "where it mixes batch and space it comes from attention, or from adaptive pooling to a size "
    "that does not divide: pool with fixed windows",
    "HardSwish": "products of a value and its gate do not spike: train with ReLU",
    **dict.fromkeys(("Erf", "HardSigmoid", "Mish", "Softplus", "Softsign"), "train with ReLU"),
}


def one_image(graph: Graph) -> None:
    """Raises UnsupportedError unless every input is an image with a batch of 1: a network runs one sample."""
    for name in graph.inputs:
        shape, dtype = graph.shape(name), graph.types[name].dtype
        if dtype not in ("float32", "uint8"):
            raise UnsupportedError(
                f"an input of {dtype} is no image", node=f"input {name}", remedy="give the network a float32 input"
            )
        if len(shape) < 2 and shape != (1,):
            raise UnsupportedError(
                f"an input of shape {shape} has no batch", node=f"input {name}", remedy="give it a first axis of size 1"
            )
        if shape[0] != 1:
            raise UnsupportedError(
                f"a fixed batch of {shape[0]}", node=f"input {name}", remedy="export with batch 1 or a dynamic batch"
            )


def countable(graph: Graph) -> None:
    """Raises UnsupportedError at a layer whose work, were it kept analog, could not be counted."""
    for node in graph.nodes:
        if node.op in UNCOUNTED:
            what, remedy = UNCOUNTED[node.op]
            raise UnsupportedError(what, node=node.label, remedy=remedy)


def _ints(node: Node, name: str, rank: int, default: int) -> tuple[int, ...]:
    found = node.attrs.get(name)
    return tuple(int(v) for v in found) if found else (default,) * rank


def convolution(graph: Graph, node: Node) -> tuple[Synapse, Array | None]:
    """Conv or ConvTranspose with its bias [Cout] or None."""
    weight = graph.weights[node.inputs[1]].astype(np.float64)
    rank = weight.ndim - 2
    stride, dilation = _ints(node, "strides", rank, 1), _ints(node, "dilations", rank, 1)
    pads, group = _ints(node, "pads", 2 * rank, 0), int(node.attrs.get("group", 1))
    bias = graph.weights[node.inputs[2]].astype(np.float64) if len(node.inputs) > 2 and node.inputs[2] else None
    if node.op == "Conv":
        return Conv(weight, stride, dilation, pads, group), bias
    extra = _ints(node, "output_padding", rank, 0)
    return ConvTranspose(weight, stride, dilation, pads, extra, group), bias


def dense(graph: Graph, node: Node, spatial: int) -> tuple[Synapse, Array | None]:
    """Gemm with weight [out, in]; on inputs of shape (C, 1, ...) a pointwise convolution."""
    weight = graph.weights[node.inputs[1]].astype(np.float64)
    if not node.attrs.get("transB", 0):
        weight = weight.T
    weight = weight * float(node.attrs.get("alpha", 1.0))
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = graph.weights[node.inputs[2]].astype(np.float64).reshape(-1) * float(node.attrs.get("beta", 1.0))
        bias = np.broadcast_to(bias, weight.shape[:1]).copy()
    if spatial:
        ones = (1,) * spatial
        return Conv(weight.reshape(*weight.shape, *ones), ones, ones, (0,) * 2 * spatial), bias
    return Dense(weight), bias


def slice_weights(synapse: Synapse, channels: Sequence[int]) -> list[Synapse] | None:
    """One synapse a block of input channels: parts of a sum, or of the output channels where the map is grouped
    (None if a group reads from two blocks)."""
    if len(channels) == 1:
        return [synapse]
    cuts = np.cumsum([0, *channels])
    parts = [slice(int(i), int(j)) for i, j in pairwise(cuts)]
    if synapse.groups == 1:
        if isinstance(synapse, ConvTranspose):
            return [replace(synapse, weight=synapse.weight[p]) for p in parts]
        if isinstance(synapse, Conv | Dense):
            return [replace(synapse, weight=synapse.weight[:, p]) for p in parts]
        return None
    per_group = int(cuts[-1]) // synapse.groups
    if np.any(cuts % per_group):
        return None
    groups = [n // per_group for n in channels]
    if isinstance(synapse, ConvTranspose):
        return [replace(synapse, weight=synapse.weight[p], group=g) for p, g in zip(parts, groups, strict=True)]
    assert isinstance(synapse, Conv)
    rows = synapse.weight.shape[0] // synapse.groups
    starts = [int(c) // per_group * rows for c in cuts]
    return [
        replace(synapse, weight=synapse.weight[i:j], group=g)
        for i, j, g in zip(starts, starts[1:], groups, strict=False)
    ]


def max_pool_window(graph: Graph, node: Node) -> Window | str:
    """The windows, or why there are none; ceil_mode becomes padding after the end, which never wins."""
    rank = len(graph.shape(node.output)) - 2
    kernel, stride = _ints(node, "kernel_shape", rank, 1), _ints(node, "strides", rank, 1)
    pads, dilation = list(_ints(node, "pads", 2 * rank, 0)), _ints(node, "dilations", rank, 1)
    sizes, outputs = graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:]
    for axis in range(rank):
        reach = (outputs[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        if reach > sizes[axis] + pads[axis] + pads[rank + axis]:
            pads[rank + axis] = reach - sizes[axis] - pads[axis]
    window = Window(np.ones(1, np.float32), kernel, stride, tuple(pads), dilation)
    for axis, size in enumerate(sizes):
        last = (outputs[axis] - 1) * stride[axis] - pads[axis]
        if last >= size or not (window.taps(axis, size) >= 0).any(1).all():
            return "max pooling with a window that lies wholly in the padding"
        if max(pads[axis], pads[rank + axis]) >= kernel[axis]:  # onnxruntime refuses it
            return "max pooling whose padding, or overhang by ceil_mode, is not smaller than its kernel"
    return window


def reshape_target(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """The target (C, *spatial) of a Reshape that keeps the batch axis."""
    if node.op != "Reshape":
        return None
    shape = graph.shape(node.output)
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else None


def shuffle_of(graph: Graph, node: Node) -> tuple[Route, ...] | None:
    """Transpose of all axes but the batch, DepthToSpace or SpaceToDepth in two dimensions; None for anything else."""
    shape = graph.shape(node.inputs[0])
    if len(shape) < 2 or shape[0] != 1:
        return None
    if node.op == "Transpose":
        perm = tuple(int(axis) for axis in node.attrs.get("perm", range(len(shape))[::-1]))
        return (Transpose(tuple(axis - 1 for axis in perm[1:])),) if perm[0] == 0 else None
    if node.op not in ("DepthToSpace", "SpaceToDepth") or len(shape) != 4:
        return None
    b, (channels, height, width) = int(node.attrs["blocksize"]), shape[1:]
    post = graph.shape(node.output)[1:]
    if node.op == "SpaceToDepth":
        return Reshape((channels, height // b, b, width // b, b)), Transpose((2, 4, 0, 1, 3)), Reshape(post)
    if node.attrs.get("mode", "DCR") == "CRD":
        return Reshape((channels // b**2, b, b, height, width)), Transpose((0, 3, 1, 4, 2)), Reshape(post)
    return Reshape((b, b, channels // b**2, height, width)), Transpose((2, 3, 0, 4, 1)), Reshape(post)


def route_of(graph: Graph, node: Node) -> Route | None:
    """Nearest Resize, Pad with zeros or existing values, Slice with step 1; None where it is something else."""
    pre, post = graph.shape(node.inputs[0]), graph.shape(node.output)
    if len(pre) < 2 or len(pre) != len(post) or pre[0] != 1 or post[0] != 1:
        return None
    if node.op == "Resize":
        indices = nearest_indices(graph, node)
        return None if indices is None else chosen(indices, pre[2:])
    if node.op == "Pad":
        indices = pad_indices(graph, node)
        return _pad(graph, node) if indices is None else chosen(indices, pre[2:])
    if node.op == "Slice":
        return _slice(graph, node, pre)
    return None


def _pad(graph: Graph, node: Node) -> Route | None:
    amounts, fill = pad_amounts(graph, node), (*node.inputs, "")[2]
    value = graph.constant(fill)
    if amounts is None or node.attrs.get("mode", "constant") != "constant" or (fill and (value is None or value.any())):
        return None
    return Pad(tuple(amounts[0].tolist()), tuple(amounts[1].tolist()))


def _slice(graph: Graph, node: Node, pre: tuple[int, ...]) -> Route | None:
    found = [graph.constant(v) if v else None for v in node.inputs[1:]]
    if any(f is None for f, v in zip(found, node.inputs[1:], strict=True) if v) or len(found) < 2:
        return None
    starts, stops = found[0], found[1]
    assert starts is not None and stops is not None
    axes = found[2] if len(found) > 2 and found[2] is not None else np.arange(len(starts))
    steps = found[3] if len(found) > 3 and found[3] is not None else np.ones(len(starts), np.int64)
    if np.any(steps != 1):
        return None
    start, stop = [0] * len(pre), list(pre)
    for axis, a, b in zip(axes, starts, stops, strict=True):
        start[axis], stop[axis], _ = slice(int(a), int(b)).indices(pre[axis])
    return Slice(tuple(start[1:]), tuple(stop[1:])) if start[0] == 0 and stop[0] == 1 else None


def affine_constant(graph: Graph, node: Node) -> tuple[str, Array | None, Array | None] | None:
    """(value, factor [C] or None, offset [C] or [C, *spatial] or None) of value op constant; None if it is not that."""
    if node.op not in ("Add", "Sub", "Mul", "Div"):
        return None
    a, b = node.inputs
    constant, value = (a, b) if a in graph.weights else (b, a)
    if constant not in graph.weights or value in graph.weights:
        return None
    shape = graph.shape(value)
    raw = graph.weights[constant].astype(np.float64)
    if raw.ndim > len(shape) or graph.shape(node.output) != shape or shape[0] != 1:
        return None
    raw = raw.reshape((1,) * (len(shape) - raw.ndim) + raw.shape)[0]
    per_channel = all(n == 1 for n in raw.shape[1:])
    full = np.broadcast_to(raw[(slice(None), *(slice(0, 1),) * (raw.ndim - 1))].reshape(-1), shape[1:2]).copy()
    if node.op in ("Mul", "Div"):
        if not per_channel or (node.op == "Div" and constant == a):
            return None
        return value, (full if node.op == "Mul" else 1.0 / full), None
    offset = full if per_channel else np.broadcast_to(raw, shape[1:]).copy()
    if node.op == "Add":
        return value, None, offset
    return (value, None, -offset) if constant == b else (value, -np.ones(shape[1]), offset)
