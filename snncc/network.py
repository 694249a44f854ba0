"""The spiking graph IR: populations joined by projections.

A network is a normal form. A projection is weightless routing followed by exactly one linear map; a population's
current is the sum of its projections plus its bias. Whatever can be built can be run, counted, saved and drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from snncc.encoders import Encoder
from snncc.graph import Array, Graph
from snncc.neurons import MaxGate, Neuron, Readout
from snncc.synapses import Synapse
from snncc.synapses.routing import Route

if TYPE_CHECKING:
    import networkx

Kind = Encoder | Neuron
PART = re.compile(r"(.*)\[(\d+):(\d+)\]")  # a value's name, and the channels of it that are meant


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one kind, an encoder of one analog value, or a readout of one value.

    Args:
        name: unique; also the key of its spikes in `--spikes`.
        shape: (C, *spatial), without batch and time.
        kind: an encoder, or a neuron with its parameters per channel.
        bias: None, per channel [C], or a map [C, *spatial]; added to the current at every step.
        unit: lambda, the analog value that one spike stands for, per channel [C]; None until calibrated.
        value: the teacher Graph's value this population stands for ("" if none): what calibration watches;
            "name[a:b]" for its channels a to b.
        origin: teacher node names.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    bias: Array | None = None
    unit: Array | None = None
    value: str = ""
    origin: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def watched(self) -> tuple[str, slice]:
        """The graph value and the channels of it that this population stands for."""
        part = PART.fullmatch(self.value)
        return (part[1], slice(int(part[2]), int(part[3]))) if part else (self.value, slice(None))

    @property
    def is_encoder(self) -> bool:
        return isinstance(self.kind, Encoder)

    @property
    def is_readout(self) -> bool:
        return isinstance(self.kind, Readout)

    @property
    def is_gate(self) -> bool:
        return isinstance(self.kind, MaxGate)

    @property
    def timed(self) -> bool:
        """Does it encode a whole spike train, [T, C, *spatial]?"""
        return isinstance(self.kind, Encoder) and self.kind.timed

    @property
    def waits(self) -> bool:
        """Does it emit nothing before its last step?"""
        return isinstance(self.kind, Neuron) and self.kind.waits

    @property
    def fires(self) -> bool:
        """Does it emit spikes (and so appear in `--spikes`)? Readouts and constant encoders do not."""
        return self.kind.fires


@dataclass(frozen=True, eq=False)
class Projection:
    """One linear map from `pre` to `post`, after weightless routing of `pre`'s spikes (applied left to right)."""

    pre: str
    post: str
    synapse: Synapse
    routing: tuple[Route, ...] = ()
    origin: tuple[str, ...] = ()
    tag: int = 0  # tells several projections between the same two populations apart

    @property
    def name(self) -> str:
        return f"{self.pre}->{self.post}" + (f"#{self.tag}" if self.tag else "")


@dataclass(frozen=True, eq=False)
class Network:
    """A spiking network.

    Args:
        inputs: graph inputs, name -> shape with batch 1.
        outputs: graph output names, in the teacher's order.
        populations: in execution order: a projection's `pre` stands before its `post`.
        projections: in the order in which their currents are added.
        prologue: analog Graph from graph inputs to the values that encoders read (None: encoders read inputs).
        epilogue: analog Graph from readouts (and graph inputs, values of the other parts) to graph outputs (None:
            readouts are the outputs).
        meta: JSON-like facts: default timesteps, t_max, preprocessing, provenance, calibration quantiles.
        interlude: analog Graph from readouts (and graph inputs, prologue values) to values that encoders further behind
            read (None: all of the network between encoders and readouts spikes). See interlude.py.

    An encoder's `value` names the graph input, or the value of prologue or interlude, that it reads; a readout's
    `value` names the value it makes.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    prologue: Graph | None = None
    epilogue: Graph | None = None
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    interlude: Graph | None = None

    @property
    def analog_parts(self) -> dict[str, Graph]:
        """Those it has, by name, in the order in which they run."""
        parts = {"prologue": self.prologue, "interlude": self.interlude, "epilogue": self.epilogue}
        return {name: graph for name, graph in parts.items() if graph is not None}

    def is_midway(self, population: Population) -> bool:
        """Is it an encoder of a value that the interlude makes?"""
        return population.is_encoder and self.interlude is not None and population.value in self.interlude.outputs

    @cached_property
    def _by_name(self) -> dict[str, Population]:
        return {p.name: p for p in self.populations}

    def __getitem__(self, name: str) -> Population:
        return self._by_name[name]

    @cached_property
    def _incoming(self) -> dict[str, tuple[Projection, ...]]:
        return {p.name: tuple(j for j in self.projections if j.post == p.name) for p in self.populations}

    @cached_property
    def _outgoing(self) -> dict[str, tuple[Projection, ...]]:
        return {p.name: tuple(j for j in self.projections if j.pre == p.name) for p in self.populations}

    def incoming(self, population: Population) -> tuple[Projection, ...]:
        return self._incoming[population.name]

    def outgoing(self, population: Population) -> tuple[Projection, ...]:
        return self._outgoing[population.name]

    def analog(self, projection: Projection) -> bool:
        """Does it carry a constant analog current rather than spikes?"""
        return not self[projection.pre].fires

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Graph inputs as a run takes them: [1, C, *spatial]; a leading 0 where a spike train is given."""
        timed = {p.value for p in self.encoders if p.timed}
        return {name: (0, *shape[1:]) if name in timed else shape for name, shape in self.inputs.items()}

    @property
    def base(self) -> int:
        """1: rate code; 2: radix code, most significant digit first."""
        return max((p.kind.base for p in self.populations if isinstance(p.kind, Neuron)), default=1)

    def speaker(self, population: Population) -> Population:
        """The population whose spikes these are: a max gate passes on those it reads."""
        while population.is_gate:
            population = self[self.incoming(population)[0].pre]
        return population

    def levels(self, population: Population) -> int:
        """Bits of one spike's value; each that is set is an event."""
        kind = self.speaker(population).kind
        return kind.levels if isinstance(kind, Neuron) else 1

    def signed(self, population: Population) -> bool:
        """Can its spikes be negative?"""
        return self.speaker(population).kind.signed

    def routed_shape(self, projection: Projection) -> tuple[int, ...]:
        """Shape (C, *spatial) of the pre spikes after the projection's routing."""
        shape = self[projection.pre].shape
        for route in projection.routing:
            shape = route.shape(shape)
        return shape

    @cached_property
    def windows(self) -> int:
        """Windows of T steps from the first input to the last output: one, and one more for each population in a row
        that reads its whole window before it sends (a settled or radix neuron, an encoder behind the interlude)."""
        before: dict[str, int] = {}
        for population in self.populations:  # in execution order
            name, late = population.name, self.is_midway(population)
            waits = {pre: late or self[pre].waits for pre in self.nx.predecessors(name)}
            before[name] = max((before[pre] + wait for pre, wait in waits.items()), default=0)
        return 1 + max(before.values(), default=0)

    @property
    def encoders(self) -> tuple[Population, ...]:
        return tuple(p for p in self.populations if p.is_encoder)

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Graph output -> shape, batch 1."""
        known = {**self.inputs, **{p.value: (1, *p.shape) for p in self.readouts}}
        for part in self.analog_parts.values():
            known |= {name: kind.shape for name, kind in part.types.items()}
        return {name: known[name] for name in self.outputs}

    @property
    def readouts(self) -> tuple[Population, ...]:
        return tuple(p for p in self.populations if p.is_readout)

    @cached_property
    def nx(self) -> networkx.MultiDiGraph:
        """A view for analysis: populations as nodes, projections as edges, and an edge from each readout to each
        encoder that needs it through the interlude."""
        import networkx  # large, and a run needs it last

        view = networkx.MultiDiGraph()
        for population in self.populations:
            view.add_node(population.name, population=population)
        for projection in self.projections:
            view.add_edge(projection.pre, projection.post, projection=projection)
        for encoder in filter(self.is_midway, self.populations):
            assert self.interlude is not None
            part = replace(self.interlude, outputs=(encoder.value,)).pruned()
            view.add_edges_from((p.name, encoder.name) for p in self.readouts if part.users(p.value))
        return view

    def with_populations(self, changes: Mapping[str, Population]) -> Network:
        """The same network with some populations (of the same names) exchanged."""
        return replace(self, populations=tuple(changes.get(p.name, p) for p in self.populations))

    def with_projections(self, changes: Mapping[Projection, Projection]) -> Network:
        return replace(self, projections=tuple(changes.get(j, j) for j in self.projections))

    def with_meta(self, **entries: Any) -> Network:
        return replace(self, meta={**self.meta, **entries})
