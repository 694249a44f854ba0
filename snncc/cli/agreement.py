"""How well a spiking network agrees with its teacher on some calibration samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from snncc.api import Plan, Stream
from snncc.cli.tables import Bars, table
from snncc.graph import Array
from snncc.model import Model
from snncc.pipeline import Feeds
from snncc.runtime.host import HostSession

MOST = 16


def sample_of(stream: Iterator[Feeds], most: int = MOST) -> list[Feeds]:
    """At most `most` samples, each equally likely, in one pass (reservoir sampling, fixed seed)."""
    rng, kept = np.random.default_rng(0), []
    for index, feeds in enumerate(stream):
        if index < most:
            kept.append(feeds)
        elif (place := int(rng.integers(index + 1))) < most:
            kept[place] = feeds
    return kept


def agreement(
    todo: Plan, model: Model, stream: Stream, threshold: float | None, bars: Bars
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Per output: samples, mean absolute error, correlation, and the share of equal labels (None: no labels). And what
    the network did on them: samples, events_per_neuron, synops_per_teacher_mac (None: a teacher without MACs)."""
    teacher = todo.graph
    session = HostSession(teacher, teacher.outputs)
    pairs: dict[str, list[tuple[Array, Array]]] = {name: [] for name in teacher.outputs}
    chosen, done = sample_of(stream()), Counter[str]()
    for index, feeds in enumerate(chosen):
        expected, found = session.run(todo.analog(feeds)), model.run(feeds)
        for name in teacher.outputs:
            pairs[name].append((expected[name], found.outputs[name]))
        done.update(found.counts.totals)
        bars("agreement", index + 1, len(chosen))
    neurons = len(chosen) * sum(p.size for p in model.network.populations if p.fires)
    measured = {
        "samples": len(chosen),
        "events_per_neuron": done["events"] / max(neurons, 1),
        "synops_per_teacher_mac": done["synops"] / done["teacher_macs"] if done["teacher_macs"] else None,
    }
    return [{"output": name, **compared(each, threshold)} for name, each in pairs.items()], measured


def compared(pairs: list[tuple[Array, Array]], threshold: float | None) -> dict[str, Any]:
    """The same of one output, from (the teacher's, the network's) of each sample."""
    a = np.stack([expected for expected, _ in pairs])  # [samples, 1, C, ...]
    b = np.stack([found for _, found in pairs])
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    spread = float(x.std() * y.std())
    correlation = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread else None
    same = None
    if np.issubdtype(a.dtype, np.integer):
        same = float(np.mean(a == b))
    elif a.ndim > 2 and a.shape[2] > 1:
        same = float(np.mean(a.argmax(2) == b.argmax(2)))
    elif threshold is not None:
        same = float(np.mean((a > threshold) == (b > threshold)))
    return {
        "samples": len(pairs),
        "mean_absolute_error": float(np.abs(x - y).mean()),
        "correlation": correlation,
        "label_agreement": same,
    }


def show(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """As a table."""
    rows = [
        (
            each["output"],
            each["samples"],
            f"{each['mean_absolute_error']:.5f}",
            "-" if each["correlation"] is None else f"{each['correlation']:.5f}",
            "-" if each["label_agreement"] is None else f"{each['label_agreement']:.3%}",
        )
        for each in found
    ]
    table(title, ("output", "samples", "mean abs. error", "correlation", "equal labels"), rows)
