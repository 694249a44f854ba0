"""An untrusted ONNX file -> a ModelProto of bounded size that onnx's checker accepts.

Each limit here closes a hole that onnx.checker leaves open: empty files, function bombs, unknown domains and opsets,
NaN weights, tensors larger than any memory. Order matters: nothing is expanded before its size is known.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, checker, helper, numpy_helper

from snncc.errors import FormatError
from snncc.graph import Array

MAX_FILE_BYTES = 2**31 - 1  # protobuf's own limit
MAX_TENSOR_BYTES = 2**31 - 1  # all weights together: the version converter serialises them in one message
MAX_NODES = 5_000
MAX_RANK = 8
MAX_NAME = 1000
OLDEST_OPSET, OLDEST_IR = 7, 3
STANDARD = ("", "ai.onnx")
RANDOM_OPS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
TEXT_OPS = {"RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"}
FLAGS = {
    "transA", "transB", "keepdims", "ceil_mode", "count_include_pad", "training_mode", "allowzero", "antialias",
    "exclude_outside", "noop_with_empty_axes",
}  # fmt: skip
INFINITE = {"Constant", "Clip"}  # bounds and masks may be

REEXPORT = "export the model again, e.g. with torch.onnx.export"
DIVERGED = "the training diverged; export an earlier checkpoint"


def read_model(source: str | os.PathLike[str] | onnx.ModelProto) -> onnx.ModelProto:
    """The checked model, external data loaded. Raises FormatError."""
    if isinstance(source, onnx.ModelProto):
        model, path = source, None
    else:
        path = Path(source)
        model = _parse(path)
    check_structure(model, path)
    try:
        checker.check_model(model if path is None else str(path))  # only the path form checks external files
    except Exception as error:  # the checker raises whatever its C++ side does
        raise FormatError(f"not a valid ONNX model: {first_line(error)}", remedy=REEXPORT) from None
    if path is not None:
        _load_external(model, path)
    _check_values(model)
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise FormatError("not a file", remedy="name an .onnx file")
        if size == 0:
            raise FormatError("the file is empty", remedy=REEXPORT)
        if size > MAX_FILE_BYTES:
            raise FormatError(f"{size} bytes are more than an ONNX file can hold", remedy="save with external data")
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot read the file: {error.strerror or error}", remedy="check its path") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # DecodeError, whose module differs between protobuf back ends
        raise FormatError("not an ONNX file, or cut short", remedy="copy or export the file again") from None
    return model


def check_structure(model: onnx.ModelProto, path: Path | None) -> None:
    """What can be told without expanding anything. Raises FormatError."""
    if not model.HasField("graph") or not model.graph.node:
        raise FormatError("no network in this file: not an ONNX model, or cut short", remedy=REEXPORT)
    if not OLDEST_IR <= model.ir_version <= onnx.IR_VERSION:
        raise FormatError(f"ONNX IR version {model.ir_version} is not one of {OLDEST_IR}..{onnx.IR_VERSION}")
    opsets = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    newest = onnx.defs.onnx_opset_version()
    if len(opsets) != 1 or not OLDEST_OPSET <= opsets[0] <= newest:
        raise FormatError(
            f"opset {opsets or 'missing'} is not one of {OLDEST_OPSET}..{newest}", remedy="export with opset_version=20"
        )
    if any(function.domain == "ai.snncc" for function in model.functions):
        raise FormatError("this is a compiled spiking network, not a teacher", remedy="name the trained network")
    if model.functions:
        # 31 functions that call each other twice expand to 2^30 nodes, which hangs every ONNX tool
        raise FormatError(
            f"the model holds local functions ({model.functions[0].name})",
            remedy="inline them before export (onnx.inliner.inline_local_functions)",
        )
    if len(model.graph.node) > MAX_NODES:
        raise FormatError(f"{len(model.graph.node)} nodes; at most {MAX_NODES} are read")
    _check_interface(model.graph)
    for node in model.graph.node:
        _check_node(node)
    _check_tensors(model, path)


def _check_interface(graph: onnx.GraphProto) -> None:
    for values in (graph.input, graph.output):
        names = [value.name for value in values]
        _check_names(*names, *(dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim))
        if len(set(names)) != len(names):
            raise FormatError("an input or output is listed twice", remedy=REEXPORT)
    if not graph.output:
        raise FormatError("the model has no output", remedy=REEXPORT)
    _check_names(*(tensor.name for tensor in graph.initializer))


def _check_names(*names: str) -> None:
    """They appear in messages. Protobuf gives bytes that are no UTF-8 as they are."""
    for name in names:
        if not isinstance(name, str) or len(name) > MAX_NAME or not name.isprintable():
            shown = ascii(name)[:50]
            raise FormatError(f"the name {shown} is not printable text of at most {MAX_NAME} characters")


def _check_node(node: onnx.NodeProto) -> None:
    _check_names(node.name, node.op_type, node.domain, *node.input, *node.output)
    _check_names(*(name for attribute in node.attribute for name in (attribute.name, attribute.ref_attr_name)))
    label = node_label(node)
    if node.domain == "ai.snncc":
        raise FormatError("this is a compiled spiking network, not a teacher", node=label)
    if node.domain not in STANDARD:
        raise FormatError(
            f"operator of the domain {node.domain!r}", node=label, remedy="export with standard ONNX operators only"
        )
    for attribute in node.attribute:
        if attribute.name in FLAGS and attribute.i not in (0, 1):  # onnx and runtimes differ on what 2^40 means
            raise FormatError(f"attribute {attribute.name!r} is {attribute.i}, not 0 or 1", node=label)
        if attribute.ref_attr_name:
            raise FormatError(f"attribute {attribute.name!r} refers to one of a function", node=label)
        if node.op_type not in INFINITE and not np.isfinite([attribute.f, *attribute.floats]).all():
            raise FormatError(f"attribute {attribute.name!r} is NaN or infinite", node=label)
        parts = {"num_outputs": attribute.i, "split": len(attribute.ints)}.get(attribute.name, len(node.output))
        if node.op_type == "Split" and parts != len(node.output):  # on which inference of Split crashes
            raise FormatError(f"{parts} parts for {len(node.output)} outputs", node=label)
        if attribute.HasField("g") or attribute.graphs:
            raise FormatError(
                "control flow (If, Loop, Scan) has no fixed graph",
                node=label,
                remedy="export by tracing with fixed shapes",
            )
    if node.op_type in TEXT_OPS:  # inference of RegexFullMatch crashes on a value without type
        raise FormatError("an operator on text", node=label, remedy="take it out of the exported part")
    if node.op_type in RANDOM_OPS:
        raise FormatError(
            "a random operator", node=label, remedy="exported in train mode? call model.eval() before the export"
        )


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensors(model: onnx.ModelProto, path: Path | None) -> None:
    sparse = any(a.HasField("sparse_tensor") or a.sparse_tensors for n in model.graph.node for a in n.attribute)
    if model.graph.sparse_initializer or sparse:
        raise FormatError("sparse weights are not read", remedy="export dense weights")
    names = [tensor.name for tensor in model.graph.initializer]
    if len(set(names)) != len(names):
        raise FormatError("two weights have the same name", remedy=REEXPORT)
    total = 0
    for tensor in _tensors(model):
        if len(tensor.dims) > MAX_RANK or any(d < 0 for d in tensor.dims):
            raise FormatError(f"weight {tensor.name!r} has the shape {list(tensor.dims)}", remedy=REEXPORT)
        total += math.prod(tensor.dims) * 8  # no type is wider but complex128, which the type check refuses
        if total > 2 * MAX_TENSOR_BYTES:
            raise FormatError(f"the weights take more than {MAX_TENSOR_BYTES} bytes", node=tensor.name)
        if tensor.data_location == TensorProto.EXTERNAL:
            _external_file(tensor, path)


def weight_files(source: str | os.PathLike[str]) -> list[Path]:
    """The files beside a model's that hold its weights, by name. Raises FormatError."""
    path = Path(source)
    try:
        outside = [tensor for tensor in _tensors(_parse(path)) if tensor.data_location == TensorProto.EXTERNAL]
        return sorted({_external_file(tensor, path) for tensor in outside})
    except FormatError as error:
        raise error.at(path) from None


def _external_file(tensor: TensorProto, path: Path | None) -> Path:
    """Where a weight lies. Raises FormatError."""
    if path is None:
        raise FormatError(f"weight {tensor.name!r} lies in another file", remedy="pass the path of the .onnx file")
    told = {entry.key: entry.value for entry in tensor.external_data}  # as onnx reads it: the last of a key counts
    location = str(told.get("location", ""))
    file = path.parent / location
    if not location.isprintable() or ".." in Path(location).parts or Path(location).is_absolute() or not location:
        raise FormatError(f"weight {tensor.name!r} lies outside the model's folder: {location[:MAX_NAME]!r}")
    if len(location) > MAX_NAME or not file.is_file():
        raise FormatError(
            f"the weight file {location[:MAX_NAME]!r} is missing", remedy="copy it next to the .onnx file"
        )
    size = file.stat().st_size
    try:
        start = int(told.get("offset", 0))
        length = int(told.get("length", size - start))
        widest = math.prod(tensor.dims) * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except (KeyError, ValueError):
        raise FormatError(f"weight {tensor.name!r} in {location!r}: its type or place is no number") from None
    if not 0 <= start <= start + length <= size or length > widest:  # what is read must fit what is declared
        raise FormatError(f"weight {tensor.name!r} cannot be the bytes {start} to {start + length} of {location!r}")
    return file


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.resolve().parent))
    except Exception as error:
        raise FormatError(f"cannot read the weights beside the model: {first_line(error)}") from None


def _check_values(model: onnx.ModelProto) -> None:
    for tensor in _tensors(model):
        try:
            array = numpy_helper.to_array(tensor)
        except Exception as error:
            raise FormatError(f"weight {tensor.name!r} is damaged: {first_line(error)}", remedy=REEXPORT) from None
        if array.ndim > 1 and array.size == 0:
            raise FormatError(f"weight {tensor.name!r} is empty: {array.shape}")
    for tensor in model.graph.initializer:
        check_finite(tensor.name, numpy_helper.to_array(tensor))


def check_finite(name: str, array: Array) -> None:
    """Raises FormatError where `array` holds NaN or infinity; a scalar may be infinite, as the bound of a Clip is."""
    if array.dtype.kind == "f" and (np.isnan(array).any() or (array.ndim and np.isinf(array).any())):
        raise FormatError(f"weight {name!r} holds NaN or infinity", remedy=DIVERGED)


def node_label(node: onnx.NodeProto) -> str:
    """Op and name, or the first output of a nameless node."""
    return f"{node.op_type} {node.name or next(iter(node.output), '')}"


def first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return "".join(c if c.isprintable() else "?" for c in text)
