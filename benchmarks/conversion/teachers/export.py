"""A trained torch module as one self-contained ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from examples.kit.export import strip_debug

OPSET = 20
TOLERANCE = 1e-4
# images as they are, pixels / 255; outputs are values, not labels
PREPROCESS = {"version": 1, "labels": None}


def export(module: nn.Module, path: Path, sample: np.ndarray[Any, Any], output: str, teacher: dict[str, Any]) -> None:
    """Write `module` for inputs `image` of the shape of `sample` and compare the file with it.

    BatchNorm stays a node of its own, as in a file a user brings. `teacher` becomes the metadata `snncc.teacher`.

    Raises:
        RuntimeError: the file computes something else.
    """
    module.eval()
    program = torch.onnx.export(
        module,
        (torch.zeros(sample.shape),),
        dynamo=True,
        external_data=False,
        optimize=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=[output],
    )
    assert program is not None
    proto = program.model_proto
    strip_debug(proto)
    for key, value in (("snncc.preprocess", PREPROCESS), ("snncc.teacher", teacher)):
        proto.metadata_props.add(key=key, value=json.dumps(value))
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (actual,) = session.run([output], {"image": sample})
    with torch.no_grad():
        expected = module(torch.from_numpy(sample)).numpy()
    difference = float(np.abs(actual - expected).max() / np.abs(expected).max())
    if not difference < TOLERANCE:
        raise RuntimeError(f"{path.name} differs from the torch module by {difference:.1e} of the largest output")
    partial = path.with_suffix(".part")
    onnx.save(proto, partial)
    partial.replace(path)
