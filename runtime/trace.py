"""What a run of an engine gives, and what every engine offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from snncc.counting import Counts
from snncc.graph import Array


@dataclass(eq=False)
class Trace:
    """One inference of one sample.

    Args:
        potentials: readout name -> V [C, *spatial] after the last step, or [T, C, *spatial] with prefixes;
            int32 or float32, not yet scaled.
        spikes: population name -> int8 [T, C, *spatial] in {-1, 0, 1}; empty unless recorded.
        counts: what the engine executed.
    """

    potentials: dict[str, Array]
    spikes: dict[str, Array] = field(default_factory=dict)
    counts: Counts = field(default_factory=lambda: Counts(0))


class Engine(Protocol):
    """Runs a network step by step, or as if it did."""

    def run(
        self,
        values: Mapping[str, Array],
        timesteps: int,
        *,
        seed: int = 0,
        record: bool = False,
        prefixes: bool = False,
    ) -> Trace:
        """values: encoder population name -> float32 [C, *spatial], without a batch axis."""
        ...
