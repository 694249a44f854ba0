"""A trained torch network as one ONNX file, without traces of where it was made."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from snncc.ingest import ingest
from snncc.onnx_file import replacing
from snncc.runtime.host import HostSession

TOLERANCE = 1e-5  # of the largest output


def export(
    model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], file: Path, meta: Mapping[str, Any]
) -> float:
    """Write `model` (called with the inputs in order, batch 1) to `file` and check it against torch.

    Args:
        inputs: by name, an example of each; the check runs on these, so they should be real data.
        meta: the file's metadata; what is no text is written as JSON. snncc reads `snncc.preprocess`.

    Returns:
        The largest difference between the file's outputs and torch's.

    Raises:
        RuntimeError: that is more than 1e-5 of the largest output.
    """
    model = model.cpu().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about its own code
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision is not installed
        # optimize=False keeps BatchNormalization as nodes of its own, as in a file a user brings
        program = torch.onnx.export(
            model, tuple(inputs.values()), dynamo=True, external_data=False, optimize=False, verbose=False,
            opset_version=20, input_names=list(inputs), output_names=list(outputs),
        )  # fmt: skip
    proto = program.model_proto
    strip_debug(proto)
    for key, value in meta.items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(proto, full_check=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as draft:
        onnx.save(proto, draft)
    return _difference(model, inputs, outputs, file)


def strip_debug(proto: onnx.ModelProto) -> None:
    """Remove stack traces, module paths and doc strings: local paths, which differ between equal exports."""
    graph = proto.graph
    proto.doc_string = graph.doc_string = ""
    del graph.metadata_props[:]
    del proto.metadata_props[:]
    for item in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.doc_string = ""
        del item.metadata_props[:]


def _difference(model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], file: Path) -> float:
    graph = ingest(file)
    found = HostSession(graph, list(outputs)).run({name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        wanted = model(*inputs.values())
    worst = 0.0
    for name, value in zip(outputs, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        difference = float(np.abs(found[name] - value.numpy()).max())
        if not difference <= TOLERANCE * max(1.0, float(value.abs().max())):
            raise RuntimeError(f"{file.name}: {name} differs from torch by {difference:.2e}")
        worst = max(worst, difference)
    return worst
