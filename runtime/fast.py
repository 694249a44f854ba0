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
from snncc.encoders import Encoder
from snncc.errors import DataError
from snncc.graph import Array
from snncc.network import Network
from snncc.neurons import MaxGate, Readout
from snncc.runtime import buffers
from snncc.runtime.counters import Executed, Tally
from snncc.runtime.dynamics import Tile, level_scale
from snncc.runtime.kernels import analog as kernels
from snncc.runtime.kernels import conv, depthwise, fan_out, max_gate
from snncc.runtime.plan import Link, Stage, aligned, make_plan, padded, spatial, whole
from snncc.runtime.trace import Interlude, Trace, checked_value
from snncc.synapses.routing import apply_all

Each = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
ALL = slice(None)
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
                for part in [block for _, _, block in link.blocks] or [link]:
                    _prove(part)
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
                        analog[name] = kind.encode(x, 1, seed)
                elif isinstance(kind, MaxGate):
                    trains[name] = _gate(stage, trains, timesteps, done, each, self.threads)
                else:
                    constant = self._constant(stage, analog, tally, each)
                    output, potential = self._neurons(stage, trains, constant, timesteps, prefixes, tally, each)
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
            constant = self._constant(stage, {}, tally, each)
            train, _ = self._neurons(stage, trains, constant, timesteps, False, tally, each)
        return train, tally.counts

    def _each(self, pool: ThreadPoolExecutor) -> Each:
        """`map` to a list, on this engine's threads."""
        return lambda task, items: list(pool.map(task, items) if self.threads > 1 else map(task, items))

    def _constant(self, stage: Stage, analog: dict[str, Array], tally: Tally, each: Each) -> Array:
        """The part of the current that is the same at every step: [padded channels] or [positions, padded channels]."""
        shape, bias = stage.population.shape, stage.parameters.get("bias")
        total: Array | None = None
        for link in stage.constant:
            current, pairs = _analog(link, analog[link.pre], stage.dtype, each, self.threads)
            tally.add_macs(link.name, pairs)
            total = current if total is None else np.add(total, current, out=total)
        if bias is None:
            return np.zeros(padded(shape[0]), stage.dtype) if total is None else total
        if bias.ndim == 1:
            bias = bias.reshape(-1, 1)
        bias = buffers.positions_first(bias, stage.dtype)  # [1 or positions, padded channels]
        if total is not None:
            return np.add(total, bias, out=total)
        return bias[0] if len(bias) == 1 else bias

    def _neurons(
        self,
        stage: Stage,
        trains: dict[str, Array],
        constant: Array,
        timesteps: int,
        prefixes: bool,
        tally: Tally,
        each: Each,
    ) -> tuple[Array, Array]:
        """Runs one population: its train (empty for readouts) and its potentials (empty for the others)."""
        population, kind = stage.population, stage.population.kind
        depth, height, width = spatial(population.shape)
        channels, positions = padded(population.channels), depth * height * width
        counted = Executed.nothing(stage, timesteps)
        inputs = []  # one for each level of a link's spikes, and block of it
        for link in stage.spiking:
            moved = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
            if link.kernel == "depthwise":
                counted.pairs[link.name] += _met(link, moved, each, self.threads)
            for k, planes in enumerate(moved):
                for part, where, inner in link.blocks or ((ALL, ALL, link),):
                    bits = np.ascontiguousarray(planes[..., part])
                    inputs.append((inner, bits, level_scale(inner, k), where, k == 0 and link is stage.spiking[0]))
        fires, integrate = population.fires, isinstance(kind, Readout)
        train = buffers.new_train(timesteps if fires else 0, stage.planes, population, stage.levels)
        finals = np.zeros((positions if integrate else 0, channels), stage.dtype)
        keep = integrate and prefixes
        history = np.zeros((timesteps if keep else 0, positions, channels), stage.dtype)
        shared = constant.ndim == 1
        assert constant.shape[-1] == channels and (shared or len(constant) == positions)
        assert constant.dtype == stage.dtype and constant.flags.c_contiguous and train.flags.c_contiguous

        lines, steps = _tiling(depth * height, height, width * channels, timesteps, self.threads)

        def run_tile(corner: tuple[int, int]) -> Executed:
            z, y0 = corner
            y1 = min(y0 + lines, height)
            n, start = (y1 - y0) * width, (z * height + y0) * width
            part = (constant if shared else constant[start : start + n]).ravel()
            tile = Tile(stage, train, start, n, timesteps, history if keep else None)
            done = Executed.nothing(stage, timesteps)
            for t0 in range(0, timesteps, steps):
                chunk = min(steps, timesteps - t0)
                current = self._scratch.array("current", (chunk, y1 - y0, width, channels), stage.dtype)
                if not inputs:
                    current[:] = 0
                for link, planes, scale, where, first in inputs:
                    of_tile, pairs = (link, planes, scale, t0, z, y0, y1), done.pairs[link.name]
                    if padded(link.channels) == channels:
                        self._project(*of_tile, current, first, pairs)
                        continue
                    block = self._scratch.array("block", (*current.shape[:3], padded(link.channels)), stage.dtype)
                    self._project(*of_tile, block, True, pairs)
                    current[..., where] = block if first else current[..., where] + block
                tile.advance(current.reshape(chunk, n, channels), part, shared, t0, done.events)
            tile.finish(done.events)
            if integrate:
                finals[start : start + n] = tile.v
            return done

        for done in each(run_tile, [(z, y) for z in range(depth) for y in range(0, height, lines)]):
            tally.add(stage, done)
        tally.add(stage, counted)
        return train, buffers.channels_first(history if keep else finals, population.shape) if integrate else finals

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
        if link.kernel == "gather":
            pairs = int((axis_z.start[z + 1] - axis_z.start[z]) * np.diff(axis_y.start[y0 : y1 + 1]).max())
            ids = self._scratch.array("ids", (planes.shape[1] * pairs * in_x * cin + 16,), np.int32)
            ptr = self._scratch.array("ptr", (planes.shape[1], in_x + 1), np.int32)
            runs = (tables["run_start"], tables["run_first"], tables["run_stop"], tables["run_shift"])
            conv.gather(
                planes, *common, cin, link.channels // link.groups, *zy, *runs,
                len(axis_z.classes) * len(axis_y.classes) * cin, link.weights, tables["nonzero"], tables["paths"],
                scale, scaled, current, first, conv.ONES, conv.PLACES, ids, ptr, counts,
            )  # fmt: skip
        else:
            assert link.kernel == "depthwise"
            axes = [(axis.start, axis.source, axis.tap) for axis in link.axes]
            depthwise.depthwise(
                buffers.words(planes), *common, *axes[:2], (*axes[2], tables["alike"]), len(axis_y.classes),
                len(axis_x.classes), link.weights, tables["live"], scale, scaled, current, first, counts,
            )  # fmt: skip


def _met(link: Link, train: Array, each: Each, threads: int) -> Array:
    """What the spikes meet by the closed form, uint64 [3, T]; where some weights are 0, without nonzero pairs."""
    counts, timesteps = np.zeros((3, train.shape[1]), np.uint64), train.shape[1]
    words, per = buffers.words(train).reshape(*train.shape[:3], -1), train.shape[4] // 2
    tables = [link.tables[name] for name in ("z_fan", "z_ways", "y_fan", "y_ways", "x_stop", "x_fan", "x_ways")]
    cuts = [timesteps * k // threads for k in range(threads + 1)]
    each(lambda k: fan_out.met(words, per, cuts[k], cuts[k + 1], *tables, counts), range(threads))
    counts[1] *= np.uint64("live" not in link.tables or link.tables["live"].size == 0)
    return counts


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
        assert spatial(link.inner)[2] * rows // len(link.axes[2].classes) < 2**31  # ids are int32
        assert rows * channels < 2**62 and link.tables["paths"].size in (0, rows)
    elif link.kernel == "depthwise":
        channels += 48
        assert link.weights.shape == (classes, channels) and link.inner[0] == link.channels
    elif link.kernel == "analog" and link.groups == 1:
        assert link.weights.shape == (classes * link.inner[0] * channels,)
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


def _analog(link: Link, value: Array, dtype: Any, each: Each, threads: int) -> tuple[Array, int]:
    """The constant current of one projection, [positions, padded channels], and its multiply-accumulates."""
    routed = apply_all(link.relayout, value, link.pre_shape)
    inputs = np.moveaxis(whole(routed, dtype, link.name).reshape(link.inner[0], *spatial(link.inner)), 0, -1)
    inputs = np.ascontiguousarray(inputs)
    out = aligned((prod(link.out), padded(link.channels)), dtype)
    tables = [table for axis in link.axes for table in (axis.start, axis.source, axis.tap)]
    (depth, height, width), (_, axis_y, axis_x) = link.out, link.axes
    cuts = [depth * height * k // threads for k in range(threads + 1)]

    def part(k: int) -> int:
        if link.groups == 1:
            size = (len(axis_y.classes), len(axis_x.classes), link.weights, out.ravel(), width, height)
            return int(kernels.analog(inputs, *tables, *size, cuts[k], cuts[k + 1])) * link.channels
        lines = out.reshape(*link.out, -1)
        return int(kernels.grouped_analog(inputs, *tables, link.weights, link.groups, lines, cuts[k], cuts[k + 1]))

    pairs = sum(each(part, range(threads)))
    if link.projection.synapse.shift is not None:
        _round(out, link.scale)
    return out, pairs


def _round(current: Array, shift: Array) -> None:
    """floor(J * 2^shift + 1/2) in place, exactly if J is whole. current [positions, channels], shift int32 [channels].

    An int32 suffices: quantize proves that J, also with its half or shifted up, stays below 2^24.
    """
    if current.dtype == np.float32:
        np.multiply(current, np.exp2(shift).astype(np.float32), out=current)
        np.add(current, np.float32(0.5), out=current)
        np.floor(current, out=current)
        return
    down, up = np.clip(-shift, 0, 30), np.maximum(shift, 0)  # 30 leaves nothing of it
    if up.any():
        np.left_shift(current, up, out=current)
    np.add(current, np.where(down > 0, 1 << np.maximum(down - 1, 0), 0).astype(np.int32), out=current)
    np.right_shift(current, down, out=current)


def _gate(stage: Stage, trains: dict[str, Array], timesteps: int, done: Executed, each: Each, threads: int) -> Array:
    """Runs one max gate: its train."""
    population, link = stage.population, stage.links[0]
    planes = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
    _, in_y, in_x = spatial(link.inner)
    channels, kind = padded(link.channels), population.kind
    assert planes.shape[3:] == (prod(link.inner[1:]), channels // 8) and link.inner[0] == link.channels
    assert isinstance(kind, MaxGate) and planes.shape[:2] == (stage.levels, timesteps)
    train = buffers.new_train(timesteps, stage.planes, population, stage.levels)
    assert planes.shape[:3] == train.shape[:3] and planes.flags.c_contiguous
    flat, out = (buffers.words(bits).reshape(*bits.shape[:3], -1) for bits in (planes, train))
    largest = ((1 << stage.levels) - 1) * sum(kind.base**t for t in range(timesteps))
    like = np.empty(0, np.min_scalar_type(-min(largest + 1, 1 << 31)))  # the narrowest that holds every count
    axes = [(a.start, a.source, link.tables[f"{name}_floor"]) for name, a in zip("zyx", link.axes, strict=True)]
    lines = link.out[0] * link.out[1]
    rows = max(1, (_TILE >> 3) * lines // (prod(planes.shape[3:]) * 8))
    cuts = [lines * k // threads for k in range(threads + 1)]

    def run_lines(k: int) -> Array:
        events = np.zeros(timesteps, np.uint64)
        max_gate.max_gate(
            flat, kind.base, cuts[k], cuts[k + 1], rows, in_y, in_x, channels, *axes, like, out, events
        )  # fmt: skip
        return events

    done.events += sum(each(run_lines, range(threads)))
    done.pairs[link.name] += _met(link, planes, each, threads)
    return train
