"""tests/golden: a model as ONNX text in, the graph after some passes as text out.

The first line names the passes: `// RUN: fold-batchnorm,fold-affine`. Weights are seeded by name (onnx_models.py);
`// w = [1, 2]` gives one. `pytest --update-golden` rewrites what is expected.
"""

import ast
from pathlib import Path

import pytest

from snncc.ingest import ingest
from snncc.pipeline import Context
from snncc.text import graph_text
from snncc.verify import verify_graph
from tests.onnx_models import model
from tests.test_graph_passes import run

FILES = sorted((Path(__file__).parent / "golden").glob("*.onnxtext"))


def compiled(text: str) -> str:
    """Graph and notes after the passes that the first line names."""
    lines = text.splitlines()
    assert lines[0].startswith("// RUN:"), "the first line names the passes"
    comments = [line.removeprefix("//").partition("=") for line in lines[1:] if line.startswith("//")]
    weights = {name.strip(): ast.literal_eval(value.strip()) for name, sign, value in comments if sign}
    body = "\n".join(line for line in lines if not line.startswith("//"))
    graph, context = ingest(model(body, weights)), Context()
    if passes := lines[0].removeprefix("// RUN:").strip():
        graph, context = run(graph, passes)
    verify_graph(graph)
    notes = [f"{note.action}: {note.node}: {note.reason}\n" for note in context.notes]
    return graph_text(graph) + "".join(notes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, update_golden: bool) -> None:
    found = compiled(path.read_text(encoding="utf-8"))
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


def test_every_graph_pass_has_one() -> None:
    folder = Path(__file__).resolve().parents[1] / "passes" / "graph"
    passes = {path.stem.replace("_", "-") for path in folder.glob("*.py")} - {"--init--", "channelwise"}
    tested = {name for path in FILES for name in path.read_text().splitlines()[0].removeprefix("// RUN:").split(",")}
    assert passes <= {name.strip() for name in tested}
