"""What `snncc run --json` writes: the counts of one or several samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snncc.counting import Counts, bias_adds, neuron_updates
from snncc.errors import DataError
from snncc.macs import Macs, graph_macs
from snncc.network import Network

EXECUTED = ("events", "synops", "synops_nonzero", "synops_paths")


@dataclass(frozen=True)
class Facts:
    """What every sample of a network costs, whatever its spikes: per step, or once an inference."""

    network: Network
    neuron_updates: int
    bias_adds: int
    host_macs: int
    teacher_macs: int
    teacher_macs_padded: int

    @classmethod
    def of(cls, network: Network) -> Facts:
        host = sum((graph_macs(part) for part in network.analog_parts.values()), Macs())
        teacher = network.meta.get("teacher", {})
        macs = (int(teacher.get("macs", 0)), int(teacher.get("macs_padded", 0)))
        return cls(network, neuron_updates(network), bias_adds(network), host.valid, *macs)


@dataclass(eq=False)
class RunCounts:
    """Counts of samples that ran for the same number of steps; `totals` and all lists are sums over them."""

    facts: Facts
    engine: str
    timesteps: int
    samples: list[dict[str, Any]] = field(default_factory=list)
    counts: Counts | None = None

    def add(self, counts: Counts, **label: Any) -> RunCounts:
        """Count one more sample; `label` goes into its entry of `samples`."""
        return self.merge([{**label, **self._totals(counts, 1)}], counts)

    def merge(self, samples: list[dict[str, Any]], counts: Counts) -> RunCounts:
        """Add samples that were counted together. Raises DataError if they ran for another number of steps."""
        if counts.timesteps != self.timesteps:
            what = f"spike trains of {counts.timesteps} and of {self.timesteps} steps"
            raise DataError(what, remedy="give one length at a time")
        self.samples += samples
        self.counts = counts if self.counts is None else self.counts + counts
        return self

    def _totals(self, counts: Counts, samples: int) -> dict[str, int]:
        facts, steps = self.facts, self.timesteps * samples
        executed = {key: sum(int(v.sum()) for v in getattr(counts, key).values()) for key in EXECUTED}
        return executed | {
            "macs": sum(counts.macs.values()) + facts.host_macs * samples,
            "neuron_updates": facts.neuron_updates * steps,
            "bias_adds": facts.bias_adds * steps,
            "teacher_macs": facts.teacher_macs * samples,
            "teacher_macs_padded": facts.teacher_macs_padded * samples,
        }

    @property
    def _sum(self) -> Counts:
        return self.counts if self.counts is not None else Counts(self.timesteps)

    @property
    def totals(self) -> dict[str, int]:
        return self._totals(self._sum, len(self.samples))

    @property
    def populations(self) -> list[dict[str, Any]]:
        """Those that fire; rate: events per neuron and step."""
        found = []
        for p in self.facts.network.populations:
            if p.fires:
                events = _total(self._sum.events, p.name)
                slots = p.size * self.timesteps * max(len(self.samples), 1)
                found.append({"name": p.name, "neurons": p.size, "events": events, "rate": events / slots})
        return found

    @property
    def projections(self) -> list[dict[str, Any]]:
        """All; a constant current has MACs and no SynOps."""
        keys = ("synops", "synops_nonzero")
        return [
            {"pre": j.pre, "post": j.post} | {key: _total(getattr(self._sum, key), j.name) for key in keys}
            for j in self.facts.network.projections
        ]

    def leaving(self, key: str) -> dict[str, int]:
        """An entry of `projections`, summed by the population that sent the events."""
        found = {p["name"]: 0 for p in self.populations}
        for j in self.projections:
            if j["pre"] in found:
                found[j["pre"]] += j[key]
        return found

    @property
    def latency(self) -> int:
        """Steps from the first input to the last output of a sample."""
        return self.facts.network.windows * self.timesteps

    @property
    def synops_per_step(self) -> list[int]:
        steps = np.zeros(self.timesteps, np.uint64)
        for executed in self._sum.synops.values():
            steps += executed
        return [int(n) for n in steps]

    def to_dict(self) -> dict[str, Any]:
        return {
            "timesteps": self.timesteps,
            "latency": self.latency,
            "engine": self.engine,
            "totals": self.totals,
            "populations": self.populations,
            "projections": self.projections,
            "synops_per_step": self.synops_per_step,
            "samples": self.samples,
        }


def _total(executed: dict[str, Any], name: str) -> int:
    return int(executed[name].sum()) if name in executed else 0
