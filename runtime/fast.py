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
from snncc.runtime.dynamics import Dynamics, Tile
from snncc.runtime.kernels import analog as kernels
from snncc.runtime.kernels import max_gate
from snncc.runtime.layout import aligned, padded, spatial
from snncc.runtime.plan import Link, Stage, make_plan, whole
from snncc.runtime.projections import project, prove
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
                prove(link)
        self._scratch = buffers.Scratch()
        self._pool = ThreadPoolExecutor(self.threads)  # kept, as each thread has scratch memory

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
                trains[name] = self._gate(stage, trains, timesteps, tally, done)
            else:
                constant = self._constant(stage, analog, tally)
                output, potential = self._neurons(stage, trains, constant, timesteps, prefixes, tally)
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
        constant = self._constant(stage, {}, tally)
        train, _ = self._neurons(stage, trains, constant, timesteps, False, tally)
        return train, tally.counts

    def _each(self, task: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """`map` to a list, on this engine's threads."""
        return list(self._pool.map(task, items) if self.threads > 1 else map(task, items))

    def _constant(self, stage: Stage, analog: dict[str, Array], tally: Tally) -> Array:
        """The part of the current that is the same at every step: [padded channels] or [positions, padded channels]."""
        shape, bias = stage.population.shape, stage.parameters.get("bias")
        total: Array | None = None
        for link in stage.constant:
            current, pairs = _analog(link, analog[link.pre], stage.dtype, self._each, self.threads)
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
    ) -> tuple[Array, Array]:
        """Runs one population: its train (empty for readouts) and its potentials (empty for the others)."""
        population, kind = stage.population, stage.population.kind
        depth, height, width = spatial(population.shape)
        channels, positions = padded(population.channels), depth * height * width
        # one for each level of a link's spikes; gathers last, so that neurons can respond to what they add
        inputs = []
        for link in sorted(stage.spiking, key=lambda link: bool(link.gathers)):
            moved = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
            inputs += [(link, level, planes) for level, planes in enumerate(moved)]
        fused = bool(inputs) and bool(inputs[-1][0].gathers)
        fires, integrate = population.fires, isinstance(kind, Readout)
        train = buffers.new_train(timesteps if fires else 0, stage.planes, population, stage.levels)
        finals = aligned((positions if integrate else 0, channels), stage.dtype)
        keep = integrate and prefixes
        history = np.zeros((timesteps if keep else 0, positions, channels), stage.dtype)
        shared = constant.ndim == 1
        assert constant.shape[-1] == channels and (shared or len(constant) == positions)
        assert constant.dtype == stage.dtype and constant.flags.c_contiguous and train.flags.c_contiguous
        if shared:
            constant = np.tile(constant, stage.block[1])
        dynamics = Dynamics(stage, train, timesteps, self._scratch, history)
        lines, steps = _tiling(depth * height, height, width * channels, timesteps, self.threads, stage.block[0])
        stored = not (fused and len(inputs) == 1 and all(g.opens and g.closes for g in inputs[0][0].gathers))
        if not stored:
            steps = timesteps

        def run_tile(corner: tuple[int, int]) -> Executed:
            z, y0 = corner
            y1 = min(y0 + lines, height)
            n, start = (y1 - y0) * width, (z * height + y0) * width
            v = finals[start : start + n] if integrate else self._scratch.array("v", (n, channels), stage.dtype)
            here = (constant if shared else constant[start : start + n]).ravel()
            tile = Tile(dynamics, start, n, here, shared, v)
            done = Executed.nothing(stage, timesteps)
            for t0 in range(0, timesteps, steps):
                chunk = min(steps, timesteps - t0)
                current = self._scratch.array("current", (chunk * n * channels * stored,), stage.dtype)
                for k, (link, level, planes) in enumerate(inputs):
                    respond = tile if fused and k == len(inputs) - 1 else None
                    done.rows[link.name] += project(
                        link, level, planes, t0, t0 + chunk, z, y0, y1, current, k == 0, self._scratch, respond, done.events
                    )
                if not fused:
                    if not inputs:
                        current[:] = 0
                    tile.advance(current.reshape(chunk, n, channels), t0, done.events)
            tile.finish(done.events)
            return done

        self._count(inputs, tally)
        for done in self._each(run_tile, [(z, y) for z in range(depth) for y in range(0, height, lines)]):
            tally.add(stage, done)
        for link in stage.spiking:
            if link.gathers:
                tally.check(link.name)
        return train, buffers.channels_first(history if keep else finals, population.shape) if integrate else finals

    def _gate(
        self, stage: Stage, trains: dict[str, Array], timesteps: int, tally: Tally, done: Executed
    ) -> Array:
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
        cuts = [lines * k // self.threads for k in range(self.threads + 1)]

        def run_lines(k: int) -> Array:
            events = np.zeros(timesteps, np.uint64)
            max_gate.max_gate(
                flat, kind.base, cuts[k], cuts[k + 1], rows, in_y, in_x, channels, *axes, like, out, events
            )  # fmt: skip
            return events

        done.events += sum(self._each(run_lines, range(self.threads)))
        self._count([(link, level, levels) for level, levels in enumerate(planes)], tally)
        return train

    def _count(self, inputs: list[tuple[Link, int, Array]], tally: Tally) -> None:
        """What the events of all inputs meet."""
        steps = tally.counts.timesteps
        spans = [slice(steps * k // self.threads, steps * (k + 1) // self.threads) for k in range(self.threads)]

        def count(task: tuple[tuple[Link, int, Array], slice]) -> tuple[str, slice, Array]:
            (link, _, planes), span = task
            assert link.census is not None
            return link.name, span, link.census.count(planes[span])

        for found in self._each(count, [(one, span) for one in inputs for span in spans]):
            tally.add_pairs(*found)


def _tiling(
    total: int, height: int, line: int, timesteps: int, threads: int, together: int
) -> tuple[int, int]:
    """(lines of a tile, a multiple of `together`; steps of a chunk) so that currents fit the cache; several steps if
    possible, so that membranes stay there too, and at least two tiles a thread."""
    lines = max(1, min(height, _TILE // (line * min(timesteps, 4))))
    if threads > 1:
        lines = max(1, min(lines, total // (2 * threads)))
    lines = -(-lines // together) * together
    return lines, max(1, min(timesteps, _TILE // (line * lines)))


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
