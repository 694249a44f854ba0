"""Analog parts of a network (Graphs of ONNX operators) in torch, differentiable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snncc.errors import UnsupportedError
from snncc.graph import Graph
from snncc.runtime.host import HostSession

Inputs = Sequence[Any]  # tensors; None for what an optional input lacks


def _whole(x: Tensor | None) -> list[int]:
    assert x is not None
    return [int(n) for n in x.reshape(-1)]


def _axes(x: Inputs, a: Mapping[str, Any]) -> list[int]:
    return _whole(x[1]) if len(x) > 1 and x[1] is not None else list(a.get("axes") or ())


def _reshape(x: Inputs, a: Mapping[str, Any]) -> Tensor:
    value, to = x[0], _whole(x[1])
    assert value is not None
    return value.reshape([value.shape[k] if n == 0 and not a.get("allowzero") else n for k, n in enumerate(to)])


def _slice(x: Inputs, a: Mapping[str, Any]) -> Tensor:
    value = x[0]
    assert value is not None
    starts, ends = _whole(x[1]), _whole(x[2])
    axes = _whole(x[3]) if len(x) > 3 and x[3] is not None else range(len(starts))
    steps = _whole(x[4]) if len(x) > 4 and x[4] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index = torch.arange(value.shape[axis], device=value.device)[slice(start, end)]
        if step != 1:
            index = torch.as_tensor(np.arange(value.shape[axis])[start:end:step].copy(), device=value.device)
        value = value.index_select(axis, index)
    return value


def _gemm(x: Inputs, a: Mapping[str, Any]) -> Tensor:
    left, right = x[0], x[1]
    assert left is not None and right is not None
    out = a.get("alpha", 1.0) * ((left.T if a.get("transA") else left) @ (right.T if a.get("transB") else right))
    return out + a.get("beta", 1.0) * x[2] if len(x) > 2 and x[2] is not None else out


def _mean(x: Inputs, a: Mapping[str, Any]) -> Tensor:
    value = x[0]
    assert value is not None
    axes = _axes(x, a) or list(range(value.ndim))
    return value.mean(axes, keepdim=bool(a.get("keepdims", 1)))


def _grid_sample(x: Inputs, a: Mapping[str, Any]) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(a.get("mode", "linear"), "nearest")
    return F.grid_sample(x[0], x[1], mode, a.get("padding_mode", "zeros"), align_corners=bool(a.get("align_corners")))


OPERATORS: dict[str, Callable[[Any, Mapping[str, Any]], Tensor]] = {
    "Abs": lambda x, a: x[0].abs(),
    "Add": lambda x, a: x[0] + x[1],
    "ArgMax": lambda x, a: x[0].argmax(a.get("axis", 0), bool(a.get("keepdims", 1))),
    "Clip": lambda x, a: x[0].clamp(*(x[k] if len(x) > k and x[k] is not None else None for k in (1, 2))),
    "Concat": lambda x, a: torch.cat(list(x), a["axis"]),
    "Div": lambda x, a: x[0] / x[1],
    "Elu": lambda x, a: F.elu(x[0], a.get("alpha", 1.0)),
    "Erf": lambda x, a: torch.erf(x[0]),
    "Exp": lambda x, a: x[0].exp(),
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Gelu": lambda x, a: F.gelu(x[0], approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, a: x[0].mean(list(range(2, x[0].ndim)), keepdim=True),
    "GridSample": _grid_sample,
    "HardSigmoid": lambda x, a: (a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5)).clamp(0, 1),
    "Identity": lambda x, a: x[0],
    "LeakyRelu": lambda x, a: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "Log": lambda x, a: x[0].log(),
    "LogSoftmax": lambda x, a: F.log_softmax(x[0], a.get("axis", -1)),
    "MatMul": lambda x, a: x[0] @ x[1],
    "Max": lambda x, a: reduce(torch.maximum, x),
    "Min": lambda x, a: reduce(torch.minimum, x),
    "Mul": lambda x, a: x[0] * x[1],
    "Neg": lambda x, a: -x[0],
    "Pow": lambda x, a: x[0] ** x[1],
    "ReduceMean": _mean,
    "Relu": lambda x, a: F.relu(x[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda x, a: torch.sigmoid(x[0]),
    "Slice": _slice,
    "Softmax": lambda x, a: F.softmax(x[0], a.get("axis", -1)),
    "Softplus": lambda x, a: F.softplus(x[0]),
    "Sqrt": lambda x, a: x[0].sqrt(),
    "Squeeze": lambda x, a: x[0].squeeze(tuple(_axes(x, a)) or None),
    "Sub": lambda x, a: x[0] - x[1],
    "Tanh": lambda x, a: x[0].tanh(),
    "Transpose": lambda x, a: x[0].permute(*a.get("perm", range(x[0].ndim - 1, -1, -1))),
    "Unsqueeze": lambda x, a: _unsqueeze(x[0], sorted(_axes(x, a))),
}


def _unsqueeze(value: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        value = value.unsqueeze(axis)
    return value


def evaluate(graph: Graph, values: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
    """Values of a graph for one sample; each is [1, ...].

    Raises:
        UnsupportedError: an operator without a form here: names the node.
    """
    like = next(iter(values.values()))
    found: dict[str, Tensor] = dict(values)
    for name, weight in graph.weights.items():
        found[name] = torch.as_tensor(np.array(weight), device=like.device)
    for node in graph.nodes:
        if node.op not in OPERATORS or len(node.outputs) > 1:
            raise UnsupportedError(
                f"the operator {node.op} has no gradient here", node=node.label,
                remedy="train on the readouts in front of it: SpikingModule.trace(x).readouts",
            )
        found[node.output] = OPERATORS[node.op]([found[n] if n else None for n in node.inputs], node.attrs)
    return {name: found[name] for name in wanted}


class AnalogParts:
    """The analog parts of a network, sample by sample as the engines run them: on torch where gradients are wanted,
    else on onnxruntime, as every engine does."""

    def __init__(self) -> None:
        self._sessions: dict[str, HostSession] = {}

    def run(self, name: str, graph: Graph, values: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Values [B, ...] of the part `name`, of which there is one graph.

        Raises:
            UnsupportedError: gradients through an operator without a form here.
        """
        first = next(iter(values.values()))
        samples = [{n: v[k : k + 1] for n, v in values.items()} for k in range(len(first))]
        if torch.is_grad_enabled() and any(v.requires_grad for v in values.values()):
            each = [evaluate(graph, sample, wanted) for sample in samples]
        else:
            each = [self._hosted(name, graph, sample, wanted) for sample in samples]
        return {n: torch.cat([one[n] for one in each]).to(first.device) for n in wanted}

    def _hosted(
        self, name: str, graph: Graph, sample: Mapping[str, Tensor], wanted: Sequence[str]
    ) -> dict[str, Tensor]:
        if name not in self._sessions:
            self._sessions[name] = HostSession(graph, list(wanted))
        found = self._sessions[name].run({n: v.detach().cpu().numpy() for n, v in sample.items()})
        return {n: torch.as_tensor(v) for n, v in found.items()}
