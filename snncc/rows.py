"""The rows of an integer network: one scale for each output channel, and what its integers can add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from snncc.bounds import EXACT, MEMBRANE, analog_sums, most_steps, projection_bound
from snncc.encoders import Constant
from snncc.errors import PassError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Neuron, Readout
from snncc.neurons.base import per_channel
from snncc.synapses import Diagonal, Resample

MAX_THETA = 1 << 20
MAX_SCALE = 1 << 30  # of a readout, whose theta is 1 / scale and no threshold: the teacher's outputs may be small
MIN_THETA = 256
FREE_THETA = 1 << 12  # for rows that no spike weight ties down
DIAGONAL = (1 << 15) - 1  # the largest weight where there is one a row
RESAMPLED = 1 << 6  # least weight of a resampled spike, whose fixed factors are large
SINGLE = (Diagonal, Resample)  # with one weight a row
TOO_LARGE = {  # what does not fit, and the remedy
    "v0": ("membranes start too high or low", "v-init{at=half}"),
    "dip": ("a slope too flat", "train with ReLU"),
}


class Rows:
    """One population's rows: the integers for a theta per channel, and what they can add up to.

    Args:
        network: with the encoders' grids. most: the largest integer weight. rows: float weights in place of those of
            some projections. clip: [C], the part of a row's largest weight that has to fit; the caller clips the rest.
    """

    def __init__(
        self, population: Population, incoming: tuple[Projection, ...], network: Network, most: int,
        rows: Mapping[Projection, Array] = MappingProxyType({}), clip: Array | float = 1.0,
    ):
        self.post, self.most, self.network = population, most, network
        self.spiking = [j for j in incoming if network[j.pre].fires and not isinstance(j.synapse, SINGLE)]
        self.diagonal = [j for j in incoming if network[j.pre].fires and isinstance(j.synapse, SINGLE)]
        self.analog = [j for j in incoming if not network[j.pre].fires]
        self.kinds = {j: network[j.pre].kind for j in self.analog}
        self.rows = {j: np.asarray(j.synapse.rows(), np.float64) for j in incoming} | dict(rows)
        self.bias = None if population.bias is None else population.bias.astype(np.float64)
        unit = population.unit
        assert unit is not None
        self.dead = unit == 0
        self.reads_out = isinstance(population.kind, Readout)
        self.theta, self.shift = self._scale(clip)
        self._fit()

    def _fit(self) -> None:
        """Halves theta until the sums of a step are exact."""
        while (over := self._sums() >= EXACT).any():
            if (self.theta[over] < 2).any():
                raise PassError(
                    "the sum of its weights does not fit 24 bits", node=self.post.name,
                    remedy="scale its layer of the teacher down, or --precision float32",
                )
            self.theta = np.where(over, np.maximum(self.theta // 2, 1), self.theta)

    def step(self, j: Projection) -> Array:
        """[C]: from one weight of `j` to the next, in the units of its synapse."""
        kind, (_, shift) = self.kinds.get(j), self.integers(j)
        levels = kind.levels if isinstance(kind, Constant) else 1.0
        return np.asarray(levels * (1.0 if shift is None else 2.0**shift) / self.theta)

    def exchange(self, rows: Mapping[Projection, Array], bias: Array) -> None:
        """Other float weights and another bias, for the same theta."""
        self.rows, self.bias = self.rows | dict(rows), bias
        self._fit()

    def _largest(self, projections: list[Projection]) -> Array:
        """[C]: max |w'| of each row over these projections."""
        out = np.zeros(self.post.channels)
        for j in projections:
            out = np.maximum(out, np.abs(self.rows[j]).max(1))
        return out

    def _scale(self, clip: Array | float) -> tuple[Array, Array]:
        """(theta int64 [C], shift s int64 [C])"""
        largest, diagonal = self._largest(self.spiking) * clip, self._largest(self.diagonal)
        safe = np.where(largest > 0, largest, 1.0)
        least, free = self._resampled()
        free = np.floor(free / clip)
        shift = np.zeros(len(safe), np.int64)
        while (low := (largest > 0) & (np.floor(self.most * 2.0**shift / safe) < least) & (shift < 24)).any():
            shift += low
        top = MAX_SCALE if self.reads_out else MAX_THETA
        theta = np.where(largest > 0, np.minimum(top, np.floor(self.most * 2.0**shift / safe)), free)
        theta = np.minimum(theta, np.floor(DIAGONAL / np.maximum(diagonal, DIAGONAL / top)))
        theta = np.where(theta > MAX_THETA, 2.0 ** np.floor(np.log2(np.maximum(theta, 1))), theta)  # 1 / scale is exact
        return np.where(self.dead, 1, np.maximum(theta, 1)).astype(np.int64), np.where(self.dead, 0, shift)

    def _resampled(self) -> tuple[Array, Array]:
        """theta [C] that resampled spikes need at least, and the one at which their weight is whole."""
        largest = self._largest([j for j in self.diagonal if isinstance(j.synapse, Resample)])
        safe = np.where(largest > 0, largest, 1.0)  # where there are none, MIN_THETA and FREE_THETA come out
        weight = np.clip(np.ceil(FREE_THETA * safe), RESAMPLED, np.maximum(np.floor(MAX_THETA * safe), 1))
        return np.clip(RESAMPLED / safe, MIN_THETA, MAX_THETA), np.floor(np.minimum(MAX_THETA, weight / safe))

    def integers(self, j: Projection) -> tuple[Array, Array | None]:
        """(weights as rows, exponent of two per row or None)"""
        alive = np.where(self.dead, 0.0, self.theta.astype(np.float64))[:, None]
        if j in self.analog:
            kind = self.kinds[j]
            assert isinstance(kind, Constant)
            exact = self.rows[j] * alive / kind.levels
            most = np.abs(exact).max(1)
            fit = np.floor(np.log2(self.most / np.where(most > 0, most, self.most)))
            up = np.clip(fit, -24, 20)
            weights = np.rint(exact * 2.0 ** up[:, None])
            while (over := analog_sums(j, kind, weights, -up) >= EXACT).any():
                up -= over
                weights = np.rint(exact * 2.0 ** up[:, None])
            return weights, -up.astype(np.int64)
        if j in self.diagonal:
            return np.rint(self.rows[j] * alive), None
        weights = np.rint(self.rows[j] * alive / 2.0 ** self.shift[:, None])
        return weights, self.shift if self.shift.any() else None

    def _sums(self) -> Array:
        """[C]: the largest |current| of a step; every partial sum stays below it too."""
        total = np.zeros(self.post.channels)
        for j in self.rows:
            total += projection_bound(self.network, j, *self.integers(j))
        bias = self._bias()
        if bias is not None:
            total += np.abs(bias).reshape(len(total), -1).max(1)
        return total

    def _bias(self) -> Array | None:
        if self.bias is None:
            return None
        alive = np.where(self.dead, 0, self.theta).reshape(-1, *(1,) * (self.bias.ndim - 1))
        return np.rint(self.bias * alive)

    def steps(self) -> int:
        """t_max: the membrane, also with one more threshold added, stays below 2^31.

        Raises:
            PassError: not even one step does.
        """
        most = most_steps(self.kind(), self.theta.astype(np.float64), self._sums())
        if most < 1:
            raise PassError(
                "a membrane could overflow in one step", node=self.post.name,
                remedy="larger thresholds (a nearly silent channel has tiny ones: --per layer), or --precision float32",
            )
        return most

    def kind(self) -> Neuron:
        """The neuron with integer parameters."""
        old = self.post.kind
        assert isinstance(old, Neuron)
        if isinstance(old, Readout):
            self._speaks()
            return replace(old, scale=(1.0 / self.theta).astype(np.float32), integer=True)
        alive = np.where(self.dead, 0, self.theta)
        whole = {"theta": self.theta.astype(np.int32)}
        for key, rounded in (("v0", np.floor), ("dip", np.rint)):
            values = old.parameters().get(key)
            if values is not None:
                exact = rounded(values * per_channel(alive, values.ndim))
                if np.abs(exact).max(initial=0) >= MEMBRANE / 4:
                    why, how = TOO_LARGE[key]
                    raise PassError(f"{why} for int32", node=self.post.name, remedy=how)
                whole[key] = exact.astype(np.int32)
        return replace(old, **whole)  # type: ignore[type-var]

    def _speaks(self) -> None:
        """Raises PassError for a readout of which rounding leaves nothing."""
        kept = [self.integers(j)[0] for j in self.rows] + ([] if self.bias is None else [self._bias()])
        if not any(np.any(part) for part in kept) and any(row[~self.dead].any() for row in self.rows.values()):
            raise PassError(
                "its outputs are too small for whole weights", node=self.post.name,
                remedy="scale the teacher's last layer up, or --precision float32",
            )

    def population(self) -> Population:
        bias = self._bias()
        return replace(self.post, kind=self.kind(), bias=None if bias is None else bias.astype(np.float32))

    def projections(self) -> dict[Projection, Projection]:
        out = {}
        for j in self.rows:
            weights, shift = self.integers(j)
            shift = None if shift is None else shift.astype(np.int32)
            out[j] = replace(j, synapse=j.synapse.with_rows(weights.astype(np.float32), shift))
        return out
