"""The ways in which a torch module becomes an ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import onnx
import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]
Exporter = Callable[[nn.Module, Inputs], onnx.ModelProto]


def _dynamo(module: nn.Module, inputs: Inputs, opset: int = 20, **options: Any) -> onnx.ModelProto:
    """torch.export and the exporter on top of it."""
    program = torch.onnx.export(module, inputs, dynamo=True, opset_version=opset, verbose=False, **options)
    assert program is not None
    model = onnx.ModelProto()
    model.CopyFrom(program.model_proto)
    return model


def _legacy(module: nn.Module, inputs: Inputs, opset: int = 17, **options: Any) -> onnx.ModelProto:
    """The TorchScript exporter."""
    file: Any = io.BytesIO()  # as the exporter takes, whatever its types say
    torch.onnx.export(module, inputs, file, dynamo=False, opset_version=opset, **options)
    return onnx.load_from_string(file.getvalue())


def _half(module: nn.Module, inputs: Inputs) -> onnx.ModelProto:
    return _dynamo(module.half(), tuple(x.half() for x in inputs))


def _dynamic(module: nn.Module, inputs: Inputs) -> onnx.ModelProto:
    """Batch and all spatial dimensions left open."""
    axes = {0: "n", **{axis: f"d{axis}" for axis in range(2, inputs[0].ndim)}}
    names = [f"in{k}" for k in range(len(inputs))]
    return _legacy(module, inputs, input_names=names, dynamic_axes=dict.fromkeys(names, axes))


def _dynamic_batch(module: nn.Module, inputs: Inputs) -> onnx.ModelProto:
    two = tuple(torch.cat([x, x]) for x in inputs)
    return _dynamo(module, two, dynamic_shapes=tuple({0: torch.export.Dim("n")} for _ in inputs))


def _training(export: Callable[..., onnx.ModelProto], module: nn.Module, inputs: Inputs, **options: Any) -> Any:
    """Exported as it was while it was trained: `model.eval()` was forgotten."""
    return export(module.train(), inputs, **options)


EXPORTERS: dict[str, Exporter] = {
    "dynamo 20": _dynamo,
    "dynamo 23": partial(_dynamo, opset=23),
    "dynamo 20, unoptimised": partial(_dynamo, optimize=False),
    "dynamo 20, float16": _half,
    "dynamo 20, open batch": _dynamic_batch,
    "dynamo 20, train mode": partial(_training, _dynamo),
    **{f"legacy {opset}": partial(_legacy, opset=opset) for opset in (9, 11, 13, 17, 20)},
    "legacy 17, unfolded": partial(_legacy, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE),
    "legacy 17, open shape": _dynamic,
    "legacy 17, train mode": partial(_training, _legacy, training=torch.onnx.TrainingMode.TRAINING),
}


def export(module: nn.Module, inputs: Inputs, exporter: str) -> onnx.ModelProto:
    """The teacher as ONNX; what exporters print is not shown."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        return EXPORTERS[exporter](module, inputs)
