"""The trainable parts: one `Link` a projection, one `Cell` a population. In an integer network their parameters are in
units of the first threshold of their row, and the forward pass rounds them to the integers that will be saved."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snncc.bounds import EXACT
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Leaky, Neuron, Readout
from snncc.neurons.leaky import DIVISOR
from snncc.synapses import ConvTranspose, Diagonal, Pool, Resample
from snncc.trainer.linear import linear, routed
from snncc.trainer.surrogate import floored, rounded

DIAGONAL = (1 << 15) - 1  # as in the pass `quantize`: one weight a row has 16 bits


def _tensor(values: Array) -> Tensor:
    return torch.as_tensor(np.array(values, np.float32))


class Cell(nn.Module):
    """Bias, thresholds and leak of one population.

    bias: [C] or [C, *spatial], threshold: [C], in units of the first threshold; leak: the share that stays.
    """

    bias: Tensor | None
    threshold: Tensor | None
    leak: Tensor | None

    def __init__(self, network: Network, population: Population, bits: int | None):
        super().__init__()
        self.population, self.integer = population, bits is not None
        kind = population.kind
        assert isinstance(kind, Neuron)
        self.neuron = kind
        self.scale = _row_scale(population)
        self.rank = len(population.shape)
        bias = population.bias
        if bias is not None:
            bias = bias / self.scale.reshape(-1, *(1,) * (bias.ndim - 1))
        self.bias = None if bias is None else nn.Parameter(_tensor(bias))
        held = hasattr(kind, "theta")
        self.threshold = nn.Parameter(torch.ones(population.channels)) if held else None
        self.leak = nn.Parameter(torch.tensor(kind.multiplier / DIVISOR)) if isinstance(kind, Leaky) else None
        self.register_buffer("_scale", _tensor(self.scale), persistent=False)
        v0: Array = kind.parameters().get("v0", np.zeros(1))
        theta: Array = kind.parameters().get("theta", np.ones(1))
        half = theta // 2 if self.integer else theta / 2
        # membranes that start at half the threshold go on to do so when the threshold moves
        self.half = v0.ndim == 1 and bool((v0 == half).all())
        self.register_buffer("_v0", _tensor(v0), persistent=False)
        self.register_buffer("_dip", _tensor(kind.parameters().get("dip", np.zeros(1))), persistent=False)

    def _spread(self, values: Tensor) -> Tensor:
        return values if values.ndim > 1 else values.reshape(-1, *(1,) * (self.rank - 1))

    def whole_bias(self) -> Tensor | None:
        """[C, 1, ...] or [C, *spatial]"""
        if self.bias is None:
            return None
        bias = self._spread(self.bias) * self._spread(self._scale)
        return rounded(bias) if self.integer else bias

    def theta(self) -> Tensor:
        assert self.threshold is not None
        theta = self.threshold * self._scale
        return self._spread(rounded(theta).clamp(min=1) if self.integer else theta)

    def v0(self, theta: Tensor) -> Tensor:
        if not self.half:
            return self._spread(self._v0)
        return floored(theta / 2) if self.integer else theta / 2

    def dip(self) -> Tensor:
        return self._spread(self._dip)

    def multiplier(self) -> Tensor | None:
        if self.leak is None:
            return None
        return rounded(self.leak * DIVISOR).clamp(1, DIVISOR)

    def saved(self) -> Population:
        """The population with what has been learned; its spikes keep their unit."""
        kind, bias, parameters = self.neuron, self.whole_bias(), self.neuron.parameters()
        changes: dict[str, Any] = {}
        if self.threshold is not None:
            theta, dtype = self.theta(), parameters["theta"].dtype
            changes["theta"] = theta.reshape(-1).cpu().numpy().astype(dtype)
            if self.half:
                changes["v0"] = self.v0(theta).reshape(-1).cpu().numpy().astype(dtype)
        multiplier = self.multiplier()
        if multiplier is not None:
            changes["multiplier"] = int(multiplier)
        given = self.population.bias
        if given is not None:
            assert bias is not None
            given = bias.reshape(given.shape).cpu().numpy().astype(np.float32)
        return replace(self.population, kind=replace(kind, **changes), bias=given)  # type: ignore[type-var]


def _row_scale(population: Population) -> Array:
    """[C] float64: what one unit of lambda is in the integers (or floats) of a row."""
    kind = population.kind
    if isinstance(kind, Readout):
        return np.rint(1.0 / kind.scale.astype(np.float64)) if kind.integer else np.ones(population.channels)
    parameters = kind.parameters()  # type: ignore[union-attr]
    return np.asarray(parameters.get("theta", np.ones(population.channels)), np.float64)


class Link(nn.Module):
    """The weights of one projection."""

    def __init__(self, network: Network, projection: Projection, bits: int | None):
        super().__init__()
        self.projection, self.synapse = projection, projection.synapse
        self.analog, self.integer = network.analog(projection), bits is not None
        post, rows = network[projection.post], self.synapse.rows()
        shift = np.zeros(len(rows)) if self.synapse.shift is None else self.synapse.shift.astype(np.float64)
        scale = np.broadcast_to((_row_scale(post) / 2.0**shift)[:, None], rows.shape)
        spread = self.synapse.with_rows(np.ascontiguousarray(scale), self.synapse.shift).weight
        self.weight = nn.Parameter(_tensor(self.synapse.weight / spread))
        self.register_buffer("_scale", _tensor(spread), persistent=False)
        factor = (2.0**shift).reshape(-1, *(1,) * (len(post.shape) - 1))
        self.register_buffer("_factor", _tensor(factor), persistent=False)
        single = isinstance(self.synapse, Diagonal | Resample) and not self.analog
        self.most = float(DIAGONAL if single else (1 << ((bits or 8) - 1)) - 1)

    def whole_weight(self) -> Tensor:
        weight = self.weight * self._scale
        return rounded(weight).clamp(-self.most, self.most) if self.integer else weight

    def bound(self, weight: Tensor, largest: float) -> float:
        """No sum of these weights times numbers up to `largest`, before or after the shift, is above it."""
        size = weight.detach().abs()
        match self.synapse:
            case ConvTranspose():
                sums = size.sum((0, *range(2, size.ndim)))
            case Pool():
                sums = size * prod(self.synapse.kernel)
            case Resample():
                ones = np.ones((len(size), 1))
                sums = size * float(np.abs(self.synapse.loads(ones)).sum(1).max())
            case _:
                sums = size.reshape(len(size), -1).sum(1)
        return float(sums.max()) * largest * max(1.0, float(self._factor.max()))

    def current(self, x: Tensor, weight: Tensor, largest: float) -> Tensor:
        """What numbers x [N, C, *spatial] of at most `largest` give: the shifted sums."""
        dtype = torch.float64 if self.integer and self.bound(weight, largest) >= EXACT else torch.float32
        out = linear(self.synapse, weight.to(dtype), routed(x.to(dtype), self.projection.routing))
        if self.synapse.shift is not None:
            out = out * self._factor
            if self.analog:
                out = floored(out + 0.5)
        return out

    def saved(self) -> Projection:
        whole = self.whole_weight().cpu().numpy().astype(np.float32).reshape(self.synapse.weight.shape)
        return replace(self.projection, synapse=replace(self.synapse, weight=whole))  # type: ignore[type-var]

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Kaiming's uniform initialisation, fan-in, for a ReLU (He et al., 2015)."""
        fan = self.synapse.rows().shape[1]
        reach = (6.0 / max(fan, 1)) ** 0.5
        with torch.no_grad():
            self.weight.uniform_(-reach, reach, generator=generator)


