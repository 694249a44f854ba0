"""Random networks around one population, drawn from seeds: what tests/fuzz.py runs.

A specialisation is what the fast engine makes kernels, tables and proofs for: one to three projections into one
population of any kind, behind spikes that the data sets prescribe exactly, before a max gate, readouts, or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from snncc.encoders import Constant, SpikeTrain
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.network_checks import verify_network
from snncc.neurons import IntegrateFire, Leaky, MaxGate, MultiThreshold, Neuron, Radix, Readout, Settled, Signed
from snncc.synapses import Diagonal, Pool, Resample, Synapse, Window
from snncc.synapses.routing import Pad, Route, Upsample, split
from snncc.synapses.taps import axis_taps
from tests.random_geometry import CHANNELS, NEURONS, Rng, Shape, each, one_of, routes_to, some, synapse_into

EXACT, MEMBRANE = 1 << 24, 1 << 31  # quantize's bounds: of the current of a step, of a membrane
GRID = 64  # one over the unit of float32 networks whose sums are exact in any order
MOST_STEPS = 9
LONGEST = 128  # line; the reference engine has tables of its square
BORDERS = (127, 128, 32767, 32768, 32768, 32768)  # sums of |weight| at the borders of int8 and int16
SIZES = ((), ((1, 80),), ((1, 9), (1, 45)), ((1, 4), (1, 5), (1, 20)))  # per spatial axis, by rank
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


# -- weights -----------------------------------------------------------------------------------------------------------


def weights(rng: Rng, rows: int, columns: int, regime: str, top: int, met: Array) -> Array:
    """[rows, columns] whole numbers; columns: (input channel, kernel index).

    Args:
        top: bound of |w| if "wide".
        met: bool [kernel indices]: those that one output meets all; sums at a border are over these.
    """
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
            return _border(rng, rows, columns, met, int(regime))
    out[rng.random(out.shape) < one_of(rng, (0.0, 0.1, 0.6))] = 0
    out[rng.random(rows) < 0.1] = 0
    return out


def _border(rng: Rng, rows: int, columns: int, met: Array, total: int) -> Array:
    """sum |w| of a row = total, in turn all positive, all negative, one sign for even and one for odd channels (the
    positive ones, and the negative ones, then add up to the total), and at random."""
    even = np.arange(columns) // len(met) % 2 == 0
    used = np.tile(met, columns // len(met))

    def spread(where: Array) -> Array:
        out, n = np.zeros(columns, np.int64), np.count_nonzero(where)
        out[where] = rng.multinomial(total, rng.dirichlet(np.full(n, 0.5))) if n else 0
        return out

    signs = (np.ones(columns, np.int64), -np.ones(columns, np.int64), rng.choice([-1, 1], columns))
    return np.stack([
        spread(used & even) - spread(used & ~even) if r % 4 == 2 else spread(used) * signs[min(r % 4, 2)]
        for r in range(rows)
    ])  # fmt: skip


def met_at_once(rng: Rng, synapse: Synapse, routing: tuple[Route, ...], shape: Shape) -> Array:
    """bool [kernel indices]: those through which one output meets inputs, mostly one that meets most."""
    relayout, spatial = split(routing, shape)
    for route in relayout:
        shape = route.shape(shape)
    met = np.ones(1, bool)
    for axis, size in enumerate(shape[1:]):
        table = axis_taps(synapse, spatial, axis, size)
        outputs = [
            [k for c in table.tap[a:b] for k in table.classes[c]]
            for a, b in zip(table.start[:-1], table.start[1:], strict=True)
        ]
        chosen = max(outputs, key=len) if some(rng, 0.7) else one_of(rng, [o for o in outputs if o] or [[]])
        indices = synapse.taps(axis, 1).shape[1]
        met = np.logical_and.outer(met, np.isin(np.arange(indices), chosen)).ravel()
    return met


# -- networks ----------------------------------------------------------------------------------------------------------


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
        if prod(shape) > 4 * NEURONS or max(shape[1:], default=1) > LONGEST:
            return None
        name = f"pre{sum(p.is_encoder for p in self.populations)}"
        analog = some(rng, 0.15)
        top = self._analog(name, shape) if analog else self._spikes(name, shape)
        rows, single = synapse.rows().shape, isinstance(synapse, Diagonal | Pool | Resample)
        regime: str = one_of(rng, ("ternary", "int8", "int8", "edges", "wide", *map(str, BORDERS)))
        shift = rng.integers(-6 if analog else 0, 4, post[0]).astype(np.int32) if some(rng, 0.3) else None
        room, met = max(1, min(30000, EXACT // 32 // (top * rows[1]))), met_at_once(rng, synapse, routing, shape)
        if single:
            number = max(1, met.sum()) if isinstance(synapse, Pool) else 1
            regime = str(int(regime) // number) if regime.isdigit() else regime
            whole = np.repeat(weights(rng, rows[0], 1, regime, room, np.ones(1, bool)), rows[1], axis=1)
        else:
            whole = weights(rng, rows[0], rows[1], regime, room, met)
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
        if some(rng, 0.2):
            self.populations.append(Population("post", shape, readout, bias, value="y"))
            return
        v0 = np.rint(wide * rng.uniform(-1, 1, shape)) if some(rng, 0.3) else theta // one_of(rng, (1, 2, 2, 8))
        dip = np.rint(theta * rng.uniform(0, 2, len(theta))) * one_of(rng, (0, 1))
        theta, v0, dip = (self.real(a).astype(self.dtype) for a in (theta, v0, dip))
        names = [name for name in KINDS if name.startswith("radix") == self.radix]
        if self.numbers == "grid":
            names = [name for name in names if name != "leaky"]  # its leak leaves the grid
        kind = KINDS[one_of(rng, names)](theta, v0, dip, rng)
        self.populations.append(Population("post", shape, kind, bias))
        source = "post"
        window = self._window(shape) if some(rng, 0.5) else None
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
            code = pre.kind
            largest = max(-code.low, code.high) if isinstance(code, Constant) else 2 ** network.levels(pre) - 1
            load = np.abs(j.synapse.loads(np.asarray(j.synapse.rows(), np.float64))).sum(1) * largest
            if load.max() * unit >= EXACT:
                return 0
            total += load * (1 if j.synapse.shift is None else np.exp2(j.synapse.shift)) + 1
        if population.bias is not None:
            total += np.abs(population.bias.reshape(len(total), -1)).max(1)
        if total.max() * unit >= EXACT:
            return 0
        assert isinstance(kind, Neuron)
        start = sum(
            times * np.abs(kind.parameters().get(name, np.zeros(1)).astype(np.float64)).max()
            for name, times in (("theta", 1), ("v0", 1), ("dip", 2))
        )
        limit = MEMBRANE if numbers == "int" else EXACT
        if isinstance(kind, Leaky):
            limit //= kind.multiplier
        number = (limit - 1 - start * unit) // (total.max() * unit)  # N_T <= number
        most = number if network.base == 1 else np.floor(np.log2(max(number, 0) + 1))
        steps = min(steps, int(max(most, 0)))
    return steps
