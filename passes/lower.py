"""The bridge from the teacher's Graph to the spiking Network, in float, before any calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import ClassVar

import numpy as np

from snncc.errors import UnsupportedError
from snncc.graph import Graph, Node
from snncc.macs import node_macs
from snncc.network import Network, Population
from snncc.neurons import MaxGate
from snncc.passes.activations import ACTIVATIONS, ideal_of, part_of
from snncc.passes.analog_parts import before, read_by
from snncc.passes.builder import Builder
from snncc.passes.forms import (
    Block,
    Form,
    Term,
    added,
    check_numbers,
    cut_alike,
    fitted,
    lifted,
    named,
    routed,
    scaled,
    shifted,
    through,
)
from snncc.passes.linear_ops import (
    ADVICE,
    affine_constant,
    convolution,
    countable,
    dense,
    max_pool_window,
    one_image,
    reshape_target,
    route_of,
    shuffle_of,
    slice_weights,
)
from snncc.passes.resampling import local_sum
from snncc.pipeline import Context, Level
from snncc.synapses import Resample, Synapse

WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
POOLS = ("AveragePool", "GlobalAveragePool")
SHUFFLES = ("Transpose", "DepthToSpace", "SpaceToDepth")
ROUTES = ("Resize", "Pad", "Reshape", "Slice")
WORK = (*WEIGHTED, *POOLS, "Relu", "MaxPool")  # what the spiking network does; the epilogue never does it
MAX_TERMS = 1024  # of one value: a sum of a value with itself, 30 times over, would have 2^30


@dataclass(frozen=True)
class Lower:
    """teacher graph to spiking graph: ReLUs become populations, linear maps projections, the ends stay analog

    Args:
        allow_analog: a stretch without spiking counterpart stays analog between readouts and encoders.
    """

    allow_analog: bool = False

    name: ClassVar[str] = "lower"
    level: ClassVar[Level] = "lower"
    requires: ClassVar[tuple[Callable[[Graph], None], ...]] = (one_image, countable)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Network:
        return _Lowering(graph, context, allow_analog=self.allow_analog).network()


@dataclass
class _Lowering(Builder):
    """One walk over the graph. `analog` holds the values known before the first spike, `after` those that analog nodes
    behind readouts make; of these nodes, `inner` stand before work of the network."""

    allow_analog: bool = False
    analog: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    prologue: list[Node] = field(default_factory=list)
    inner: list[Node] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    def network(self) -> Network:
        self.analog.update(self.graph.inputs)
        self.ahead = self._ahead(WORK)
        if self.allow_analog:
            self._hold()
        for node in self.graph.nodes:
            self._visit(node)
        for value in self.graph.outputs:
            if value not in self.after and value not in self.analog:
                self._read_out(value)
        check_numbers(self.populations.values(), self.projections)
        graph, populations = self.graph, self.populations.values()
        first = [p for p in populations if p.is_encoder and p.value not in self.after]
        encoded = [p.value for p in populations if p.is_encoder]
        interlude, epilogue = before(self.behind, encoded)
        for node in self.inner:
            macs = node_macs(graph, node).valid
            between = f"kept analog between a readout and an encoder ({macs:,} MACs)"
            self.context.note(node.label, "analog", between if node in interlude else "after the readouts")
        return Network(
            {v: graph.shape(v) for v in graph.inputs},
            graph.outputs,
            (*first, *(p for p in populations if p not in first)),
            tuple(self.projections),
            graph.part(self.prologue, [*encoded, *graph.outputs, *read_by(self.behind)]),
            graph.part(epilogue, graph.outputs),
            interlude=graph.part(interlude, [*encoded, *graph.outputs, *read_by(epilogue)]),
        )

    # -- the analog parts -------------------------------------------------------------------------------------------

    def _ahead(self, ops: tuple[str, ...]) -> set[str]:
        """Values from which a node of `ops` can be reached."""
        found: set[str] = set()
        for node in reversed(self.graph.nodes):
            if node.op in ops or found.intersection(node.outputs):
                found.update(node.inputs)
        return found

    def _hold(self) -> None:
        """Finds the values that only operators without spiking counterpart read, weightless ones between at most: such
        values, if made of analog ones, are not worth an encoder, and if moved about, not worth a relay."""
        for node in reversed(self.graph.nodes):
            users = {v: self.graph.users(v) for v in node.outputs}
            self.held.update(v for v in users if all(self._handler(u) is None or self._stays(u) for u in users[v]))

    def _stays(self, node: Node) -> bool:
        return node.op not in WEIGHTED and self.held.issuperset(node.outputs)

    def _keep(self, node: Node, reason: str) -> None:
        """A node stays analog; what it reads is read out."""
        data = [v for v in node.inputs if v and v not in self.graph.weights]
        ahead = not self.ahead.isdisjoint(node.outputs)
        if (ahead or node.op == "MaxPool") and self.analog.issuperset(data):
            self.prologue.append(node)
            self.analog.update(node.outputs)
            self.context.note(node.label, "analog", "before the encoders")
            return
        inner = ahead or node.op in WORK
        if inner and not self.allow_analog:
            raise self._refusal(node, f"{node.op} has no exact spiking counterpart inside the network")
        for value in data:
            if value not in self.after and value not in self.analog:
                self._read_out(value)
        self.behind.append(node)
        self.after.update(node.outputs)
        if inner:
            self.inner.append(node)  # what becomes of it is known at the end
        else:
            self.context.note(node.label, "analog", reason)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        data = [v for v in node.inputs if v and v not in self.graph.weights]
        handler, late = self._handler(node), not self.after.isdisjoint(data)
        if handler is None or (self._stays(node) and (node.op in (*ROUTES, *SHUFFLES) or late)):
            self._keep(node, "after the readouts")
        elif self.ahead.isdisjoint(node.outputs) and node.op not in WORK and not self._sums(node):
            self._keep(node, "after the readouts: no weights, no spikes")
        else:
            self._lower(node, handler)

    def _lower(self, node: Node, handler: Callable[[Node], Form]) -> None:
        """The form of its output; or else, where that is allowed, everything as before and the node analog."""
        kept = (dict(self.forms), dict(self.populations), list(self.projections)) if self.allow_analog else None
        try:
            self.forms[node.output] = form = self._traced(node, handler(node))
            if sum(1 + len(block.terms) for block in form) > MAX_TERMS:
                raise self._refusal(node, f"more than {MAX_TERMS} branches meet")
        except UnsupportedError:
            if kept is None:
                raise
            self.forms, self.populations, self.projections = kept
            self._keep(node, "after the readouts")

    def _traced(self, node: Node, form: Form) -> Form:
        """The form with the teacher's nodes that made it; spikes start afresh."""
        before = [b for v in node.inputs for b in self.forms.get(v, ())]
        made = tuple(dict.fromkeys((*(o for b in before for o in b.origin), *node.origin)))
        return tuple(replace(b, origin=made if b.spikes is None else ()) for b in form)

    def _sums(self, node: Node) -> bool:
        """An Add of spikes to spikes at the end is done by the readout itself."""
        return node.op in ("Add", "Sub") and all(
            v in self.forms and v not in self.analog | self.after and len(self.forms[v]) == 1 for v in node.inputs
        )

    def _handler(self, node: Node) -> Callable[[Node], Form] | None:
        data = [v for v in node.inputs if v and v not in self.graph.weights]
        if any(len(s) < 2 or s[0] != 1 for s in map(self.graph.shape, (*data, node.output))):
            return None
        if node.op in WEIGHTED and not all(v in self.graph.weights for v in node.inputs[1:] if v):
            return None
        if node.op in ("Add", "Sub", "Mul", "Div"):
            if affine_constant(self.graph, node) is not None:
                return self._affine
            two_values = not any(v in self.graph.weights for v in node.inputs)
            alike = self.graph.shape(node.inputs[0]) == self.graph.shape(node.inputs[1])
            return self._add if node.op in ("Add", "Sub") and two_values and alike else None
        if node.op == "MaxPool" and (len(node.outputs) > 1 or node.inputs[0] in self.analog | self.after):
            return None
        if any(v in self.after and self.graph.types[v].dtype != "float32" for v in data):
            return None
        if node.op in SHUFFLES:
            return self._shuffle if shuffle_of(self.graph, node) is not None else None
        if node.op in ROUTES and route_of(self.graph, node) is None and reshape_target(self.graph, node) is None:
            return self._local_sum if node.op == "Resize" and node.inputs[0] not in self.analog | self.after else None
        return {
            "Conv": self._weighted, "ConvTranspose": self._weighted, "Gemm": self._weighted,
            "AveragePool": self._local_sum, "GlobalAveragePool": self._local_sum,
            **dict.fromkeys(ACTIVATIONS, self._activation), "MaxPool": self._max_pool, "Concat": self._concat,
            "Resize": self._route, "Pad": self._route, "Reshape": self._route, "Slice": self._route,
        }.get(node.op) if node.op != "Concat" or node.attrs["axis"] % len(self.graph.shape(node.output)) == 1 else None

    def _refusal(self, node: Node, why: str) -> UnsupportedError:
        self.context.note(node.label, "refused", why)
        advice = ADVICE.get(node.op, "replace it by supported operators")
        return UnsupportedError(why, node=node.label, remedy=f"{advice}; or keep it analog with --allow-analog")

    def _activation(self, node: Node) -> Form:
        ideal = ideal_of(self.graph, node)
        if isinstance(ideal, str):
            raise self._refusal(node, ideal)
        self.context.note(node.label, "lowered", "a spiking population")
        blocks = named(node.output, self._form(node.inputs[0]))
        starts = np.cumsum([0, *(b.shape[0] for b in blocks)])
        return tuple(
            self._population(b, part_of(ideal, i, i + b.shape[0]), node.output, node.origin)
            for b, i in zip(blocks, starts, strict=False)
        )

    def _max_pool(self, node: Node) -> Form:
        window = max_pool_window(self.graph, node)
        if isinstance(window, str):
            raise self._refusal(node, window)
        out: list[Block] = []
        blocks = self._form(node.inputs[0])
        for block in blocks:
            if block.spikes is None or self._is_analog(block):
                block = self._relay(block, node, "max pooling needs spikes")
            term = block.spikes
            assert term is not None
            stem = node.output if not out else f"{node.output}.{len(out)}"
            name = self._name(stem)
            synapse = replace(window, weight=np.ones(block.shape[0], np.float32))
            self._project(term, name, synapse, node.origin)
            shape = synapse.shape(block.shape)
            start = sum(b.shape[0] for b in out)
            value = node.output if len(blocks) == 1 else f"{node.output}[{start}:{start + shape[0]}]"
            self.populations[name] = Population(name, shape, MaxGate(), None, None, value, node.origin)
            out.append(Block(shape, (Term(name, shape),)))
        self.context.note(node.label, "lowered", "an exact spiking gate: maximum of running counts")
        return named(node.output, tuple(out))

    def _weighted(self, node: Node) -> Form:
        blocks = self._form(node.inputs[0])
        if node.op == "Gemm":
            synapse, bias = dense(self.graph, node, spatial=len(blocks[0].shape) - 1)
        else:
            synapse, bias = convolution(self.graph, node)
        parts = slice_weights(synapse, [b.shape[0] for b in blocks])
        if parts is None:
            raise self._refusal(node, "its groups cut across a concatenation")
        moved = [self._through(block, part, node, len(blocks)) for block, part in zip(blocks, parts, strict=True)]
        if synapse.groups == 1:
            moved = [reduce(added, moved)]
        starts = np.cumsum([0, *(b.shape[0] for b in moved)])
        out = [
            b if bias is None else shifted(b, bias[i:j])
            for b, i, j in zip(moved, starts, starts[1:], strict=False)
        ]
        self.context.note(node.label, "lowered", f"{sum(len(b.terms) for b in out)} projection(s)")
        return named(node.output, tuple(out))

    def _through(self, block: Block, synapse: Synapse, node: Node, blocks: int) -> Block:
        moved = through(block, synapse)
        if moved is None:
            relay = self._relay(block, node, "two linear maps that cannot be multiplied out exactly or cheaply")
            moved = through(relay, synapse)
            if blocks == 1:
                self.forms[node.inputs[0]] = (relay,)  # other readers share the relay
        assert moved is not None
        return moved

    def _local_sum(self, node: Node) -> Form:
        out, error = [], 0.0
        for block in self._form(node.inputs[0]):
            found = local_sum(self.graph, node, block.shape)
            if isinstance(found, str):
                raise self._refusal(node, found)
            synapse, error = found
            moved = through(block, synapse)
            if moved is None or (isinstance(synapse, Resample) and self._is_analog(block)):  # with too fine weights
                moved = through(self._relay(block, node, f"{node.op} after a linear map"), synapse)
            assert moved is not None
            out.append(moved)
        rounded = f"; its weights are rounded by up to {error:.2g}" if error else ""
        self.context.note(node.label, "lowered", f"a sum, its factor in the weights{rounded}")
        return named(node.output, tuple(out))

    def _route(self, node: Node) -> Form:
        blocks = self._form(node.inputs[0])
        target = reshape_target(self.graph, node)
        flat = target == (sum(b.shape[0] for b in blocks),) and all(set(b.shape[1:]) <= {1} for b in blocks)
        if flat or [b.shape for b in blocks] == [target]:  # (C, 1, ...) stands for (C,)
            self.context.note(node.label, "folded", "the shape it already has")
            return named(node.output, blocks)
        moves = fitted(blocks, route_of(self.graph, node), target)
        if moves is None:
            raise self._refusal(node, "it rearranges a concatenation")
        out = []
        for block, route in moves:
            moved = routed(block, route)
            if moved is None:
                moved = routed(self._relay(block, node, f"{node.op} after a linear map"), route)
            assert moved is not None
            out.append(moved)
        self.context.note(node.label, "lowered", "weightless routing")
        return named(node.output, tuple(out))

    def _shuffle(self, node: Node) -> Form:
        (block, *others), routes = self._form(node.inputs[0]), shuffle_of(self.graph, node)
        assert routes is not None
        if others:
            raise self._refusal(node, "it rearranges a concatenation")
        for route in routes:
            moved = routed(block, route)
            block = moved or routed(self._relay(block, node, f"{node.op} after a linear map"), route) or block
        self.context.note(node.label, "lowered", "weightless routing")
        return named(node.output, (block,))

    def _concat(self, node: Node) -> Form:
        self.context.note(node.label, "folded", "each branch keeps its own projection")
        blocks = tuple(block for value in node.inputs for block in self._form(value))
        return named(node.output, self._alike(blocks, node))

    def _alike(self, blocks: Form, node: Node) -> Form:
        """Where some blocks stand as (C, 1, ...) for (C,), all do."""
        rank, out = max(len(b.shape) for b in blocks), []
        for block in blocks:
            moved = block if len(block.shape) == rank else lifted(block, rank)
            out.append(moved or lifted(self._relay(block, node, f"{node.op} of different ranks"), rank))
        return tuple(b for b in out if b is not None)

    def _affine(self, node: Node) -> Form:
        found = affine_constant(self.graph, node)
        assert found is not None
        value, factor, offset = found
        out, start = [], 0
        for block in self._form(value):
            part = slice(start, start + block.shape[0])
            start += block.shape[0]
            if factor is not None:
                block = scaled(block, factor[part])
            if offset is not None:
                block = shifted(block, offset[part])
            out.append(block)
        self.context.note(node.label, "lowered", "a factor of the weights or a bias")
        return named(node.output, tuple(out))

    def _add(self, node: Node) -> Form:
        a, b = (self._form(v) for v in node.inputs)
        both = self._alike(a + b, node)
        a, b = both[: len(a)], both[len(a) :]
        pairs = cut_alike(a, b)
        if pairs is None:  # a grouped map cannot give a part of its channels, its spikes can
            a, b = (
                (self._relay(f[0], node, "a sum with a concatenation"),) if len(f) == 1 and not f[0].spikes else f
                for f in (a, b)
            )
            pairs = cut_alike(a, b)
        if pairs is None:
            raise self._refusal(node, "its two sides are concatenations cut differently")
        sign = -1.0 if node.op == "Sub" else 1.0
        out = tuple(added(x, scaled(y, np.full(y.shape[0], sign)) if sign < 0 else y) for x, y in pairs)
        self.context.note(node.label, "lowered", "two projections into one population")
        return named(node.output, out)
