"""The bridge from the teacher's Graph to the spiking Network, in float, before any calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import ClassVar

import numpy as np

from snncc.encoders import Constant
from snncc.errors import UnsupportedError
from snncc.graph import Graph, Node, Type, frozen
from snncc.network import Network, Population, Projection
from snncc.neurons import Linear, MaxGate, Neuron, Readout
from snncc.passes.activations import ACTIVATIONS, ideal_of, part_of
from snncc.passes.analog import analog_part
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
    simplest,
    through,
)
from snncc.passes.linear_ops import (
    ADVICE,
    affine_constant,
    convolution,
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
from snncc.synapses import Diagonal, Resample, Synapse

WEIGHTED = ("Conv", "ConvTranspose", "Gemm")
POOLS = ("AveragePool", "GlobalAveragePool")
SHUFFLES = ("Transpose", "DepthToSpace", "SpaceToDepth")
ROUTES = ("Resize", "Pad", "Reshape", "Slice")
WORK = (*WEIGHTED, *POOLS, "Relu", "MaxPool")  # what the spiking network does; the epilogue never does it
MAX_TERMS = 1024  # of one value: a sum of a value with itself, 30 times over, would have 2^30


@dataclass(frozen=True)
class Lower:
    """teacher graph to spiking graph: ReLUs become populations, linear maps projections, the ends stay analog"""

    name: ClassVar[str] = "lower"
    level: ClassVar[Level] = "lower"
    requires: ClassVar[tuple[Callable[[Graph], None], ...]] = (one_image,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def run(self, graph: Graph, context: Context) -> Network:
        return _Lowering(graph, context).network()


@dataclass
class _Lowering:
    """One walk over the graph. `forms` holds values made of spikes, `analog` those known before the first spike,
    `after` those that only the epilogue computes."""

    graph: Graph
    context: Context
    forms: dict[str, Form] = field(default_factory=dict)
    analog: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    prologue: list[Node] = field(default_factory=list)
    epilogue: list[Node] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def network(self) -> Network:
        self.analog.update(self.graph.inputs)
        self.ahead = self._ahead(WORK)
        for node in self.graph.nodes:
            self._visit(node)
        for value in self.graph.outputs:
            if value not in self.after and value not in self.analog:
                self._read_out(value)
        check_numbers(self.populations.values(), self.projections)
        encoders = [p for p in self.populations.values() if p.is_encoder]
        others = [p for p in self.populations.values() if not p.is_encoder]
        return Network(
            {v: self.graph.shape(v) for v in self.graph.inputs},
            self.graph.outputs,
            (*encoders, *others),
            tuple(self.projections),
            analog_part(self.graph, self.prologue, [*(p.value for p in encoders), *self.graph.outputs], self.epilogue),
            analog_part(self.graph, self.epilogue, list(self.graph.outputs)),
        )

    # -- the analog ends --------------------------------------------------------------------------------------------

    def _ahead(self, ops: tuple[str, ...]) -> set[str]:
        """Values from which a node of `ops` can be reached."""
        found: set[str] = set()
        for node in reversed(self.graph.nodes):
            if node.op in ops or found.intersection(node.outputs):
                found.update(node.inputs)
        return found

    def _to_epilogue(self, node: Node, reason: str) -> None:
        for value in node.inputs:
            if value and value not in self.graph.weights and value not in self.after and value not in self.analog:
                self._read_out(value)
        self.epilogue.append(node)
        self.after.update(node.outputs)
        self.context.note(node.label, "analog", reason)

    def _read_out(self, value: str) -> None:
        """Readouts for a value made of spikes (or for the analog value itself, through a diagonal projection)."""
        if value in self.read:
            return
        self.read.add(value)
        form, kind = self._form(value), self.graph.types[value]
        names = [value] if len(form) == 1 else [self._new_value(f"{value}.{k}", kind, b) for k, b in enumerate(form)]
        shape = (sum(b.shape[0] for b in form), *form[0].shape[1:])
        if shape != kind.shape[1:]:  # (C, 1, 1) stands for (C,): the epilogue restores the teacher's shape
            target = self.graph.fresh(f"{value}.shape")
            constant = {target: frozen(np.array(kind.shape, np.int64))}
            self.graph = replace(self.graph, weights={**self.graph.weights, **constant})
            joined = self._new_value(f"{value}.spatial", kind, replace(form[0], shape=shape))
            names = [joined] if len(form) == 1 else names
            self.epilogue.append(Node("Reshape", (joined, target), (value,), {"allowzero": 0}))
        else:
            joined = value
        if len(form) > 1:
            concat = Node("Concat", tuple(names), (joined,), {"axis": 1})
            self.epilogue.insert(len(self.epilogue) - (joined != value), concat)
        for name, block in zip(names, form, strict=True):
            readout = Readout(np.ones(block.shape[0], np.float32), integer=False)
            self._population(replace(block, value=name), readout, f"{name}.readout")

    def _new_value(self, stem: str, kind: Type, block: Block) -> str:
        name = self.graph.fresh(stem)
        types = {**self.graph.types, name: replace(kind, shape=(1, *block.shape))}
        self.graph = replace(self.graph, types=types)
        return name

    # -- populations ------------------------------------------------------------------------------------------------

    def _population(self, block: Block, kind: Neuron, stem: str, origin: tuple[str, ...] = ()) -> Block:
        """A population driven by `block`; gives its spikes."""
        name = self._name(stem)
        origin = tuple(dict.fromkeys((*block.origin, *origin)))
        for term in block.terms:
            synapse: Synapse = term.synapse or Diagonal(np.ones(term.routed[0]))
            self._project(term, name, synapse, block.origin)
        self.populations[name] = Population(name, block.shape, kind, block.bias, None, block.value, origin)
        return Block(block.shape, (Term(name, block.shape),), None, block.value)

    def _project(self, term: Term, post: str, synapse: Synapse, origin: tuple[str, ...]) -> None:
        tag = sum(j.pre == term.source and j.post == post for j in self.projections)
        self.projections.append(Projection(term.source, post, synapse, term.routing, origin, tag))

    def _name(self, stem: str) -> str:
        clean = "".join(c if c.isalnum() or c in "_.-" else "_" for c in stem).strip("_") or "population"
        name, k = clean, 1
        while name in self.populations:
            name, k = f"{clean}_{k}", k + 1
        return name

    def _form(self, value: str) -> Form:
        """The form of a value; an analog value becomes its encoder's current, a constant a bias."""
        if value not in self.forms:
            shape = self.graph.shape(value)[1:]
            if value in self.graph.weights:
                return (Block(shape, (), simplest(self.graph.weights[value][0].astype(np.float64)), value),)
            name = self._name(value)
            self.populations[name] = Population(name, shape, Constant(), None, None, value, ())
            self.forms[value] = (Block(shape, (Term(name, shape),), None, value),)
        return self.forms[value]

    def _is_analog(self, block: Block) -> bool:
        return any(self.populations[term.source].is_encoder for term in block.terms)

    def _relay(self, block: Block, node: Node, why: str) -> Block:
        self.context.note(node.label, "lowered", f"a signed relay stands before it: {why}")
        return self._population(block, Linear(), f"{block.value.partition('[')[0]}.relay")

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        data = [v for v in node.inputs if v and v not in self.graph.weights]
        spiking = [v for v in data if v not in self.analog]
        handler = self._handler(node)
        if any(v in self.after for v in data):
            if node.output in self.ahead or node.op in WORK:
                raise self._refusal(node, "it reads a value that only exists after the spiking network")
            self._to_epilogue(node, "after the readouts")
        elif handler is None and not spiking and (node.output in self.ahead or node.op == "MaxPool"):
            self.prologue.append(node)
            self.analog.update(node.outputs)
            self.context.note(node.label, "analog", "before the encoders")
        elif handler is None:
            if node.output in self.ahead or node.op in WORK:
                raise self._refusal(node, f"{node.op} has no exact spiking counterpart inside the network")
            self._to_epilogue(node, "after the readouts")
        elif node.output not in self.ahead and node.op not in WORK and not self._sums(node):
            self._to_epilogue(node, "after the readouts: no weights, no spikes")
        else:
            self.forms[node.output] = form = self._traced(node, handler(node))
            if sum(1 + len(block.terms) for block in form) > MAX_TERMS:
                raise self._refusal(node, f"more than {MAX_TERMS} branches meet")

    def _traced(self, node: Node, form: Form) -> Form:
        """The form with the teacher's nodes that made it; spikes start afresh."""
        before = [b for v in node.inputs for b in self.forms.get(v, ())]
        made = tuple(dict.fromkeys((*(o for b in before for o in b.origin), *node.origin)))
        return tuple(replace(b, origin=made if b.spikes is None else ()) for b in form)

    def _sums(self, node: Node) -> bool:
        """An Add of spikes to spikes at the end is done by the readout itself."""
        return node.op in ("Add", "Sub") and all(
            v in self.forms and v not in self.analog and len(self.forms[v]) == 1 for v in node.inputs
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
        if node.op == "MaxPool" and all(v in self.analog for v in node.inputs):
            return None
        if node.op in SHUFFLES:
            return self._shuffle if shuffle_of(self.graph, node) is not None else None
        if node.op in ROUTES and route_of(self.graph, node) is None and reshape_target(self.graph, node) is None:
            return self._local_sum if node.op == "Resize" and node.inputs[0] not in self.analog else None
        return {
            "Conv": self._weighted, "ConvTranspose": self._weighted, "Gemm": self._weighted,
            "AveragePool": self._local_sum, "GlobalAveragePool": self._local_sum,
            **dict.fromkeys(ACTIVATIONS, self._activation), "MaxPool": self._max_pool, "Concat": self._concat,
            "Resize": self._route, "Pad": self._route, "Reshape": self._route, "Slice": self._route,
        }.get(node.op) if node.op != "Concat" or node.attrs["axis"] % len(self.graph.shape(node.output)) == 1 else None

    def _refusal(self, node: Node, why: str) -> UnsupportedError:
        self.context.note(node.label, "refused", why)
        return UnsupportedError(why, node=node.label, remedy=ADVICE.get(node.op, "replace it by supported operators"))

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
        for block in self._form(node.inputs[0]):
            if block.spikes is None or self._is_analog(block):
                block = self._relay(block, node, "max pooling needs spikes")
            term = block.spikes
            assert term is not None
            stem = node.output if not out else f"{node.output}.{len(out)}"
            name = self._name(stem)
            synapse = replace(window, weight=np.ones(block.shape[0], np.float32))
            self._project(term, name, synapse, node.origin)
            shape = synapse.shape(block.shape)
            self.populations[name] = Population(name, shape, MaxGate(), None, None, "", node.origin)
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
