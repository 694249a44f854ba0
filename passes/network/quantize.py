"""Integers with proofs: after this pass every engine gives the same spikes, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snncc.bounds import MAX_STEPS
from snncc.encoders import Constant
from snncc.errors import OptionError, PassError
from snncc.network import Network, Population
from snncc.pipeline import Context, Level
from snncc.rows import Rows

GRID = 255  # steps of the grid of what is in the middle of a network analog


def has_neurons(network: Network) -> None:
    """Raises PassError unless the pass `neurons` ran."""
    if network.meta.get("precision") != "float32":
        raise PassError("the network is not in units of lambda", remedy="run the pass `neurons` before `quantize`")


@dataclass(frozen=True)
class Quantize:
    """integer weights, biases, thresholds and inputs, with proofs that nothing overflows

    Per output channel: theta = min(2^20, floor(q 2^s / max|w'|)) with q = 2^(bits-1) - 1 and s the smallest shift with
    theta >= 256; w = round(w' theta / 2^s); b = round(b' theta). Diagonal weights have 16 bits and do not set the
    scale; nor do those of resampled spikes, for which theta is so large that they are at least 2^6. Analog inputs lie
    on a grid of 1/levels: w_a = round(w'_a theta 2^u / levels), u the largest that fits.
    """

    bits: int = 8

    name: ClassVar[str] = "quantize"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (has_neurons,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise OptionError(f"quantize: bits={self.bits}", remedy="2 to 8 bits")

    def run(self, network: Network, context: Context) -> Network:
        done = network.with_populations({p.name: _on_grid(p, network) for p in network.encoders})
        done = done.with_meta(precision=f"int{self.bits}")
        limit = MAX_STEPS
        for population in network.populations:
            if population.is_encoder or population.is_gate:
                continue
            rows = self._rows(network, population, done, context)
            done = done.with_populations({population.name: rows.population()}).with_projections(rows.projections())
            limit = min(limit, rows.steps())
        return done.with_meta(t_max=limit)

    @property
    def most(self) -> int:
        """The largest integer weight."""
        return (1 << (self.bits - 1)) - 1

    def _rows(self, network: Network, population: Population, done: Network, context: Context) -> Rows:
        """Integers for one population; done: the network with those of all populations before it."""
        return Rows(population, network.incoming(population), done, self.most)


def _on_grid(population: Population, network: Network) -> Population:
    """[0, 1] becomes uint8; another range a grid of its own, symmetric if it has negative values. What the interlude
    gives has any range: its grid has 255 steps from the least value (or 0) to the largest."""
    if not isinstance(population.kind, Constant):
        return population
    low, high = network.meta["calibration"]["ranges"][population.name]
    if network.is_midway(population):
        low, high = min(low, 0.0), max(high, 0.0)
        levels = GRID / (high - low) if high > low else 1.0
        least, most = round(low * levels), round(high * levels)
    elif low >= 0:
        levels, least, most = 255.0 / (high if high > 1 else 1.0), 0, 255
    else:
        levels, least, most = 127.0 / max(-low, high), -127, 127
    levels = float(np.float32(min(levels, 2.0**126)))  # values that are no normal float32 are too small to tell
    assert population.unit is not None
    return replace(population, kind=Constant(levels, least, most), unit=population.unit / levels)
