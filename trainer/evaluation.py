"""What a module is worth on a data set: the loss, a metric, and what it spends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from snncc.graph import Array
from snncc.trainer.forward import Trace
from snncc.trainer.module import SpikingModule

Sample = tuple[Mapping[str, Tensor], Any]  # inputs by name, and what the loss and the metric compare with
Loss = Callable[[Trace, Any], Tensor]
Progress = Callable[[str, int, int | None], None]


class Metric(Protocol):
    """A score, higher is better. `snncc.comparison.metrics.Metric` is one."""

    def counts(self, output: Array, target: Any) -> Array:
        """Of one sample's first output [1, C, *spatial] and its target: what adds up over the samples of a case."""

    def value(self, counts: Array) -> float:
        """The score of a case."""


@dataclass(frozen=True)
class Evaluation:
    """metric: the mean over all cases (minus the loss where no metric was given); synops: per teacher MAC; rates:
    population -> events per neuron and step."""

    loss: float
    metric: float
    synops: float
    rates: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Sums:
    samples: int = 0
    loss: float = 0.0
    synops: float = 0.0
    slots: dict[str, float] = field(default_factory=dict)  # population -> neurons times steps
    events: dict[str, float] = field(default_factory=dict)
    cases: dict[int, Array] = field(default_factory=dict)

    def add(self, other: _Sums) -> None:
        self.samples, self.loss = self.samples + other.samples, self.loss + other.loss
        self.synops += other.synops
        pairs: Any = ((self.slots, other.slots), (self.events, other.events), (self.cases, other.cases))
        for mine, theirs in pairs:
            for key, value in theirs.items():
                mine[key] = mine[key] + value if key in mine else value

    def result(self, module: SpikingModule, metric: Metric | None) -> Evaluation:
        macs = max(float(module.network.meta.get("teacher", {}).get("macs", 0)), 1.0)
        loss = self.loss / self.samples
        score = -loss if metric is None else float(np.mean([metric.value(self.cases[k]) for k in sorted(self.cases)]))
        rates = {name: events / self.slots[name] for name, events in self.events.items()}
        return Evaluation(loss, score, self.synops / macs / self.samples, rates)


def evaluate(
    module: SpikingModule, data: Dataset[Sample], loss: Loss, metric: Metric | None = None, *,
    cases: Sequence[int] | None = None, timesteps: int | None = None, batch: int = 16,
    progress: Progress = lambda label, done, total: None,
) -> Evaluation:  # fmt: skip
    """Run a data set through a module, without gradients. Several processes each run a part of it, and all get the
    same result.

    Args:
        data, loss, metric: see `fit`. cases: the case of each sample; None: each sample is one.
    """
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    mine = list(range(len(data)))[rank::world]
    device, sums = next(module.parameters()).device, _Sums()
    with torch.no_grad():
        for k, (inputs, target) in enumerate(DataLoader(data, batch, sampler=mine)):
            inputs, target = moved(inputs, device), moved(target, device)
            found = _batch(module.trace(inputs, timesteps), target, loss)
            if metric is not None:
                output = next(iter(found.trace.outputs.values())).cpu().numpy()
                for at, index in enumerate(mine[k * batch : (k + 1) * batch]):
                    case = index if cases is None else cases[index]
                    found.sums.add(_Sums(cases={case: metric.counts(output[at : at + 1], _item(target, at))}))
            sums.add(found.sums)
            progress("validation", k + 1, -(-len(mine) // batch))
    if world > 1:
        parts: list[_Sums] = [sums] * world
        distributed.all_gather_object(parts, sums)
        sums = _Sums()
        for part in parts:
            sums.add(part)
    return sums.result(module, metric)


@dataclass
class _Batch:
    trace: Trace
    sums: _Sums


def _batch(trace: Trace, target: Any, loss: Loss) -> _Batch:
    synops, events = trace.synops(), trace.events()
    slots = {name: float(n.numel() * trace.timesteps) for name, n in events.items()}
    totals = {name: float(n.double().sum()) for name, n in events.items()}
    size = len(synops)
    return _Batch(trace, _Sums(size, float(loss(trace, target)) * size, float(synops.sum()), slots, totals))


def moved(value: Any, device: torch.device) -> Any:
    """Tensors, or mappings of tensors, on a device."""
    return {k: v.to(device) for k, v in value.items()} if isinstance(value, Mapping) else value.to(device)


def _item(target: Any, at: int) -> Any:
    if isinstance(target, Mapping):
        return {name: value[at].cpu().numpy() for name, value in target.items()}
    return target[at].cpu().numpy()
