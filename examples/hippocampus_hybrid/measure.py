"""What a network says of some samples, and what that costs: the same for teachers and spiking networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import snncc
from snncc.comparison.metrics import Metric
from snncc.ingest import ingest
from snncc.runtime.host import HostSession

Array = np.ndarray[Any, np.dtype[Any]]
COSTS = ("synops", "macs", "teacher_macs")


class Source(Protocol):
    """Samples that belong together: the slices of a subject, or some images."""

    def load(self) -> tuple[Array, Array]:
        """Network inputs [n, C, *spatial] and what is true of each."""


@lru_cache(maxsize=4)
def spiking(file: Path) -> snncc.Model:
    return snncc.load(file)


@lru_cache(maxsize=4)
def teacher(file: Path) -> tuple[str, HostSession]:
    """The name of its input, and what runs it."""
    graph = ingest(file)
    (name,) = graph.inputs
    return name, HostSession(graph, graph.outputs)


def teacher_output(file: Path, sample: Array) -> Array:
    """[1, ...] of a sample [C, *spatial]."""
    name, session = teacher(file)
    (found,) = session.run({name: sample[None]}).values()
    return np.asarray(found)


def measure(
    file: Path, source: Source, metrics: Sequence[Metric], steps: int | None = None, prefixes: Sequence[int] = ()
) -> dict[str, Any]:
    """Run a teacher's file, or a compiled one, on all samples of a source. The k-th sample's spikes have the seed k.

    Args:
        metrics: the first is that of the samples and prefixes. steps: None: those it was compiled for.
        prefixes: steps after which the output is looked at, too.

    Returns:
        What `Metric.counts` says: "samples" of each of them, "metrics" by metric and "prefixes" by prefix of all
        together; "synops", "macs", "teacher_macs", "events" (by population) of all together, "slots": neurons times
        steps.
    """
    inputs, truth = source.load()
    found: dict[str, Any] = {"samples": [], "metrics": 0, "prefixes": 0} | dict.fromkeys(COSTS, 0)
    events: dict[str, int] = {}
    slots: dict[str, int] = {}
    for k, (sample, true) in enumerate(zip(inputs, truth, strict=True)):
        if file.name.endswith(".snn.onnx"):
            model = spiking(file)
            result = model.run(sample, steps, seed=k, over_time=bool(prefixes))
            (output,) = result.outputs.values()
            along = next(iter(result.over_time.values()), output[None])
            totals, counts = result.counts.totals, result.counts.counts
            assert counts is not None
            found |= {key: found[key] + totals[key] for key in COSTS}
            for population in model.network.populations:
                if population.name in counts.events:
                    name = population.name
                    events[name] = events.get(name, 0) + int(counts.events[name].sum())
                    slots[name] = slots.get(name, 0) + population.size * result.counts.timesteps
        else:
            output = teacher_output(file, sample)
            along = output[None]
        found["samples"].append(metrics[0].counts(output, true))
        found["metrics"] = found["metrics"] + np.stack([m.counts(output, true) for m in metrics])
        now = [metrics[0].counts(along[t - 1], true) for t in prefixes or (1,)]
        found["prefixes"] = found["prefixes"] + np.stack(now)
    lists = {key: np.asarray(found[key]).tolist() for key in ("samples", "metrics", "prefixes")}
    return {**found, **lists, "events": events, "slots": slots}


def together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several sources: SynOps and MACs (of analog inputs) per teacher MAC, None of teachers; the rate of each
    population in events per neuron and step."""
    macs = sum(part["teacher_macs"] for part in parts)
    rates = {name: sum(p["events"][name] for p in parts) / sum(p["slots"][name] for p in parts)
             for name in parts[0]["events"]}  # fmt: skip
    synops, analog = (sum(part[key] for part in parts) / macs if macs else None for key in ("synops", "macs"))
    return {"synops_per_mac": synops, "analog_per_mac": analog, "rates": rates}
