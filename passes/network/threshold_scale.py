"""Thresholds scaled by one factor: fewer spikes that stand for more, or more that stand for less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from snncc.errors import OptionError
from snncc.network import Network
from snncc.passes.network.calibrate import lowered, with_units
from snncc.passes.network.neurons import calibrated
from snncc.pipeline import Context, Level


@dataclass(frozen=True)
class ThresholdScale:
    """multiplies lambda of every population by a factor (Rathi et al., 2020: below 1 for few steps)

    Above 1 it saves spikes: each stands for more. No lambda gets above the ceiling of its population.
    """

    factor: float = 1.0

    name: ClassVar[str] = "threshold-scale"
    level: ClassVar[Level] = "network"
    before: ClassVar[str] = "neurons"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (calibrated, lowered)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise OptionError(f"threshold-scale: factor={self.factor}", remedy="a number above 0")

    def run(self, network: Network, context: Context) -> Network:
        return with_units(network, {p.name: p.unit * self.factor for p in network.populations if p.unit is not None})
