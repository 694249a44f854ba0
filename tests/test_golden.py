"""tests/golden: a model as ONNX text in, the graph after some passes as text out.

The first line names the passes: `// RUN: fold-batchnorm,fold-affine`. Weights are seeded by name (onnx_models.py);
`// w = [1, 2]` gives one. `pytest --update-golden` rewrites what is expected.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

from snncc.graph import Graph
from snncc.ingest import ingest
from snncc.network import Network
from snncc.network_text import network_text
from snncc.passes import BUILTIN
from snncc.pipeline import Context, parse_pipeline, run_pipeline
from snncc.plugins import registry
from snncc.runtime.calibration import Simulator
from snncc.runtime.host import run_graph
from snncc.runtime.reference import ReferenceEngine
from snncc.text import graph_text
from snncc.verify import verify_graph
from tests.onnx_models import model

FILES = sorted((Path(__file__).parent / "golden").glob("*.onnxtext"))


def compiled(text: str) -> str:
    """Graph and notes after the passes that the first line names."""
    lines = text.splitlines()
    assert lines[0].startswith("// RUN:"), "the first line names the passes"
    comments = [line.removeprefix("//").partition("=") for line in lines[1:] if line.startswith("//")]
    weights = {name.strip(): ast.literal_eval(value.strip()) for name, sign, value in comments if sign}
    body = "\n".join(line for line in lines if not line.startswith("//"))
    graph = ingest(model(body, weights))
    context = calibrated(graph)
    ir: Graph | Network = graph
    if passes := lines[0].removeprefix("// RUN:").strip():
        ir = run_pipeline(graph, registry(BUILTIN).parse(passes), context)
    notes = [f"{note.action}: {note.node}: {note.reason}\n" for note in context.notes]
    if isinstance(ir, Network):
        return network_text(ir) + "".join(notes)
    verify_graph(ir)
    return graph_text(ir) + "".join(notes)


def calibrated(graph: Graph) -> Context:
    """Two samples a graph input, the same on every machine."""
    ramps = [
        {name: (np.arange(np.prod(graph.shape(name))) % k / k).astype(np.float32).reshape(graph.shape(name))
         for name in graph.inputs}
        for k in (7, 11)
    ]
    return Context(lambda: iter(ramps), run_graph, Simulator(ReferenceEngine))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, update_golden: bool) -> None:
    found = compiled(path.read_text(encoding="utf-8"))
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


def test_every_pass_has_one() -> None:
    tested = {
        name for path in FILES
        for name, _ in parse_pipeline(path.read_text().splitlines()[0].removeprefix("// RUN:"))
    }
    assert {kind.name for kind in BUILTIN} <= tested
