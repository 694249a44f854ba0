"""Constants and shapes of a checked ONNX model: bind its input dimensions, move to one opset, fold, infer.

A folder of its own: those in existing tools miscompile some graphs and cap nothing.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference, version_converter

from snncc.errors import FormatError, OptionError
from snncc.graph import Array
from snncc.graph_onnx import static_shape
from snncc.ingest.limits import REEXPORT, check_finite, first_line, node_label
from snncc.onnx_attributes import resolved

OPSET, IR_VERSION = 20, 10
MAX_ELEMENTS, MAX_POSITIONS, MAX_AXIS = 2**31, 2**25, 2**22  # of one value: all, without channels, along one axis
MAX_FOLD_BYTES = 2**28  # into one folded node
MAX_GROWTH = 2**27  # bytes that all folded nodes give out beyond what they take in
MAX_FOLDED = 3000  # nodes: each takes about half a millisecond
MAX_PROPAGATED = 2**16  # elements of a shape that inference computes with
MAX_ROUNDS = 50
NO_FOLD = {"Dropout", "BatchNormalization", "Einsum"}  # the training mode is checked on the graph; unbounded work
GROWS_NOT = {"NonZero", "Compress", "Unique"}  # output shape unknown before, but bounded by the input
MAX_SOUGHT = 2**21  # bytes into one of these
SLOW_BYTES = 2**14  # in and out of an operator that the reference evaluator may do element by element
FOLD = "fold constants before: export with constant folding, or use onnxsim"
SMALLER = "export for a smaller input, e.g. a patch"
NEAREST_BEFORE_11 = "simple"  # onnxruntime's name; not ONNX: what it is depends on the scales, see canonical.py
QUICK = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Compress", "Concat", "ConstantOfShape", "CumSum", "DequantizeLinear",
    "Div", "Equal", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pow", "QuantizeLinear",
    "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Size", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
}  # fmt: skip


def bind_dimensions(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give every graph input a static shape, in place; a symbolic batch becomes 1, a fixed one stays.

    Raises:
        FormatError: a dimension is open and `shapes` does not settle it.
        OptionError: `shapes` names no input, or contradicts the file.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)  # an initializer that could be overridden is a plain weight here
    known = [value.name for value in inputs]
    for name in shapes:
        if name not in known:
            raise OptionError(f"--shape {name}: no such input", remedy=f"the model's inputs are {', '.join(known)}")
    for value in model.graph.input:
        _bind(value, shapes.get(value.name))
    for value in model.graph.output:  # their symbols would contradict what inference now finds
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.ClearField("dim_param")
    del model.graph.value_info[:]
    model.ir_version = max(model.ir_version, 4)  # from 4 on, a weight need not be an input too


def _bind(value: onnx.ValueInfoProto, given: tuple[int, ...] | None) -> None:
    if not value.type.HasField("tensor_type") or (given is None and not value.type.tensor_type.HasField("shape")):
        raise FormatError(f"input {value.name!r} has no shape", remedy=f"give it: --shape {value.name}=1x1x48x64")
    if given is not None and not value.type.tensor_type.HasField("shape"):
        for _ in given:
            value.type.tensor_type.shape.dim.add()
    dims = value.type.tensor_type.shape.dim
    if given is not None and len(given) != len(dims):
        raise OptionError(
            f"--shape {value.name} has {len(given)} dimensions, the input has {len(dims)}", remedy=f"give {len(dims)}"
        )
    for axis, dim in enumerate(dims):
        if not dim.HasField("dim_value"):
            if given is not None:
                size = given[axis]
            elif axis == 0:
                size = 1
            else:
                template = "x".join(
                    str(d.dim_value) if d.dim_value else (d.dim_param or "?") if i else "1" for i, d in enumerate(dims)
                )
                raise FormatError(
                    f"dimension {axis} ({dim.dim_param or 'unnamed'}) of input {value.name!r} is open",
                    remedy=f"give the shape, with numbers for names: --shape {value.name}={template}",
                )
            dim.ClearField("dim_param")
            dim.dim_value = size
        elif axis == 0 and len(dims) > 1 and given is not None and given[0] == 1:
            continue  # a fixed batch: one_sample takes one sample of it
        if given is not None and dim.dim_value != given[axis]:
            fixed = f"dimension {axis} is fixed to {dim.dim_value} in the file"
            raise OptionError(f"--shape {value.name}: {fixed}", remedy=f"give {dim.dim_value}, or export it open")
        if dim.dim_value < 1:
            raise FormatError(f"dimension {axis} of input {value.name!r} is {dim.dim_value}")


def to_one_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in opset 20. Raises FormatError."""
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version == OPSET:
        return model
    hardmax = next((node for node in model.graph.node if node.op_type == "Hardmax"), None)
    if version < 13 and hardmax is not None:  # over all axes from `axis` on: the converter leaves it as it is
        raise FormatError(f"a Hardmax of opset {version}", node=node_label(hardmax), remedy="opset_version=13 or later")
    try:
        model = version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise FormatError(
            f"cannot convert from opset {version} to {OPSET}: {first_line(error)}",
            remedy=f"export with opset_version={OPSET}",
        ) from None
    del model.graph.value_info[:]  # the converter's own, by the rules of the older opset
    if version < 11:
        _resize_as_before_11(model)
    return model


def _resize_as_before_11(model: onnx.ModelProto) -> None:
    """Say of every Resize, in place, what onnxruntime does in these opsets; the converter leaves the newer defaults."""
    for node in model.graph.node:
        if node.op_type == "Resize":
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            if all(a.s == b"nearest" for a in node.attribute if a.name == "mode"):
                node.attribute.append(helper.make_attribute("nearest_mode", NEAREST_BEFORE_11))


def floor_pools(model: onnx.ModelProto) -> None:
    """Clear `ceil_mode`, in place, where its last window would start beyond the input: torch, onnxruntime and opset 22
    drop that window, the shape inference of opset 20 does not. Raises FormatError where only some axes have one."""
    for node in model.graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type not in ("MaxPool", "AveragePool") or "ceil_mode" not in given or not given["ceil_mode"].i:
            continue
        if "auto_pad" in given and given["auto_pad"].s.startswith(b"SAME"):
            continue
        small = _propagates_little(model)
        graph = shape_inference.infer_shapes(model, data_prop=small).graph  # anew: the pool before may have changed
        found = next((v for v in (*graph.input, *graph.value_info) if v.name == node.input[0]), None)
        shape = static_shape(found) if found is not None else None
        if shape is None or len(shape) < 3:
            continue
        attrs = resolved(node, [shape], shape, node_label(node))
        axes = zip(shape[2:], attrs["kernel_shape"], attrs["strides"], attrs["dilations"], strict=True)
        before, after = attrs["pads"][: len(shape) - 2], attrs["pads"][len(shape) - 2 :]
        dropped = set()
        for (size, k, stride, d), start, end in zip(axes, before, after, strict=True):
            steps, rest = divmod(size + start + end - d * (k - 1) - 1, stride)
            if rest:
                dropped.add((steps + 1) * stride >= size + start)
        if dropped == {True, False}:
            raise FormatError("a window beyond the input (ceil_mode)", node=node_label(node), remedy="pad explicitly")
        given["ceil_mode"].i = int(True not in dropped)


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """With strict shape inference done and every size capped. Raises FormatError."""
    floor_pools(model)
    try:
        small = _propagates_little(model)
        model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=small)
    except Exception as error:
        raise FormatError(f"the shapes do not fit together: {first_line(error)}", remedy=REEXPORT) from None
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shape = static_shape(value)
        if shape is not None:
            check_size(value.name, shape)
    return model


def check_size(name: str, shape: tuple[int, ...]) -> None:
    """Raises FormatError for a value too large to be worked with."""
    if math.prod(shape) > MAX_ELEMENTS:
        raise FormatError(f"value {name!r} would have {math.prod(shape)} elements", node=name, remedy=SMALLER)
    if min(shape, default=1) < 0 or max(shape, default=0) > MAX_AXIS or math.prod(shape[2:]) > MAX_POSITIONS:
        raise FormatError(f"value {name!r} would have the shape {shape}", node=name, remedy=SMALLER)


def _propagates_little(model: onnx.ModelProto) -> bool:
    """Whether inference can compute with shapes: a Range or 40 doubling Concats would take all memory."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) < 2}
    for node in model.graph.node:
        read = [sizes.get(name, 1) for name in node.input]
        size = sum(read) if node.op_type == "Concat" else max(read, default=1)
        if size > MAX_PROPAGATED or node.op_type == "Range":
            return False
        sizes |= dict.fromkeys(node.output, size)
    return True


def fold_constants(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Every node whose inputs are constants, and every Shape of a static value, becomes a weight.

    Returns the model (its nodes and initializers replaced) with all shapes inferred, and the weights by name.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    growth = count = 0
    for _ in range(MAX_ROUNDS):
        model = infer(model)
        known = {v.name: v for v in (*model.graph.input, *model.graph.value_info)}
        kept: list[onnx.NodeProto] = []
        folded: dict[str, Array] = {}
        constants = ChainMap(folded, weights)
        for node in model.graph.node:
            values = _constant_outputs(node, constants, known)
            if values is None:
                kept.append(node)
                continue
            folded.update({name: value for name, value in zip(node.output, values, strict=False) if name})
            read_bytes = sum(constants[name].nbytes for name in node.input if name in constants)
            growth += max(0, sum(value.nbytes for value in values) - read_bytes)
            count += node.op_type != "Constant"
            if growth > MAX_GROWTH or count > MAX_FOLDED:
                raise FormatError(
                    f"it computes constants with {count} nodes, {growth} bytes", node=node_label(node), remedy=FOLD
                )
        if not folded:
            for node in kept:
                if all(name in weights for name in node.input if name):
                    raise FormatError("a constant that is not computed here", node=node_label(node), remedy=FOLD)
            return model, weights
        for name, value in folded.items():
            check_finite(name, value)
        weights |= folded
        read = {name for node in kept for name in node.input} | {value.name for value in model.graph.output}
        weights = {name: value for name, value in weights.items() if name in read}
        graph = helper.make_graph(
            kept,
            "teacher",
            model.graph.input,
            model.graph.output,
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    raise FormatError(f"constants still fold after {MAX_ROUNDS} rounds", remedy=REEXPORT)


def _constant_outputs(
    node: onnx.NodeProto, weights: Mapping[str, Array], known: Mapping[str, onnx.ValueInfoProto]
) -> list[Array] | None:
    """The values of a constant node, or None."""
    if node.op_type == "Constant":
        return [_constant(node)]
    if node.op_type in ("Shape", "Size") and node.input[0] not in weights:
        shape = static_shape(known[node.input[0]]) if node.input[0] in known else None
        if shape is None:
            return None
        if node.op_type == "Size":
            return [np.asarray(math.prod(shape), np.int64)]
        limits = {attribute.name: attribute.i for attribute in node.attribute}
        return [np.asarray(shape[limits.get("start", 0) : limits.get("end", len(shape))], np.int64)]
    if node.op_type == "CastLike" and node.input[0] in weights and node.output[0] in known:
        code = known[node.output[0]].type.tensor_type.elem_type
        return [weights[node.input[0]].astype(helper.tensor_dtype_to_np_dtype(code))]
    if node.op_type in NO_FOLD or not any(node.input) or any(name and name not in weights for name in node.input):
        return None
    return _evaluate(node, {name: weights[name] for name in node.input if name})


def _constant(node: onnx.NodeProto) -> Array:
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    match attribute.name:
        case "value":
            return numpy_helper.to_array(value)
        case "value_float" | "value_floats":
            return np.asarray(value, np.float32)
        case "value_int" | "value_ints":
            return np.asarray(value, np.int64)
    raise FormatError(f"constant of the kind {attribute.name}", node=node_label(node))


def _evaluate(node: onnx.NodeProto, feeds: Mapping[str, Array]) -> list[Array] | None:
    """Run one node; None where its output might be too large or the reference evaluator cannot do it."""
    fed = sum(value.nbytes for value in feeds.values())
    quick = node.op_type in QUICK
    if fed > (MAX_SOUGHT if node.op_type in GROWS_NOT else MAX_FOLD_BYTES if quick else SLOW_BYTES):
        return None
    most = max(MAX_GROWTH, fed) if quick else SLOW_BYTES
    graph = helper.make_graph(
        [node],
        "constant",
        [],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [numpy_helper.from_array(value, name) for name, value in feeds.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    from onnx.reference import ReferenceEvaluator  # large, and seldom needed

    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True)
        shapes = [static_shape(value) for value in inferred.graph.output]
        small = all(shape is not None and math.prod(shape) * 8 <= most for shape in shapes)
        if not small and node.op_type not in GROWS_NOT:
            return None
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, {})
    except Exception:  # an operator it lacks, or does wrong: not folded, so that a later check names the node
        return None
    values = dict(zip((name for name in node.output if name), map(np.asarray, found), strict=True))
    return [values.get(name, np.empty(0)) for name in node.output]
