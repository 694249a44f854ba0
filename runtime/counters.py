"""Adds up what the kernels say they executed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from snncc.counting import Counts
from snncc.graph import Array
from snncc.runtime.plan import Stage


@dataclass(eq=False)
class Executed:
    """Work of one task on one population: events uint64 [T]; rows: projection name -> rows of weights added; macs: name
    of a constant projection -> (value, synapse) pairs."""

    events: Array
    rows: dict[str, int] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)

    @classmethod
    def nothing(cls, stage: Stage, timesteps: int) -> Executed:
        return cls(np.zeros(timesteps, np.uint64), {link.name: 0 for link in stage.spiking})


class Tally:
    """The counts of one run. Unsigned sums, so the order in which tasks end does not matter."""

    def __init__(self, timesteps: int):
        self.counts = Counts(timesteps)
        self._rows: dict[str, int] = {}  # expected rows of weights

    def add(self, stage: Stage, done: Executed) -> None:
        """What a task executed."""
        counts, name = self.counts, stage.population.name
        if stage.population.fires:
            counts.events[name] = counts.events.get(name, np.uint64(0)) + done.events
        for link, rows in done.rows.items():
            self._rows[link] = self._rows.get(link, 0) - rows
        for link, met in done.macs.items():
            counts.macs[link] = counts.macs.get(link, 0) + met

    def add_pairs(self, link: str, steps: slice, found: Array) -> None:
        """What a census (census.py) found: uint64 [4, steps]."""
        counts = self.counts
        for kind, row in zip((counts.synops, counts.synops_nonzero, counts.synops_paths), found, strict=False):
            kind.setdefault(link, np.zeros(counts.timesteps, np.uint64))[steps] += row
        self._rows[link] = self._rows.get(link, 0) + int(found[3].sum())

    def check(self, links: Iterable[str]) -> None:
        """What the kernels added must be what was counted."""
        for link in links:
            left = self._rows.get(link, 0)
            assert left == 0, f"{link}: {left} rows of weights were counted but not added"
