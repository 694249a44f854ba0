"""What a lowering has made so far, and how it adds populations, projections and values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from snncc.encoders import Constant
from snncc.graph import Graph, Node, Type, frozen
from snncc.network import Population, Projection
from snncc.neurons import Linear, Neuron, Readout
from snncc.passes.forms import Block, Form, Term, simplest
from snncc.pipeline import Context
from snncc.synapses import Diagonal, Synapse


@dataclass
class Builder:
    """`forms` holds values made of spikes, `read` those read out, `behind` the analog nodes after readouts."""

    graph: Graph
    context: Context
    forms: dict[str, Form] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    behind: list[Node] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

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

    def _read_out(self, value: str) -> None:
        """Readouts for a value made of spikes (or for the analog value itself, through a diagonal projection)."""
        if value in self.read:
            return
        self.read.add(value)
        form, kind = self._form(value), self.graph.types[value]
        names = [value] if len(form) == 1 else [self._new_value(f"{value}.{k}", kind, b) for k, b in enumerate(form)]
        shape = (sum(b.shape[0] for b in form), *form[0].shape[1:])
        if shape != kind.shape[1:]:  # (C, 1, 1) stands for (C,): an analog node restores the teacher's shape
            target = self.graph.fresh(f"{value}.shape")
            constant = {target: frozen(np.array(kind.shape, np.int64))}
            self.graph = replace(self.graph, weights={**self.graph.weights, **constant})
            joined = self._new_value(f"{value}.spatial", kind, replace(form[0], shape=shape))
            names = [joined] if len(form) == 1 else names
            self.behind.append(Node("Reshape", (joined, target), (value,), {"allowzero": 0}))
        else:
            joined = value
        if len(form) > 1:
            concat = Node("Concat", tuple(names), (joined,), {"axis": 1})
            self.behind.insert(len(self.behind) - (joined != value), concat)
        for name, block in zip(names, form, strict=True):
            readout = Readout(np.ones(block.shape[0], np.float32), integer=False)
            self._population(replace(block, value=name), readout, f"{name}.readout")

    def _new_value(self, stem: str, kind: Type, block: Block) -> str:
        name = self.graph.fresh(stem)
        types = {**self.graph.types, name: replace(kind, shape=(1, *block.shape))}
        self.graph = replace(self.graph, types=types)
        return name
