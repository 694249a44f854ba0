"""The fast engine against the reference engine and the closed form of the counts, on random networks and spikes.

    python -m tests.fuzz --specialisations 200 --data 50 --seed 1 --write     # docs/results/fuzz.md

Spikes, potentials after each step and every count must be equal (==). Workers do the work, so that a crash is found and
belongs to a specialisation. Ctrl-C stops it; the last line says how to go on.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import faulthandler
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from snncc.counting import Counts, closed_form
from snncc.graph import Array
from snncc.network import Network
from snncc.network_text import network_text
from snncc.runtime import fast
from snncc.runtime.fast import FastEngine
from snncc.runtime.reference import ReferenceEngine
from snncc.runtime.trace import Trace
from tests import guard_pages
from tests.specialisations import Specialisation, specialisation
from tests.spike_data import data_set

RECORD = Path(__file__).resolve().parents[1] / "docs" / "results" / "fuzz.md"
ENGINES = ((1, None), (2, 1000), (3, 200), (1, 1))  # (threads, currents in a tile); data sets take them in turn


@contextlib.contextmanager
def tiles(currents: int | None) -> Iterator[None]:
    """Tiles and chunks of at most so many currents (at least one line and step); None: the engine's own."""
    own = fast._TILE
    fast._TILE = own if currents is None else currents
    try:
        yield
    finally:
        fast._TILE = own


@dataclass
class Outcome:
    """Of one specialisation. fault: "" or what differs and how to see it again; events: of its neurons; facts: what
    it is made of."""

    index: int
    fault: str = ""
    data_sets: int = 0
    events: int = 0
    synops: int = 0
    seconds: float = 0.0
    facts: list[str] = field(default_factory=list)


def difference(network: Network, found: Trace, want: Trace) -> str:
    """The first thing in which two runs differ, "" if they are the same. Bit for bit: -0.0 and NaN, too."""
    for population in network.populations:
        name = population.name
        for what, a, b in (("spikes", found.spikes.get(name), want.spikes.get(name)),
                           ("potentials", found.potentials.get(name), want.potentials.get(name))):  # fmt: skip
            if a is None and b is None:
                continue
            if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
                return f"{what} of {name}: {_form(a)} instead of {_form(b)}"
            if not np.array_equal(a, b):
                wrong = np.argwhere(a != b)
                at = tuple(int(i) for i in wrong[0])
                return f"{what} of {name}: {len(wrong)} differ, first at (t, c, ...) = {at}: {a[at]} instead of {b[at]}"
    if not found.counts.same(want.counts):
        for kind in ("events", "synops", "synops_nonzero", "synops_paths", "macs"):
            a, b = getattr(found.counts, kind), getattr(want.counts, kind)
            for name in b:
                if not np.array_equal(a.get(name, -1), b[name]):
                    return f"{kind} of {name}: {a.get(name)} instead of {b[name]}"
        return "counts differ in their keys"
    return ""


def _form(a: Array | None) -> str:
    return "nothing" if a is None else f"{a.dtype} {a.shape}"


def run(engine: FastEngine | ReferenceEngine, values: dict[str, Array], steps: int) -> Trace:
    return engine.run(values, steps, record=True, prefixes=True)


def attempt(seed: int, index: int, data: Sequence[int]) -> Outcome:
    """Runs the data sets of one specialisation."""
    begin, made = time.perf_counter(), specialisation(seed, index)
    outcome = Outcome(index, facts=facts(made))
    try:
        outcome.fault = _fault(made, data, outcome)
    except Exception as fault:  # a refusal or an assertion is a finding as a wrong number is
        outcome.fault = f"{type(fault).__name__}: {fault}"
    if outcome.fault:
        outcome.fault = f"{outcome.fault}\n{_again(seed, index, data)}\n{network_text(made.network)}"
    outcome.seconds = time.perf_counter() - begin
    return outcome


def _again(seed: int, index: int, data: Sequence[int]) -> str:
    return f"python -m tests.fuzz --seed {seed} --first {index} --specialisations 1 --data {len(data)}"


def _fault(made: Specialisation, data: Sequence[int], outcome: Outcome) -> str:
    network = made.network
    engines = []
    for threads, currents in ENGINES:
        with tiles(currents):
            engines.append(FastEngine(network, threads))
    oracle: Any = engines[0] if made.numbers == "real" else ReferenceEngine(network)
    trains: list[dict[str, Array]] = []
    seen: list[Counts] = []
    for number in data:
        values, steps, told = data_set(made, number)
        want = run(oracle, values, steps)
        which = number % len(ENGINES)
        with tiles(ENGINES[which][1]):
            found = run(engines[which], values, steps)
            last = engines[which].run(values, steps)  # nothing recorded
        wrong = difference(network, found, want)
        if not wrong and not last.counts.same(found.counts):
            wrong = "counts differ where nothing is recorded"
        for name, potential in found.potentials.items():
            if not wrong and not np.array_equal(last.potentials[name], potential[-1]):
                wrong = f"potentials of {name} differ where nothing is recorded"
        if wrong:
            return f"data set {number} ({steps} steps; {told}), threads and tile {ENGINES[which]}: {wrong}"
        trains.append(found.spikes)
        seen.append(found.counts)
        outcome.data_sets += 1
        outcome.events += int(sum(train.sum() for train in found.counts.events.values()))
        outcome.synops += int(sum(pairs.sum() for pairs in found.counts.synops.values()))
    return _counted(network, trains, seen)


def _counted(network: Network, trains: list[dict[str, Array]], seen: list[Counts]) -> str:
    """The closed form of all data sets at once (they stand one behind the other) against what runs have counted."""
    if not trains[0]:
        return ""
    closed = closed_form(network, {name: np.concatenate([t[name] for t in trains]) for name in trains[0]})
    for kind in ("events", "synops", "synops_nonzero", "synops_paths"):
        for name, want in getattr(closed, kind).items():
            if not np.array_equal(np.concatenate([getattr(c, kind)[name] for c in seen]), want):
                return f"{kind} of {name} differ from their closed form"
    return "" if all(c.macs == closed.macs for c in seen) else "macs differ from their closed form"


def facts(made: Specialisation) -> list[str]:
    """Words to count what was met: numbers, neurons, synapses, routes, ranks."""
    network = made.network
    post = network["post"]
    found = {f"numbers: {made.numbers}", f"neuron: {post.kind.op}", f"axes: {len(post.shape) - 1}"}
    for j in network.incoming(post):
        found.add(f"synapse: {j.synapse.kind}" + ("" if j.synapse.groups == 1 else ", grouped"))
        found |= {f"routing: {route.kind}" for route in j.routing}
        pre = network[j.pre]
        sign = "signed " if network.signed(pre) else ""
        source = f"{sign}spikes" if network.levels(pre) == 1 else f"{sign}spikes of several levels"
        found.add("reads: " + (source if pre.fires else "constant current"))
    found |= {"neuron: MaxGate" for p in network.populations if p.is_gate}
    return sorted(found)


# -- the command -------------------------------------------------------------------------------------------------------


def prepare(guard: bool) -> None:
    """What a worker does first."""
    faulthandler.enable()
    if guard:
        guard_pages.install()
        atexit.register(os._exit, 0)  # what lives to the end would be freed by a handler that is gone


def outcomes(seed: int, indices: range, data: range, workers: int, guard: bool = False) -> Iterator[Outcome]:
    """Of every index, in order; what a crashed worker was at is tried again alone, so that the crash has one name."""
    todo = list(indices)
    alone = False
    while todo:
        with ProcessPoolExecutor(1 if alone else workers, get_context("spawn"), prepare, (guard,)) as pool:
            futures: list[Future[Outcome]] = [pool.submit(attempt, seed, i, data) for i in todo]
            try:
                for future in futures:
                    yield future.result()
                    todo.pop(0)
                    alone = False
            except BrokenProcessPool:
                if alone:
                    index = todo.pop(0)
                    yield Outcome(index, f"the process ended: {_again(seed, index, data)}")
                alone = not alone
            except (KeyboardInterrupt, GeneratorExit):
                pool.shutdown(cancel_futures=True)
                raise


def report(command: str, found: Sequence[Outcome]) -> str:
    """docs/results/fuzz.md."""
    met = Counter(fact for o in found for fact in o.facts)
    groups: dict[str, list[str]] = {}
    for fact, count in sorted(met.items()):
        group, name = fact.split(": ")
        groups.setdefault(group, []).append(f"{name} {count}")
    sums = {key: sum(getattr(o, key) for o in found) for key in ("data_sets", "events", "synops")}
    return "\n".join([
        "# Random specialisations of the fast engine",
        "",
        f"`{command}`",
        "",
        "Each specialisation is a random network around one population, each data set random spikes for it, from no",
        "spike to all of them (`tests/specialisations.py`). The fast engine, in turn with 1, 2 and 3 threads and tiles",
        "of the usual size, 1000, 200 and 1 currents, must give the spikes, potentials of each step and counts of the",
        "reference engine, and counts equal to their closed form. In float32 networks of real numbers, where sums",
        "round, it must give the same at every thread count and tile size.",
        "",
        f"{len(found)} specialisations, {sums['data_sets']:,} runs, {sums['events']:,} events,",
        f"{sums['synops']:,} synops: **{sum(bool(o.fault) for o in found)} mismatches or crashes**.",
        "",
        "| what | number of specialisations that have it |",
        "|---|---|",
        *(f"| {group} | {', '.join(names)} |" for group, names in groups.items()),
        "",
    ])  # fmt: skip


def start() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--specialisations", type=int, default=200)
    parser.add_argument("--data", type=int, default=50, help="data sets for each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="go on at this specialisation")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--guard", action="store_true", help="arrays end at unreadable pages (guard_pages.py)")
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.name}")
    o = parser.parse_args()
    console, found = Console(), []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    indices, stopped = range(o.first, o.first + o.specialisations), False
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("specialisations", total=len(indices))
        try:
            for outcome in outcomes(o.seed, indices, range(o.data), max(1, o.workers), o.guard):
                found.append(outcome)
                progress.advance(task)
                if outcome.fault:
                    console.print(f"specialisation {outcome.index}, {outcome.fault}", markup=False, highlight=False)
        except KeyboardInterrupt:
            stopped = True
    faults = sum(bool(outcome.fault) for outcome in found)
    told = f"--seed {o.seed} --data {o.data}"
    if stopped:
        rest = indices[len(found) :]
        console.print(f"stopped; go on with: python -m tests.fuzz {told} --first {rest.start} "
                      f"--specialisations {len(rest)}", soft_wrap=True, highlight=False)  # fmt: skip
    elif o.write:
        RECORD.write_text(report(f"python -m tests.fuzz --specialisations {len(indices)} {told} --write", found))
    console.print(f"{len(found)} specialisations, {sum(x.data_sets for x in found)} runs, {faults} faulty")
    return 1 if faults or stopped else 0


if __name__ == "__main__":
    raise SystemExit(start())
