"""What one spike stands for: lambda from the teacher's activations on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import networkx
import numpy as np

from snncc.errors import DataError, OptionError, PassError
from snncc.graph import Array
from snncc.macs import NonzeroMacs
from snncc.network import Network, Population
from snncc.passes.network.histograms import BINS, QUANTILES, least_squares, percentile
from snncc.pipeline import Context, Level, Show
from snncc.synapses.routing import RELAYOUTS, apply_all, split

_PIECE = 1 << 20  # values looked at together
METHODS, SCOPES = ("percentile", "max", "mse"), ("layer", "channel", "connection")


def lowered(network: Network) -> None:
    """Raises PassError where the pass `neurons` ran already."""
    if "precision" in network.meta:
        raise PassError("weights are in units of lambda already", remedy="change lambda before the pass `neurons`")


@dataclass(frozen=True)
class Calibrate:
    """sets lambda, the activation that one spike stands for: percentile, max or mse, per layer, channel or connection

    percentile: over all positions, or with zeros=false over those above zero. mse: the lambda whose `levels` steps lie
    closest to the activations (0: as many as the network has time steps). Signed values count by magnitude.
    per=connection: one lambda a population; per=layer: one for all populations that some population reads together.
    Two streaming passes over the data: maxima first, then histograms of BINS bins, so memory does not grow with it.
    In the first one the teacher's multiply-accumulates on activations that are not zero are counted, too.
    """

    method: str = "percentile"
    q: float = 99.9
    per: str = "channel"
    zeros: bool = True
    levels: int = 0

    name: ClassVar[str] = "calibrate"
    level: ClassVar[Level] = "network"
    requires: ClassVar[tuple[Callable[[Network], None], ...]] = (lowered,)
    ensures: ClassVar[tuple[Callable[[Network], None], ...]] = ()

    def __post_init__(self) -> None:
        for key, value, known in (("method", self.method, METHODS), ("per", self.per, SCOPES)):
            if value not in known:
                raise OptionError(f"calibrate: {key}={value!r} is unknown", remedy=f"one of {', '.join(known)}")
        if not 0 < self.q <= 100:
            raise OptionError(f"calibrate: q={self.q} is not a percentile", remedy="0 < q <= 100")
        if self.method != "percentile" and self.q != type(self).q:
            raise OptionError(f"calibrate: q={self.q} with the method {self.method}", remedy="method=percentile")
        if self.levels < 0:
            raise OptionError(f"calibrate: levels={self.levels}", remedy="1 or more; 0: the network's time steps")

    def run(self, network: Network, context: Context) -> Network:
        counted = self.method != "max", self.zeros or self.method == "mse"
        data = context.once((network, self.per, *counted), lambda: _observed(network, self.per, *counted, context))
        unit = data.limit
        if self.method == "mse":
            unit = least_squares(data.histogram, unit, self.levels or context.timesteps)
        elif self.method == "percentile":
            found = percentile(data.histogram, unit, self.q)
            # what is zero at more than q percent of all positions still has to carry its maximum
            unit = np.where(found > 0, found, unit)
        return with_units(network, {n: unit[r] for n, r in data.rows.items()}).with_meta(calibration=data.facts)


@dataclass(frozen=True, eq=False)
class _Observed:
    """What calibration data shows of a network. rows: see _rows; limit: [R], the largest value of each row; histogram:
    see _histograms; facts: for the file."""

    rows: dict[str, Array]
    limit: Array
    histogram: Array
    facts: dict[str, Any]


def _observed(network: Network, per: str, counted: bool, zeros: bool, context: Context) -> _Observed:
    neurons = [p for p in network.populations if not (p.is_encoder or p.is_gate or p.is_readout)]
    top, low, samples, macs = _extremes([*network.encoders, *neurons], context)
    for population in (*network.encoders, *neurons):
        if not np.isfinite([top[population.name], low[population.name]]).all():
            raise DataError("the teacher gives NaN or infinity on the calibration data", node=population.value)
    for encoder in network.encoders:
        if not (network.is_midway(encoder) or top[encoder.name].any() or low[encoder.name].any()):
            raise DataError(
                "the calibration data is zero everywhere", node=f"input {encoder.value}",
                remedy="give data like those the network will see, preprocessed alike",
            )
    rows, limit = _rows(network, neurons, per, top)
    histogram, quantiles = np.zeros((0, BINS), np.int64), {}
    if counted:
        histogram = _histograms(neurons, rows, limit, samples, context, zeros)
        curves = np.stack([percentile(histogram, limit, q) for q in QUANTILES], 1)
        quantiles = {n: [[float(f"{v:.5g}") for v in curves[r]] for r in dict.fromkeys(rows[n])] for n in rows}
    fired = [top[p.name] > 0 for p in neurons]
    facts = {
        "samples": samples,
        "teacher_macs_nonzero": round(macs / max(samples, 1)),
        "channels": sum(len(f) for f in fired),
        "silent": int(sum(len(f) - f.sum() for f in fired)),
        "at": list(QUANTILES),
        "quantiles": quantiles,
        "ranges": {p.name: [float(low[p.name].min()), float(top[p.name].max())] for p in network.encoders},
    }
    return _Observed(rows, limit, histogram, facts)


def with_units(network: Network, units: dict[str, Array]) -> Network:
    """The network with these lambdas, none above the ceiling of its population. Encoders and readouts stand for the
    values themselves."""
    found: dict[str, Array] = {}
    for population in network.populations:
        name = population.name
        if population.is_encoder or population.is_readout:
            found[name] = np.ones(population.channels)
        elif population.is_gate:
            found[name] = inherited_unit(network, population, found)
        else:
            found[name] = np.minimum(units[name], getattr(population.kind, "ceiling", np.inf))
    return network.with_populations({p.name: replace(p, unit=found[p.name]) for p in network.populations})


def _values(
    watched: list[Population],
    context: Context,
    label: str,
    total: int | None,
    others: Mapping[str, Show] = MappingProxyType({}),
) -> Iterator[tuple[Population, Array]]:
    """(population, activations [C, positions]) sample after sample; others: see `Context.each_value`."""
    count = 0
    for count, feeds in enumerate(context.stream("calibrate"), 1):
        for population, x in context.each_value(feeds, watched, others):
            yield population, x.reshape(population.channels, -1)
        context.progress(label, count, total)
    if not count:
        raise DataError("the calibration data is empty", remedy="give at least one sample with --calibrate")


def _extremes(watched: list[Population], context: Context) -> tuple[dict[str, Array], dict[str, Array], int, int]:
    """Largest (of neurons: in size) and smallest value of each channel, by population, the number of samples, and the
    multiply-accumulates of all of them on activations that are not zero."""
    top: dict[str, Array] = {}
    low: dict[str, Array] = {}
    samples, macs = 0, NonzeroMacs(context.graph)
    for population, x in _values(watched, context, "calibrate: maxima", None, macs.watch):
        name, most, least = population.name, x.max(1).astype(np.float64), x.min(1).astype(np.float64)
        most = most if population.is_encoder else np.maximum(most, -least)
        samples += population is watched[0]
        top[name] = np.maximum(top.get(name, most), most)
        low[name] = np.minimum(low.get(name, least), least)
    return top, low, samples, macs.total


def _rows(
    network: Network, neurons: list[Population], per: str, top: dict[str, Array]
) -> tuple[dict[str, Array], Array]:
    """Population -> the row of each channel [C]; channels of one row share a lambda. And the maximum of each row."""
    if per == "channel":
        starts = np.cumsum([0, *(p.channels for p in neurons)])
        rows = {p.name: np.arange(a, a + p.channels) for p, a in zip(neurons, starts, strict=False)}
        rows = _tied(network, rows)
    else:
        shared = networkx.Graph()
        shared.add_nodes_from(p.name for p in neurons)
        for population in network.populations if per == "layer" else ():
            read = [j.pre for j in network.incoming(population) if not network[j.pre].is_encoder]
            networkx.add_path(shared, [*read, population.name] if population.is_gate else read)
        place = {name: k for k, names in enumerate(networkx.connected_components(shared)) for name in names}
        rows = {p.name: np.full(p.channels, place[p.name]) for p in neurons}
    limit = np.zeros(max((int(r.max()) + 1 for r in rows.values()), default=0))
    for name, row in rows.items():
        np.maximum.at(limit, row, top[name])
    return rows, limit


def _tied(network: Network, rows: dict[str, Array]) -> dict[str, Array]:
    """The same with one row for channels that a reshape or transpose makes into one channel, as a pixel shuffle does:
    whoever reads them has one weight for all."""
    shared = networkx.Graph()
    labels = dict(rows)
    for projection in network.projections:
        pre, post = network[projection.pre], network[projection.post]
        if pre.name not in labels or not (post.is_gate or any(isinstance(r, RELAYOUTS) for r in projection.routing)):
            continue
        spread = np.broadcast_to(labels[pre.name].reshape(-1, *(1,) * (len(pre.shape) - 1)) + 1, pre.shape)
        moved = apply_all(projection.routing, spread, pre.shape)  # 0 where there is padding
        for channel in moved.reshape(len(moved), -1):
            networkx.add_path(shared, [int(n) - 1 for n in np.unique(channel) if n])
        if post.is_gate:
            labels[post.name] = moved.reshape(len(moved), -1).max(1) - 1
    first = {label: min(group) for group in networkx.connected_components(shared) for label in group}
    found = {name: np.array([first.get(int(r), int(r)) for r in row]) for name, row in rows.items()}
    place = {label: k for k, label in enumerate(sorted({int(r) for row in found.values() for r in row}))}
    return {name: np.array([place[int(r)] for r in row]) for name, row in found.items()}


def _histograms(
    neurons: list[Population], rows: dict[str, Array], limit: Array, samples: int, context: Context, zeros: bool
) -> Array:
    """int64 [R, BINS] over [0, limit] of each row, with or without the zeros."""
    histogram = np.zeros((len(limit), BINS), np.int64)
    scale = BINS / np.where(limit > 0, limit, 1.0)
    for population, x in _values(neurons, context, "calibrate: histograms", samples):
        step = max(1, _PIECE // x.shape[1])
        for start in range(0, len(x), step):
            row = rows[population.name][start : start + step, None]
            size = np.abs(x[start : start + step], dtype=np.float64)
            first, last = int(row.min()), int(row.max()) + 1
            place = (row - first) * BINS + np.minimum((size * scale[row]).astype(np.int64), BINS - 1)
            counts = np.bincount((place if zeros else place[size > 0]).ravel(), minlength=(last - first) * BINS)
            histogram[first:last] += counts.reshape(-1, BINS)
    return histogram


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
    relayout, _ = split(routing, shape)  # the rest leaves each channel by itself
    if not relayout:
        return unit
    spread = np.broadcast_to(unit.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    routed = apply_all(relayout, spread, shape)
    flat = routed.reshape(routed.shape[0], -1)
    most = flat.max(1)
    if np.any((flat != most[:, None]) & (flat != 0)):
        raise OptionError(
            f"the projection {name} mixes channels of different thresholds into one", remedy="compile with --per layer"
        )
    return np.asarray(most)
