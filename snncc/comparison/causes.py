"""What of the loss is whose: layers exchanged for their exact form, one at a time and all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from snncc.comparison.exchange import COMPILED, Change, Changes, Exchanger, Form
from snncc.comparison.metrics import Index, Metric
from snncc.comparison.teacher import Rewrite, Teacher, float_biases, float_weights, rescaled
from snncc.encoders import Constant
from snncc.graph import Array, Graph
from snncc.network import Network, Population
from snncc.neurons import Rectifier
from snncc.pipeline import Feeds
from snncc.runtime.host import HostSession

FORMS: dict[str, Form] = {"unevenness": "count", "clipping": "unclipped", "level quantisation": "exact"}
WEIGHTS = {"skip mismatch": "rescaled", "weight quantisation": "float"}
POOLING = "pooling rewrite"
Values = Mapping[str, Array]
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, eq=False)
class Sample:
    """feeds: as the network takes them; analog: as the teacher does; target: what `part` of the output [1, C, *S] is
    scored against."""

    feeds: Feeds
    analog: Feeds
    target: Array
    part: Index = (...,)

    def counts(self, metric: Metric, output: Array) -> Array:
        return metric.counts(output[self.part], self.target[None])


@dataclass(frozen=True)
class Cause:
    """A loss: the error with it, and with it taken away.

    Args:
        population: whose; "" for a pooling, and where it is that of all layers.
        cause: unevenness, clipping, level quantisation, skip mismatch, weight quantisation, pooling rewrite.
        share: (error_with^2 - error_without^2) / (error of the compiled network)^2.
        error_with, error_without: 2-norm of what the readouts say minus the teacher's, relative to the teacher's.
        metric_without: the task metric with it taken away.
        node: the pooling of the teacher, or the projections of a skip mismatch.
    """

    population: str
    cause: str
    share: float
    error_with: float
    error_without: float
    metric_without: float
    node: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Variant:
    """The network with some changes; `cause` is what they take away from variant number `before` ("": nothing)."""

    population: str
    cause: str
    changes: Changes
    before: int
    node: str = ""


class Tally:
    """Errors and counts of variants, added up over samples."""

    def __init__(self, metric: Metric):
        self.metric = metric
        self._wrong: dict[Any, float] = {}
        self._whole = 0.0
        self._counts: dict[Any, Array] = {}

    def add(self, key: Any, sample: Sample, wanted: Values, found: Values, output: Array) -> None:
        wrong = sum(float(np.square(found[name].astype(np.float64) - x).sum()) for name, x in wanted.items())
        self._wrong[key] = self._wrong.get(key, 0.0) + wrong
        counts = sample.counts(self.metric, output)
        self._counts[key] = self._counts[key] + counts if key in self._counts else counts

    def whole(self, wanted: Values) -> None:
        """What errors are relative to."""
        self._whole += sum(float(np.square(x.astype(np.float64)).sum()) for x in wanted.values())

    def error(self, key: Any) -> float:
        return float(np.sqrt(self._wrong[key] / (self._whole or 1.0)))

    def value(self, key: Any) -> float:
        return self.metric.value(self._counts[key])

    def cause(self, population: str, cause: str, before: Any, after: Any, compiled: Any, node: str = "") -> Cause:
        left, right, whole = self.error(before), self.error(after), self.error(compiled)
        share = (left**2 - right**2) / whole**2 if whole else 0.0
        return Cause(population, cause, share, left, right, self.value(after), node)


@dataclass(frozen=True)
class Attribution:
    """causes: by layer, the largest share first. summary: one for each cause over all layers, taken away one after the
    other in this order. metric, error: of the compiled network on these samples; teacher: the metric of the teacher."""

    causes: tuple[Cause, ...]
    summary: tuple[Cause, ...]
    error: float
    metric: float
    teacher: float


def attribute(
    network: Network,
    teacher: Teacher,
    samples: Sequence[Sample],
    metric: Metric,
    *,
    timesteps: int,
    seed: int,
    threads: int,
    progress: Progress,
) -> Attribution:
    """Exchange layers of `network` on these samples and measure what each exchange takes from the error."""
    lowered, rewrites = teacher.lowered([sample.analog for sample in samples])
    own = float_weights(network, lowered)
    wrong = rescaled(network, own)
    networks = {
        "compiled": network,
        "rescaled": network.with_projections(wrong),
        "float": network.with_projections(own).with_populations(float_biases(network, lowered)),
    }
    ceilings = {p.name: p.kind.ceiling for p in lowered.populations if isinstance(p.kind, Rectifier)}
    exchanger = Exchanger(networks, ceilings, timesteps, seed, threads)
    mended = {post: ", ".join(j.name for j in wrong if j.post == post) for post in {j.post for j in wrong}}
    variants = _variants(exchanger, mended, {j.post for j in own})
    output, graphs = network.outputs[0], {"teacher": teacher.graph, **_poolings(rewrites)}
    read = [p.value for p in network.readouts if all(p.value in graph.types for graph in graphs.values())] or [output]
    sessions = {name: HostSession(graph, [*read, output]) for name, graph in graphs.items()}
    tally = Tally(metric)
    for done, sample in enumerate(samples):
        right = sessions["teacher"].run(sample.analog)
        wanted = {name: right[name] for name in read}
        tally.whole(wanted)
        for key, session in sessions.items():
            found = session.run(sample.analog)
            tally.add(key, sample, wanted, found, found[output])
        known = None
        for k, variant in enumerate(variants):
            run = exchanger.run(sample.feeds, variant.changes, known)
            known = known or run
            outputs = exchanger.outputs(run)
            tally.add(k, sample, wanted, {**run.values, **outputs}, outputs[output])
            progress("causes", done * len(variants) + k + 1, len(samples) * len(variants))
    causes = [
        tally.cause(v.population, v.cause, v.before, k, 0, v.node) for k, v in enumerate(variants) if v.cause
    ]
    layers, summary = [c for c in causes if c.population], [c for c in causes if not c.population]
    for name in graphs:
        if name not in ("teacher", POOLING):
            layers.append(tally.cause("", POOLING, POOLING, name, 0, name))
    if POOLING in graphs:
        summary.append(tally.cause("", POOLING, POOLING, "teacher", 0))
    layers.sort(key=lambda cause: -cause.share)
    return Attribution(tuple(layers), tuple(summary), tally.error(0), tally.value(0), tally.value("teacher"))


def _poolings(rewrites: Sequence[Rewrite]) -> dict[str, Graph]:
    """The teacher with all its poolings rewritten, and with all but one, by the label of that one."""
    found: dict[str, Graph] = {}
    for rewrite in rewrites:
        if poolings := rewrite.poolings():
            found[POOLING] = rewrite.after
            found |= {node.label: graph for node, graph in poolings}
    return found


def _variants(exchanger: Exchanger, wrong: Mapping[str, str], own: set[str]) -> list[Variant]:
    """The compiled network; layer by layer what takes one cause after the other away; the same for all layers."""
    found = [Variant("", "", {}, 0)]

    def chain(population: str, steps: Sequence[tuple[str, Changes]], node: str = "") -> None:
        last = 0
        for cause, changes in steps:
            found.append(Variant(population, cause, changes, last, node if cause == "skip mismatch" else ""))
            last = len(found) - 1

    network = exchanger.network
    together: dict[str, Change] = {}
    everywhere: list[tuple[str, Changes]] = []
    for cause, form in FORMS.items():
        changed = {p.name: Change(form) for p in network.populations if cause in _forms(exchanger, p)}
        together |= changed
        everywhere += [(cause, dict(together))] if changed else []
    for cause, weights in WEIGHTS.items():
        names = wrong if weights == "rescaled" else own
        together |= {name: replace(together.get(name, COMPILED), weights=weights) for name in names}
        everywhere += [(cause, dict(together))] if names else []
    for p in network.populations:
        name = p.name
        chain(name, [(shown, {name: Change(FORMS[cause])}) for cause, shown in _forms(exchanger, p).items()])
        differ = [cause for cause, names in zip(WEIGHTS, (wrong, own), strict=True) if name in names]
        chain(name, [(cause, {name: Change(weights=WEIGHTS[cause])}) for cause in differ], wrong.get(name, ""))
    chain("", everywhere)
    return found


def _forms(exchanger: Exchanger, population: Population) -> dict[str, str]:
    """The causes that a change of its form takes away, in order, each with the name it is reported by ("": not)."""
    kind = population.kind
    if population.is_encoder:
        if population.timed or (isinstance(kind, Constant) and not kind.levels):
            return {}
        return {"unevenness": "unevenness"} if kind.fires else {"level quantisation": "level quantisation"}
    if population.is_gate or population.is_readout:
        return {}
    found = {cause: cause for cause in FORMS}
    if population.name in exchanger.numbers:
        del found["unevenness"]
    elif population.waits:  # its number is exact; what changes is how it lies in time
        found["unevenness"] = ""
    return found
