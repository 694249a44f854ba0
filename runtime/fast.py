"""The fast engine: layer by layer, event-driven, bit-planes between layers.

Each population runs all steps before the next one starts (networks are feed-forward). Its positions are cut into tiles
of lines; a tile runs chunk by chunk of steps: every projection adds to the tile's current, then the neurons fire. Tiles
are independent, so threads change neither results nor counts.
"""

from __future__ import annotations

import contextlib
import itertools
import os
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
from snncc.neurons.base import total_count
from snncc.runtime import buffers
from snncc.runtime.constant import ConstantCurrent, on_grid, reach
from snncc.runtime.counters import Executed, Tally
from snncc.runtime.dense import SMALL, Panels, dense_projection, make_panels
from snncc.runtime.dynamics import Dynamics, Tile
from snncc.runtime.kernels import max_gate
from snncc.runtime.layout import by_plane, padded, spatial
from snncc.runtime.plan import Link, Stage, make_plan
from snncc.runtime.projections import project, prove
from snncc.runtime.trace import Interlude, Trace, checked_value

_TILE = 1 << 18  # currents of one tile and chunk: 1 MiB, half of a core's second-level cache
# rates of spikes above which a dense product is faster than a list of events, measured by hand
BREAK_EVEN = {"int8": 0.85, "int16": 0.65, "int32": 0.45, "float32": 0.7}
Input = tuple[Link, int, Array]  # a link, the level of spikes, their planes


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
        self._panels: dict[str, Panels] = {}
        for stage in self.stages:
            for link in stage.links:
                prove(link)
                if link in stage.constant and link.groups == 1:
                    self._panels[link.name] = make_panels(link, stage.dtype, reach(network[link.pre].kind))
        self._scratch = buffers.Scratch()
        cpus = iter(_cpus(self.threads))
        # kept, as scratch memory is a thread's
        self._pool = ThreadPoolExecutor(self.threads, initializer=lambda: _pin(next(cpus, None)))

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
            if isinstance(kind, Encoder):
                x = checked_value(values, population, timesteps, interlude, trace.potentials)
                if kind.fires:
                    trains[name] = _encode(kind, x, stage, timesteps, seed, tally)
                else:
                    analog[name] = on_grid(kind, x, self._each)
            elif isinstance(kind, MaxGate):
                trains[name] = self._gate(stage, trains, timesteps, tally)
            elif isinstance(kind, Readout):
                trace.potentials[name] = self._readout(stage, trains, analog, timesteps, prefixes, tally)
            else:
                trains[name] = self._neurons(stage, trains, analog, timesteps, tally)
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
        return self._neurons(stage, trains, {}, timesteps, tally), tally.counts

    def _each(self, task: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """What `task` makes of the items, in any order, on this engine's threads: each takes the next one that is left
        (a future for each item would cost as much as a small tile)."""
        left = iter(list(items))

        def work() -> list[Any]:
            return [task(item) for item in left]

        if self.threads == 1:
            return work()
        return [found for future in [self._pool.submit(work) for _ in range(self.threads)] for found in future.result()]

    def _inputs(self, stage: Stage, trains: dict[str, Array], tally: Tally) -> list[Input]:
        """One for each level of a link's spikes, counted; gathers last, so that neurons can respond to what they
        add."""
        inputs: list[Input] = []
        for link in sorted(stage.spiking, key=lambda link: bool(link.gathers)):
            moved = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
            moved = moved.reshape(*moved.shape[:3], prod(link.inner[1:]), -1)
            inputs += [(link, level, planes) for level, planes in enumerate(moved)]
        self._count(inputs, tally)
        return inputs

    def _count(self, inputs: list[Input], tally: Tally) -> None:
        """What the events of all inputs meet."""
        steps = tally.counts.timesteps
        cuts = sorted({steps * k // self.threads for k in range(self.threads + 1)})
        spans = [slice(a, b) for a, b in itertools.pairwise(cuts)]

        def count(task: tuple[Input, slice]) -> tuple[str, slice, Array]:
            (link, _, planes), span = task
            assert link.census is not None
            return link.name, span, link.census.count(planes[span])

        for found in self._each(count, [(one, span) for one in inputs for span in spans]):
            tally.add_pairs(*found)

    def _neurons(
        self, stage: Stage, trains: dict[str, Array], analog: dict[str, Array], timesteps: int, tally: Tally
    ) -> Array:
        """Runs a population that fires: its train."""
        train = buffers.new_train(timesteps, stage.planes, stage.population, stage.levels)
        assert train.flags.c_contiguous
        inputs = self._inputs(stage, trains, tally)
        dynamics = Dynamics(stage, train, timesteps, self._scratch, np.zeros(0, stage.dtype))
        constant = ConstantCurrent(stage, self._panels, analog, self._scratch)
        dense = {link.name for link, _, _ in inputs if self._crowded(link, tally) and self._dense(link, stage)}

        def run_tile(lines: tuple[int, int]) -> Executed:
            done = Executed.nothing(stage, timesteps)
            self._tile(dynamics, inputs, dense, constant, lines, done).finish(done.events)
            return done

        for done in self._each(run_tile, self._cuts(stage, _stored(inputs, dense), timesteps)):
            tally.add(stage, done)
        tally.check(link.name for link in stage.spiking if link.name not in dense)
        return train

    def _readout(
        self, stage: Stage, trains: dict[str, Array], analog: dict[str, Array], timesteps: int, prefixes: bool,
        tally: Tally,
    ) -> Array:  # fmt: skip
        """Runs a readout: its potentials [C, *spatial] after the last step, or with all `prefixes` [T, C, *spatial]."""
        population, kind = stage.population, stage.population.kind
        assert isinstance(kind, Readout)
        channels, size = padded(population.channels), prod(population.shape[1:])
        inputs = self._inputs(stage, trains, tally)
        small = total_count(kind.base, timesteps) < SMALL  # what a neuron's spikes of one level say
        at_once = not prefixes and stage.dtype == np.int32 and small and all(self._dense(i[0], stage) for i in inputs)
        constant = ConstantCurrent(stage, self._panels, analog, self._scratch)
        potential = np.zeros((timesteps if prefixes else 1, population.channels, size), stage.dtype)
        width = spatial(population.shape)[2]

        def run_tile(lines: tuple[int, int]) -> Executed:
            start, n = lines[0] * width, (lines[1] - lines[0]) * width
            done = Executed.nothing(stage, timesteps)
            if at_once:
                values = self._numbers(stage, inputs, constant, lines, timesteps, kind.base, done)[None]
            else:
                train = np.empty((1, timesteps, 1, n, channels // 8), np.uint8)  # nothing is written
                history = np.zeros((timesteps, n, channels) if prefixes else 0, stage.dtype)
                dynamics = Dynamics(stage, train, timesteps, self._scratch, history)
                v = self._tile(dynamics, inputs, set(), constant, lines, done, 0).v
                values = history if prefixes else v[None]
            potential[:, :, start : start + n] = values[..., : population.channels].swapaxes(1, 2)
            return done

        for done in self._each(run_tile, self._cuts(stage, _stored(inputs, set()), timesteps)):
            tally.add(stage, done)
        if not at_once:
            tally.check(link.name for link in stage.spiking)
        return potential.reshape(*(timesteps,) * prefixes, *population.shape)

    def _dense(self, link: Link, stage: Stage) -> bool:
        """Can what a readout reads through this link be one dense product? Makes its panels."""
        if link.kernel != "gather" or link.groups > 1 or prod(link.out) == 1:
            return False
        if link.name not in self._panels:
            self._panels[link.name] = make_panels(link, stage.dtype, SMALL - 1)
        return True

    def _numbers(
        self, stage: Stage, inputs: list[Input], constant: ConstantCurrent, lines: tuple[int, int], timesteps: int,
        base: int, done: Executed,
    ) -> Array:  # fmt: skip
        """A readout's potentials [n, padded channels], from what the spikes of all steps say."""
        (low, high), channels = lines, padded(stage.population.channels)
        _, height, width = spatial(stage.population.shape)
        current = self._scratch.array("current", (high - low, width, channels), stage.dtype)
        same = constant.of(low, high, done.macs)
        current[:] = same[:channels] if constant.shared else same.reshape(current.shape)
        current *= stage.dtype(total_count(base, timesteps))
        for link, level, planes in inputs:
            where = (self._panels[link.name], level, base, planes, 0, timesteps)
            for here, z, y0, y1 in by_plane(low, high, height):
                dense_projection(*where, z, y0, y1, current[here], False, self._scratch)
        return current.reshape(-1, channels)

    def _crowded(self, link: Link, tally: Tally) -> bool:
        """Do so many of its pre neurons fire, on average over the steps, that they are better not listed?"""
        events, pre = tally.counts.events.get(link.pre), self.network[link.pre]
        if events is None or not link.gathers or self.network.levels(pre) > 1:
            return False
        return float(events.sum()) > BREAK_EVEN[link.gathers[0].mode] * pre.size * len(events)

    def _tile(
        self, dynamics: Dynamics, inputs: list[Input], dense: set[str], constant: ConstantCurrent,
        lines: tuple[int, int], done: Executed, start: int | None = None,
    ) -> Tile:  # fmt: skip
        """All steps of one tile. dense: links whose events are not listed; start: its first position in the train."""
        stage, timesteps = dynamics.stage, dynamics.timesteps
        low, high = lines
        _, height, width = spatial(stage.population.shape)
        n, channels = (high - low) * width, padded(stage.population.channels)
        tile = Tile(dynamics, low * width, n, constant.of(low, high, done.macs), constant.shared, start)
        fused, stored = bool(inputs) and _fuses(inputs[-1][0], dense), _stored(inputs, dense)
        steps = max(1, min(timesteps, _TILE // (n * channels))) if stored else timesteps
        for t0 in range(0, timesteps, steps):
            t1 = min(t0 + steps, timesteps)
            current = self._scratch.array("current", ((t1 - t0) * n * channels * stored,), stage.dtype)
            for k, (link, level, planes) in enumerate(inputs):
                if link.name in dense:
                    where = (self._panels[link.name], level, 1, planes)
                    for t, now in zip(range(t0, t1), current.reshape(-1, high - low, width, channels), strict=True):
                        for here, z, y0, y1 in by_plane(low, high, height):
                            dense_projection(*where, t, t + 1, z, y0, y1, now[here], k == 0, self._scratch)
                    continue
                respond = tile if fused and k == len(inputs) - 1 else None
                to = (current, k == 0, self._scratch, respond, done.events)
                done.rows[link.name] += project(link, level, planes, t0, t1, low, high, *to)
            if not fused:
                tile.advance(current, t0, t1, done.events)
        return tile

    def _cuts(self, stage: Stage, stored: bool, timesteps: int) -> list[tuple[int, int]]:
        """Tiles as (first line, last line + 1), z and y flat: membranes and, if they are stored, currents of several
        steps fit the cache; at least two tiles a thread; whole blocks of lines."""
        depth, height, width = spatial(stage.population.shape)
        kept = min(timesteps, 4) if stored else 1
        lines = min(depth * height, _TILE // (width * padded(stage.population.channels) * kept))
        if self.threads > 1:
            lines = min(lines, depth * height // (2 * self.threads))
        lines = -(-max(1, lines) // stage.block[0]) * stage.block[0]
        return [(low, min(low + lines, depth * height)) for low in range(0, depth * height, lines)]

    def _gate(self, stage: Stage, trains: dict[str, Array], timesteps: int, tally: Tally) -> Array:
        """Runs one max gate: its train."""
        population, kind = stage.population, stage.population.kind
        link = stage.links[0]
        planes = buffers.relayout(trains[link.pre], link.relayout, link.pre_shape)
        self._count([(link, level, one) for level, one in enumerate(planes)], tally)
        _, in_y, in_x = spatial(link.inner)
        channels = padded(link.channels)
        assert planes.shape[3:] == (prod(link.inner[1:]), channels // 8) and link.inner[0] == link.channels
        assert isinstance(kind, MaxGate) and planes.shape[:2] == (stage.levels, timesteps)
        train = buffers.new_train(timesteps, stage.planes, population, stage.levels)
        assert planes.shape[:3] == train.shape[:3] and planes.flags.c_contiguous
        flat, out = (buffers.words(bits).reshape(*bits.shape[:3], -1) for bits in (planes, train))
        largest = ((1 << stage.levels) - 1) * total_count(kind.base, timesteps)
        like = np.empty(0, np.min_scalar_type(-min(largest + 1, 1 << 31)))  # the narrowest that holds every count
        axes = [(a.start, a.source, link.tables[f"{name}_floor"]) for name, a in zip("zyx", link.axes, strict=True)]
        lines = link.out[0] * link.out[1]
        rows = max(1, (_TILE >> 3) * lines // (prod(planes.shape[3:]) * 8))
        cuts = [lines * k // self.threads for k in range(self.threads + 1)]

        def run_lines(k: int) -> Executed:
            done = Executed(np.zeros(timesteps, np.uint64))
            part = (cuts[k], cuts[k + 1], rows, in_y, in_x, channels)
            max_gate.max_gate(flat, kind.base, *part, *axes, like, out, done.events)
            return done

        for done in self._each(run_lines, range(self.threads)):
            tally.add(stage, done)
        return train


def _cpus(threads: int) -> list[int]:
    """The processors that threads stay on: if there is one for each and none to spare, all of them; else none, as other
    programs may need room. Where they may wander, two that wake up together can share one for half a second."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return usable if len(usable) == threads else []


def _pin(cpu: int | None) -> None:
    if cpu is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {cpu})  # of this thread


def _fuses(link: Link, dense: set[str]) -> bool:
    """Can neurons respond to what it adds?"""
    return bool(link.gathers) and link.name not in dense


def _stored(inputs: list[Input], dense: set[str]) -> bool:
    """Do currents stand in memory? Not if neurons respond to a single gather, or to none."""
    alone = len(inputs) == 1 and _fuses(inputs[0][0], dense) and all(g.opens and g.closes for g in inputs[0][0].gathers)
    return bool(inputs) and not alone


def _encode(kind: Encoder, x: Array, stage: Stage, timesteps: int, seed: int, tally: Tally) -> Array:
    train = buffers.new_train(timesteps, stage.planes, stage.population)
    done = Executed.nothing(stage, timesteps)
    for t in range(timesteps):
        spikes = kind.encode(x, t + 1, seed)
        planes = [spikes > 0, spikes < 0][: stage.planes]
        buffers.pack(np.stack(planes)[None, None], train[:, t : t + 1])
        done.events[t] = np.count_nonzero(spikes)
    tally.add(stage, done)
    return train
