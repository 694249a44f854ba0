"""Small models from ONNX text, with seeded weights; and what onnxruntime says they compute."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, parser, shape_inference

Array = np.ndarray[Any, np.dtype[Any]]


def model(text: str, weights: Mapping[str, Any] | None = None) -> onnx.ModelProto:
    """A model from the text of its graph, `agraph (float[1,4,8,8] x, float[4,4,3,3] w) => (y) { ... }`.

    An input called x... stays an input; any other becomes a weight: the value in `weights`, or normal numbers whose
    seed is its name (positive where the name starts with `v`, as a variance must be).
    """
    if not text.lstrip().startswith("<"):
        text = '<ir_version: 10, opset_import: ["": 20]>\n' + text
    proto = parser.parse_model(text)
    given = dict(weights or {})
    inputs, initializers = [], []
    for value in proto.graph.input:
        if value.name in given or not value.name.startswith("x"):
            kind = value.type.tensor_type
            shape = [dim.dim_value for dim in kind.shape.dim]
            array = np.asarray(given.get(value.name, _seeded(value.name, shape)))
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            initializers.append(numpy_helper.from_array(array.reshape(shape).astype(dtype), value.name))
        else:
            inputs.append(value)
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    proto.graph.initializer.extend(initializers)
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")  # the text says `float y` for any shape
    kinds = {value.name: value for value in shape_inference.infer_shapes(proto, data_prop=True).graph.output}
    for value in proto.graph.output:
        value.CopyFrom(kinds[value.name])
    return proto


def _seeded(name: str, shape: Sequence[int]) -> Array:
    numbers = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    return np.abs(numbers) + 0.3 if name.startswith("v") else numbers


def feeds(proto: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Normal numbers for every input; an open dimension is 1."""
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in proto.graph.initializer}
    return {
        value.name: rng.normal(size=[d.dim_value or 1 for d in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in proto.graph.input
        if value.name not in weights
    }


def expected(proto: onnx.ModelProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name, from onnxruntime without optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in proto.graph.output]
    return dict(zip(names, session.run(names, dict(values)), strict=True))
