"""What onnx's checker and shape inference let pass, though no runtime could run it, or not in eval mode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from snncc.errors import FormatError
from snncc.graph import Array, Graph
from snncc.ingest.limits import DIVERGED, REEXPORT
from snncc.onnx_attributes import WINDOWED

EVAL = "exported in train mode? call model.eval() before the export"
MAX_WEIGHT = 2.0**60  # products of a few of them stay far from float32's largest number, 2^128
MAX_TAPS = 2**22  # (output, kernel index) pairs along one axis
Shape = tuple[int, ...]


def check_node(
    op: str,
    inputs: list[str],
    shapes: list[Shape | None],
    out: Shape,
    attrs: Mapping[str, Any],
    weights: Mapping[str, Array],
    label: str,
) -> None:
    """Raises FormatError. `shapes` are those of `inputs`, `out` that of the first output."""
    if op in ("Conv", "ConvTranspose"):
        _check_channels(op, shapes, int(attrs.get("group", 1)), label)
    if op in WINDOWED and shapes[0] is not None:
        for size, kernel in zip(out[2:], attrs["kernel_shape"], strict=True):
            if size * kernel > MAX_TAPS:
                raise FormatError(f"windows of {kernel} at {size} places", node=label, remedy="use smaller windows")
    if op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze") and math.prod(shapes[0] or ()) != math.prod(out):
        raise FormatError(f"{shapes[0]} cannot take the shape {out}", node=label, remedy=REEXPORT)
    if op == "BatchNormalization":
        if attrs.get("training_mode", 0):
            raise FormatError("batch normalisation in training mode", node=label, remedy=EVAL)
        if any(shape != (shapes[0] or (0,))[1:2] for shape in shapes[1:5]):
            raise FormatError(f"parameters {shapes[1:5]} for the input {shapes[0]}", node=label, remedy=REEXPORT)
    if op == "Dropout" and len(inputs) > 2 and inputs[2]:
        mode = weights.get(inputs[2])
        if mode is None or mode.any():
            raise FormatError("dropout in training mode", node=label, remedy=EVAL)


def check_weights(graph: Graph) -> None:
    """Of the canonical graph, where all factors are multiplied in. Raises FormatError."""
    for node in graph.nodes:
        if node.op == "Div" and (divisor := graph.constant(node.inputs[1])) is not None and not divisor.all():
            raise FormatError("a division by zero", node=node.label, remedy=DIVERGED)
        if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"):
            continue
        for name in node.inputs:
            constant = graph.constant(name)
            if constant is not None and not np.abs(constant).max(initial=0) <= MAX_WEIGHT:
                raise FormatError(f"weight {name!r} holds numbers beyond 2^60", node=node.label, remedy=DIVERGED)
        bias = graph.constant(node.inputs[2]) if node.op == "Gemm" and len(node.inputs) > 2 else None
        out = graph.shape(node.output)
        fitting = zip(() if bias is None else bias.shape[::-1], out[::-1], strict=False)
        if bias is not None and (bias.ndim > len(out) or any(n not in (1, m) for n, m in fitting)):
            raise FormatError(f"bias of shape {bias.shape}", node=node.label, remedy=REEXPORT)


def _check_channels(op: str, shapes: list[Shape | None], group: int, label: str) -> None:
    x, w = shapes[0], shapes[1]
    assert x is not None and w is not None
    if len(x) != len(w) or len(x) < 3 or group < 1:
        raise FormatError(f"input {x}, weights {w} and {group} groups do not fit", node=label)
    channels, out = (w[1] * group, w[0]) if op == "Conv" else (w[0], w[1] * group)
    if x[1] != channels or out % group or channels % group:
        raise FormatError(
            f"{x[1]} input channels, but weights {w} with {group} groups need {channels}", node=label, remedy=REEXPORT
        )
    if len(shapes) > 2 and shapes[2] is not None and shapes[2] != (out,):
        raise FormatError(f"bias of shape {shapes[2]} for {out} output channels", node=label, remedy=REEXPORT)
