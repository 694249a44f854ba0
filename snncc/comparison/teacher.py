"""The teacher that a compiled network came from: its exact values, its own weights, and what rewrote it on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from snncc.comparison.exchange import theta_of
from snncc.errors import DataError, FormatError, OptionError
from snncc.graph import Array, Graph, Node
from snncc.ingest import ingest
from snncc.network import Network, Population, Projection
from snncc.passes import BUILTIN
from snncc.passes.network.calibrate import routed_unit
from snncc.pipeline import Context, Feeds, Pass, Step, build, parse_pipeline, run_pipeline
from snncc.plugins import registry
from snncc.provenance import sha256_of
from snncc.runtime.calibration import Evaluator

EXPLAINS = 0.5  # of the squared error of a projection's weights: what a wrong scale alone must explain
WRONG = 0.05  # how far from 1 a scale is wrong, and not rounding of few weights


@dataclass(frozen=True, eq=False)
class Rewrite:
    """What a pass that approximates on purpose did: the teacher's graph before and after it."""

    before: Graph
    after: Graph

    def poolings(self) -> list[tuple[Node, Graph]]:
        """Each max pooling it replaced, and the graph after it in which only that one stands as it was."""
        found = []
        for node in self.before.find("MaxPool"):
            new = self.after.producer(node.output)
            if new is not None and new.op != "MaxPool" and new.inputs == node.inputs:
                found.append((node, self.after.replace_nodes({new: [node]})))
        return found


@dataclass(frozen=True, eq=False)
class Teacher:
    """read: its graph. passes: those that the model was compiled with, up to `lower`. graph: as these make it, without
    those that approximate."""

    graph: Graph
    read: Graph
    passes: Sequence[Pass]

    @classmethod
    def of(
        cls, source: str | os.PathLike[str] | onnx.ModelProto, network: Network, passes: Iterable[str] = ()
    ) -> Teacher:
        """passes: those that `network` was compiled with and that are no built-in ones, as `file.py:Class`.

        Raises:
            DataError: `network` was compiled from another teacher.
            OptionError: it was compiled with a pass that is not known here.
        """
        meta = network.meta
        if not isinstance(source, onnx.ModelProto) and not Path(source).is_file():
            raise FormatError("there is no such file", file=os.fspath(source), remedy="check its path")
        if sha256_of(source) != meta.get("teacher", {}).get("sha256"):
            other = meta.get("teacher", {}).get("file") or "no file"
            raise DataError(f"the model was compiled from another teacher ({other})", remedy="give that one")
        read = ingest(source, network.inputs)
        known, steps = registry(BUILTIN).with_files(passes), list[Pass]()
        for name, options in parse_pipeline(meta["pipeline"]):
            if name not in known:
                remedy = "name the file that it was compiled with: -p file.py:Class (in Python, passes=[...])"
                raise OptionError(f"the model was compiled with the pass {name}, unknown here", remedy=remedy)
            steps.append(build(known.get(name), options))
            if steps[-1].level == "lower":
                break
        exact = [step for step in steps[:-1] if not getattr(step, "approximate", False)]
        graph = run_pipeline(read, exact, Context())
        assert isinstance(graph, Graph)
        return cls(graph, read, steps)

    def lowered(self, samples: Sequence[Feeds]) -> tuple[Network, list[Rewrite]]:
        """The network right after `lower`, and what approximated before it (on these samples)."""
        rewrites: list[Rewrite] = []

        def watch(step: Step) -> None:
            before, after = step.before, step.after
            if getattr(step.pass_, "approximate", False) and isinstance(before, Graph) and isinstance(after, Graph):
                rewrites.append(Rewrite(before, after))

        network = run_pipeline(self.read, self.passes, Context(lambda: iter(samples), Evaluator()), [watch])
        assert isinstance(network, Network)
        return network, rewrites


def float_weights(network: Network, lowered: Network) -> dict[Projection, Projection]:
    """Projection -> the same with the teacher's own weights, unrounded, in units of this network, if they differ."""
    own = {j.name: j for j in lowered.projections}
    found = {}
    for j in network.projections:
        pre, post, teacher = network[j.pre], network[j.post], own.get(j.name)
        if post.is_gate or teacher is None or teacher.synapse.weight.shape != j.synapse.weight.shape:
            continue
        assert pre.unit is not None
        incoming = routed_unit(network, pre.name, pre.unit, j.routing, j.name)
        synapse = teacher.synapse.scaled(incoming, _scale(post))
        exact = replace(j, synapse=synapse.with_rows(synapse.rows().astype(np.float32), None))
        if not np.allclose(effective(j), exact.synapse.rows(), rtol=1e-5, atol=0):
            found[j] = exact
    return found


def float_biases(network: Network, lowered: Network) -> dict[str, Population]:
    """Populations with the teacher's own biases, unrounded, in units of this network."""
    own = {p.name: p.bias for p in lowered.populations}
    found = {}
    for p in network.populations:
        bias = own.get(p.name)
        if bias is not None:
            scale = _scale(p).reshape(-1, *(1,) * (bias.ndim - 1))
            found[p.name] = replace(p, bias=np.asarray(bias * scale, np.float32))
    return found


def _scale(post: Population) -> Array:
    """[C]: its integers for the teacher's 1; 0 where it never fires."""
    theta = theta_of(post)
    assert post.unit is not None
    return np.divide(theta, post.unit, out=np.zeros_like(theta), where=post.unit > 0)


def rescaled(network: Network, own: dict[Projection, Projection]) -> dict[Projection, Projection]:
    """Projections of populations with several readers whose weights have another scale than the teacher's, mended.

    The scale is the least-squares slope of the compiled weights against the teacher's; it counts as wrong where it
    explains more of their difference than rounding leaves.
    """
    found = {}
    for j, exact in own.items():
        if len(network.outgoing(network[j.pre])) < 2:
            continue
        mine, right = effective(j), exact.synapse.rows().astype(np.float64)
        whole = float(np.square(right).sum())
        slope = float((mine * right).sum()) / whole if whole else 1.0
        explained, wrong = (slope - 1) ** 2 * whole, float(np.square(mine - right).sum())
        if slope > 0 and abs(slope - 1) > WRONG and explained > EXPLAINS * wrong:
            found[j] = replace(j, synapse=j.synapse.with_rows((effective(j) / slope).astype(np.float32), None))
    return found


def effective(projection: Projection) -> Array:
    """Weights as rows, times their power of two, float64."""
    rows, shift = projection.synapse.rows().astype(np.float64), projection.synapse.shift
    return rows if shift is None else np.ldexp(rows, shift[:, None])
