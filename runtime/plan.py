"""What the fast engine decides before it runs: a kernel, tables and weights for every projection.

Every population is treated as three-dimensional: missing spatial axes become axes of size 1 in front. Channels are
padded to multiples of 16 with weights 0 and thresholds that are never reached.

Numbers: populations with integer parameters have int32 currents and membranes. A sum of weights is kept in int16
lanes where the largest possible sum of one step is proved to fit, else in int32. Elsewhere everything is float32 and
added in a fixed order: the runs of inputs of an output (`_runs`); within a run its positive, then its negative events
by x, then (z, y) tap, then channel, each as a sum of its own; projections in their order; then one
constant: analog currents in their order, then the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from snncc.errors import PlanError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, MaxGate, MultiThreshold, Readout, Settled, Signed
from snncc.synapses.routing import Route, split
from snncc.synapses.taps import AxisTaps, Taps, taps

LANES = 16
Shape3 = tuple[int, int, int]


def padded(channels: int) -> int:
    return -(-channels // LANES) * LANES


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that start on a cache line, so that no vector of theirs crosses one (up to 1.5 times as fast)."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return np.asarray(raw[start : start + size].view(dtype).reshape(shape))


def spatial(shape: tuple[int, ...]) -> Shape3:
    """(C, *spatial) -> (Z, Y, X)."""
    if len(shape) > 4:
        raise PlanError(f"more than three spatial axes: {shape}", remedy="reshape or use the reference engine")
    z, y, x = (1,) * (4 - len(shape)) + shape[1:]
    return z, y, x


SPIKING = (IntegrateFire, Signed, MultiThreshold, Settled)  # and those derived from them: Leaky, Radix
_TRIVIAL = AxisTaps(np.array([0, 1]), np.array([0]), np.array([0]), ((0,),))


@dataclass(frozen=True, eq=False)
class Link:
    """One projection, ready to run.

    Args:
        kernel: "gather", "depthwise", "grouped", "window" or "analog".
        relayout: routing that renames neurons; `inner` is the shape after it, which the tables refer to.
        axes: tables of z, y, x; weights' x classes are already in the order of `axes[2]`.
        weights: as the kernel wants them. scale: 2^shift [channels], applied if `scaled`.
        tables: further arrays, by name, as the kernel wants them.
    """

    projection: Projection
    kernel: str
    relayout: tuple[Route, ...]
    pre_shape: tuple[int, ...]
    inner: tuple[int, ...]
    out: Shape3
    channels: int
    groups: int
    axes: tuple[AxisTaps, AxisTaps, AxisTaps]
    weights: Array
    scale: Array
    scaled: bool
    tables: dict[str, Array]

    @property
    def name(self) -> str:
        return self.projection.name

    @property
    def pre(self) -> str:
        return self.projection.pre


@dataclass(frozen=True, eq=False)
class Stage:
    """One population, ready to run. dtype: of its currents and membranes; planes: 2 if its spikes can be negative;
    levels: bits of a spike's size."""

    population: Population
    links: tuple[Link, ...]
    dtype: Any
    planes: int
    levels: int
    parameters: dict[str, Array]
    last_use_of: tuple[str, ...]  # spike trains that nobody reads after this stage

    @property
    def spiking(self) -> tuple[Link, ...]:
        return tuple(link for link in self.links if link.kernel != "analog")

    @property
    def constant(self) -> tuple[Link, ...]:
        return tuple(link for link in self.links if link.kernel == "analog")


def make_plan(network: Network) -> tuple[Stage, ...]:
    last = {j.pre: p.name for p in network.populations for j in network.incoming(p)}
    planes: dict[str, int] = {}
    stages = []
    for population in network.populations:
        incoming = network.incoming(population)
        dtype = _dtype(population)
        links = tuple(_link(network, projection, population, dtype, planes) for projection in incoming)
        if isinstance(population.kind, MaxGate) and (
            len(links) != 1 or links[0].kernel != "window" or population.bias is not None
        ):
            raise PlanError("a max gate takes the spikes of one window and no bias", node=population.name)
        # of a gate: a maximum of counts that never fall never falls
        planes[population.name] = 1 + int(network.signed(population))
        unused = tuple(name for name, user in last.items() if user == population.name)
        parameters = _parameters(population, dtype)
        levels = network.levels(population)
        stages.append(Stage(population, links, dtype, planes[population.name], levels, parameters, unused))
    return tuple(stages)


def _dtype(population: Population) -> Any:
    kind = population.kind
    if isinstance(kind, SPIKING):
        return np.int32 if np.issubdtype(kind.theta.dtype, np.integer) else np.float32
    if isinstance(kind, Readout):
        return np.int32 if kind.integer else np.float32
    if isinstance(kind, MaxGate) or population.is_encoder:
        return np.int32
    raise PlanError(f"the fast engine has no kernel for {kind.op} neurons", node=population.name)


def _parameters(population: Population, dtype: Any) -> dict[str, Array]:
    kind, channels = population.kind, population.channels
    found: dict[str, Array] = {}
    if isinstance(kind, SPIKING):
        never = np.inf if dtype == np.float32 else np.iinfo(np.int32).max
        found["theta"] = _channels(kind.theta, channels, dtype, never)
        v0 = kind.v0.reshape(channels, -1)  # [C, 1] or, for a map, [C, positions]
        found["v0"] = aligned((v0.shape[1], padded(channels)), dtype)
        found["v0"][:, :channels] = v0.T
        found["dip"] = _channels(getattr(kind, "dip", np.zeros(1)), channels, dtype, 0)
    bias = whole(np.zeros(1) if population.bias is None else population.bias, dtype, population.name)
    found["bias"] = _channels(bias if bias.ndim == 1 else np.zeros(1), channels, dtype, 0)
    if bias.ndim > 1:
        found["bias_map"] = bias
    return found


def _channels(values: Array, channels: int, dtype: Any, fill: Any) -> Array:
    """[C] or a single value -> [padded channels]."""
    full = aligned((padded(channels),), dtype)
    full[:] = fill
    full[:channels] = values
    return full


def whole(values: Array, dtype: Any, node: str) -> Array:
    """`values` in `dtype`, which loses nothing if that is int32."""
    if dtype == np.int32:
        exact = np.asarray(values, np.float64)
        if not (np.all(exact == np.rint(exact)) and np.all(np.abs(exact) < 2**31)):
            raise PlanError("an integer population needs integer weights and biases", node=node, remedy="quantize")
    return np.asarray(values).astype(dtype)


def _link(network: Network, projection: Projection, post: Population, dtype: Any, planes: dict[str, int]) -> Link:
    pre = network[projection.pre]
    synapse = projection.synapse
    relayout, routing = split(projection.routing, pre.shape)
    inner = pre.shape
    for route in relayout:
        inner = route.shape(inner)
    shape3 = spatial(inner)
    table = taps(synapse, routing, inner)
    missing = 3 - len(table.axes)
    z, y, x = (_TRIVIAL,) * missing + table.axes
    weight = table.weight.reshape(*(1,) * missing, *table.weight.shape)
    multiplicity = table.multiplicity.reshape(*(1,) * missing, *table.multiplicity.shape)
    weight = whole(weight, dtype, projection.name)
    channels, groups = post.channels, table.groups
    tables: dict[str, Array] = {}
    shift = synapse.shift
    scaled = shift is not None and bool(np.any(shift))
    if network.analog(projection):
        kernel, shift = "analog", np.zeros(1, np.int32) if shift is None else shift
        scale = _channels(np.exp2(shift if dtype == np.float32 else np.maximum(shift, 0)), channels, dtype, 1)
        down = _channels(np.clip(-shift, 0, 30), channels, dtype, 0)  # 30 leaves nothing of an int32
        half = np.full_like(down, 0.5) if dtype == np.float32 else np.where(down > 0, 1 << np.maximum(down - 1, 0), 0)
        tables |= {"scale": scale, "half": half.astype(dtype), "down": down}
    else:
        if shift is not None and np.any(np.asarray(shift) < 0):
            raise PlanError("a projection of spikes needs shifts >= 0", node=projection.name)
        scale = _channels(np.exp2(0 if shift is None else shift).astype(dtype), channels, dtype, 1)
        if isinstance(post.kind, MaxGate):
            kernel = "window"
            tables |= _windows(table, shape3, missing, multiplicity)
            tables["floor"] = _floor(projection, routing, inner, missing)
        elif groups == 1:
            kernel = "gather"
            order, x = _chain(x)
            weight, multiplicity = weight[:, :, order], multiplicity[:, :, order]
            per_x = len(z.classes) * len(y.classes) * inner[0]
            assert shape3[2] * per_x < 2**31, projection.name  # ids are int32
            weight, multiplicity = np.moveaxis(weight, 2, 0), np.moveaxis(multiplicity, 2, 0)
            tables |= _runs(x, per_x) | _rows(weight, multiplicity)
            weight = _blocks(_narrow(weight, table, planes[pre.name]))
        elif groups == inner[0] == channels:
            kernel = "depthwise"
            flat = aligned((prod(weight.shape[:3]), padded(channels)), dtype)
            flat[:, :channels] = weight.reshape(-1, channels)
            bits = np.packbits(flat != 0, axis=1, bitorder="little").view(np.uint16)
            tables |= {"live": bits, "multiplicity": multiplicity.ravel()}
            weight = flat
        else:
            kernel = "grouped"
            weight = np.ascontiguousarray(weight.reshape(-1, *weight.shape[3:]))
            tables |= {"nonzero": np.count_nonzero(weight, axis=2), "multiplicity": multiplicity.ravel()}
    out = spatial(post.shape)
    assert out == (z.outputs, y.outputs, x.outputs), projection.name
    return Link(
        projection, kernel, relayout, pre.shape, inner, out, channels, groups, (z, y, x),
        np.ascontiguousarray(weight), scale, scaled, tables,
    )  # fmt: skip


def _chain(axis: AxisTaps) -> tuple[list[int], AxisTaps]:
    """Renumbers classes so that neighbouring inputs of an output meet it, where possible, through class k and k + 1.

    Greedy: the most frequent successions first, each class having one successor and one predecessor.
    Returns the order (old class of each new one) and the table in the new numbers.
    """
    votes: dict[tuple[int, int], int] = {}
    for o in range(axis.outputs):
        for j in range(axis.start[o], axis.start[o + 1] - 1):
            if axis.source[j + 1] == axis.source[j] + 1 and axis.tap[j] != axis.tap[j + 1]:
                link = int(axis.tap[j]), int(axis.tap[j + 1])
                votes[link] = votes.get(link, 0) + 1
    after: dict[int, int] = {}
    chain = list(range(len(axis.classes)))  # which chain a class belongs to
    for a, b in sorted(votes, key=lambda v: -votes[v]):
        if a not in after and b not in after.values() and chain[a] != chain[b]:
            after[a] = b
            chain = [chain[a] if c == chain[b] else c for c in chain]
    order: list[int] = []
    for k in range(len(axis.classes)):
        step: int | None = k if k not in after.values() else None
        while step is not None:
            order.append(step)
            step = after.get(step)
    new = np.argsort(order)
    return order, AxisTaps(axis.start, axis.source, new[axis.tap], tuple(axis.classes[k] for k in order))


def _runs(axis: AxisTaps, per_x: int) -> dict[str, Array]:
    """Maximal stretches of neighbouring inputs and classes: inputs first..stop of an output; the weight row of an event
    there is its id + shift. per_x: weight rows of one x class."""
    start: list[int] = [0]
    first: list[int] = []
    stop: list[int] = []
    shift: list[int] = []
    for o in range(axis.outputs):
        for j in range(axis.start[o], axis.start[o + 1]):
            x, offset = int(axis.source[j]), int(axis.tap[j] - axis.source[j]) * per_x
            if len(stop) > start[-1] and stop[-1] == x and shift[-1] == offset:
                stop[-1] = x + 1
            else:
                first.append(x)
                stop.append(x + 1)
                shift.append(offset)
        start.append(len(first))
    names = {"run_start": start, "run_first": first, "run_stop": stop, "run_shift": shift}
    return {name: np.array(values, np.int64) for name, values in names.items()}


def _rows(weight: Array, multiplicity: Array) -> dict[str, Array]:
    """Per weight row (class, input channel; at last the row of zeros): weights that are not zero, and paths (empty if
    every pair has one)."""
    cin, cout = weight.shape[3:]
    nonzero = np.append(np.count_nonzero(weight, axis=4), 0).astype(np.int32)
    paths = np.append(np.repeat(multiplicity.ravel() * cout, cin), 0).astype(np.int32)
    if np.all(multiplicity == 1):
        paths = np.zeros(0, np.int32)
    return {"nonzero": nonzero, "paths": paths}


def _narrow(weight: Array, table: Taps, planes: int) -> Array:
    """As int16 if no sum of one step can leave it. Only the end of a sum must fit: int16 additions wrap."""
    if weight.dtype != np.int32:
        return weight
    rows = table.weight.astype(np.int64)
    up, down = np.maximum(rows, 0).sum(-2), np.maximum(-rows, 0).sum(-2)  # [*classes, Cout]
    for axis in reversed(table.axes):  # over the classes that one output meets, for each way of meeting them
        met = {tuple(axis.tap[a:b]) for a, b in zip(axis.start[:-1], axis.start[1:], strict=True)}
        incidence = np.zeros((len(met), len(axis.classes)), np.int64)
        for row, members in zip(incidence, met, strict=True):
            np.add.at(row, np.array(members, np.int64), 1)
        last = len(table.axes) - 1  # each contraction puts its own axis in front, so the next one is at the end
        up, down = (np.tensordot(incidence, m, axes=(1, last)) for m in (up, down))
    largest = (up + down if planes == 2 else np.maximum(up, down)).max(initial=0)
    fits = largest < 2**15 and np.abs(rows).max(initial=0) < 2**15
    return weight.astype(np.int16) if fits else weight


def _blocks(weight: Array) -> Array:
    """[x, z, y classes, Cin, Cout] -> flat; blocks of 64, then 32, then 16 post channels, each [rows + 1, lanes],
    the last row being zeros."""
    cout = weight.shape[-1]
    rows = np.zeros((prod(weight.shape[:4]) + 1, padded(cout)), weight.dtype)
    rows[:-1, :cout] = weight.reshape(-1, cout)
    flat, channel = aligned((rows.size,), rows.dtype), 0
    while channel < rows.shape[1]:
        left = rows.shape[1] - channel
        lanes = 64 if left >= 64 else 32 if left >= 32 else 16
        flat[len(rows) * channel : len(rows) * (channel + lanes)] = rows[:, channel : channel + lanes].ravel()
        channel += lanes
    return flat


def _windows(table: Taps, shape3: Shape3, missing: int, multiplicity: Array) -> dict[str, Array]:
    """Per axis a CSR from each input to its windows."""
    found = {"multiplicity": np.ascontiguousarray(multiplicity)}
    for name, axis, size in zip("zyx", (_TRIVIAL,) * missing + table.axes, shape3, strict=True):
        windows = np.repeat(np.arange(axis.outputs), np.diff(axis.start))
        order = np.argsort(axis.source, kind="stable")
        found[f"{name}_out"] = np.searchsorted(axis.source[order], np.arange(size + 1)).astype(np.int64)
        found[f"{name}_window"] = windows[order].astype(np.int64)
        found[f"{name}_tap"] = axis.tap[order].astype(np.int64)
    return found


def _floor(projection: Projection, routing: tuple[Route, ...], inner: tuple[int, ...], missing: int) -> Array:
    """bool [Z, Y, X]: does the window hold zeros that routing put in (they take part, unlike the window's padding)?"""
    touched = [np.zeros(1, bool)] * missing
    for axis, size in enumerate(inner[1:]):
        source = np.arange(size)
        for route in routing:
            moved = route.along(axis, source)
            assert moved is not None
            source = moved
        met = projection.synapse.taps(axis, len(source))
        touched.append(np.any((met >= 0) & (source[met] < 0), axis=1))
    return np.asarray(reduce(np.logical_or.outer, touched))
