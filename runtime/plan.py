"""What the fast engine decides before it runs: a kernel, tables and weights for every projection.

Every population is treated as three-dimensional: missing spatial axes become axes of size 1 in front. Channels are
padded to multiples of 16 with weights 0 and thresholds that are never reached.

Numbers: populations with integer parameters have int32 currents and membranes. A sum of weights is kept in int16
lanes where the largest possible sum of one step is proved to fit, else in int32. Elsewhere everything is float32 and
added in a fixed order (docs/kernels.md): the gather's own; projections in their order, gathers last; then one constant:
analog currents in their order, then the bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any

import numpy as np

from snncc.errors import PlanError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import IntegrateFire, MaxGate, MultiThreshold, Readout, Settled, Signed
from snncc.runtime.census import Census
from snncc.runtime.gather import Form, Gather, gathers
from snncc.runtime.layout import LANES, Axes, Shape3, aligned, padded, spatial
from snncc.runtime.tables import alike, floors, wrapped
from snncc.synapses.routing import Route, split
from snncc.synapses.taps import AxisTaps, taps

SPIKING = (IntegrateFire, Signed, MultiThreshold, Settled)  # and those derived from them: Leaky, Radix
WORD = 64  # channels that are listed at once
_TRIVIAL = AxisTaps(np.array([0, 1]), np.array([0]), np.array([0]), ((0,),))


@dataclass(frozen=True, eq=False)
class Link:
    """One projection, ready to run.

    Args:
        kernel: "gather", "depthwise", "window" or "analog".
        relayout: routing that renames neurons; `inner` is the shape after it, which the tables refer to (of a dense
            layer's pre channels, lines of 64).
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
    signs: int
    axes: tuple[AxisTaps, AxisTaps, AxisTaps]
    weights: Array
    scale: Array
    scaled: bool
    tables: dict[str, Array]
    gathers: tuple[Gather, ...] = ()
    census: Census | None = None  # of projections of spikes

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
    block: tuple[int, int]  # lines and positions along x that its gathers take together
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
        forms = [gather.form.block for link in links for gather in link.gathers]
        block = max((by for by, _ in forms), default=1), max((bx for _, bx in forms), default=1)
        parameters = _parameters(population, dtype, block[1])
        levels = network.levels(population)
        stages.append(Stage(population, links, dtype, planes[population.name], levels, parameters, block, unused))
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


def _parameters(population: Population, dtype: Any, times: int) -> dict[str, Array]:
    """Thresholds and dips stand there several times, for the positions that a kernel takes together."""
    kind, channels = population.kind, population.channels
    found: dict[str, Array] = {}
    if isinstance(kind, SPIKING):
        never = np.inf if dtype == np.float32 else np.iinfo(np.int32).max
        found["theta"] = np.tile(_channels(kind.theta, channels, dtype, never), times)
        v0 = kind.v0.reshape(channels, -1)  # [C, 1] or, for a map, [C, positions]
        found["v0"] = aligned((v0.shape[1], padded(channels)), dtype)
        found["v0"][:, :channels] = v0.T
        found["dip"] = np.tile(_channels(getattr(kind, "dip", np.zeros(1)), channels, dtype, 0), times)
    bias = whole(np.zeros(1) if population.bias is None else population.bias, dtype, population.name)
    found["bias"] = np.tile(_channels(bias if bias.ndim == 1 else np.zeros(1), channels, dtype, 0), times)
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
    channels, groups, signs = post.channels, table.groups, planes.get(pre.name, 1)
    tables: dict[str, Array] = {}
    plain, census = weight, None
    found: tuple[Gather, ...] = ()
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
            kernel, tables = "window", floors(projection, routing, inner)
        elif groups == inner[0] == channels:
            kernel, tables = "depthwise", {"alike": alike(x)}
            weight, scale = wrapped(_depthwise(weight, channels)), wrapped(scale)
        else:
            if groups == 1 and prod(inner) == inner[0] and post.size == channels and inner[0] % WORD == 0:
                # a dense layer: its pre channels as lines of words, so that sums can be made of parts
                lines = inner[0] // WORD
                y = AxisTaps(np.array([0, lines]), np.arange(lines), np.arange(lines), ((0,),) * lines)
                inner, shape3 = (WORD, lines, 1), (1, lines, 1)
                weight = plain = weight.reshape(1, lines, 1, WORD, channels)
                multiplicity = np.broadcast_to(multiplicity, shape3)
            kernel, found = "gather", _gathers((z, y, x), weight, groups, shape3, signs, scale)
            weight = np.zeros(0, dtype)
        none = {0: (np.zeros(shape3[0], np.int64), np.ones(shape3[1], np.int64), np.ones(shape3[2], np.int64))}
        rows = {8 * gather.first_byte: gather.rows for gather in found}
        census = Census.of((z, y, x), plain, multiplicity, shape3, rows or none)
    out = spatial(post.shape)
    assert out == (z.outputs, y.outputs, x.outputs), projection.name
    return Link(
        projection, kernel, relayout, pre.shape, inner, out, channels, groups, signs, (z, y, x),
        np.ascontiguousarray(weight), scale, scaled, tables, found, census,
    )  # fmt: skip


def _gathers(
    axes: Axes, weight: Array, groups: int, size: Shape3, signs: int, scale: Array
) -> tuple[Gather, ...]:
    """Those of a projection in groups [z, y, x classes, Cin, Cout / groups]: one for each part of each block.

    Neighbouring groups are blocks of dense projections: their weights are zero between groups, but an event costs about
    as much for 64 outputs as for one. Blocks begin at whole words of channels.
    """
    per, fan = weight.shape[3] // groups, weight.shape[4]
    together = max(LANES // gcd(LANES, per), LANES // gcd(LANES, fan))
    together *= max(1, 64 // (together * fan))
    found: list[Gather] = []
    for begin in range(0, groups, together):
        members = range(min(together, groups - begin))
        dense = np.zeros((*weight.shape[:3], len(members) * per, len(members) * fan), weight.dtype)
        for k in members:
            rows = weight[..., (begin + k) * per : (begin + k + 1) * per, :]
            dense[..., k * per : (k + 1) * per, k * fan : (k + 1) * fan] = rows
        channels = slice(begin * fan, begin * fan + padded(dense.shape[4]))
        block = _block(axes, dense, size, signs, scale[channels], whole=groups <= together)
        found += [replace(part, first_byte=begin * per // 8, first_channel=channels.start) for part in block]
    return tuple(found)


def _block(
    axes: Axes, weight: Array, size: Shape3, signs: int, scale: Array, *, whole: bool
) -> tuple[Gather, ...]:
    """With weights and sums as narrow as can be proved. Only the end of a sum must fit int16, as additions wrap; sums
    of all taps that might not fit are made of parts that do.

    Weights that are bytes are added as pairs: less memory wins over fewer instructions (docs/kernels.md).
    """
    most = int(np.abs(weight).max(initial=0))
    if weight.dtype == np.int32 and most < 2**15:
        form = replace(_form(axes, padded(weight.shape[4]), 64, whole), packed=most < 2**7)
        for parts in range(1, signs * len(axes[0].classes) * len(axes[1].classes) + 1):
            found = gathers(axes, weight.astype(np.int16), size, signs, scale, replace(form, parts=parts))
            if max(gather.largest for gather in found) < 2**15:
                return found
    return gathers(axes, weight, size, signs, scale, _form(axes, padded(weight.shape[4]), 32, whole))


def _form(axes: Axes, channels: int, lanes: int, whole: bool) -> Form:
    """Chunks of post channels, and blocks that fill the lanes where their sides divide the output's. whole: these are
    all channels of the population."""
    _, lines, width = (axis.outputs for axis in axes)
    chunk = next(n for n in (lanes, 32, 16) if channels % n == 0)
    by = 2 if chunk < lanes and lines % 2 == 0 else 1
    bx = 2 if chunk * by < lanes and chunk == channels and whole and width % 2 == 0 else 1
    return Form((by, bx), chunk * by * bx)


def _depthwise(weight: Array, channels: int) -> Array:
    """[classes, padded channels], as int16 if no sum of one step can leave it."""
    rows = np.zeros((prod(weight.shape[:3]), padded(channels)), weight.dtype)
    rows[:, :channels] = weight.reshape(-1, channels)
    most = np.abs(rows).sum(0, dtype=np.float64).max(initial=0)
    return rows.astype(np.int16) if rows.dtype == np.int32 and most < 2**15 else rows
