"""An untrusted teacher.onnx -> a canonical Graph."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from snncc.errors import FormatError, OptionError, VerifyError
from snncc.graph import Array, Graph, Node, Type, frozen
from snncc.graph_onnx import static_shape
from snncc.ingest.batch import one_sample
from snncc.ingest.canonical import canonicalise
from snncc.ingest.fold import bind_dimensions, fold_constants, to_one_opset
from snncc.ingest.limits import REEXPORT, node_label, read_model
from snncc.ingest.semantics import check_node, check_weights
from snncc.ingest.spelling import expand_group_norm, to_float32
from snncc.network import PART
from snncc.onnx_attributes import resolved
from snncc.verify import verify_graph

Shapes = Mapping[str, tuple[int, ...]]


def ingest(source: str | os.PathLike[str] | onnx.ModelProto, shapes: Shapes | None = None) -> Graph:
    """Read, check, fold and canonicalise a teacher.

    Args:
        source: a file, or a model, which is not changed.
        shapes: input name -> shape, for inputs whose dimensions the file leaves open (a batch need not be given).

    Raises:
        FormatError: the file is missing, damaged, foreign, too large or inconsistent.
        OptionError: `shapes` does not fit the model.
    """
    try:
        graph = _ingest(source, shapes or {})
        _check_formed(graph)
        return graph
    except FormatError as error:
        error.remedy = error.remedy or REEXPORT
        if not isinstance(source, onnx.ModelProto):
            error.at(os.fspath(source))
        raise


def _check_formed(graph: Graph) -> None:
    """Whatever else is wrong with it would look like the fault of a pass."""
    try:
        verify_graph(graph)
    except VerifyError as error:
        text = error.message.partition("\n")[0]
        raise FormatError(f"the network contradicts itself: {text}", node=error.node) from None


def _ingest(source: str | os.PathLike[str] | onnx.ModelProto, shapes: Shapes) -> Graph:
    model = read_model(source)
    meta = {entry.key: entry.value for entry in model.metadata_props}  # the converter drops it
    try:
        model, weights = _folded(model, shapes)
    except FormatError as error:
        if shapes and (fitting := _fitting(model, shapes)):
            error.remedy = f"sizes that its down-sampling divides, e.g. {fitting}"
        raise
    types = _types(model)
    graph = Graph(
        inputs=tuple(value.name for value in model.graph.input),
        outputs=tuple(value.name for value in model.graph.output),
        nodes=tuple(_node(node, types, weights) for node in model.graph.node),
        weights={name: frozen(value) for name, value in weights.items()},
        types=types,
        meta=meta,
    )
    for name in graph.outputs:
        if name not in types and name not in weights:
            raise FormatError(f"output {name!r} is never made", node=name, remedy=REEXPORT)
        if name in weights:
            raise FormatError(f"output {name!r} is a constant: it depends on no input", node=name, remedy=REEXPORT)
    graph = canonicalise(graph)
    check_weights(graph)
    with contextlib.suppress(FormatError):  # else `lower` refuses the batch
        graph = one_sample(graph)
    return graph


def _folded(model: onnx.ModelProto, shapes: Shapes) -> tuple[onnx.ModelProto, dict[str, Array]]:
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    bind_dimensions(bound, shapes)
    to_float32(bound)
    expand_group_norm(bound)
    return fold_constants(to_one_opset(bound))


def _fitting(model: onnx.ModelProto, shapes: Shapes) -> str:
    """Smaller `--shape` options that the model takes, its open dimensions multiples of 2, 4, ... 32; or ""."""
    for factor in (2, 4, 8, 16, 32):
        smaller = {}
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            smaller[value.name] = tuple(
                size if dim.HasField("dim_value") or not axis else size - size % factor
                for axis, (size, dim) in enumerate(zip(shapes.get(value.name, ()), dims, strict=False))
            )
        chosen = {name: shape for name, shape in smaller.items() if shape}
        with contextlib.suppress(FormatError, OptionError):
            _folded(model, chosen)
            return " ".join(f"--shape {name}={'x'.join(map(str, shape))}" for name, shape in chosen.items())
    return ""


def _types(model: onnx.ModelProto) -> dict[str, Type]:
    """Type of every value that is not a weight. Raises FormatError for a name with another meaning here, and where a
    shape depends on data."""
    values = {v.name: v for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)}
    makers = {name: node_label(node) for node in model.graph.node for name in node.output}
    found = {}
    for name in (*(value.name for value in model.graph.input), *(name for name in makers if name)):
        shape = static_shape(values[name]) if name in values else None
        if PART.fullmatch(name):
            raise FormatError(
                f"the name {name!r} reads like channels of a value", node=makers.get(name), remedy="rename it"
            )
        if shape is None:
            raise FormatError(
                f"the shape of {name!r} depends on the data or on an open dimension",
                node=makers.get(name),
                remedy="export with fixed shapes, or give the input's shape: --shape NAME=DIMS",
            )
        if min(shape, default=1) < 1:
            raise FormatError(f"value {name!r} is empty: {shape}", node=makers.get(name), remedy=REEXPORT)
        found[name] = Type(shape, _dtype(values[name], makers.get(name)))
    return found


def _dtype(value: onnx.ValueInfoProto, label: str | None) -> str:
    code = value.type.tensor_type.elem_type
    if code == TensorProto.DOUBLE:
        raise FormatError(f"{value.name!r} is double", node=label, remedy="export in float32: model.float()")
    if code in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise FormatError(f"{value.name!r} has no numeric type", node=label, remedy=REEXPORT)
    return str(np.dtype(helper.tensor_dtype_to_np_dtype(code)).name)


def _node(proto: onnx.NodeProto, types: Mapping[str, Type], weights: Mapping[str, Array]) -> Node:
    label = node_label(proto)

    def shape(name: str) -> tuple[int, ...] | None:
        if name in weights:
            return tuple(weights[name].shape)
        return types[name].shape if name in types else None

    shapes = [shape(name) for name in proto.input]
    out = types[proto.output[0]].shape if proto.output[0] else ()
    attrs = resolved(proto, shapes, out, label)
    check_node(proto.op_type, list(proto.input), shapes, out, attrs, weights, label)
    outputs = list(proto.output)
    while outputs and not outputs[-1]:
        outputs.pop()
    inputs = list(proto.input)
    while inputs and not inputs[-1]:
        inputs.pop()
    return Node(proto.op_type, tuple(inputs), tuple(outputs), attrs, (proto.name or proto.output[0],))
