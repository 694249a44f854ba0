"""A compiled network run population by population, any of which may be exchanged for a simpler form of itself.

Currents come from the operators of the compiled file on onnxruntime, spikes from the neurons' own steps in float64.
What a population sends is a train [T, C, *spatial], or [1, C, *spatial] where only its mean over the steps counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import networkx
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from snncc.encoders import Constant, Encoder
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Leaky, Neuron, Readout, Settled
from snncc.neurons.base import per_channel, total_count
from snncc.neurons.levels import level
from snncc.onnx_file.facts import DOMAIN
from snncc.onnx_file.write import write_model
from snncc.pipeline import Feeds
from snncc.runtime.host import HostSession, InterludeSession, read_out, session_options

Form = Literal["spikes", "count", "unclipped", "exact"]


@dataclass(frozen=True)
class Change:
    """How a population differs from the compiled one.

    form: "spikes": it does not. "count": the number of spikes that its whole current is worth, spread evenly over the
        steps. "unclipped": that without an upper bound. "exact": the teacher's function of the current.
    weights: the network whose projections into the population count.
    """

    form: Form = "spikes"
    weights: str = "compiled"


Changes = Mapping[str, Change]
COMPILED = Change()


@dataclass(frozen=True, eq=False)
class Run:
    """trains: by population, int8 spikes or float32; of a readout V after the last step, float64 [C, *spatial].
    values: those of graph inputs, analog parts and readouts, by name."""

    trains: Mapping[str, Array]
    values: Mapping[str, Array]


class Exchanger:
    """Args:
        networks: by name; "compiled" is the one that runs, the others differ from it in weights.
        ceilings: population -> the largest value the teacher's activation takes, where it has one (ReLU6).
        timesteps, seed: of the run. threads: of onnxruntime.
    """

    def __init__(
        self, networks: Mapping[str, Network], ceilings: Mapping[str, float], timesteps: int, seed: int, threads: int
    ):
        self.networks, self.network = networks, networks["compiled"]
        self.ceilings, self.timesteps, self.seed, self.threads = ceilings, timesteps, seed, threads
        self.base = self.network.base
        self.most = total_count(self.base, timesteps)
        self.integer = str(self.network.meta.get("precision", "")).startswith("int")
        self._sessions: dict[tuple[str, str], tuple[onnxruntime.InferenceSession, list[str]]] = {}
        before, after = self.network.prologue, self.network.epilogue
        self._before = HostSession(before, before.outputs) if before else None
        self._between = InterludeSession(self.network)
        left = [v for v in self.network.outputs if after and after.producer(v) is not None]
        self._after = HostSession(after, left) if after and left else None

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Populations that wait, as all their readers do: of their trains only the number they say counts."""
        found: set[str] = set()
        for population in reversed(self.network.populations):
            readers = [self.network[j.post] for j in self.network.outgoing(population)]
            late = all(r.waits or r.is_readout or (r.is_gate and r.name in found) for r in readers)
            if late and (population.waits or population.is_gate):
                found.add(population.name)
        return frozenset(found)

    def behind(self, names: Changes) -> set[str]:
        """These populations and all whose trains depend on theirs."""
        view = self.network.nx
        return set(names).union(*(networkx.descendants(view, name) for name in names))

    def run(self, feeds: Feeds, changes: Changes, known: Run | None = None) -> Run:
        """One sample; known: its run as compiled, from which what does not depend on `changes` is taken."""
        if known is None:
            values, trains = {**feeds, **(self._before.run(feeds) if self._before else {})}, dict[str, Array]()
        else:
            stale = self.behind(changes)
            values, trains = dict(known.values), {k: v for k, v in known.trains.items() if k not in stale}
        between = self._between.during(values, self.timesteps)
        for population in self.network.populations:
            name, change = population.name, changes.get(population.name, COMPILED)
            if name in trains:
                continue
            if not population.is_encoder:
                trains[name] = self._train(population, change, trains)
                continue
            if self.network.is_midway(population):
                x = between(population, self._potentials(trains))
            else:
                x = values[population.value] if population.timed else values[population.value][0]
            trains[name] = self._encoded(population, x, change)
        values |= read_out(self.network, self._potentials(trains), self.timesteps)
        return Run(trains, values)

    def outputs(self, run: Run) -> dict[str, Array]:
        """Graph outputs."""
        found = {**run.values, **(self._after.run(run.values) if self._after else {})}
        return {name: found[name] for name in self.network.outputs}

    def _potentials(self, trains: Mapping[str, Array]) -> dict[str, Array]:
        return {p.name: trains[p.name] for p in self.network.readouts if p.name in trains}

    # -- one population ------------------------------------------------------------------------------------------------

    def _encoded(self, population: Population, x: Array, change: Change) -> Array:
        kind = population.kind
        assert isinstance(kind, Encoder) and population.unit is not None
        if change.form != "spikes":
            x = x.mean(0) if population.timed else x
            return np.asarray(x / per_channel(population.unit, x.ndim), np.float32)[None]
        steps = range(1, self.timesteps + 1) if kind.fires else (1,)
        return np.stack([kind.encode(x, t, self.seed) for t in steps])

    def _train(self, population: Population, change: Change, trains: Mapping[str, Array]) -> Array:
        current = self._current(population, change.weights, trains)
        if population.is_gate:
            return current
        kind = population.kind
        assert isinstance(kind, Neuron)
        if population.is_readout:
            return self._total(current)
        if change.form != "spikes" or population.name in self.numbers:
            return (self._number(population, change.form, self._total(current)) / self.most).astype(np.float32)[None]
        if self.integer and isinstance(kind, Leaky):  # its leak rounds
            current = np.rint(current).astype(np.int32)
        else:
            wide = {name: array.astype(np.float64) for name, array in kind.parameters().items()}
            kind = replace(kind, **wide)  # type: ignore[type-var]
        state = kind.initial(population.shape)
        spikes = [kind.step(state, current[min(t, len(current) - 1)]) for t in range(self.timesteps)]
        return kind.emit(state, self.timesteps) if kind.waits else np.stack(spikes)

    def _total(self, current: Array) -> Array:
        """V after the last step, float64: V <- base * V + I."""
        if len(current) == 1:
            return np.asarray(current[0].astype(np.float64) * self.most)
        total = np.zeros(current.shape[1:])
        for now in current:
            total = self.base * total + now
        return total

    def _number(self, population: Population, form: Form, total: Array) -> Array:
        """What its spikes are worth in all, in units of one spike."""
        kind, rank = population.kind, total.ndim
        theta, v0 = kind.theta, per_channel(kind.v0, rank)  # type: ignore[union-attr]
        dip = getattr(kind, "dip", np.zeros_like(theta))
        rectifies = not kind.negative if isinstance(kind, Settled) else getattr(kind, "memory", True)
        low = 0.0 if rectifies and not dip.any() else -np.inf
        if form == "exact":
            slope = per_channel(theta / (theta + 2.0 * dip), rank)
            z = total / per_channel(theta, rank)
            return np.clip(np.where(z < 0, slope * z, z), low, self._ceiling(population, rank))
        total = np.rint(total) if self.integer else total  # number / most is no float32: the sums are almost whole
        top = np.inf if form == "unclipped" else self.most * ((1 << self.network.levels(population)) - 1)
        return np.clip(level(total + v0, theta, dip), max(low, -top), top)

    def _ceiling(self, population: Population, rank: int) -> Array | float:
        """The teacher's own bound in units of one spike, over all steps."""
        if population.name not in self.ceilings:
            return np.inf
        unit = population.unit
        assert unit is not None
        bound = np.divide(self.ceilings[population.name], unit, out=np.full(unit.shape, np.inf), where=unit > 0)
        return per_channel(bound * self.most, rank)

    def _current(self, population: Population, weights: str, trains: Mapping[str, Array]) -> Array:
        """What it takes in at each step; of a max gate, what it sends."""
        key = (weights, population.name)
        if key not in self._sessions:
            self._sessions[key] = _session(self.networks[weights], population.name, self.threads)
        session, names = self._sessions[key]
        incoming = dict.fromkeys(j.pre for j in self.network.incoming(population))
        read = {n: trains[pre].astype(np.float32, copy=False) for n, pre in zip(names, incoming, strict=True)}
        return np.asarray(session.run(None, read)[0])


def _session(network: Network, name: str, threads: int) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """The operators of the compiled file from the trains of those it reads to the current of one population, and the
    names of its inputs; of a max gate to its spikes."""
    population = network[name]
    incoming = tuple(_unshifted(network, j) for j in network.incoming(population))
    pres = dict.fromkeys(j.pre for j in incoming)
    read = [replace(network[pre], kind=Constant(), bias=None, value=pre) for pre in pres]
    shapes = {p.name: (1, *p.shape) for p in read}
    written = write_model(Network(shapes, (), (*read, population), incoming))
    graph = written.model.graph
    own = graph.node[-1]
    nodes = [node for node in graph.node if node.domain != DOMAIN or (population.is_gate and node is own)]
    wanted = written.outputs[name] if population.is_gate else written.currents[name]
    names = [written.outputs[p.name] for p in read]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    for k, p in enumerate(read):
        graph.input.append(helper.make_tensor_value_info(names[k], TensorProto.FLOAT, [f"T{k}", *p.shape]))
    graph.output.append(helper.make_tensor_value_info(wanted, TensorProto.FLOAT, None))
    content = written.model.SerializeToString()
    options = session_options(threads)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), names


def _unshifted(network: Network, projection: Projection) -> Projection:
    """With the power of two of spikes in the weights: as a shift of an analog current it would round."""
    shift = projection.synapse.shift
    if shift is None or network.analog(projection):
        return projection
    rows = projection.synapse.rows() * np.ldexp(np.float32(1), shift)[:, None]
    return replace(projection, synapse=projection.synapse.with_rows(rows.astype(np.float32), None))


def theta_of(population: Population) -> Array:
    """[C]: the threshold; of a readout what stands for 1."""
    kind: Any = population.kind
    return 1.0 / kind.scale.astype(np.float64) if isinstance(kind, Readout) else kind.theta.astype(np.float64)
