"""A compiled network as a torch module: the same spikes, with gradients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snncc.bounds import proved
from snncc.counting import fan_out
from snncc.encoders import Constant, Encoder
from snncc.errors import DataError, OptionError, UnsupportedError
from snncc.graph import Graph
from snncc.interlude import stretches
from snncc.network import Network, Population
from snncc.network_checks import verify_network
from snncc.neurons import MaxGate, Neuron, Readout, Settled
from snncc.neurons.base import total_count
from snncc.neurons.leaky import DIVISOR
from snncc.onnx_file import read, write
from snncc.trainer.analog import evaluate, unsupported
from snncc.trainer.cells import EXACT, Cell, Link
from snncc.trainer.dynamics import Rule, Train, events, settle, stepper
from snncc.trainer.linear import routed, window_maximum
from snncc.trainer.surrogate import Step, rounded
from snncc.trainer.surrogate import surrogate as shape_of

Inputs = Tensor | Mapping[str, Tensor]


@dataclass(eq=False)
class Trace:
    """One forward pass over a batch.

    outputs: as `snncc.load(model).run` gives them, [B, ...]; readouts: the values in front of the epilogue, by name of
    value; trains: what each population sent. Events and SynOps are exact, and have gradients.
    """

    module: SpikingModule
    timesteps: int
    outputs: dict[str, Tensor] = field(default_factory=dict)
    readouts: dict[str, Tensor] = field(default_factory=dict)
    trains: dict[str, Train] = field(default_factory=dict)

    def events(self) -> dict[str, Tensor]:
        """Population -> [B, C, *spatial]."""
        network = self.module.network
        return {name: events(train, network.levels(network[name])) for name, train in self.trains.items()}

    def rates(self) -> dict[str, Tensor]:
        """Population -> events per neuron and step, a scalar."""
        return {name: found.mean() / self.timesteps for name, found in self.events().items()}

    def synops(self) -> Tensor:
        """[B]: (event, synapse) pairs of a sample, as counting.py defines them. float64: exact up to 2^53."""
        found, total = self.events(), torch.zeros((), dtype=torch.float64)
        for name, fan in self.module.fan_outs().items():
            total = total + found[name].flatten(1).double() @ fan.to(found[name].device).flatten()
        return total


class SpikingModule(nn.Module):
    """A compiled network to be trained: batched, preprocessed input in, the teacher's outputs out.

    Spikes equal those of the engines in number and time, in training as in evaluation: an integer network's forward
    pass uses the integers that `save` writes (straight-through estimator; the scale of each row stays as compiled).

    Args:
        network: compiled; integers, or float32 (then engines agree up to rounding).
        surrogate: in place of the derivative of a spike: triangle, sigmoid, atan, superspike or stdb, with their
            constant as `triangle:0.3`; functions of (v - theta) / theta.
        through_reset: do gradients pass the reset, too?
        flow: train on accumulated flow (Wu et al., 2021): spikes are simulated without gradients, step by step; the
            gradient of a neuron's number of spikes by its summed current is 1 / theta where that current is above
            zero. Memory does not grow with the time steps.

    Raises:
        OptionError: an unknown surrogate; a network whose time steps cannot be simulated one by one (flow).
    """

    def __init__(
        self, network: Network, *, surrogate: str = "triangle", through_reset: bool = True, flow: bool = False
    ):
        super().__init__()
        self.network = network
        precision = str(network.meta.get("precision", ""))
        self.bits = int(precision[3:]) if precision.startswith("int") else None
        self.rule, self.flow = Rule(shape_of(surrogate), through_reset), flow
        neurons = [p for p in network.populations if isinstance(p.kind, Neuron) and not p.is_gate]
        self._cell = {p.name: k for k, p in enumerate(neurons)}
        links = [j for p in neurons for j in network.incoming(p)]
        self._link = {j.name: k for k, j in enumerate(links)}
        self.cells = nn.ModuleList(Cell(network, p, self.bits) for p in neurons)
        self.links = nn.ModuleList(Link(network, j, self.bits) for j in links)
        self._fan_outs: dict[str, Tensor] = {}
        self._hosts: dict[str, Any] = {}
        self._stretches = stretches(network)
        if flow:
            _check_flow(network)

    @classmethod
    def from_file(cls, model: str | os.PathLike[str], **options: Any) -> SpikingModule:
        """Of a file that `snncc compile` or `save` wrote."""
        return cls(read(Path(model)), **options)

    # -- parameters ----------------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """weights, biases, thresholds, leaks: what an optimiser may be given each with its own rate."""
        found: dict[str, list[nn.Parameter]] = {"weights": [link.weight for link in self.links]}
        for name, attribute in (("biases", "bias"), ("thresholds", "threshold"), ("leaks", "leak")):
            found[name] = [p for cell in self.cells if (p := getattr(cell, attribute)) is not None]
        return found

    def reset_parameters(self, seed: int = 0) -> None:
        """Random weights, no biases, thresholds as compiled: for training the same network from the start."""
        generator = torch.Generator().manual_seed(seed)
        for link in self.links:
            link.reset_parameters(generator)
        with torch.no_grad():
            for cell in self.cells:
                if cell.bias is not None:
                    cell.bias.zero_()

    def saved(self, **training: Any) -> Network:
        """The network with the parameters as they are now; `training`: facts that go into its meta.

        Raises:
            PassError: with these integers a sum or a membrane could overflow.
        """
        with torch.no_grad():
            changed = self.network.with_populations({c.population.name: c.saved() for c in self.cells})
            changed = changed.with_projections({k.projection: k.saved() for k in self.links})
        done = [*self.network.meta.get("training", []), {"torch": torch.__version__, **training}]
        changed = changed.with_meta(training=done)
        if self.bits is not None:
            changed = changed.with_meta(t_max=proved(changed))
        verify_network(changed)
        return changed

    def save(self, path: str | os.PathLike[str], **training: Any) -> Network:
        """Write what has been learned: the same network, other numbers."""
        network = self.saved(**training)
        write(network, path)
        return network

    # -- forward -------------------------------------------------------------------------------------------------------

    def forward(self, inputs: Inputs, timesteps: int | None = None, *, seed: int = 0) -> dict[str, Tensor]:
        """Outputs by name, [B, ...]."""
        return self.trace(inputs, timesteps, seed=seed).outputs

    def trace(self, inputs: Inputs, timesteps: int | None = None, *, seed: int = 0, outputs: bool = True) -> Trace:
        """Run a batch.

        Args:
            inputs: [B, C, *spatial], or by name of input; of a spike train [B, T, C, *spatial].
            timesteps: those the network was compiled for. seed: of Poisson encoders. outputs: run the epilogue, too?

        Raises:
            DataError: inputs of another shape.
            UnsupportedError: gradients through an operator of an analog part that has none here.
        """
        values = self._checked(inputs)
        steps = int(self.network.meta.get("timesteps", 32) if timesteps is None else timesteps)
        run = _Run(self, values, steps, seed)
        if self.flow and torch.is_grad_enabled():
            with torch.no_grad():
                flowed = _Run(self, values, steps, seed).step_by_step()
            run.flowed = flowed
        return run.all(outputs)

    def _checked(self, inputs: Inputs) -> dict[str, Tensor]:
        shapes = self.network.input_shapes
        if isinstance(inputs, Tensor):
            if len(shapes) > 1:
                raise DataError(f"the network has the inputs {', '.join(shapes)}", remedy="give a dict by name")
            inputs = {next(iter(shapes)): inputs}
        for name, shape in shapes.items():
            lead = 2 if shape[0] == 0 else 1
            if name not in inputs or tuple(inputs[name].shape[lead:]) != shape[1:]:
                found = tuple(inputs[name].shape) if name in inputs else "nothing"
                raise DataError(f"input {name!r}: {found} was given, where (B, {str(shape[1:])[1:]} is wanted")
        return dict(inputs)

    def analog(self, name: str, graph: Graph, values: Mapping[str, Tensor], wanted: list[str]) -> dict[str, Tensor]:
        """An analog part, sample by sample: with gradients in torch, without them on onnxruntime as every engine."""
        known = {n: v for n, v in values.items()}
        samples = [{n: v[k : k + 1] for n, v in known.items()} for k in range(len(next(iter(known.values()))))]
        if torch.is_grad_enabled() and unsupported(graph) is None:
            each = [evaluate(graph, sample, wanted) for sample in samples]
        elif torch.is_grad_enabled() and any(v.requires_grad for v in known.values()):
            node = unsupported(graph)
            assert node is not None
            raise UnsupportedError(
                f"the operator {node.op} has no gradient in torch here", node=node.label,
                remedy="train on the values in front of it: trace(x, outputs=False).readouts",
            )
        else:
            from snncc.runtime.host import HostSession

            if name not in self._hosts:
                self._hosts[name] = HostSession(graph, wanted)
            found = [self._hosts[name].run({n: v.detach().cpu().numpy() for n, v in s.items()}) for s in samples]
            each = [{n: torch.as_tensor(v) for n, v in one.items()} for one in found]
        device = next(iter(known.values())).device
        return {n: torch.cat([one[n] for one in each]).to(device) for n in wanted}

    def fan_outs(self) -> dict[str, Tensor]:
        """Population -> synapses of each of its neurons over all projections, float64 [C, *spatial]."""
        if not self._fan_outs:
            for j in self.network.projections:
                if not self.network.analog(j):
                    fan = torch.as_tensor(fan_out(self.network, j).synapses.astype(np.float64))
                    self._fan_outs[j.pre] = self._fan_outs.get(j.pre, torch.zeros_like(fan)) + fan
        return self._fan_outs


class _Run:
    """One batch through a module, population by population, each over all steps."""

    def __init__(self, module: SpikingModule, values: dict[str, Tensor], steps: int, seed: int):
        self.module, self.network, self.values = module, module.network, values
        self.steps, self.seed = steps, seed
        self.trace = Trace(module, steps)
        self.currents: dict[str, Tensor] = {}  # of encoders that give a constant one
        self.flowed: dict[str, Tensor] | None = None  # population -> numbers that a simulation gave
        self.weights = {name: module.links[k].whole_weight() for name, k in module._link.items()}

    def all(self, outputs: bool) -> Trace:
        network, trace = self.network, self.trace
        if network.prologue is not None:
            self.values |= self.module.analog("prologue", network.prologue, self.values, list(network.prologue.outputs))
        for population in network.populations:
            if isinstance(population.kind, Encoder):
                self._encode(population, population.kind)
            elif population.is_gate:
                trace.trains[population.name] = self._gate(population)
            elif isinstance(population.kind, Readout):
                self._read_out(population, population.kind)
            else:
                trace.trains[population.name] = self._neurons(population)
        if outputs:
            made = [n for n in network.outputs if network.epilogue and network.epilogue.producer(n) is not None]
            found = dict(self.values)
            if network.epilogue is not None and made:
                found |= self.module.analog("epilogue", network.epilogue, self.values, made)
            trace.outputs = {name: found[name] for name in network.outputs}
        return trace

    # -- what reads an analog value ------------------------------------------------------------------------------------

    def _encode(self, population: Population, kind: Encoder) -> None:
        if population.name in self.module._stretches:
            part = self.module._stretches[population.name]
            self.values |= self.module.analog(population.name, part, self.values, list(part.outputs))
        x = self.values[population.value]
        if isinstance(kind, Constant):
            scaled = x.float() * kind.levels
            self.currents[population.name] = rounded(scaled).clamp(kind.low, kind.high) if kind.levels else x.float()
            return
        if kind.timed:
            spikes = x.transpose(0, 1).float()
        else:
            arrays = x.detach().cpu().numpy()
            steps = [[kind.encode(one, t, self.seed) for one in arrays] for t in range(1, self.steps + 1)]
            spikes = torch.as_tensor(np.array(steps, np.float32), device=x.device)
        self.trace.trains[population.name] = Train(self.steps, 1, given_spikes=spikes)

    # -- currents ------------------------------------------------------------------------------------------------------

    def _analog_current(self, population: Population) -> Tensor | None:
        """[B or 1, C, *spatial]: constant currents and the bias."""
        total: Tensor | None = self._cell(population).whole_bias()
        total = None if total is None else total.unsqueeze(0)
        for j in self.network.incoming(population):
            if j.pre in self.currents:
                kind = self.network[j.pre].kind
                assert isinstance(kind, Constant)
                largest = float(max(abs(kind.low), kind.high))
                found = self._linked(j.name).current(self.currents[j.pre], self.weights[j.name], largest)
                total = found if total is None else total + found
        return total

    def _current(self, population: Population, sums: bool) -> tuple[Tensor, float]:
        """(the current [T or 1, B, C, *spatial], or with `sums` what it adds up to [B, C, *spatial]; a bound on the
        size of that sum)."""
        constant, count = self._analog_current(population), total_count(self.network.base, self.steps)
        spiking = [j for j in self.network.incoming(population) if j.pre not in self.currents]
        largest = [float((1 << self.network.levels(self.network[j.pre])) - 1) for j in spiking]
        parts = [self._linked(j.name).bound(self.weights[j.name], n) for j, n in zip(spiking, largest, strict=True)]
        bound = sum(parts) + (0.0 if constant is None else float(constant.detach().abs().max()))
        wide = self._type(bound * count if sums else bound)
        total = None if constant is None else constant.to(wide) * (count if sums else 1)
        total = total if sums or total is None else total.unsqueeze(0)
        for j, n in zip(spiking, largest, strict=True):
            link, weight, train = self._linked(j.name), self.weights[j.name], self.trace.trains[j.pre]
            if sums:
                found = link.current(train.numbers, weight, n * count)
            else:
                found = link.current(train.spikes.flatten(0, 1), weight, n).unflatten(0, train.spikes.shape[:2])
            total = found.to(wide) if total is None else total + found.to(wide)
        batch = self._batch()
        if total is None:
            total = torch.zeros((1,) * (len(population.shape) + 2 - sums))
        return total.expand(*(() if sums else total.shape[:1]), batch, *population.shape), bound * count

    def _type(self, bound: float) -> torch.dtype:
        """What holds every whole number up to a bound."""
        return torch.float64 if self.module.bits is not None and bound >= EXACT else torch.float32

    def _batch(self) -> int:
        return len(next(iter(self.values.values())))

    def _cell(self, population: Population) -> Cell:
        cell = self.module.cells[self.module._cell[population.name]]
        assert isinstance(cell, Cell)
        return cell

    def _linked(self, name: str) -> Link:
        link = self.module.links[self.module._link[name]]
        assert isinstance(link, Link)
        return link

    # -- populations ---------------------------------------------------------------------------------------------------

    def _neurons(self, population: Population) -> Train:
        cell, rule = self._cell(population), self.module.rule
        theta, kind = cell.theta(), cell.neuron
        if self.flowed is not None and not kind.waits:
            total, _ = self._current(population, sums=True)
            slope = (total > 0).to(total.dtype)
            numbers = Step.apply(total / theta, self.flowed[population.name].to(total.dtype), slope)
            return Train(self.steps, 1, given_numbers=numbers)
        current, bound = self._current(population, sums=kind.waits)
        if isinstance(kind, Settled):
            dtype = self._membrane(cell, bound)
            parts = (x.to(dtype) for x in (theta, cell.v0(theta), cell.dip()))
            return _narrow(settle(kind, current.to(dtype), self.steps, *parts, rule))
        step = self._stepper(population, current.shape[1:], bound)
        spikes = torch.stack([step(current[min(t, len(current) - 1)]) for t in range(self.steps)])
        return Train(self.steps, 1, given_spikes=spikes)

    def _membrane(self, cell: Cell, bound: float) -> torch.dtype:
        """What holds a membrane whose current adds up to `bound`."""
        multiplier, theta = cell.multiplier(), cell.theta()
        room = bound + 2 * float(theta.detach().max()) + float(cell.v0(theta).detach().abs().max())
        return self._type(room if multiplier is None else room * DIVISOR)

    def _stepper(self, population: Population, shape: torch.Size, bound: float) -> Callable[[Tensor], Tensor]:
        """A function from the current of one step, of this shape, to its spikes."""
        cell = self._cell(population)
        dtype, theta = self._membrane(cell, bound), cell.theta()
        start = cell.v0(theta).to(dtype).expand(population.shape).expand(shape)
        step = stepper(cell.neuron, start, theta.to(dtype), cell.dip().to(dtype), cell.multiplier(), self.module.rule)
        return lambda current: step(current.to(dtype)).float()

    def _gate(self, population: Population) -> Train:
        (j,) = self.network.incoming(population)
        train, window = self.trace.trains[j.pre], j.synapse
        kind = population.kind
        assert isinstance(kind, MaxGate)
        if train.given_numbers is not None:
            return Train(self.steps, train.base, given_numbers=window_maximum(window, routed(train.numbers, j.routing)))  # type: ignore[arg-type]
        n = torch.zeros_like(train.spikes[0])
        before: Tensor | float = 0.0
        sent = []
        for s in train.spikes:
            n = kind.base * n + s
            most = window_maximum(window, routed(n, j.routing))  # type: ignore[arg-type]
            sent.append(most - kind.base * before)
            before = most
        return Train(self.steps, train.base, given_spikes=torch.stack(sent))

    def _read_out(self, population: Population, kind: Readout) -> None:
        total, _ = self._current(population, sums=True)
        spread = (-1, *(1,) * (len(population.shape) - 1))
        scale = torch.as_tensor(np.array(kind.scale), device=total.device).reshape(spread)
        value = total.float() * scale / float(total_count(kind.base, self.steps))
        self.values[population.value] = self.trace.readouts[population.value] = value

    # -- accumulated flow ----------------------------------------------------------------------------------------------

    def step_by_step(self) -> dict[str, Tensor]:
        """Numbers of spikes by population, simulated with one step of all populations after the other."""
        network, steppers, gates = self.network, {}, {}
        for population in network.populations:
            if isinstance(population.kind, Encoder):
                self._encode(population, population.kind)
        constants = {c.population.name: self._analog_current(c.population) for c in map(_as_cell, self.module.cells)}
        numbers: dict[str, Tensor] = {}
        for t in range(self.steps):
            now = {name: train.spikes[t] for name, train in self.trace.trains.items()}
            for population in network.populations:
                name, incoming = population.name, network.incoming(population)
                if population.is_encoder or population.is_readout:
                    continue
                if population.is_gate:
                    (j,) = incoming
                    n, before = gates.get(name, (torch.zeros_like(now[j.pre]), 0.0))
                    n = n + now[j.pre]
                    most = window_maximum(j.synapse, routed(n, j.routing))  # type: ignore[arg-type]
                    gates[name], now[name] = (n, most), most - before
                else:
                    now[name] = self._one_step(population, constants[name], now, steppers)
                numbers[name] = numbers.get(name, 0.0) + now[name]
        return numbers

    def _one_step(
        self, population: Population, constant: Tensor | None, now: Mapping[str, Tensor],
        steppers: dict[str, Callable[[Tensor], Tensor]],
    ) -> Tensor:  # fmt: skip
        total, bound = constant, 0.0 if constant is None else float(constant.abs().max())
        for j in self.network.incoming(population):
            if j.pre not in self.currents:
                link, weight = self._linked(j.name), self.weights[j.name]
                largest = float((1 << self.network.levels(self.network[j.pre])) - 1)
                bound += link.bound(weight, largest)
                found = link.current(now[j.pre], weight, largest)
                total = found if total is None else total + found
        assert total is not None
        total = total.expand(self._batch(), *population.shape)
        if population.name not in steppers:
            steppers[population.name] = self._stepper(population, total.shape, bound * self.steps)
        return steppers[population.name](total)


def _as_cell(cell: nn.Module) -> Cell:
    assert isinstance(cell, Cell)
    return cell


def _narrow(train: Train) -> Train:
    """Spikes and their numbers as float32 again."""
    numbers, spikes = train.given_numbers, train.given_spikes
    return replace(
        train,
        given_numbers=None if numbers is None else numbers.float(),
        given_spikes=None if spikes is None else spikes.float(),
    )


def _check_flow(network: Network) -> None:
    waiting = [p.name for p in network.populations if p.waits]
    if network.interlude is not None or waiting:
        what = f"{waiting[0]} waits" if waiting else "its interlude waits"
        raise OptionError(
            f"flow: {what} for a whole window", remedy="leave flow out: without it memory is that of one window, too"
        )
