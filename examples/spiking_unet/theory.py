"""The theorem on thresholds (Li et al., 2024, 3.1), checked numerically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from examples.spiking_unet.tasks import Array
from snncc.neurons import MultiThreshold

GRID = 16  # thresholds that are tried: multiples of 1 / GRID
POINTS = 1 << 12  # membrane potentials: the middles of as many equal parts of [0, 1]


def residue(potential: Array, thresholds: Sequence[float]) -> Array:
    """What a cascade leaves of potentials: each threshold, from the highest down, fires once where it is passed."""
    left = np.array(potential, np.float64)
    for threshold in sorted(thresholds, reverse=True):
        left -= threshold * (left > threshold)
    return left


@dataclass(frozen=True)
class Found:
    """Of n thresholds in a cascade, of all on the grid the best, and what they leave on average of a potential that is
    uniform on [0, 1]; engine: what the multi-threshold neuron of this project leaves, with charges of whole numbers;
    same: is its spike at every charge that of the cascade?"""

    n: int
    thresholds: tuple[float, ...]
    residue: float
    engine: float
    same: bool

    @property
    def predicted(self) -> tuple[tuple[float, ...], float]:
        """V_i = 2^-i leave 2^-(n + 1)."""
        return tuple(2.0**-i for i in range(1, self.n + 1)), 2.0 ** -(self.n + 1)


def check(n: int) -> Found:
    middles = (np.arange(POINTS) + 0.5) / POINTS
    tried = {found: float(residue(middles, found).mean()) for found in combinations(np.arange(1, GRID) / GRID, n)}
    best = min(tried, key=lambda found: tried[found])
    spikes, charges, theta = engine_spikes(n)
    left = charges - theta * spikes
    # half a charge more stands in the middle of its unit, and on no threshold
    cascade = residue(charges + 0.5, [theta << k for k in range(n)]) - 0.5
    order = tuple(float(v) for v in sorted(best, reverse=True))
    return Found(n, order, tried[best], float((left + 0.5).mean() / (theta << n)), bool(np.array_equal(left, cascade)))


def engine_spikes(n: int) -> tuple[Array, Array, int]:
    """(spikes, charges, theta) of neurons with n thresholds that get 0, 1, ... 2^n theta - 1 at once, from v0 = 0."""
    theta = POINTS >> n
    charges = np.arange(theta << n)
    neuron = MultiThreshold(np.array([theta], np.int32), np.array([0], np.int32), n)
    current = charges[None].astype(np.int32)
    return neuron.step(neuron.initial(current.shape), current)[0].astype(np.int64), charges, theta
