"""A search over codes, steps and thresholds for the network that keeps within given limits.

The error of a network is that of its outputs against the teacher's on some calibration samples, E = sqrt(mean over
outputs of sum (y' - y)^2 / sum y^2); where all outputs are whole numbers, that of the readouts behind them. Passes up
to `lower` run once and calibration data is looked at once; a candidate is a pipeline text, compiled from there and run.

1. All codes with one threshold factor for all populations.
2. The factor of the best two codes that just meets the limit.
3. Around these, one population's factor at a time. As squared errors and SynOps of single changes nearly
   add up, a price mu of SynOps picks the factor of each population with the least E^2 + mu S; the mu that just meets
   the limit is found by bisection on that model, its network is measured, and the aim corrected.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from math import exp, inf, log
from pathlib import Path
from typing import Any

import numpy as np

import snncc
from snncc.api import PathLike, Plan, Stream, plan
from snncc.bounds import check_steps
from snncc.cli.agreement import compared, sample_of
from snncc.cli.preprocess import Preprocess
from snncc.cli.run import usable_cores
from snncc.errors import DataError, OptionError, PassError, SnnccError
from snncc.graph import Array
from snncc.model import Model, make_engine
from snncc.network import Network
from snncc.pareto import Limits, Pareto, Point, beside
from snncc.pipeline import Context, Feeds, pipeline_text, run_pipeline
from snncc.runtime.calibration import Evaluator, Simulator

DIGITS, STEPS = range(2, 7), (1, 2, 4, 8, 16, 32)  # of radix and rate codes
FACTORS = (0.8, 1.0, 1.4, 2.0, 2.8)  # of all thresholds
MOVES = ((0.71, 1.41, 2.0), (0.84, 1.19))  # of one population's, round by round
STARTS = 2  # codes whose thresholds are refined
SHOTS, NEAR = 4, 0.985  # networks measured at most to come as near to the limit
LEAST, MOST, VALUES = 4, 32, 1 << 19  # samples that networks are measured on; beyond LEAST, input values of all
REACH = 20.0  # prices from 2^-20 to 2^20
SLOPE = 2.5  # of log E over log S in a radix code, for comparing codes that are not equally far from the limit
TINY = 1e-30  # for zero, where it would be divided by

UNSAFE = r"[^\w/.+-]"  # in a pipeline text, or as a pattern of names; ? stands for any character

Progress = Callable[[str, int, int | None], None]
Factors = Mapping[str, float]


@dataclass(frozen=True)
class Candidate:
    """A plan, the threshold factor of each population, and what was measured."""

    todo: Plan
    factors: Factors
    point: Point


def search(
    teacher: Any,
    limits: Limits,
    stream: Stream | None,
    progress: Progress | None = None,
    output: PathLike | None = None,
    **options: Any,
) -> tuple[Plan, Pareto]:
    """The plan that keeps within `limits`; the options are those of `compile`, of which `code` or `neuron` restricts
    the search. Interrupted, it goes on from what lies beside `output`.

    Raises:
        OptionError: an option leaves nothing to search, or there is no calibration data.
        PassError: nothing that was measured keeps within the limits.
    """
    if stream is None:
        raise OptionError("a search needs calibration data", remedy="`snncc compile` with --calibrate PATH")
    drawn = sample_of(stream(), MOST)
    if not drawn:
        raise DataError("the calibration data is empty", remedy="give at least one sample with --calibrate")
    samples = drawn[: max(LEAST, VALUES // max(sum(x.size for x in drawn[0].values()), 1))]
    plans = [(plan(teacher, **{**options, **kind}), factors) for kind, factors in _kinds(options, limits)]
    first, progress = plans[0][0], progress or (lambda label, done, total: None)
    bench = _Bench(first, samples, stream, progress)
    facts = [snncc.__version__, dict(first.meta["teacher"]), _digest(drawn)]
    journal = _Journal(None if output is None else beside(Path(output), ".search.jsonl"), facts)
    found = _Search(plans, limits, bench, journal, progress)
    try:
        found.run()
        candidates = list(found.found.values())
        points = [candidate.point for candidate in candidates]
        chosen = candidates[points.index(limits.choose(points))]
    except SnnccError:
        journal.remove()
        raise
    journal.remove()
    return scaled(chosen.todo, chosen.factors), Pareto(points, chosen.point, limits, len(samples))


def _kinds(options: Mapping[str, Any], limits: Limits) -> list[tuple[dict[str, Any], Sequence[float]]]:
    """Options of the codes to try, with threshold factors."""
    if lost := [key for key in ("timesteps", "pipeline") if options.get(key) is not None]:
        raise OptionError(f"{lost[0]} with a search", remedy="a search chooses the steps and the pipeline")
    if options.get("encoder") == "spikes":
        raise OptionError("the steps of a spike train are given", remedy="search with another encoder")
    code, neuron, most = options.get("code"), options.get("neuron"), limits.timesteps or inf
    tries: list[dict[str, Any]]
    shown: list[dict[str, Any]] = []
    if options.get("encoder") not in (None, "constant"):
        code = "rate"
    if code == "rate" or neuron not in (None, "radix"):
        tries = _rate(neuron or "signed", STEPS)
    elif code is not None:
        tries = [{"code": code}]
    else:  # a rate code needs more SynOps for the same values: a few points show it
        tries = [{"code": f"radix:{k}", "timesteps": k} for k in DIGITS]
        shown = [] if neuron else _rate("settled", (4, 8)) + _rate("signed", (4, 8))
        if limits.timesteps is not None and neuron is None:  # spikes of several bits: where steps are dear
            tries += [one for n in (2, 3, 4) for one in _rate(f"multi-threshold:{n}:signed", (1, 2))]
    every: list[tuple[dict[str, Any], Sequence[float]]]
    every = [*((kind, FACTORS) for kind in tries), *((kind, (1.0,)) for kind in shown)]
    if not (found := [(kind, factors) for kind, factors in every if kind.get("timesteps", 1) <= most]):
        raise OptionError(f"--max-timesteps {most:g} leaves no code", remedy="allow more steps, or another neuron")
    return found


def _rate(neuron: str, steps: Iterable[int]) -> list[dict[str, Any]]:
    return [{"code": "rate", "neuron": neuron, "timesteps": t} for t in steps]


def _digest(samples: Sequence[Feeds]) -> str:
    found = sha256()
    for feeds in samples:
        for name, x in sorted(feeds.items()):
            found.update(f"{name} {x.shape} {x.dtype}".encode() + np.ascontiguousarray(x).tobytes())
    return found.hexdigest()


class _Journal:
    """Points that are measured already, a line of JSON each, in a file that begins with the `facts` they depend on."""

    def __init__(self, path: Path | None, facts: Any):
        self._path, head = path, json.dumps(facts, sort_keys=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self._known: dict[tuple[str, int], Point] = {}
        for line in lines[1:] if lines[:1] == [head] else ():
            with suppress(ValueError, TypeError):  # half-written
                point = Point(**json.loads(line))
                self._known[point.pipeline, point.timesteps] = point
        if path is not None and not self._known:
            path.write_text(f"{head}\n", encoding="utf-8")

    def find(self, pipeline: str, timesteps: int) -> Point | None:
        return self._known.get((pipeline, timesteps))

    def add(self, point: Point) -> None:
        self._known[point.pipeline, point.timesteps] = point
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:  # behind a line that may lack its end
                file.write(f"\n{json.dumps(asdict(point))}\n")

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Bench:
    """Compiles candidates from the lowered network, and runs them beside the teacher."""

    def __init__(self, todo: Plan, samples: Sequence[Feeds], stream: Stream, progress: Progress):
        evaluator, engine = Evaluator(), Simulator(lambda network: make_engine(network, "fast"))
        self._context = Context(stream, evaluator, engine, todo.analog, each=evaluator.each, progress=progress)
        lower = next(i for i, step in enumerate(todo.passes) if step.level == "lower")
        lowered = run_pipeline(todo.graph, todo.passes[: lower + 1], self._context)
        assert isinstance(lowered, Network)
        self.lowered, self._samples, self._threads = lowered, samples, usable_cores()
        self._labels = Preprocess.of(todo.meta["preprocess"]).threshold
        seen = [todo.analog(feeds) for feeds in samples]
        self._expected = [dict(evaluator(todo.graph, feeds, todo.graph.outputs)) for feeds in seen]
        self._values = [v for v, x in self._expected[0].items() if np.issubdtype(x.dtype, np.floating)]
        if not self._values:  # labels: look behind them
            self._values = [p.value for p in lowered.readouts]
            for want, feeds in zip(self._expected, samples, strict=True):
                want |= {p.value: x[None] for p, x in self._context.each_value(feeds, lowered.readouts)}

    def compiled(self, todo: Plan) -> Network:
        steps = todo.meta["timesteps"]
        lower = next(i for i, step in enumerate(todo.passes) if step.level == "lower")
        context = replace(self._context, timesteps=steps, notes=[])
        network = run_pipeline(self.lowered, todo.passes[lower + 1 :], context)
        assert isinstance(network, Network)
        check_steps(steps, network)
        return network.with_meta(**{**todo.meta, **network.meta})

    def measure(self, todo: Plan) -> Point:
        network = self.compiled(todo)
        outputs = tuple(dict.fromkeys((*network.outputs, *self._values)))
        model = Model(replace(network, outputs=outputs), threads=self._threads)
        runs = [model.run(feeds) for feeds in self._samples]
        pairs = list(zip(self._expected, [run.outputs for run in runs], strict=True))
        errors = []
        for value in self._values:
            wrong = sum(_square(found[value] - want[value]) for want, found in pairs)
            errors.append(wrong / max(sum(_square(want[value]) for want, _ in pairs), TINY))
        same = [
            compared([(want[name], found[name]) for want, found in pairs], self._labels)["label_agreement"]
            for name in network.outputs
        ]
        totals = [run.counts.totals for run in runs]
        neurons = sum(p.size for p in network.populations if p.fires) * len(runs)
        return Point(
            pipeline=todo.meta["pipeline"],
            timesteps=todo.meta["timesteps"],
            synops=sum(t["synops"] for t in totals) / max(sum(t["teacher_macs"] for t in totals), 1),
            events=sum(t["events"] for t in totals) / max(neurons, 1),
            error=float(np.nan_to_num(np.mean(errors), nan=inf, posinf=inf)) ** 0.5,
            labels=min((share for share in same if share is not None), default=None),
        )


def _square(x: Array) -> float:
    return float((x.astype(np.float64) ** 2).sum())


@dataclass
class _Search:
    plans: Sequence[tuple[Plan, Sequence[float]]]  # with the threshold factors to try
    limits: Limits
    bench: _Bench
    journal: _Journal
    progress: Progress
    found: dict[tuple[str, int], Candidate] = field(default_factory=dict)
    fault: SnnccError | None = None

    def run(self) -> None:
        names = [p.name for p in self.bench.lowered.populations if not (p.is_encoder or p.is_gate or p.is_readout)]
        tries = [(todo, factor) for todo, factors in self.plans for factor in factors]
        for done, (todo, factor) in enumerate(tries, 1):
            self.measure(todo, dict.fromkeys(names, factor))
            self.progress("search: codes", done, len(tries))
        if not self.found:
            raise self.fault or OptionError("nothing to search")
        best: dict[int, Candidate] = {}
        for one in sorted(self.found.values(), key=lambda c: self._distance(c.point)):
            best.setdefault(id(one.todo), one)
        starts = sorted(best.values(), key=lambda c: self._at_limit(c.point))[:STARTS]
        starts = [self.reached(start.todo) for start in starts]
        for moves in MOVES:
            found = [self.refined(start, moves) for start in starts]
            starts = [min(found, key=lambda c: self._rank(c.point))]

    def measure(self, todo: Plan, factors: Factors) -> Candidate | None:
        """None where the network cannot be made: a membrane would overflow, say."""
        chosen = scaled(todo, factors)
        key = chosen.meta["pipeline"], chosen.meta["timesteps"]
        if key not in self.found:
            point = self.journal.find(*key)
            if point is None:
                try:
                    point = self.bench.measure(chosen)
                except (OptionError, PassError) as fault:
                    self.fault = fault
                    return None
                self.journal.add(point)
            self.found[key] = Candidate(todo, factors, point)
        return self.found[key]

    def reached(self, todo: Plan) -> Candidate:
        """The candidate of this code with one factor for all that is nearest to the limit, if it can be just below."""
        known = sorted((c for c in self.found.values() if c.todo is todo), key=lambda c: c.point.error)
        known = [c for c in known if _common(c) >= _common(known[0])]  # below, it costs more and gives nothing
        for _ in range(SHOTS):
            known.sort(key=lambda c: self._distance(c.point))
            if NEAR <= self._share(known[0].point) <= 1:
                break
            line = sorted((log(max(self._share(c.point), TINY)), log(_common(c))) for c in known)
            factor = exp(np.interp(log((1 + NEAR) / 2), [x for x, _ in line], [y for _, y in line]))
            if (one := self.measure(todo, dict.fromkeys(known[0].factors, _rounded(factor)))) is not None:
                known.append(one)
        return min(known, key=lambda c: self._distance(c.point))

    def refined(self, start: Candidate, moves: Sequence[float]) -> Candidate:
        """The best of what one change of each population's factor by each of `moves` leads to."""
        base, every = start.point, [(name, move) for name in start.factors for move in moves]
        changes: dict[str, list[Change]] = {name: [Change(f, 0.0, 0.0)] for name, f in start.factors.items()}
        for done, (name, move) in enumerate(every, 1):
            factor = _rounded(start.factors[name] * move)
            if (one := self.measure(start.todo, {**start.factors, name: factor})) is not None:
                changes[name].append(Change(factor, one.point.error**2 - base.error**2, one.point.synops - base.synops))
            self.progress("search: thresholds", done, len(every))
        best, aim = start, 1.0
        for _ in range(SHOTS):
            one = self.measure(start.todo, self._picked(changes, base, aim))
            best = min((c for c in (one, best) if c is not None), key=lambda c: self._rank(c.point))
            if one is None or NEAR <= (reached := self._share(one.point)) <= 1:
                break
            aim /= reached if reached < 1 else reached + 1 - NEAR
        return best

    def _picked(self, changes: Mapping[str, Sequence[Change]], base: Point, aim: float) -> Factors:
        """The factors at the price that brings the model to `aim` times the limit, or just below."""
        low, high = -REACH, REACH
        for _ in range(40):
            price = (low + high) / 2
            picked = _cheapest(changes, base, price)
            if self.limits.saves:
                error = max(base.error**2 + sum(c.error for c in picked.values()), 0.0) ** 0.5
                low, high = (price, high) if error <= aim * (self.limits.error or inf) else (low, price)
            else:
                synops = base.synops + sum(c.synops for c in picked.values())
                low, high = (low, price) if synops <= aim * (self.limits.synops or inf) else (price, high)
        picked = _cheapest(changes, base, low if self.limits.saves else high)
        return {name: change.factor for name, change in picked.items()}

    def _share(self, point: Point) -> float:
        """Of the limit that the search runs up to; 1 where there is none."""
        if self.limits.saves:
            return point.error / (self.limits.error or inf)
        return point.synops / self.limits.synops if self.limits.synops else 1.0

    def _distance(self, point: Point) -> tuple[float, float]:
        return abs(log(max(self._share(point), TINY))), point.error

    def _at_limit(self, point: Point) -> float:
        """What it would cost, or err, about, with thresholds that bring it to the limit."""
        share = self._share(point)
        return point.synops * float(share ** (1 / SLOPE)) if self.limits.saves else point.error * float(share**SLOPE)

    def _rank(self, point: Point) -> tuple[float, float]:
        return max(self.limits.used(point), 1.0), point.synops if self.limits.saves else point.error


@dataclass(frozen=True)
class Change:
    """One population's factor, and what it adds to E^2 and to SynOps per teacher MAC."""

    factor: float
    error: float
    synops: float


def _cheapest(changes: Mapping[str, Sequence[Change]], base: Point, price: float) -> dict[str, Change]:
    """The change of each population with the least E^2 + mu S; log2 mu = price, in units of the base."""
    mu = base.error**2 / max(base.synops, TINY) * 2.0**price
    return {name: min(each, key=lambda c: c.error + mu * c.synops) for name, each in changes.items()}


def _common(one: Candidate) -> float:
    return next(iter(one.factors.values()), 1.0)


def _rounded(factor: float) -> float:
    return float(f"{factor:.3g}")


def scaled(todo: Plan, factors: Factors) -> Plan:
    """The plan with these threshold factors by population."""
    common = Counter(factors.values()).most_common(1)[0][0] if factors else 1.0
    layers = [f"{re.sub(UNSAFE, '?', name)}:{f:g}" for name, f in factors.items() if f != common]
    if common == 1 and not layers:
        return todo
    text = f"factor={common:g}" + (f",layers={';'.join(layers)}" if layers else "")
    steps = todo.registry.insert(todo.passes, f"threshold-scale{{{text}}}")
    return replace(todo, passes=steps, meta={**todo.meta, "pipeline": pipeline_text(steps)})
