"""A compiled network as a torch module: the same spikes, with gradients."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snncc.bounds import check_steps, proved_steps
from snncc.counting import fan_out
from snncc.errors import DataError, OptionError, PassError
from snncc.interlude import stretches
from snncc.network import Network
from snncc.network_checks import verify_network
from snncc.neurons import IntegrateFire, Neuron
from snncc.onnx_file import read, write
from snncc.trainer.analog import AnalogParts
from snncc.trainer.cells import Cell, Link
from snncc.trainer.dynamics import Rule
from snncc.trainer.flow import Simulation, check_flow
from snncc.trainer.forward import Forward, Trace
from snncc.trainer.scales import in_float, rescale
from snncc.trainer.surrogate import surrogate as shape_of


@contextmanager
def exactly(device: str) -> Iterator[None]:
    """Convolutions of whole numbers without what would round them: reduced precision, Winograd's form (NNPACK)."""
    with (
        torch.autocast(device, enabled=False),
        torch.backends.nnpack.flags(enabled=False),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


class SpikingModule(nn.Module):
    """A compiled network to be trained: batched, preprocessed input in, the teacher's outputs out.

    Spikes equal those of the engines in number and time, in training as in evaluation: an integer network's forward
    pass uses the integers that `save` writes (straight-through estimator). The scale of each row stays as compiled
    until `relearn_scales`.

    Args:
        network: compiled; integers, or float32 (then engines agree up to rounding).
        surrogate: in place of the derivative of a spike: triangle, sigmoid, atan, superspike or stdb, with their
            constant as `triangle:0.3`; functions of (v - theta) / theta.
        precision: float32 to train, and save, an integer network without its integers.
        flow: train on accumulated flow (Wu et al., 2021): spikes are simulated without gradients, step by step; the
            gradient of a neuron's number of spikes by its summed current is 1 / theta where that current is above
            zero. Memory does not grow with the time steps.
        winners: population with one threshold -> the share of a sample's membranes, the largest, that are kept before
            each step; all others are set to zero (SpikeReg). For training only: the IR has no such neuron, engines run
            what is saved without it, so spikes then differ.

    Raises:
        OptionError: an unknown surrogate; a network whose time steps cannot be simulated one by one (flow); winners of
            a population that has none, or a share outside (0, 1].
    """

    def __init__(
        self, network: Network, *, surrogate: str = "triangle", flow: bool = False, precision: str | None = None,
        winners: Mapping[str, float] | None = None,
    ):  # fmt: skip
        super().__init__()
        if precision not in (None, "float32", network.meta.get("precision")):
            raise OptionError(f"precision {precision!r} is not that of the network", remedy="leave it out, or float32")
        network = in_float(network) if precision == "float32" else network
        self.network = network
        precision = str(network.meta.get("precision", ""))
        self.bits = int(precision[3:]) if precision.startswith("int") else None
        self.rule, self.flow = Rule(shape_of(surrogate)), flow
        neurons = [p for p in network.populations if isinstance(p.kind, Neuron) and not p.is_gate]
        self.cell = {p.name: Cell(network, p, self.bits) for p in neurons}
        self.link = {j.name: Link(network, j, self.bits) for p in neurons for j in network.incoming(p)}
        self.cells, self.links = nn.ModuleList(self.cell.values()), nn.ModuleList(self.link.values())
        self.winners = dict(winners or {})
        for name, share in self.winners.items():
            if not 0 < share <= 1 or name not in self.cell or not isinstance(network[name].kind, IntegrateFire):
                remedy = "a share in (0, 1] of a population of if or leaky neurons"
                raise OptionError(f"winners: {share:g} of {name!r}", remedy=remedy)
        self.parts, self.stretches = AnalogParts(), stretches(network)
        self._fan_outs: dict[str, Tensor] = {}
        if flow:
            check_flow(network)

    @classmethod
    def from_file(cls, model: str | os.PathLike[str], **options: Any) -> SpikingModule:
        """Of a file that `snncc compile` or `save` wrote."""
        return cls(read(Path(model)), **options)

    # -- parameters ----------------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """weights, biases, thresholds, leaks: what an optimiser may be given each with its own rate."""
        found: dict[str, list[nn.Parameter]] = {"weights": [link.weight for link in self.link.values()]}
        for name, attribute in (("biases", "bias"), ("thresholds", "threshold"), ("leaks", "leak")):
            found[name] = [p for cell in self.cell.values() if (p := getattr(cell, attribute)) is not None]
        return found

    def reset_parameters(self, seed: int = 0) -> None:
        """Random weights, no biases, thresholds as compiled: for training the same network from the start."""
        generator = torch.Generator().manual_seed(seed)
        for link in self.link.values():
            link.reset_parameters(generator)
        with torch.no_grad():
            for cell in self.cell.values():
                if cell.bias is not None:
                    cell.bias.zero_()

    def relearn_scales(self, *, overflowing: bool = False) -> None:
        """Choose the scale of every row of integers anew: weights that have grown are clipped no more, and those that
        have shrunk get finer steps. Parameters keep their unit, so an optimiser may go on.

        overflowing: only where a network could not be saved, since sums or membranes could overflow.

        Raises:
            PassError: the weights of a row have grown beyond what 24 bits hold.
        """
        if self.bits is None:
            return
        network = self._changed()
        for name, cell in self.cell.items():
            if not overflowing or _overflows(network, name):
                links = [self.link[j.name] for j in network.incoming(network[name])]
                rescale(network, cell, links, self.bits)

    def _changed(self) -> Network:
        """The network with the parameters as they are now, whether or not its integers fit."""
        changed = self.network.with_populations({name: cell.saved() for name, cell in self.cell.items()})
        return changed.with_projections({link.projection: link.saved() for link in self.link.values()})

    def saved(self, **training: Any) -> Network:
        """The network with the parameters as they are now; `training`: facts that go into its meta.

        Raises:
            PassError: with these integers a sum or a membrane could overflow; see `relearn_scales`.
        """
        training |= {"winners": self.winners} if self.winners else {}
        done = [*self.network.meta.get("training", []), {"torch": torch.__version__, **training}]
        changed = self._changed().with_meta(training=done)
        if self.bits is not None:
            changed = changed.with_meta(t_max=min(proved_steps(changed, changed[name]) for name in self.cell))
        verify_network(changed)
        return changed

    def save(self, path: str | os.PathLike[str], **training: Any) -> Network:
        """Write what has been learned: the same network, other numbers."""
        network = self.saved(**training)
        write(network, path)
        return network

    # -- forward -------------------------------------------------------------------------------------------------------

    def forward(
        self, inputs: Tensor | Mapping[str, Tensor], timesteps: int | None = None, *, seed: int = 0
    ) -> dict[str, Tensor]:
        """Outputs by name, [B, ...]."""
        return self.trace(inputs, timesteps, seed=seed).outputs

    def trace(
        self, inputs: Tensor | Mapping[str, Tensor], timesteps: int | None = None, *, seed: int = 0,
        outputs: bool = True,
    ) -> Trace:  # fmt: skip
        """Run a batch.

        Args:
            inputs: [B, C, *spatial], or by name of input; of a spike train [B, T, C, *spatial].
            timesteps: those the network was compiled for. seed: of Poisson encoders. outputs: run the epilogue, too?

        Raises:
            DataError: inputs of another shape, or of which an analog part makes NaN or infinity.
            UnsupportedError: gradients through an operator of an analog part that has none here.
        """
        steps = check_steps(timesteps, self.network)
        values = self._checked(inputs, steps)
        with exactly(next(iter(values.values())).device.type):
            forward = Forward(self, values, steps, seed)
            if self.flow and torch.is_grad_enabled():
                forward.flowed = Simulation(Forward(self, dict(values), steps, seed)).numbers()
            return forward.all(outputs)

    def _checked(self, inputs: Tensor | Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
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
            if lead == 2 and inputs[name].shape[1] != steps:
                what = f"input {name!r}: a spike train of {inputs[name].shape[1]} steps for a run of {steps}"
                raise DataError(what, remedy="name its length with timesteps")
        return dict(inputs)

    def fan_outs(self) -> dict[str, Tensor]:
        """Population -> synapses of each of its neurons over all projections, float64 [C, *spatial]."""
        if not self._fan_outs:
            for j in self.network.projections:
                if not self.network.analog(j):
                    fan = torch.as_tensor(fan_out(self.network, j).synapses.astype(np.float64))
                    self._fan_outs[j.pre] = self._fan_outs.get(j.pre, torch.zeros_like(fan)) + fan
        return self._fan_outs


def _overflows(network: Network, name: str) -> bool:
    try:
        proved_steps(network, network[name])
    except PassError:
        return True
    return False
