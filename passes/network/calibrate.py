"""What one spike stands for: lambda per channel from the teacher's activations on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from snncc.errors import DataError, OptionError
from snncc.graph import Array
from snncc.network import Network, Population
from snncc.neurons import LeakyRectifier, Linear, Readout, Rectifier
from snncc.pipeline import Context, Level
from snncc.synapses.routing import apply_all

BINS = 4096
QUANTILES = (*map(float, range(0, 90, 5)), *map(float, range(90, 100)), 99.5, 99.7, 99.9, 99.95, 99.99, 100.0)


@dataclass(frozen=True)
class Calibrate:
    """sets lambda, the activation that one spike stands for: a percentile or the maximum, per channel or layer

    Two streaming passes over the data: maxima first, then histograms of BINS bins a channel, so memory does not grow
    with the data. Percentiles are over all positions, zeros included (Rueckauer et al., 2017).
    """

    method: str = "percentile"
    q: float = 99.9
    per: str = "channel"

    name: ClassVar[str] = "calibrate"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = ()
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        methods, scopes = ("percentile", "max"), ("layer", "channel")
        for key, value, known in (("method", self.method, methods), ("per", self.per, scopes)):
            if value not in known:
                raise OptionError(f"calibrate: {key}={value!r} is unknown", remedy=f"one of {', '.join(known)}")
        if not 0 < self.q <= 100:
            raise OptionError(f"calibrate: q={self.q} is not a percentile", remedy="0 < q <= 100")

    def run(self, network: Network, context: Context) -> Network:
        ideals = (Rectifier, LeakyRectifier, Linear)
        watched = {p.name: p for p in network.populations if isinstance(p.kind, ideals) or p.is_encoder}
        top, low, samples = _maxima(watched, context)
        histograms = _histograms(watched, top, samples, context) if self.method == "percentile" else {}
        units: dict[str, Array] = {}
        quantiles: dict[str, Any] = {}
        for population in network.populations:
            name = population.name
            if population.is_encoder or isinstance(population.kind, Readout):
                units[name] = np.ones(population.channels)
            elif name in watched:
                units[name] = self._unit(top[name], histograms.get(name))
                if name in histograms:
                    quantiles[name] = _curve(histograms[name], top[name])
            else:
                units[name] = inherited_unit(network, population, units)
        ranges = {p.name: [float(low[p.name].min()), float(top[p.name].max())] for p in network.encoders}
        changed = {p.name: replace(p, unit=units[p.name]) for p in network.populations}
        facts = {"samples": samples, "at": list(QUANTILES), "quantiles": quantiles, "ranges": ranges}
        return network.with_populations(changed).with_meta(calibration=facts)

    def _unit(self, top: Array, histogram: Array | None) -> Array:
        """lambda [C] from maxima [C] and histograms [C, BINS] over [0, max of the layer]."""
        if self.per == "layer":
            top = np.full_like(top, top.max())
            if histogram is not None:
                histogram = np.broadcast_to(histogram.sum(0), histogram.shape)
        if histogram is None:
            return top
        found = _percentile(histogram, float(top.max()), self.q)
        # a channel that is zero at more than q percent of all positions still has to carry its maximum
        return np.where(found > 0, np.minimum(found, top), top)


def _values(
    watched: dict[str, Population], context: Context, label: str, total: int | None
) -> Iterator[tuple[str, Array]]:
    """(population, activations [C, positions]) sample after sample; |x| where a relay carries both signs."""
    count = 0
    for count, feeds in enumerate(context.stream("calibrate"), 1):
        wanted = sorted({p.watched[0] for p in watched.values()} - set(feeds))
        found = {**feeds, **(context.activations(feeds, wanted) if wanted else {})}
        for name, population in watched.items():
            value, channels = population.watched
            x = np.asarray(found[value][0][channels], np.float64).reshape(population.channels, -1)
            yield name, np.abs(x) if isinstance(population.kind, LeakyRectifier | Linear) else x
        context.progress(label, count, total)
    if not count:
        raise DataError("the calibration data is empty", remedy="give at least one sample with --calibrate")


def _maxima(watched: dict[str, Population], context: Context) -> tuple[dict[str, Array], dict[str, Array], int]:
    top: dict[str, Array] = {}
    low: dict[str, Array] = {}
    first, samples = next(iter(watched)), 0
    for name, x in _values(watched, context, "calibrate: maxima", None):
        samples += name == first
        most, least = x.max(1), x.min(1)
        top[name] = np.maximum(top.get(name, most), most)
        low[name] = np.minimum(low.get(name, least), least)
    return {n: t if watched[n].is_encoder else np.maximum(t, 0) for n, t in top.items()}, low, samples


def _histograms(
    watched: dict[str, Population], top: dict[str, Array], samples: int, context: Context
) -> dict[str, Array]:
    """int64 [C, BINS] over [0, max of the layer], per population that is no encoder."""
    neurons = {n: p for n, p in watched.items() if not p.is_encoder}
    histograms = {n: np.zeros((p.channels, BINS), np.int64) for n, p in neurons.items()}
    for name, x in _values(neurons, context, "calibrate: histograms", samples):
        limit = float(top[name].max())
        if limit <= 0:
            continue
        bins = np.minimum((x * (BINS / limit)).astype(np.int64), BINS - 1).clip(0)
        rows = np.arange(len(x))[:, None] * BINS
        histograms[name] += np.bincount((bins + rows).ravel(), minlength=len(x) * BINS).reshape(len(x), BINS)
    return histograms


def _percentile(histogram: Array, limit: float, q: float) -> Array:
    """[C]: the q-th percentile, linear within its bin; 0 if it falls into the bin of zeros."""
    total = histogram.sum(1)
    wanted = total * (q / 100)
    running = np.cumsum(histogram, axis=1)
    k = np.minimum((running < wanted[:, None]).sum(1), BINS - 1)
    rows = np.arange(len(k))
    inside = histogram[rows, k]
    part = np.where(inside > 0, (wanted - (running[rows, k] - inside)) / np.maximum(inside, 1), 1.0)
    return np.where(k > 0, (k + part) * (limit / BINS), 0.0)


def _curve(histogram: Array, top: Array) -> list[list[float]]:
    limit = float(top.max())
    columns = [np.minimum(_percentile(histogram, limit, q), top) for q in QUANTILES]
    return [[float(f"{v:.5g}") for v in row] for row in np.stack(columns, 1)]


def inherited_unit(network: Network, population: Population, units: dict[str, Array]) -> Array:
    """A max gate passes on spikes of the population before it, and so its lambda."""
    (projection,) = network.incoming(population)
    return routed_unit(network, projection.pre, units[projection.pre], projection.routing, projection.name)


def routed_unit(network: Network, pre: str, unit: Array, routing: tuple[Any, ...], name: str) -> Array:
    """lambda [C'] of the spikes after routing.

    Raises:
        OptionError: a reshape mixes channels of different lambda into one.
    """
    shape = network[pre].shape
    spread = np.broadcast_to(unit.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    routed = apply_all(routing, spread, shape)
    flat = routed.reshape(routed.shape[0], -1)
    most = flat.max(1)
    if np.any((flat != most[:, None]) & (flat != 0)):
        raise OptionError(
            f"the projection {name} mixes channels of different thresholds into one", remedy="compile with --per layer"
        )
    return np.asarray(most)
