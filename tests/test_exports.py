"""One network, however it is exported, becomes one canonical graph."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from snncc.graph import Graph
from snncc.ingest import ingest
from snncc.passes.recipe import graph_passes
from snncc.pipeline import Context, run_pipeline
from snncc.runtime.host import run_graph
from tests.onnx_models import Array, expected, feeds

EXPORTS = Path(__file__).parent / "exports"
CONV_NET = {"Transpose", "Conv", "ConvTranspose", "Relu", "Clip", "Concat", "MaxPool", "AveragePool", "Resize", "Gemm",
            "Reshape", "GlobalAveragePool", "Add", "Softmax"}  # fmt: skip


def simplified(proto: onnx.ModelProto, values: dict[str, Array], shapes: Any = None) -> Graph:
    """After the graph passes, guarded by the pipeline; compared with onnxruntime on the original."""
    context = Context(samples=lambda: iter([values]), evaluate=run_graph)
    graph = run_pipeline(ingest(proto, shapes), graph_passes(), context)
    assert isinstance(graph, Graph)
    found = run_graph(graph, values, graph.outputs)
    for name, wanted in expected(proto, values).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5 * max(1, np.abs(wanted).max()))
    return graph


def alike(one: Graph, other: Graph) -> None:
    """The same operators in the same order with the same constants, whatever their names."""
    assert [node.op for node in one.nodes] == [node.op for node in other.nodes]
    for a, b in zip(one.nodes, other.nodes, strict=True):
        assert a.attrs == b.attrs and len(a.inputs) == len(b.inputs), (a, b)
        for name_a, name_b in zip(a.inputs, b.inputs, strict=True):
            assert (name_a in one.weights) == (name_b in other.weights)
            if name_a in one.weights:
                np.testing.assert_allclose(one.weights[name_a], other.weights[name_b], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", sorted(EXPORTS.glob("*.onnx")), ids=lambda path: path.stem)
def test_channels_last(path: Path) -> None:
    """Keras models (see exports/keras_exports.py): Transposes at the edges only, all else as a torch user has it."""
    proto = onnx.load(path)
    graph = simplified(proto, feeds(proto))
    assert {node.op for node in graph.nodes} <= CONV_NET
    for node in graph.find("Transpose"):
        assert node.inputs[0] in graph.inputs or node.output in graph.outputs
    for node in graph.find("Add"):
        assert not graph.weights.keys() & set(node.inputs)


@pytest.mark.parametrize("name", ["unet", "classifier"])
def test_two_back_ends_of_keras(name: str) -> None:
    one, other = (
        simplified(proto, feeds(proto))
        for proto in (onnx.load(EXPORTS / f"{maker}_{name}.onnx") for maker in ("keras", "tf2onnx"))
    )
    edges = ("Transpose", "Reshape")  # a Reshape turns one channel too
    count = [sorted(node.op for node in graph.nodes if node.op not in edges) for graph in (one, other)]
    assert count[0] == count[1]


def _nets(torch: Any) -> dict[str, Callable[[], Any]]:
    nn, F = torch.nn, torch.nn.functional

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.down, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.bottom, self.up = nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.ConvTranspose2d(8, 4, 2, 2)
            self.slopes, self.last = nn.PReLU(), nn.Conv2d(8, 2, 1)
            self.group = nn.GroupNorm(2, 4)

    class UNet(Net):
        """Batch norm where no exporter folds it, the padding idiom, ReLU6, a mean over all positions."""

        def forward(self, x: Any) -> Any:
            a = self.norm(F.relu6(self.down(x)))
            b = self.up(torch.relu(self.bottom(F.max_pool2d(a, 2))))
            rows, columns = a.shape[2] - b.shape[2], a.shape[3] - b.shape[3]
            b = F.pad(b, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
            return self.last(torch.cat([a, b], 1)).mean((2, 3))

    class Others(Net):
        """Group norm, one slope for all, nearest upsampling by size, clamps, a sum of three, flattened Dense."""

        def forward(self, x: Any) -> Any:
            a = self.slopes(self.group(self.down(x)))
            b = F.interpolate(F.avg_pool2d(torch.clamp(a, -0.5, 1.0), 2), scale_factor=2, mode="nearest")
            c = F.adaptive_avg_pool2d(torch.clamp(b, min=0.0), 1)
            return torch.flatten(self.bottom(c + b + a), 1)[:, :6], torch.chunk(a, 2, 1)[1]

    return {"unet": UNet, "others": Others}


def _exported(torch: Any, net: Any, size: int, opset: int, dynamo: bool) -> onnx.ModelProto:
    example, file = (torch.zeros(1, 1, size, size),), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            options = {"opset_version": opset, "input_names": ["x"], "verbose": False}
            proto: onnx.ModelProto = torch.onnx.export(net, example, dynamo=True, **options).model_proto
            return proto
        torch.onnx.export(net, example, file, dynamo=False, opset_version=opset, input_names=["x"])
    return onnx.load_from_string(file.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "others"])
def test_two_exporters_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    size = 13 if name == "unet" else 8
    net = _nets(torch)[name]().eval()
    net.norm.running_var.uniform_(0.5, 2)
    ways = [(opset, False) for opset in (9, 11, 13, 17, 20)] + [(opset, True) for opset in (18, 20, 21)]
    graphs = []
    for opset, dynamo in ways:
        proto = _exported(torch, net, size, opset, dynamo)
        graphs.append(simplified(proto, feeds(proto)))
    for graph in graphs[1:]:
        alike(graphs[0], graph)


@pytest.mark.parametrize("name", ["unet", "others"])
def test_legacy_opsets_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = _nets(torch)[name]().eval()
    first, *others = (
        simplified(proto, feeds(proto))
        for proto in (_exported(torch, net, 8, opset, False) for opset in (9, 11, 13, 17, 20))
    )
    for graph in others:
        alike(first, graph)
