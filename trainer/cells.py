"""The trainable parts: one `Link` a projection, one `Cell` a population.

In an integer network their parameters are in units of the scale of their row (its first threshold), and the forward
pass rounds them to the integers that will be saved.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snncc.bounds import EXACT
from snncc.encoders import Constant
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Leaky, Neuron, Readout
from snncc.neurons.leaky import DIVISOR
from snncc.rows import DIAGONAL, SINGLE
from snncc.synapses import ConvTranspose, Pool, Resample
from snncc.trainer.linear import linear, routed
from snncc.trainer.surrogate import floored, rounded


def row_scale(population: Population) -> Array:
    """[C] float64: the number that one unit of a row is in the network: its threshold, or a readout's 1 / scale."""
    kind = population.kind
    assert isinstance(kind, Neuron)
    if isinstance(kind, Readout):
        return np.rint(1.0 / kind.scale.astype(np.float64)) if kind.integer else np.ones(population.channels)
    return np.asarray(kind.parameters().get("theta", np.ones(population.channels)), np.float64)


def _tensor(values: Array) -> Tensor:
    return torch.as_tensor(np.array(values, np.float32))


class Cell(nn.Module):
    """Bias, thresholds and leak of one population.

    bias: [C] or [C, *spatial], threshold: [C], in units of the row; leak: the share that stays.
    """

    bias: Tensor | None
    threshold: Tensor | None
    leak: Tensor | None

    def __init__(self, network: Network, population: Population, bits: int | None):
        super().__init__()
        self.population, self.integer = population, bits is not None
        self.rank = len(population.shape)
        kind = population.kind
        assert isinstance(kind, Neuron)
        self.neuron = kind
        scale, given, bias = row_scale(population), kind.parameters(), population.bias
        if bias is not None:
            bias = bias / scale.reshape(-1, *(1,) * (bias.ndim - 1))
        self.bias = None if bias is None else nn.Parameter(_tensor(bias))
        self.threshold = nn.Parameter(torch.ones(population.channels)) if "theta" in given else None
        self.leak = nn.Parameter(torch.tensor(kind.multiplier / DIVISOR)) if isinstance(kind, Leaky) else None
        self.register_buffer("scale", _tensor(scale))
        v0, theta, dip = (given.get(key, np.full(1, least)) for key, least in (("v0", 0), ("theta", 1), ("dip", 0)))
        # membranes that start at half the threshold go on to do so when the threshold moves
        self.starts_half = v0.ndim == 1 and bool((v0 == (theta // 2 if self.integer else theta / 2)).all())
        self.register_buffer("_v0", self._spread(_tensor(v0)) / self._spread(self.scale), persistent=False)
        self.register_buffer("_dip", self._spread(_tensor(dip)) / self._spread(self.scale), persistent=False)

    def _spread(self, values: Tensor) -> Tensor:
        return values if values.ndim > 1 else values.reshape(-1, *(1,) * (self.rank - 1))

    def _whole(self, values: Tensor) -> Tensor:
        """Values in units of the row, as they are in the network."""
        product = self._spread(values) * self._spread(self.scale)
        return rounded(product) if self.integer else product

    def whole_bias(self) -> Tensor | None:
        """[C, 1, ...] or [C, *spatial]"""
        return None if self.bias is None else self._whole(self.bias)

    def theta(self) -> Tensor:
        assert self.threshold is not None
        return self._whole(self.threshold).clamp(min=1) if self.integer else self._whole(self.threshold)

    def v0(self, theta: Tensor) -> Tensor:
        if not self.starts_half:
            return self._whole(self._v0)
        return floored(theta / 2) if self.integer else theta / 2

    def dip(self) -> Tensor:
        return self._whole(self._dip)

    def multiplier(self) -> Tensor | None:
        return None if self.leak is None else rounded(self.leak * DIVISOR).clamp(1, DIVISOR)

    def readout(self) -> Tensor:
        """[C, 1, ...]: the factor from a readout's sums to values."""
        assert isinstance(self.neuron, Readout)
        scale = (1 / self.scale.double()).float() if self.integer else torch.as_tensor(np.array(self.neuron.scale))
        return self._spread(scale.to(self.scale.device))

    @torch.no_grad()
    def saved(self) -> Population:
        """The population with what has been learned; its spikes keep their unit."""
        given, bias, dtypes = self.population.bias, self.whole_bias(), self.neuron.parameters()
        changes: dict[str, Any] = {}
        if isinstance(self.neuron, Readout):
            changes["scale"] = self.readout().reshape(-1).cpu().numpy()
        if self.threshold is not None:
            theta = self.theta()
            found = {"theta": theta, "v0": self.v0(theta), "dip": self.dip()}
            for key in found.keys() & dtypes.keys():
                changes[key] = found[key].reshape(dtypes[key].shape).cpu().numpy().astype(dtypes[key].dtype)
        multiplier = self.multiplier()
        if multiplier is not None:
            changes["multiplier"] = int(multiplier)
        if given is not None:
            assert bias is not None
            given = bias.reshape(given.shape).cpu().numpy().astype(np.float32)
        return replace(self.population, kind=replace(self.neuron, **changes), bias=given)  # type: ignore[type-var]


class Link(nn.Module):
    """The weights of one projection: rows of its post population for a spike, or for 1 of an analog value."""

    def __init__(self, network: Network, projection: Projection, bits: int | None):
        super().__init__()
        self.projection, self.synapse = projection, projection.synapse
        self.analog, self.integer = network.analog(projection), bits is not None
        post, kind = network[projection.post], network[projection.pre].kind
        self.levels = kind.levels if isinstance(kind, Constant) and kind.levels else 1.0
        self.rank = len(post.shape)
        single = isinstance(self.synapse, SINGLE) and not self.analog
        self.most = float(DIAGONAL if single else (1 << ((bits or 8) - 1)) - 1)
        shift = np.zeros(post.channels) if self.synapse.shift is None else self.synapse.shift
        spread, factor = self.spread(row_scale(post), shift.astype(np.float64))
        self.register_buffer("scale", spread)
        self.register_buffer("factor", factor)
        self.weight = nn.Parameter(_tensor(self.synapse.weight) / self.scale)

    def spread(self, scale: Array, shift: Array) -> tuple[Tensor, Tensor]:
        """What parameters and weighted sums are multiplied with, in their shapes. scale: [C], what one unit of each row
        is; shift: [C], the power of two behind its weighted sums."""
        rows = np.broadcast_to((scale / 2.0**shift / self.levels)[:, None], self.synapse.rows().shape)
        spread = self.synapse.with_rows(np.ascontiguousarray(rows), self.synapse.shift).weight
        return _tensor(spread), _tensor((2.0**shift).reshape(-1, *(1,) * (self.rank - 1)))

    def whole_weight(self) -> Tensor:
        weight = self.weight * self.scale
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
        return float(sums.max()) * largest * max(1.0, float(self.factor.max()))

    def current(self, x: Tensor, weight: Tensor, bound: float) -> Tensor:
        """What numbers x [N, C, *spatial] give: the shifted sums; bound: see there."""
        dtype = torch.float64 if self.integer and bound >= EXACT else torch.float32
        out = linear(self.synapse, weight.to(dtype), routed(x.to(dtype), self.projection.routing))
        if bool((self.factor != 1).any()):
            out = out * self.factor
        return floored(out + 0.5) if self.analog and self.integer else out

    @torch.no_grad()
    def saved(self) -> Projection:
        whole = self.whole_weight().cpu().numpy().astype(np.float32).reshape(self.synapse.weight.shape)
        shift: Array | None = np.log2(self.factor.reshape(-1).cpu().numpy()).astype(np.int32)
        if not self.integer or not (self.analog or np.any(shift)):
            shift = None
        return replace(self.projection, synapse=replace(self.synapse, weight=whole, shift=shift))  # type: ignore[type-var]

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Kaiming's uniform initialisation, fan-in, for a ReLU (He et al., 2015)."""
        reach = (6.0 / max(self.synapse.rows().shape[1], 1)) ** 0.5
        with torch.no_grad():
            self.weight.uniform_(-reach, reach, generator=generator)
