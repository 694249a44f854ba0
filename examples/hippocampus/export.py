"""Write a trained teacher as one self-contained ONNX file and check it."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from data import load_case, preprocess_metadata, split_names

TOLERANCE = 1e-5


def strip_debug(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes about its source: stack traces, module paths, doc strings.

    They hold local file paths and make two exports of the same weights differ.
    """
    graph = proto.graph
    proto.doc_string = graph.doc_string = ""
    del graph.metadata_props[:]
    for item in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.doc_string = ""
        del item.metadata_props[:]


def set_metadata(proto: onnx.ModelProto, entries: dict[str, str]) -> None:
    """Make ``entries`` the only metadata of the model."""
    del proto.metadata_props[:]
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=value)


def check(path: Path, model: nn.Module, image: np.ndarray) -> None:
    """The file is valid and, with the runtime's own optimisations off, equals the torch model."""
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (actual,) = session.run(["probability"], {"image": image})
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    difference = float(np.abs(actual - expected).max())
    print(f"largest difference between ONNX and torch: {difference:.2e}")
    if not difference < TOLERANCE:
        raise RuntimeError(f"ONNX output differs from torch by {difference:.2e}")


def export_teacher(network: nn.Module, dims: int, shape: tuple[int, ...], path: Path, state: dict) -> None:
    """Export ``network`` (logits) with a sigmoid behind it to ``path``."""
    model = nn.Sequential(network, nn.Sigmoid()).eval()
    # optimize=False keeps BatchNormalization as nodes of its own, as in a file a user brings
    program = torch.onnx.export(
        model,
        (torch.zeros(shape),),
        dynamo=True,
        external_data=False,
        optimize=False,
        input_names=["image"],
        output_names=["probability"],
    )
    proto = program.model_proto
    strip_debug(proto)
    teacher = {
        "data": "Medical Segmentation Decathlon Task04_Hippocampus, labels 1 and 2 merged",
        "data_licence": "CC-BY-SA 4.0",
        "val_dice": round(state["best_dice"], 4),
        "epochs": state["epoch"],
        "best_epoch": state["best_epoch"],
        "seed": state["seed"],
    }
    set_metadata(proto, {"snncc.preprocess": preprocess_metadata(dims), "snncc.teacher": json.dumps(teacher)})
    onnx.save(proto, path)
    image, _ = load_case(split_names("val")[0], dims)
    middle = len(image) // 2
    check(path, model, image[middle : middle + 1])
    print(f"{path.name}: {path.stat().st_size} bytes, {teacher}")
