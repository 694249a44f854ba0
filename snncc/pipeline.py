"""Passes, their options, and the pipeline that runs them.

A pass is a frozen dataclass: `name`, `level`, `requires` and `ensures` (predicates that raise), fields = options.
Around each step: requires -> run -> verify -> ensures -> observers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast

import numpy as np

from snncc.errors import OptionError, PassError, SnnccError
from snncc.graph import Array, Graph
from snncc.network import Network, Population
from snncc.network_checks import verify_network
from snncc.pass_options import option_text, option_values
from snncc.verify import verify_graph

IR = Graph | Network
Level = Literal["graph", "lower", "network"]
Feeds = Mapping[str, Array]
Show = Callable[[Array], None]
Found = TypeVar("Found")
GUARD = 1e-5  # of the largest output: what an exact rewrite may change by rounding
Action = Literal["lowered", "folded", "analog", "refused", "skipped"]


@dataclass(frozen=True)
class Note:
    """What became of a teacher node, and why."""

    node: str
    action: Action
    reason: str


@dataclass
class Context:
    """What a pass may use beside its IR.

    Args:
        samples: gives the calibration stream anew at each call: one dict of graph inputs [1, C, *spatial] a sample.
        evaluate: runs a Graph: (graph, feeds, wanted values) -> values. Handed in, so that no pass imports an engine.
        each: the same, giving (name, value) one after the other, for values that memory does not hold all at once;
            None: as `evaluate` gives them.
        simulate: runs a Network: (network, feeds, steps, prefixes) -> potentials by readout, float32 [C, *spatial]
            after the last step, or [T, C, *spatial] after each. Handed in, too.
        analog: what the teacher sees of a sample: the mean over time of a spike train.
        timesteps: those the network is compiled for.
        progress: called with (label, done, total) while a pass streams over samples; total None: unknown.
        memory: what passes found in the data, see `once`.
    """

    samples: Callable[[], Iterator[Feeds]] | None = None
    evaluate: Callable[[Graph, Feeds, Sequence[str]], Mapping[str, Array]] | None = None
    simulate: Callable[[Network, Feeds, int, bool], Mapping[str, Array]] | None = None
    analog: Callable[[Feeds], Feeds] = lambda feeds: feeds
    timesteps: int = 32
    progress: Callable[[str, int, int | None], None] = lambda label, done, total: None
    graph: Graph | None = None
    notes: list[Note] = field(default_factory=list)
    each: Callable[[Graph, Feeds, Sequence[str]], Iterator[tuple[str, Array]]] | None = None
    memory: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Found]) -> Found:
        """What `make` gives, made at the first call with this key: a search calibrates a network many times over."""
        if key not in self.memory:
            self.memory[key] = make()
        return cast(Found, self.memory[key])

    def note(self, node: str, action: Action, reason: str) -> None:
        self.notes.append(Note(node, action, reason))

    def stream(self, why: str) -> Iterator[Feeds]:
        """The calibration stream, or an error that says who needs it."""
        if self.samples is None:
            raise OptionError(f"the pass {why} needs calibration data", remedy="`snncc compile` with --calibrate PATH")
        return self.samples()

    def activations(self, feeds: Feeds, wanted: Sequence[str]) -> Iterator[tuple[str, Array]]:
        """Values of the canonical teacher on one sample, by name."""
        if self.evaluate is None or self.graph is None:
            raise PassError("no engine was handed in to evaluate the teacher")
        feeds = self.analog(feeds)
        if self.each is not None:
            return self.each(self.graph, feeds, wanted)
        return iter(self.evaluate(self.graph, feeds, wanted).items())

    def values(self, feeds: Feeds, populations: Sequence[Population]) -> dict[str, Array]:
        """Population -> the teacher's value it stands for [C, *spatial], on one sample."""
        return {population.name: x for population, x in self.each_value(feeds, populations)}

    def each_value(
        self, feeds: Feeds, populations: Sequence[Population], others: Mapping[str, Show] = MappingProxyType({})
    ) -> Iterator[tuple[Population, Array]]:
        """The same, one after the other; others: further values of the teacher by name, and who is shown them."""
        wanted = sorted({*(p.watched[0] for p in populations), *others} - set(feeds))
        for name, x in chain(self.analog(feeds).items(), self.activations(feeds, wanted) if wanted else ()):
            if name in others:
                others[name](x)
            yield from ((p, x[0][p.watched[1]].reshape(p.shape)) for p in populations if p.watched[0] == name)

    def potentials(self, network: Network, feeds: Feeds, timesteps: int, prefixes: bool = False) -> Mapping[str, Array]:
        """Potentials of a spiking network's readouts on one sample, see `simulate`."""
        if self.simulate is None:
            raise PassError("no engine was handed in to run a spiking network")
        return self.simulate(network, feeds, timesteps, prefixes)


class Pass(Protocol):
    """The shape of a pass. Its docstring's first line is its description; its dataclass fields are its options."""

    name: ClassVar[str]
    level: ClassVar[Level]
    requires: ClassVar[tuple[Callable[[Any], None], ...]]
    ensures: ClassVar[tuple[Callable[[Any], None], ...]]

    def run(self, ir: Any, context: Context) -> IR: ...


@dataclass(frozen=True)
class Step:
    """What an observer sees after each pass."""

    pass_: Pass
    before: IR
    after: IR
    seconds: float


Observer = Callable[[Step], None]


def run_pipeline(
    ir: IR, passes: Sequence[Pass], context: Context, observers: Iterable[Observer] = ()
) -> IR:
    """Run `passes` in order.

    Raises:
        PassError: a pass failed; names it and those that ran before it.
        OptionError: a pass stands where the IR is not what it works on.
    """
    observers = tuple(observers)
    done: list[str] = []
    rewrites: list[tuple[Pass, Graph, Graph]] = []
    for step in passes:
        if isinstance(ir, Network) != (step.level == "network"):
            kind = "spiking network" if isinstance(ir, Network) else "teacher graph"
            raise OptionError(
                f"the pass {step.name} works at level {step.level!r}, but stands where the IR is a {kind}",
                remedy=f"order: graph passes, lower, network passes; ran so far: {', '.join(done) or 'nothing'}",
            )
        began = time.perf_counter()
        if step.level == "lower" and isinstance(ir, Graph):
            context.graph = ir
        try:
            for check in step.requires:
                check(ir)
            after = step.run(ir, context)
            verify_network(after) if isinstance(after, Network) else verify_graph(after)
            for check in step.ensures:
                check(after)
            if isinstance(ir, Graph) and isinstance(after, Graph):
                rewrites.append((step, ir, after))
            elif step.level == "lower":  # only now: what is refused is refused before any data is read
                _guard(rewrites, context)
        except SnnccError:
            raise
        except Exception as fault:
            ran = ", ".join(done) or "nothing"
            raise PassError(
                f"the pass {step.name} failed: {type(fault).__name__}: {fault}", remedy=f"ran before: {ran}"
            ) from fault
        done.append(step.name)
        for observer in observers:
            observer(Step(step, ir, after, time.perf_counter() - began))
        ir = after
    return ir


def _guard(rewrites: Sequence[tuple[Pass, Graph, Graph]], context: Context) -> None:
    """A graph pass must not change what the teacher computes, unless it says so (`approximate = True`).

    Compared on the first calibration sample, if there is one: real outputs within GUARD of the largest.
    """
    feeds = next(context.samples(), None) if context.samples and context.evaluate else None
    if feeds is None or context.evaluate is None:
        return
    feeds = context.analog(feeds)
    for step, before, after in rewrites:
        if after is before or getattr(step, "approximate", False):
            continue
        want, found = (context.evaluate(graph, feeds, graph.outputs) for graph in (before, after))
        for name in before.outputs:
            if not np.issubdtype(want[name].dtype, np.floating):
                continue  # an index may change where two values tie
            error, top = _difference(found[name], want[name])
            if not error <= GUARD * max(top, 1.0):
                raise PassError(
                    f"the pass {step.name} changed the teacher's output by {error:.3g}",
                    node=name,
                    remedy="mend the pass; one that approximates on purpose declares `approximate = True`",
                )


def _difference(found: Array, want: Array) -> tuple[float, float]:
    """The largest difference (NaN: a NaN more or less), and the largest finite number wanted. A mask of -inf and the
    same NaN are no difference."""
    other = ~((found == want) | (np.isnan(found) & np.isnan(want)))
    error = np.abs(found[other] - want[other]).max(initial=0)
    return float(error), float(np.abs(want[np.isfinite(want)]).max(initial=0))


_ENTRY = re.compile(r"\s*([^,{}\s]+)\s*(?:\{([^{}]*)\})?\s*(,|$)")


def parse_pipeline(text: str) -> list[tuple[str, dict[str, str]]]:
    """`fold-batchnorm,calibrate{method=max,per=channel}` -> names with their options as text.

    Raises:
        OptionError: the text is not a pipeline; shows where.
    """
    entries: list[tuple[str, dict[str, str]]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _ENTRY.match(text, position)
        if match is None:
            raise OptionError(
                f"cannot read the pipeline at {text[position : position + 30]!r}",
                remedy="form: pass-a,pass-b{option=value}",
            )
        options: dict[str, str] = {}
        for item in filter(None, (o.strip() for o in (match[2] or "").split(","))):
            key, sign, value = item.partition("=")
            if not sign:
                raise OptionError(f"{match[1]}: option {item!r} has no value", remedy="form: pass{option=value}")
            options[key.strip()] = value.strip()
        entries.append((match[1], options))
        position = match.end()
    return entries


def build(kind: type[Pass], options: Mapping[str, str]) -> Pass:
    """A pass from options as text, converted to the types of its fields.

    Raises:
        OptionError: an unknown option or a value of the wrong type.
    """
    values = option_values(kind, options)
    try:
        return kind(**values)
    except (TypeError, ValueError) as fault:
        raise OptionError(f"the pass {kind.name}: {fault}") from fault


def pass_text(step: Pass) -> str:
    """A pass as pipeline text, with every option that differs from its default."""
    shown = [
        f"{f.name}={option_text(getattr(step, f.name))}"
        for f in fields(step)  # type: ignore[arg-type]
        if getattr(step, f.name) != f.default
    ]
    return step.name + (f"{{{','.join(shown)}}}" if shown else "")


def pipeline_text(passes: Sequence[Pass]) -> str:
    return ",".join(pass_text(p) for p in passes)


def with_options(step: Pass, **options: Any) -> Pass:
    """The same pass with other options."""
    changed: Pass = replace(step, **options)  # type: ignore[type-var]
    return changed
