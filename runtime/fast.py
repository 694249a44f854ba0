"""The fast engine: layer by layer, event-driven, bit-planes between layers.

Each population runs all steps before the next one starts (networks are feed-forward). Its positions are cut into tiles
of lines; a tile runs chunk by chunk of steps: every projection adds to the tile's current, then the neurons fire. Tiles
are independent, so threads change neither results nor counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any

import numpy as np

from snncc.counting import Counts
from snncc.encoders import Constant, Encoder
from snncc.errors import DataError
from snncc.graph import Array
from snncc.network import Kind, Network
from snncc.neurons import MaxGate, Readout
from snncc.runtime import buffers
from snncc.runtime.counters import Executed, Tally
from snncc.runtime.dense import SMALL, analog_current, make_panels, volume
from snncc.runtime.dynamics import Tile, level_scale
from snncc.runtime.kernels import conv, grouped, max_gate
from snncc.runtime.kernels.analog import grouped_analog
from snncc.runtime.plan import Link, Stage, make_plan, padded, spatial, whole
from snncc.runtime.trace import Interlude, Trace, checked_value
from snncc.synapses.routing import apply_all

Each = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
_TILE = 1 << 18  # currents of one tile and chunk: 1 MiB, half of a core's second-level cache


class FastEngine:
    """Runs one network on one machine.

    Args:
        network: feed-forward, its populations in execution order.
        threads: any number gives the same results.
    """

    def __init__(self, network: Network, threads: int = 1):
        self.network = network
        self.threads = max(1, threads)
        self.stages = make_plan(network)
        for stage in self.stages:
            for link in stage.links:
                _prove(link)
        constant = [(link, stage.dtype) for stage in self.stages for link in stage.constant if link.groups == 1]
        self._panels = {link.name: make_panels(link, dtype, _reach(network[link.pre].kind)) for link, dtype in constant}
        self._scratch = buffers.Scratch()

    def run(
        self,
        values: Mapping[str, Array],
        timesteps: int,
        *,
        seed: int = 0,
        record: bool = False,
        prefixes: bool = False,
        interlude: Interlude | None = None,
    ) -> Trace:
        if timesteps < 1:
            raise DataError(f"{timesteps} steps", remedy="at least one")
        tally = Tally(timesteps)
        trace = Trace({}, {}, tally.counts)
        trains: dict[str, Array] = {}
        analog: dict[str, Array] = {}
        with ThreadPoolExecutor(self.threads) as pool:
            each = self._each(pool)
            for stage in self.stages:
                population, kind = stage.population, stage.population.kind
                name = population.name
                done = Executed.nothing(stage, timesteps)
                if isinstance(kind, Encoder):
                    x = checked_value(values, population, timesteps, interlude, trace.potentials)
                    if kind.fires:
                        trains[name] = _encode(kind, x, stage, timesteps, seed, done)
                    else:
                        analog[name] = _on_grid(kind, x, each)
                elif isinstance(kind, MaxGate):
                    trains[name] = _gate(stage, trains, timesteps, done)
                else:
                    output, potential = self._neurons(stage, trains, analog, timesteps, prefixes, tally, each)
                    if population.fires:
                        trains[name] = output
                    else:
                        trace.potentials[name] = potential
                tally.add(stage, done)
                if record and population.fires:
                    trace.spikes[name] = buffers.dense(trains[name], population.shape)
                for spent in stage.last_use_of:
                    trains.pop(spent, None)
                    analog.pop(spent, None)
        return trace

    def run_population(self, name: str, trains: dict[str, Array], timesteps: int) -> tuple[Array, Counts]:
        """One population that fires, alone, from the given trains (buffers.py) and without analog currents; for
        benchmarks."""
        stage = next(stage for stage in self.stages if stage.population.name == name)
        tally = Tally(timesteps)
        with ThreadPoolExecutor(self.threads) as pool:
            each = self._each(pool)
            train, _ = self._neurons(stage, trains, {}, timesteps, False, tally, each)
        return train, tally.counts

    def _analog(self, link: Link, values: Array, dtype: Any) -> Array:
        """What an encoder gives, as the kernel of a constant link reads it."""
        if link.groups == 1:
            return volume(self._panels[link.name], values, dtype)
        routed = whole(apply_all(link.relayout, values, link.pre_shape), dtype, link.name)
        return np.ascontiguousarray(np.moveaxis(routed.reshape(link.inner[0], *spatial(link.inner)), 0, -1))

    def _each(self, pool: ThreadPoolExecutor) -> Each:
        """`map` to a list, on this engine's threads."""
        return lambda task, items: list(pool.map(task, items) if self.threads > 1 else map(task, items))

    def _constant(
        self, stage: Stage, read: Mapping[str, Array], bias: Array, z: int, y0: int, y1: int, macs: dict[str, int]
    ) -> Array:
        """A tile's current that is the same at every step, flat [positions * padded channels].

        read: what `_analog` makes for each constant link; bias: per channel."""
        channels, (_, height, width) = stage.population.channels, spatial(stage.population.shape)
        current = self._scratch.array("constant", (y1 - y0, width, len(bias)), stage.dtype)
        current[:] = 0
        for k, link in enumerate(stage.constant):
            offset = bias if k == len(stage.constant) - 1 else np.zeros_like(bias)
            finish = (*(link.tables[key] for key in ("scale", "half", "down")), offset)
            if link.groups == 1:
                analog_current(self._panels[link.name], read[link.name], z, y0, y1, finish, current, self._scratch)
            else:
                _grouped(link, read[link.name], z, y0, finish, current)
            in_z, in_y, in_x = link.axes
            met = (in_z.start[z + 1] - in_z.start[z]) * (in_y.start[y1] - in_y.start[y0]) * in_x.start[-1]
            macs[link.name] = int(met) * link.inner[0] * (link.channels // link.groups)
        if "bias_map" in stage.parameters:  # [C, *spatial]
            rows, start = current.reshape(-1, len(bias)), (z * height + y0) * width
            rows[:, :channels] += stage.parameters["bias_map"].reshape(channels, -1)[:, start : start + len(rows)].T
        return current.ravel()

    def _neurons(
        self,
        stage: Stage,
        trains: dict[str, Array],
        analog: Mapping[str, Array],
        timesteps: int,
        prefixes: bool,
        tally: Tally,
        each: Each,
    ) -> tuple[Array, Array]:
        """Runs one population: its train (empty for readouts) and its potentials (empty for the others)."""
        population, kind = stage.population, stage.population.kind
        depth, height, width = spatial(population.shape)
        channels, positions = padded(population.channels), depth * height * width
        inputs = []  # one for each level of a link's spikes
        for link in stage.spiking:
            moved = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
            inputs += [(link, planes, level_scale(link, k)) for k, planes in enumerate(moved)]
        fires, integrate = population.fires, isinstance(kind, Readout)
        train = buffers.new_train(timesteps if fires else 0, stage.planes, population, stage.levels)
        keep = integrate and prefixes
        shown = (timesteps if keep else 1) if integrate else 0  # steps whose potentials are given out
        potential = np.zeros((shown, population.channels, positions), stage.dtype)
        read = {link.name: self._analog(link, analog[link.pre], stage.dtype) for link in stage.constant}
        bias, shared = stage.parameters["bias"], not (stage.constant or "bias_map" in stage.parameters)
        assert train.flags.c_contiguous

        lines, steps = _tiling(depth * height, height, width * channels, timesteps, self.threads)

        def run_tile(corner: tuple[int, int]) -> Executed:
            z, y0 = corner
            y1 = min(y0 + lines, height)
            n, start = (y1 - y0) * width, (z * height + y0) * width
            done = Executed.nothing(stage, timesteps)
            part = bias if shared else self._constant(stage, read, bias, z, y0, y1, done.macs)
            history = np.empty((timesteps, n, channels), stage.dtype) if keep else None
            tile = Tile(stage, train, start, n, timesteps, history)
            for t0 in range(0, timesteps, steps):
                chunk = min(steps, timesteps - t0)
                current = self._scratch.array("current", (chunk, y1 - y0, width, channels), stage.dtype)
                if not inputs:
                    current[:] = 0
                for k, (link, planes, scale) in enumerate(inputs):
                    self._project(link, planes, scale, t0, z, y0, y1, current, k == 0, done.pairs[link.name])
                tile.advance(current.reshape(chunk, n, channels), part, shared, t0, done.events)
            tile.finish(done.events)
            if integrate:
                values = tile.v[None] if history is None else history
                potential[:, :, start : start + n] = values[..., : population.channels].swapaxes(1, 2)
            return done

        for done in each(run_tile, [(z, y) for z in range(depth) for y in range(0, height, lines)]):
            tally.add(stage, done)
        return train, potential.reshape(*(shown,) * keep, *population.shape) if integrate else potential

    def _project(
        self, link: Link, planes: Array, scale: Array, t0: int, z: int, y0: int, y1: int, current: Array, first: bool,
        counts: Array,
    ) -> None:  # fmt: skip
        """One projection's current for one tile, chunk and level, times `scale`."""
        axis_z, axis_y, axis_x = link.axes
        in_z, in_y, in_x = spatial(link.inner)
        cin, channels = link.inner[0], padded(link.channels)
        assert planes.ndim == 4 and planes.dtype == np.uint8 and planes.flags.c_contiguous
        assert planes.shape[2:] == (in_z * in_y * in_x, padded(cin) // 8) and planes.shape[1] in (1, 2)
        assert current.flags.c_contiguous and current.shape[1:] == (y1 - y0, link.out[2], channels)
        assert current.dtype == link.scale.dtype and t0 + current.shape[0] <= planes.shape[0]
        assert 0 <= z < link.out[0] and 0 <= y0 < y1 <= link.out[1] and counts.shape == (3, planes.shape[0])
        tables, common = link.tables, (t0, z, y0, y1, in_y, in_x)
        scaled = link.scaled or scale is not link.scale
        zy = (axis_z.start, axis_z.source, axis_z.tap, axis_y.start, axis_y.source, axis_y.tap, len(axis_y.classes))
        plain_x = (axis_x.start, axis_x.source, axis_x.tap, len(axis_x.classes))
        if link.kernel == "gather":
            pairs = int((axis_z.start[z + 1] - axis_z.start[z]) * np.diff(axis_y.start[y0 : y1 + 1]).max())
            ids = self._scratch.array("ids", (planes.shape[1] * pairs * in_x * cin + 16,), np.int32)
            ptr = self._scratch.array("ptr", (planes.shape[1], in_x + 1), np.int32)
            runs = (tables["run_start"], tables["run_first"], tables["run_stop"], tables["run_shift"])
            conv.gather(
                planes, *common, cin, link.channels, *zy, *runs, len(axis_z.classes) * len(axis_y.classes) * cin,
                link.weights, tables["nonzero"], tables["paths"], scale, scaled,
                current, first, conv.ONES, conv.PLACES, ids, ptr, counts,
            )  # fmt: skip
        elif link.kernel == "depthwise":
            grouped.depthwise(
                buffers.words(planes), *common, *zy, *plain_x, link.weights, tables["live"], tables["multiplicity"],
                scale, scaled, current, first, counts,
            )  # fmt: skip
        else:
            grouped.grouped(
                planes, *common, link.channels, link.groups, *zy, *plain_x, link.weights, tables["nonzero"],
                tables["multiplicity"], scale, current, first, counts,
            )  # fmt: skip


def _tiling(total: int, height: int, line: int, timesteps: int, threads: int) -> tuple[int, int]:
    """(lines of a tile, steps of a chunk) so that currents fit the cache; several steps if possible, so that membranes
    stay there too, and at least two tiles a thread."""
    lines = max(1, min(height, _TILE // (line * min(timesteps, 4))))
    if threads > 1:
        lines = max(1, min(lines, total // (2 * threads)))
    return lines, max(1, min(timesteps, _TILE // (line * lines)))


def _prove(link: Link) -> None:
    """What the kernels rely on when they follow a link's tables without looking."""
    for axis, size, out in zip(link.axes, spatial(link.inner), link.out, strict=True):
        assert axis.outputs == out and axis.start[0] == 0 and np.all(np.diff(axis.start) >= 0)
        assert axis.start[-1] == axis.source.size == axis.tap.size
        assert np.all((axis.source >= 0) & (axis.source < size))
        assert np.all((axis.tap >= 0) & (axis.tap < len(axis.classes)))
    classes = prod(len(axis.classes) for axis in link.axes)
    channels = padded(link.channels)
    if link.kernel == "gather":
        rows = classes * link.inner[0] + 1
        assert link.weights.shape == (rows * channels,) and link.tables["nonzero"].shape == (rows,)
        assert rows * channels < 2**62 and link.tables["paths"].size in (0, rows)
    elif link.kernel == "depthwise":
        assert link.weights.shape == (classes, channels) == (classes, padded(link.inner[0]))
    assert link.scale.shape == (channels,)
    assert all(table.flags.c_contiguous for table in (link.weights, link.scale, *link.tables.values()))


def _encode(kind: Encoder, x: Array, stage: Stage, timesteps: int, seed: int, done: Executed) -> Array:
    train = buffers.new_train(timesteps, stage.planes, stage.population)
    for t in range(timesteps):
        spikes = kind.encode(x, t + 1, seed)
        planes = [spikes > 0, spikes < 0][: stage.planes]
        buffers.pack(np.stack(planes)[None, None], train[:, t : t + 1])
        done.events[t] = np.count_nonzero(spikes)
    return train


def _reach(kind: Kind) -> float:
    """The largest whole value of a constant current."""
    return max(-kind.low, kind.high) if isinstance(kind, Constant) and kind.levels else np.inf


def _on_grid(kind: Encoder, x: Array, each: Each) -> Array:
    """What a constant current gives: int16 where that holds it, in pieces that fit the caches."""
    assert isinstance(kind, Constant)
    flat, out = x.reshape(-1), np.empty(x.shape, np.int16 if _reach(kind) < SMALL else np.float32)

    def part(start: int) -> None:
        out.reshape(-1)[start : start + _TILE] = kind.encode(flat[start : start + _TILE])

    each(part, range(0, x.size, _TILE))
    return out


def _grouped(link: Link, values: Array, z: int, y0: int, finish: tuple[Array, ...], current: Array) -> None:
    """As dense.analog_current, for several groups; values [Z, Y, X, Cin]."""
    sums = np.zeros_like(current)
    tables = [table for axis in link.axes for table in (axis.start, axis.source, axis.tap)]
    grouped_analog(values, *tables, link.weights, link.groups, sums, link.out[1], z * link.out[1] + y0)
    scale, half, down, offset = finish
    sums *= scale
    if link.projection.synapse.shift is not None:
        sums += half
        sums = sums >> down if sums.dtype == np.int32 else np.floor(sums)
    current += sums
    current += offset


def _gate(stage: Stage, trains: dict[str, Array], timesteps: int, done: Executed) -> Array:
    population, link = stage.population, stage.links[0]
    planes = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
    _, in_y, in_x = spatial(link.inner)
    assert planes.shape[3:] == (prod(link.inner[1:]), padded(link.inner[0]) // 8) and link.inner[0] == link.channels
    assert isinstance(population.kind, MaxGate) and planes.shape[:2] == (stage.levels, timesteps)
    train = buffers.new_train(timesteps, stage.planes, population, stage.levels)
    counts = np.zeros((planes.shape[3], link.channels), np.int32)
    top = np.zeros((*link.out, link.channels), np.int32)
    tables = [link.tables[f"{axis}_{part}"] for axis in "zyx" for part in ("out", "window", "tap")]
    sources = [table for axis in link.axes for table in (axis.start, axis.source)]
    max_gate.max_gate(
        planes, population.kind.base, in_y, in_x, *tables, *sources, link.tables["multiplicity"], link.tables["floor"],
        counts, top, train, done.events, done.pairs[link.name],
    )  # fmt: skip
    return train
