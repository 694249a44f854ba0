"""Adds up what the kernels say they executed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from snncc.counting import Counts
from snncc.graph import Array
from snncc.runtime.plan import Stage


@dataclass(eq=False)
class Executed:
    """Work of one task on one population: events uint64 [T]; pairs: projection name -> uint64 [3, T], whose rows are
    synops, synops_nonzero, synops_paths; macs: name of a constant projection -> (value, synapse) pairs."""

    events: Array
    pairs: dict[str, Array] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)

    @classmethod
    def nothing(cls, stage: Stage, timesteps: int) -> Executed:
        links = {link.name: np.zeros((3, timesteps), np.uint64) for link in stage.spiking}
        return cls(np.zeros(timesteps, np.uint64), links)


class Tally:
    """The counts of one run. Unsigned sums, so the order in which tasks end does not matter."""

    def __init__(self, timesteps: int):
        self.counts = Counts(timesteps)

    def add(self, stage: Stage, done: Executed) -> None:
        counts, name = self.counts, stage.population.name
        if stage.population.fires:
            counts.events[name] = counts.events.get(name, np.uint64(0)) + done.events
        for link, pairs in done.pairs.items():
            for kind, row in zip((counts.synops, counts.synops_nonzero, counts.synops_paths), pairs, strict=True):
                kind[link] = kind.get(link, np.uint64(0)) + row
        for link, met in done.macs.items():
            counts.macs[link] = counts.macs.get(link, 0) + met
