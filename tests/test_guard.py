"""A graph pass that changes what the teacher computes is caught, unless it says that it approximates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from snncc.errors import PassError
from snncc.graph import Graph, frozen
from snncc.ingest import ingest
from snncc.passes.lower import Lower
from snncc.pipeline import Context, Level, run_pipeline
from snncc.runtime.host import run_graph
from tests.onnx_models import model

TEXT = "a (float[1,1,6,6] x, float[4,1,3,3] w) => (float y) { c = Conv(x, w) y = Relu(c) }"


@dataclass(frozen=True)
class Louder:
    """Weights a hundredth larger."""

    name: ClassVar[str] = "louder"
    level: ClassVar[Level] = "graph"
    requires: ClassVar[tuple[Callable[[Graph], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Graph], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        return replace(graph, weights={k: frozen(w * np.float32(1.01)) for k, w in graph.weights.items()})


class Same(Louder):
    """A new graph that computes the same."""

    def run(self, graph: Graph, context: Context) -> Graph:
        return replace(graph)


class Approximate(Louder):
    approximate = True


def context() -> Context:
    return Context(samples=lambda: iter([{"x": np.ones((1, 1, 6, 6), np.float32)}]), evaluate=run_graph)


def test_a_pass_that_changes_the_teacher_is_named() -> None:
    with pytest.raises(PassError, match="louder"):
        run_pipeline(ingest(model(TEXT)), [Louder(), Lower()], context())


def test_infinite_outputs_are_compared_too() -> None:
    text = TEXT.replace("y = Relu(c)", "r = Relu(c) y = Log(r)")
    signs = np.array([-1, -1, 1, 1]).reshape(4, 1, 1, 1)
    graph = ingest(model(text, {"w": signs * np.ones((4, 1, 3, 3))}))
    run_pipeline(graph, [Same(), Lower()], context())
    with pytest.raises(PassError, match="louder"):
        run_pipeline(graph, [Louder(), Lower()], context())


def test_a_pass_may_say_that_it_approximates() -> None:
    run_pipeline(ingest(model(TEXT)), [Approximate(), Lower()], context())


def test_no_data_is_read_before_lower() -> None:
    run_pipeline(ingest(model(TEXT)), [Louder()], Context(samples=lambda: pytest.fail("read"), evaluate=run_graph))
