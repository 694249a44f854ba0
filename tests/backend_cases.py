"""Third-party models of the onnx wheel: the single-node cases of our operators, and the light_* networks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test.case import node as backend

from tests.onnx_models import Array

MODULES = {  # operator -> its module where that is not the name in lower case
    "BatchNormalization": "batch_normalization",
    "InstanceNormalization": "instance_normalization",
}
LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"


@dataclass(frozen=True)
class Case:
    """A model whose data are all graph inputs, their values, and the outputs that ONNX says it has."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Array]
    outputs: dict[str, Array]
    rtol: float
    atol: float

    @property
    def operator(self) -> str:
        return str(self.model.graph.node[0].op_type)

    def teacher(self) -> onnx.ModelProto:
        """The model as a file of a trained network holds it: every input but the first is a weight."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.input[1:]
        weights = list(self.feeds.items())[1:]
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights)
        return model


def node_cases(operators: set[str]) -> list[Case]:
    """Cases of a single node, of one of the standard `operators`. Importing a module of the wheel makes its cases."""
    for operator in sorted(operators):
        importlib.import_module(f"{backend.__name__}.{MODULES.get(operator, operator.lower())}")
    found = []
    for case in backend._NodeTestCases:
        model = case.model
        if case.name.endswith("_expanded") or len(model.graph.node) != 1 or model.graph.node[0].domain:
            continue
        if model.graph.node[0].op_type not in operators:
            continue
        inputs, outputs = ([np.asarray(value) for value in values] for values in case.data_sets[0])
        feeds = dict(zip((value.name for value in model.graph.input), inputs, strict=True))
        wanted = dict(zip((value.name for value in model.graph.output), outputs, strict=True))
        found.append(Case(case.name.removeprefix("test_"), model, feeds, wanted, case.rtol, case.atol))
    return found


def light(name: str) -> onnx.ModelProto:
    """The network light_`name`.onnx with seeded weights in place of its constant ones.

    He initialisation for Conv and Gemm; factors and variances of a normalisation near 1; all else small. What goes into
    a final Softmax is an output too.
    """
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    users = {value: (node, k) for node in model.graph.node for k, value in enumerate(node.input)}
    rng = np.random.default_rng(0)
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        user, position = users[node.output[0]]
        if user.op_type == "Unsqueeze":
            user, position = users[user.output[0]]
        shape = tuple(int(n) for n in shapes[node.input[0]])
        numbers = rng.standard_normal(shape, np.float32)
        if user.op_type in ("Conv", "Gemm") and position == 1:
            numbers *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif user.op_type == "Mul" or (user.op_type == "BatchNormalization" and position in (1, 4)):
            numbers = np.abs(numbers) * np.float32(0.2) + np.float32(0.9)
        else:
            numbers *= np.float32(0.1)
        model.graph.initializer.append(numpy_helper.from_array(numbers, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = 4  # from which on a weight need not be an input too
    if kept[-1].op_type == "Softmax":
        model.graph.output.append(model.graph.output[0])
        model.graph.output[1].name = kept[-1].input[0]
    return model
