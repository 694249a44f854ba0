"""Random networks around one population, and random inputs for them, drawn from seeds: what tests/fuzz.py runs.

A specialisation is what the fast engine makes kernels, tables and proofs for: one to three projections into one
population of any kind, behind spikes that the data sets prescribe exactly, before a max gate, readouts, or both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar

import numpy as np

from snncc.encoders import Constant, SpikeTrain
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.network_checks import verify_network
from snncc.neurons import IntegrateFire, Leaky, MaxGate, MultiThreshold, Neuron, Radix, Readout, Settled, Signed
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Resample, Synapse, Window
from snncc.synapses.routing import Pad, Reshape, Route, Slice, Take, Transpose, Upsample

Rng = np.random.Generator
Shape = tuple[int, ...]
X = TypeVar("X")
EXACT, MEMBRANE = 1 << 24, 1 << 31  # quantize's bounds: of the current of a step, of a membrane
GRID = 64  # one over the unit of float32 networks whose sums are exact in any order
MOST_STEPS = 9
MACS, NEURONS = 2_000_000, 12_000  # of one step and projection, of one population: the reference engine is slow
BORDERS = (127, 128, 32767, 32768)  # sums of |weight| at the borders of int8 and int16
SIZES = ((), ((1, 80),), ((1, 9), (1, 45)), ((1, 4), (1, 5), (1, 20)))  # per spatial axis, by rank
CHANNELS = ((1, 8), (1, 8), (1, 8), (9, 40), (41, 130), (16, 16), (32, 32), (48, 48), (64, 64), (96, 96), (128, 128))
KINDS: dict[str, Callable[[Array, Array, Array, Rng], Neuron]] = {
    "if": lambda theta, v0, dip, rng: IntegrateFire(theta, v0, some(rng, 0.3), some(rng, 0.3)),
    "leaky": lambda theta, v0, dip, rng: Leaky(theta, v0, some(rng, 0.3), some(rng, 0.3), int(rng.integers(1, 257))),
    "signed": lambda theta, v0, dip, rng: Signed(theta, v0, True),
    "free": lambda theta, v0, dip, rng: Signed(theta, v0, False, dip),
    "multi": lambda theta, v0, dip, rng: MultiThreshold(theta, v0, int(rng.integers(1, 8))),
    "multi signed": lambda theta, v0, dip, rng: MultiThreshold(
        theta, v0, int(rng.integers(1, 8)), True, some(rng, 0.5), dip
    ),
    "settled": lambda theta, v0, dip, rng: Settled(theta, v0),
    "settled signed": lambda theta, v0, dip, rng: Settled(theta, v0, True, dip),
    "radix": lambda theta, v0, dip, rng: Radix(theta, v0),
    "radix signed": lambda theta, v0, dip, rng: Radix(theta, v0, True, dip),
}


def some(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def one_of(rng: Rng, choices: Sequence[X]) -> X:
    return choices[int(rng.integers(len(choices)))]


def each(rng: Rng, rank: int, *choices: int) -> Shape:
    return tuple(one_of(rng, choices) for _ in range(rank))


@dataclass(frozen=True, eq=False)
class Specialisation:
    """numbers: "int", "grid" (float32, sums exact in any order) or "real" (float32); steps: most that are proved."""

    seed: int
    index: int
    network: Network
    numbers: str
    steps: int


def specialisation(seed: int, index: int) -> Specialisation:
    """The same for the same arguments, always. Draws again where a bound of `quantize` would not hold."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, index, attempt])
        numbers = one_of(rng, ("int",) * 7 + ("grid", "grid", "real"))
        network = _Maker(rng, numbers, radix=some(rng, 0.2)).network()
        if network is not None and (steps := proved_steps(network, numbers)):
            verify_network(network)
            return Specialisation(seed, index, network, numbers, steps)
    raise AssertionError(f"no specialisation for {seed}, {index}")


# -- weights ----------------------------------------------------------------------------------------------------------


def weights(rng: Rng, rows: int, columns: int, taps: int, regime: str, top: int) -> Array:
    """[rows, columns] whole numbers; columns: input channels, `taps` of each in a row. top: bound of |w| if "wide"."""
    match regime:
        case "ternary":
            out = rng.integers(-1, 2, (rows, columns))
        case "int8":
            out = rng.integers(-127, 128, (rows, columns))
        case "edges":
            out = rng.choice([-128, -127, 127, 128], (rows, columns))
        case "wide":
            out = rng.integers(-top, top + 1, (rows, columns))
        case _:
            return _border(rng, rows, columns, taps, int(regime))
    out[rng.random(out.shape) < one_of(rng, (0.0, 0.1, 0.6))] = 0
    out[rng.random(rows) < 0.1] = 0
    return out


def _border(rng: Rng, rows: int, columns: int, taps: int, total: int) -> Array:
    """sum |w| of a row = total, in turn all positive, all negative, one sign for even and one for odd channels (the
    positive ones, and the negative ones, then add up to the total), and at random."""
    parity = np.arange(columns) // taps % 2 == 0
    out = np.zeros((rows, columns), np.int64)
    for r in range(rows):
        out[r] = rng.multinomial(total, rng.dirichlet(np.full(columns, 0.5)))
        match r % 4:
            case 1:
                out[r] *= -1
            case 2 if not parity.all():
                out[r, parity] = rng.multinomial(total, rng.dirichlet(np.ones(parity.sum())))
                out[r, ~parity] = -rng.multinomial(total, rng.dirichlet(np.ones((~parity).sum())))
            case 3:
                out[r] *= rng.choice([-1, 1], columns)
    return out


# -- geometry: from the shape behind to the shape before -----------------------------------------------------------------


def synapse_into(rng: Rng, post: Shape) -> tuple[Synapse, Shape] | None:
    """A synapse without weights and the (routed) shape it reads; None: too large."""
    rank, (channels, *space) = len(post) - 1, post
    kind = one_of(rng, ("dense", "dense", "diagonal") if not rank else (
        "conv", "conv", "conv", "conv", "transpose", "transpose", "grouped", "depthwise", "depthwise transpose",
        "diagonal", "pool", "resample",
    ))  # fmt: skip
    one = np.zeros(channels)
    if kind == "dense":
        size = one_of(rng, (1, 7, 24, 100, 300))
        return Dense(np.zeros((channels, size))), (size,)
    if kind == "diagonal":
        return Diagonal(one), post
    if kind == "resample":
        sizes = [int(rng.integers(1, n + 4)) for n in space]
        return Resample(one, tuple(_matrix(rng, n, m) for n, m in zip(space, sizes, strict=True))), (channels, *sizes)
    kernel = each(rng, rank, *((1, 2, 3, 3, 3, 4, 5, 7) if rank < 3 else (1, 2, 3, 3, 3, 4)))
    stride = each(rng, rank, 1, 1, 1, 2, 3)
    dilation = each(rng, rank, *((1,) if some(rng, 0.7) else (1, 2, 3)))
    group = 1
    if kind in ("grouped", "depthwise", "depthwise transpose"):
        group = channels if kind != "grouped" else one_of(rng, [g for g in range(1, channels + 1) if channels % g == 0])
    cin = group * (1 if "depthwise" in kind else int(rng.integers(*one_of(rng, CHANNELS), endpoint=True)))
    cin = channels if kind == "pool" else cin
    back = "transpose" in kind
    sizes, pads, extra = [], [], []
    for axis in zip(space, kernel, stride, dilation, strict=True):
        n, before, after, more = (_transposed if back else _strided)(rng, *axis)
        sizes.append(n)
        pads.append((before, after))
        extra.append(more)
    spread = tuple(p[0] for p in pads) + tuple(p[1] for p in pads)
    met = prod(sizes if back else space) * prod(kernel)
    if met * channels * (1 if kind == "pool" else cin // group) > MACS or cin * prod(sizes) > NEURONS:
        return None
    if kind == "pool":
        return Pool(one, kernel, stride, spread, dilation), (channels, *sizes)
    if back:
        weight = np.zeros((cin, channels // group, *kernel))
        return ConvTranspose(weight, stride, dilation, spread, tuple(extra), group), (cin, *sizes)
    return Conv(np.zeros((channels, cin // group, *kernel)), stride, dilation, spread, group), (cin, *sizes)


def _strided(rng: Rng, out: int, kernel: int, stride: int, dilation: int) -> tuple[int, int, int, int]:
    """(size read, pads, 0) of a convolution that makes `out`."""
    full = stride * (out - 1) + int(rng.integers(stride)) + dilation * (kernel - 1) + 1
    before, after = (int(v) for v in rng.integers(0, dilation * (kernel - 1) + 2, 2))
    before = min(before, full - 1)
    return full - before - min(after, full - 1 - before), before, min(after, full - 1 - before), 0


def _transposed(rng: Rng, out: int, kernel: int, stride: int, dilation: int) -> tuple[int, int, int, int]:
    """(size read, pads, output padding) of a transposed convolution that makes `out`."""
    extra, reach = int(rng.integers(stride)), dilation * (kernel - 1) + 1
    least = max(1, -(-(out - extra - reach) // stride) + 1)
    size = least + int(rng.integers(2))
    cut = stride * (size - 1) + extra + reach - out
    before = int(rng.integers(cut + 1))
    return size, before, cut - before, extra


def _matrix(rng: Rng, out: int, size: int) -> Array:
    """As of linear resizing: neighbouring whole numbers in each row; some negative, some rows empty."""
    matrix = np.zeros((out, size), np.int64)
    for o in range(out):
        i = min(o * size // out, size - 1)
        matrix[o, i : i + 2] = rng.integers(-1, 4, 2)[: size - i]
    matrix[0, 0] = 1
    return matrix


def routes_to(rng: Rng, shape: Shape) -> tuple[tuple[Route, ...], Shape]:
    """Routing that makes `shape`, and the shape it reads: relayouts before what works on each axis alone."""
    routing: tuple[Route, ...] = ()
    for _ in range(one_of(rng, (0, 0, 1, 1, 2)) if len(shape) > 1 else 0):
        made, shape = _spatial_route(rng, shape)
        routing = made + routing
    for _ in range(one_of(rng, (0, 0, 0, 1, 2))):
        relayout, shape = _relayout(rng, shape)
        routing = (relayout, *routing)
    return routing, shape


def _spatial_route(rng: Rng, shape: Shape) -> tuple[tuple[Route, ...], Shape]:
    channels, *space = shape
    match one_of(rng, ("upsample", "upsample", "pad", "slice", "take")):
        case "upsample":
            factors = each(rng, len(space), 1, 2, 2, 3)
            sizes = [-(-n // f) for n, f in zip(space, factors, strict=True)]
            first = [int(rng.integers(m * f - n + 1)) for n, m, f in zip(space, sizes, factors, strict=True)]
            route: tuple[Route, ...] = (Upsample(factors),)
            if [m * f for m, f in zip(sizes, factors, strict=True)] != space:
                stop = (channels, *(a + n for a, n in zip(first, space, strict=True)))
                route += (Slice((0, *first), stop),)
            return route, (channels, *sizes)
        case "pad":
            pads = [(int(rng.integers(n)), int(rng.integers(3))) for n in space]
            pads = [(min(2, b), min(a, n - 1 - min(2, b))) for (b, a), n in zip(pads, space, strict=True)]
            before, after = zip(*pads, strict=True)
            return (Pad(before, after),), (channels, *(n - b - a for n, (b, a) in zip(space, pads, strict=True)))
        case "slice":
            first, more = rng.integers(0, 3, (2, len(space))).tolist()
            stop = (channels, *(a + n for a, n in zip(first, space, strict=True)))
            sizes = [a + n + b for n, a, b in zip(space, first, more, strict=True)]
            return (Slice((0, *first), stop),), (channels, *sizes)
        case _:
            sizes = [int(rng.integers(1, n + 3)) for n in space]
            chosen = tuple(tuple(rng.integers(0, m, n).tolist()) for n, m in zip(space, sizes, strict=True))
            return (Take(chosen),), (channels, *sizes)


def _relayout(rng: Rng, shape: Shape) -> tuple[Route, Shape]:
    match one_of(rng, ("channels", "transpose", "reshape")):
        case "channels":
            first, more = (int(v) for v in rng.integers(0, 20, 2))
            stop = (first + shape[0], *shape[1:])
            return Slice((first, *(0 for _ in shape[1:])), stop), (stop[0] + more, *shape[1:])
        case "transpose":
            perm = rng.permutation(len(shape)).tolist()
            return Transpose(tuple(perm)), tuple(shape[perm.index(axis)] for axis in range(len(shape)))
        case _:
            size = prod(shape)
            factor = one_of(rng, [f for f in range(1, min(size, 40) + 1) if size % f == 0])
            return Reshape(shape), one_of(rng, [(size,), (factor, size // factor), (size // factor, factor)])


# -- networks -----------------------------------------------------------------------------------------------------------


class _Maker:
    """Draws one network; numbers are whole while it is built and become those of `numbers` where they are stored."""

    def __init__(self, rng: Rng, numbers: str, radix: bool):
        self.rng, self.numbers, self.radix = rng, numbers, radix
        self.dtype: Any = np.int32 if numbers == "int" else np.float32
        self.populations: list[Population] = []
        self.projections: list[Projection] = []

    def real(self, whole: Array) -> Array:
        """float32, as weights are stored."""
        if self.numbers == "real":
            whole = whole * (1 + 0.1 * self.rng.random(whole.shape))
        return np.asarray(whole / (1 if self.numbers == "int" else GRID), np.float32)

    def network(self) -> Network | None:
        rng = self.rng
        rank = one_of(rng, (0, 1, 2, 2, 2, 3, 3))
        space = [int(rng.integers(*span, endpoint=True)) for span in SIZES[rank]]
        post = (int(rng.integers(*one_of(rng, CHANNELS), endpoint=True)), *space)
        if prod(post) > NEURONS:
            return None
        loads = np.zeros(post[0])
        for _ in range(one_of(rng, (1, 1, 2, 3))):
            load = self._project(post)
            if load is None:
                return None
            loads += load
        if some(rng, 0.2):
            first = next(j for j in self.projections if j.post == "post")
            again = self.rng.permutation(first.synapse.rows().ravel()).reshape(first.synapse.rows().shape)
            self.projections.append(replace(first, synapse=first.synapse.with_rows(again, first.synapse.shift), tag=1))
            loads *= 2
        self._post(post, np.maximum(loads, 1))
        inputs = {p.value: (1, *p.shape) for p in self.populations if p.is_encoder}
        outputs = tuple(p.value for p in self.populations if p.is_readout)
        meta = {"precision": "int8" if self.numbers == "int" else "float32"}
        return Network(inputs, outputs, tuple(self.populations), tuple(self.projections), meta=meta)

    def _project(self, post: Shape) -> Array | None:
        """One projection into `post` and what it reads; what it can add up to, in whole units."""
        rng, found = self.rng, synapse_into(self.rng, post)
        if found is None:
            return None
        synapse, routed = found
        routing, shape = routes_to(rng, routed)
        if prod(shape) > 4 * NEURONS:
            return None
        name = f"pre{sum(p.is_encoder for p in self.populations)}"
        analog = some(rng, 0.15)
        top = self._analog(name, shape) if analog else self._spikes(name, shape)
        rows, single = synapse.rows().shape, isinstance(synapse, Diagonal | Pool | Resample)
        regime: str = one_of(rng, ("ternary", "int8", "int8", "edges", "wide", *map(str, BORDERS)))
        shift = rng.integers(-6 if analog else 0, 4, post[0]).astype(np.int32) if some(rng, 0.3) else None
        room = EXACT // 32 // (top * rows[1])
        if single:
            met = prod(synapse.kernel) if isinstance(synapse, Pool) else 1
            total = str(int(regime) // met) if regime.isdigit() else regime
            whole = np.repeat(weights(rng, rows[0], 1, 1, total, min(30000, room)), rows[1], axis=1)
        else:
            fan = rows[1] // prod(synapse.kernel_weights(len(routed) - 1).shape[: len(routed) - 1])
            whole = weights(rng, *rows, rows[1] // fan, regime, min(30000, room))
        self.projections.append(Projection(name, "post", synapse.with_rows(self.real(whole), shift), routing))
        scale = 1.0 if shift is None else np.exp2(shift)
        return np.asarray(np.abs(synapse.loads(whole)).sum(1) * top * scale)

    def _analog(self, name: str, shape: Shape) -> int:
        top = one_of(self.rng, (1, 15, 255))
        low = -top if some(self.rng, 0.5) else 0
        self.populations.append(Population(name, shape, Constant(1.0, low, top), value=f"x_{name}"))
        return top

    def _spikes(self, name: str, shape: Shape) -> int:
        """A population whose spikes the data prescribe; the largest of them."""
        rng = self.rng
        negative = some(rng, 0.5)
        ones = np.ones(shape[0], np.float32)
        if self.radix:
            most = (1 << int(rng.integers(1, MOST_STEPS + 1))) - 1
            encoder = Constant(1.0, -most * negative, most)
            self.populations.append(Population(f"{name}.in", shape, encoder, value=f"x_{name}"))
            theta = (ones * most).astype(self.dtype)  # n = x after the steps that most has digits
            self.populations.append(Population(name, shape, Radix(theta, 0 * theta, negative)))
            self.projections.append(Projection(f"{name}.in", name, Diagonal(ones)))
            return 1
        if some(rng, 0.6):
            self.populations.append(Population(name, shape, SpikeTrain(negative), value=f"x_{name}"))
            return 1
        levels, theta = int(rng.integers(1, 5)), ones.astype(self.dtype)
        for k in range(levels):
            part = f"{name}.bit{k}"
            self.populations.append(Population(part, shape, SpikeTrain(negative), value=f"x_{part}"))
            self.projections.append(Projection(part, name, Diagonal(ones * 2**k)))
        relay = MultiThreshold(theta, 0 * theta, levels, negative, not negative)
        self.populations.append(Population(name, shape, relay))
        return (1 << levels) - 1

    def _post(self, shape: Shape, loads: Array) -> None:
        rng = self.rng
        low, high = one_of(rng, ((0.001, 0.02), (0.01, 0.1), (0.05, 0.6)))
        theta = np.clip(np.rint(loads * np.exp(rng.uniform(np.log(low), np.log(high), len(loads)))), 1, 1 << 20)
        wide = theta.reshape(-1, *(1,) * (len(shape) - 1))
        bias = one_of(rng, (None, np.rint(theta * rng.uniform(-0.3, 0.5, len(theta))),
                            np.rint(wide * rng.uniform(-0.3, 0.5, shape))))  # fmt: skip
        bias = None if bias is None else self.real(bias)
        base = 1 + self.radix
        readout = Readout(np.ones(shape[0], np.float32), self.numbers == "int", base)
        if some(rng, 0.1):
            self.populations.append(Population("post", shape, readout, bias, value="y"))
            return
        v0 = np.rint(wide * rng.uniform(-1, 1, shape)) if some(rng, 0.3) else theta // one_of(rng, (1, 2, 2, 8))
        dip = np.rint(theta * rng.uniform(0, 2, len(theta))) * one_of(rng, (0, 1))
        stored = (self.real(a).astype(self.dtype) for a in (theta, v0, dip))
        names = [name for name in KINDS if name.startswith("radix") == self.radix]
        if self.numbers == "grid":
            names = [name for name in names if name != "leaky"]  # its leak leaves the grid
        kind = KINDS[one_of(rng, names)](*stored, rng)
        self.populations.append(Population("post", shape, kind, bias))
        source = "post"
        window = self._window(shape) if some(rng, 0.4) else None
        if window is not None:
            routing, synapse, made = window
            self.populations.append(Population("gate", made, MaxGate(base)))
            self.projections.append(Projection(source, "gate", synapse, routing))
            source, shape = "gate", made
        self.populations.append(Population("out", shape, readout, value="y"))
        whole = rng.integers(-9, 10, shape[0])
        self.projections.append(Projection(source, "out", Diagonal(self.real(whole))))

    def _window(self, shape: Shape) -> tuple[tuple[Route, ...], Window, Shape] | None:
        rng, rank = self.rng, len(shape) - 1
        routing: tuple[Route, ...] = ()
        match one_of(rng, ("", "", "pad", "upsample")) if rank else "":
            case "pad":
                routing = (Pad(each(rng, rank, 0, 1, 2), each(rng, rank, 0, 1)),)
            case "upsample":
                routing = (Upsample(each(rng, rank, 1, 2, 3)),)
        for route in routing:
            shape = route.shape(shape)
        pads = each(rng, 2 * rank, 0, 0, 1)
        window = Window(
            np.ones(shape[0], np.float32), each(rng, rank, 1, 2, 3), each(rng, rank, 1, 2, 3), pads,
            each(rng, rank, 1, 1, 2),
        )  # fmt: skip
        made = window.shape(shape)
        if not rank or min(made) < 1 or prod(made) > NEURONS:
            return None
        if not all((window.taps(axis, n) >= 0).any(1).all() for axis, n in enumerate(shape[1:])):
            return None  # a window of nothing but padding
        return routing, window, made


def proved_steps(network: Network, numbers: str) -> int:
    """How many steps quantize's proofs allow, up to MOST_STEPS; 0 if a current could be too large."""
    if numbers == "real":
        return MOST_STEPS
    steps, unit = MOST_STEPS, 1 if numbers == "int" else GRID
    for population in network.populations:
        if population.is_encoder or population.is_gate:
            continue
        total, kind = np.zeros(population.channels), population.kind
        for j in network.incoming(population):
            pre = network[j.pre]
            largest = max(-pre.kind.low, pre.kind.high) if isinstance(pre.kind, Constant) else 2**network.levels(pre) - 1
            load = np.abs(j.synapse.loads(np.asarray(j.synapse.rows(), np.float64))).sum(1) * largest
            if load.max() * unit >= EXACT:
                return 0
            total += load * (1 if j.synapse.shift is None else np.exp2(j.synapse.shift)) + 1
        if population.bias is not None:
            total += np.abs(population.bias.reshape(len(total), -1)).max(1)
        if total.max() * unit >= EXACT:
            return 0
        assert isinstance(kind, Neuron)
        start = sum(np.abs(v).max() * times for v, times in zip(
            (kind.parameters().get(name, np.zeros(1)).astype(np.float64) for name in ("theta", "v0", "dip")), (1, 1, 2),
            strict=True,
        ))  # fmt: skip
        limit = MEMBRANE if numbers == "int" else EXACT
        if isinstance(kind, Leaky):
            limit //= kind.multiplier
        number = (limit - 1 - start * unit) // (total.max() * unit)  # N_T <= number
        most = number if network.base == 1 else np.floor(np.log2(max(number, 0) + 1))
        steps = min(steps, int(max(most, 0)))
    return steps


# -- data ---------------------------------------------------------------------------------------------------------------

PATTERNS = (
    "nothing", "all", "1%", "13%", "50%", "corner", "column", "ends", "even channels", "last channel", "one step",
)  # fmt: skip


def pattern(rng: Rng, name: str, shape: Shape) -> Array:
    """bool [T, C, *spatial]"""
    steps, channels, *space = shape
    out = np.zeros(shape, bool)
    match name:
        case "all":
            out[:] = True
        case "corner":
            place = [one_of(rng, (0, n - 1)) for n in (channels, *space)]
            out[(int(rng.integers(steps)), *place)] = True
        case "column":
            out[(slice(None), slice(None), *(int(rng.integers(n)) for n in space))] = True
        case "ends":
            out[..., :1] = out[..., -int(rng.integers(1, 4)) :] = True
        case "even channels":
            out[:, ::2] = True
        case "last channel":
            out[:, -1] = rng.random(out[:, -1].shape) < 0.5
        case "one step":
            out[int(rng.integers(steps))] = True
        case _ if name.endswith("%"):
            out = rng.random(shape) < int(name[:-1]) / 100
    return out


def data_set(made: Specialisation, number: int) -> tuple[dict[str, Array], int, str]:
    """(value of every encoder, steps, what it is); the first sets are one pattern for all encoders."""
    rng = np.random.default_rng([made.seed, made.index, number, 1])
    steps = int(rng.integers(1, made.steps, endpoint=True))
    values, told = {}, []
    for population in made.network.encoders:
        name = PATTERNS[number] if number < len(PATTERNS) else one_of(rng, PATTERNS)
        kind, signs = population.kind, one_of(rng, ("+", "-", "+-"))
        train = isinstance(kind, SpikeTrain)
        shape = (steps if train else 1, *population.shape)
        x = pattern(rng, name, shape).astype(np.float32)
        if isinstance(kind, Constant):
            x = x[0] * (kind.high if signs != "+-" else rng.integers(0, kind.high + 1, population.shape))
        if kind.signed or (isinstance(kind, Constant) and kind.low < 0):
            x = x * {"+": 1, "-": -1, "+-": rng.choice([-1, 1], x.shape)}[signs]
            name += f" {signs}"
        values[population.name] = x.astype(np.float32)
        told.append(name)
    return values, steps, ", ".join(told)
