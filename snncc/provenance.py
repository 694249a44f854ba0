"""Facts about the teacher that travel in a compiled network's meta."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from snncc.errors import FormatError
from snncc.graph import Graph
from snncc.ingest.limits import weight_files
from snncc.macs import graph_macs


def preprocess_of(graph: Graph) -> dict[str, Any]:
    """The teacher's own `snncc.preprocess`, {} if it has none. Raises FormatError."""
    text = graph.meta.get("snncc.preprocess", "{}")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise FormatError("the metadata `snncc.preprocess` is not a JSON object", remedy="mend it, or delete the entry")
    return found


def teacher_of(source: str | os.PathLike[str] | onnx.ModelProto, graph: Graph) -> dict[str, Any]:
    """File name, SHA-256 and multiply-accumulates of one inference."""
    name = "" if isinstance(source, onnx.ModelProto) else Path(source).name
    macs = graph_macs(graph)
    return {"file": name, "sha256": sha256_of(source), "macs": macs.valid, "macs_padded": macs.padded}


def sha256_of(source: str | os.PathLike[str] | onnx.ModelProto) -> str:
    """Of a model's file and of those beside it that hold weights, or of what would be in it. Raises FormatError."""
    if isinstance(source, onnx.ModelProto):
        return hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()
    found = hashlib.sha256()
    for path in (Path(source), *weight_files(source)):
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                found.update(part)
    return found.hexdigest()


def versions(own: str) -> dict[str, str]:
    """Of snncc and of what shapes its numbers."""
    return {"snncc": own, "onnx": onnx.__version__, "numpy": np.__version__, "python": platform.python_version()}
