"""Thresholds scaled: fewer spikes that stand for more, or more that stand for less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from snncc.errors import OptionError
from snncc.graph import Array
from snncc.network import Network
from snncc.passes.network.calibrate import lowered, with_units
from snncc.passes.network.neurons import calibrated
from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class ThresholdScale:
    """multiplies lambda of every population by a factor (below 1 for few steps)

    Above 1 it saves spikes: each stands for more. No lambda gets above the ceiling of its population.

    Args:
        layers: other factors by name of population, `pattern:factor;pattern:factor` (`*` matches all).
        compound: factor^depth, depth in populations from the input: every threshold, counted in spikes of the layer
            before it, is multiplied by the factor. That is what Rathi et al. do; all deeper layers fire more by it.
    """

    factor: float = 1.0
    layers: str = ""
    compound: bool = False

    name: ClassVar[str] = "threshold-scale"
    level: ClassVar[Level] = "network"
    before: ClassVar[str] = "neurons"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (calibrated, lowered)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        for factor in (self.factor, *(factor for _, factor in self._exceptions())):
            if not 0 < factor < float("inf"):
                raise OptionError(f"threshold-scale: factor={factor}", remedy="a number above 0")

    def _exceptions(self) -> list[tuple[str, float]]:
        items = [item.strip().rpartition(":") for item in self.layers.split(";") if item.strip()]
        try:
            return [(pattern, float(factor)) for pattern, _, factor in items]
        except ValueError as fault:
            raise OptionError(f"threshold-scale: layers: {fault}", remedy="form: pattern:factor;...") from None

    def run(self, network: Network, context: Context) -> Network:
        names, exceptions = [p.name for p in network.populations], self._exceptions()
        for pattern, _ in exceptions:
            if not any(fnmatchcase(name, pattern) for name in names):
                what = f"threshold-scale: no population is called {pattern!r}"
                raise OptionError(what, remedy=f"there are {', '.join(names)}")
        units: dict[str, Array] = {}
        depth: dict[str, int] = {}
        for population in network.populations:
            before = max((depth[j.pre] for j in network.incoming(population)), default=-1)
            depth[population.name] = before + (not population.is_gate)
            found = (factor for pattern, factor in exceptions if fnmatchcase(population.name, pattern))
            if population.unit is not None:
                power = depth[population.name] if self.compound else 1
                units[population.name] = population.unit * next(found, self.factor) ** power
        return with_units(network, units)
