"""One entry of the zoo: exported, compiled, run on every engine, compared with the teacher in torch."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from snncc.api import compile
from snncc.counting import closed_form
from snncc.errors import SnnccError
from snncc.graph import Array, Graph
from snncc.model import ENGINES, load
from snncc.network import Network
from snncc.neurons import Linear
from snncc.onnx_file import read, write
from snncc.pipeline import Step
from snncc.runtime.host import run_graph
from tests.onnx_models import expected
from tests.test_agreement import ideal
from tests.zoo.exporters import export
from tests.zoo.layers import prepared

STEPS = 64  # of the comparison with the teacher
COMPARED = 12  # of the comparison of the engines
CALIBRATION = 16  # samples
EXACT = 1e-4  # of the largest output: what rounding may change on the way from torch to the lowered network
LOOSE = 0.02  # the same where the teacher's own weights were rounded to half precision


@dataclass(frozen=True)
class Entry:
    """An architecture, how it is exported, how it is compiled, and what should come of it.

    Args:
        architecture: a name, and with `exporter` and `options` the key of the entry.
        build: makes the module; or the ONNX file of a teacher that was exported elsewhere.
        inputs: shapes without the batch axis.
        options: of `snncc.compile`.
        intended: "compiled" or "refused".
        because: for a refusal: a pattern that its message has.
        gap: what is missing today, where the entry does not yet do what is intended.
        bound: of the spiking network's mean error at T = 64 (root of the mean square, as a part of the teacher's).
        lowered: of the lowered network's error; above EXACT only where a pass approximates.
    """

    architecture: str
    build: Callable[[], nn.Module] | Path
    inputs: tuple[tuple[int, ...], ...]
    exporter: str = "dynamo 20"
    options: Mapping[str, Any] = field(default_factory=dict)
    intended: str = "compiled"
    because: str = ""
    gap: str = ""
    bound: float = 0.15
    lowered: float = EXACT

    @property
    def choices(self) -> str:
        """The options as text."""
        parts = [", ".join(v) if isinstance(v, tuple) else f"{k}={v}" for k, v in self.options.items()]
        return ", ".join(part.partition("={")[0] for part in parts)  # of shapes, that they are given

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.architecture, self.exporter, self.choices)))

    @property
    def expected(self) -> str:
        """The verdict of today."""
        return self.intended if not self.gap else {"compiled": "refused", "refused": "compiled"}[self.intended]


@dataclass(frozen=True)
class Outcome:
    """What came of an entry.

    Args:
        lowered, worst: largest errors of the lowered network on analog values, and of the spiking network at T = 64, as
            parts of the teacher's largest output.
        mean: root mean square error of the spiking network, as a part of the teacher's root mean square.
        reason: of a refusal; or what passes that approximate report.
        faults: what is wrong, if anything.
    """

    verdict: str
    neurons: int = 0
    populations: int = 0
    relays: int = 0
    lowered: float = 0.0
    worst: float = 0.0
    mean: float = 0.0
    reason: str = ""
    remedy: str = ""
    faults: Sequence[str] = ()


def smooth(shapes: Sequence[tuple[int, ...]], seed: int) -> list[Array]:
    """Smooth random blobs on black [1, C, *spatial] from 0 to 1; plain random numbers where there is no space."""
    rng, found = np.random.default_rng(seed), []
    for shape in shapes:
        x = rng.random((1, *shape))
        for axis in range(2, x.ndim):
            for _ in range(2):
                x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 4
        low, high = np.quantile(x, (0.3, 0.99)) if x.ndim > 2 else (0.0, 1.0)
        found.append(np.clip((x - low) / (high - low), 0, 1).astype(np.float32))
    return found


@dataclass(frozen=True)
class Case:
    """A teacher as exported, data by input name (the last sample is for testing), and what it gives for that one."""

    model: onnx.ModelProto
    feeds: Sequence[dict[str, Array]]
    teacher: Sequence[Array]


def case(entry: Entry) -> Case:
    """Seeded weights and data, exported; what torch computes is what the teacher should give."""
    samples = [smooth(entry.inputs, seed) for seed in range(CALIBRATION + 1)]
    if isinstance(entry.build, Path):
        model = onnx.load(entry.build)
        feeds = [dict(zip(_inputs(model), sample, strict=True)) for sample in samples]
        return Case(model, feeds, list(expected(model, feeds[-1]).values()))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tensors = [tuple(map(torch.from_numpy, sample)) for sample in samples]
    module = prepared(entry.build(), tensors[:CALIBRATION])
    with torch.no_grad():
        found = module(*tensors[-1])
    teacher = [y.numpy() for y in (found if isinstance(found, tuple) else (found,))]
    model = export(module, tensors[-1], entry.exporter)
    return Case(model, [dict(zip(_inputs(model), sample, strict=True)) for sample in samples], teacher)


def _inputs(model: onnx.ModelProto) -> list[str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


def examine(entry: Entry) -> Outcome:
    """Export, compile and compare."""
    given = case(entry)
    model, feeds, teacher = given.model, given.feeds, given.teacher
    steps: list[Step] = []
    try:
        options: dict[str, Any] = {"calibration": "percentile:99.9"}
        options |= {} if "code" in entry.options else {"timesteps": STEPS}  # a radix code brings its own
        network = compile(model, calibrate=feeds[:-1], observers=[steps.append], **{**options, **entry.options})
    except SnnccError as error:
        return Outcome("refused", reason=_reason(error), remedy=error.remedy or "")
    step = next(step for step in steps if step.pass_.level == "lower")
    assert isinstance(step.before, Graph) and isinstance(step.after, Network)
    lowered = list(ideal(step.after, feeds[-1])[name] for name in network.outputs)
    exact = run_graph(step.before, feeds[-1], network.outputs)
    spiking, dead = _spiking(network, feeds[-1])
    faults = [f"{name} never fires" for name in dead]
    faults += [f"output {k} of the teacher is the same everywhere" for k, y in enumerate(teacher) if not np.ptp(y)]
    faults += _differences(network, feeds[-1])
    if (far := _worst(lowered, [exact[name] for name in network.outputs])) > EXACT:
        faults.append(f"the lowered network differs from its graph by {far:.2g}")
    busy = [p for p in network.populations if not p.is_encoder and not p.is_readout]
    relays = sum(isinstance(p.kind, Linear) for p in step.after.populations)
    errors = _worst(lowered, teacher), _worst(spiking, teacher), _mean(spiking, teacher)
    stated = "; ".join(_approximations(network, steps))
    return Outcome("compiled", sum(p.size for p in busy), len(busy), relays, *errors, stated, "", faults)


def limit(entry: Entry) -> float:
    """The largest error where nothing is rounded or clipped, at T = 1024: what is left goes with 1 / T."""
    given = case(entry)
    network = compile(given.model, calibrate=given.feeds, precision="float32", calibration="max", timesteps=1024)
    outputs = load(network).run(given.feeds[-1]).outputs
    return _worst([outputs[name] for name in network.outputs], given.teacher)


def _reason(error: SnnccError) -> str:
    return f"{error.node}: {error.message}" if error.node else error.message


def _worst(found: Sequence[Array], want: Sequence[Array]) -> float:
    """The largest difference as a part of the largest output, of the worst output."""
    return _error(found, want, lambda x: float(np.abs(x).max()))


def _mean(found: Sequence[Array], want: Sequence[Array]) -> float:
    """The root mean square difference as a part of the root mean square, of the worst output."""
    return _error(found, want, lambda x: float(np.sqrt(np.square(x).mean())))


def _error(found: Sequence[Array], want: Sequence[Array], size: Callable[[Array], float]) -> float:
    """By `size`; of labels, the part that differs."""
    assert [a.shape for a in found] == [b.shape for b in want]
    both = list(zip(found, want, strict=True))
    return max(size(a - b) / size(b) if b.dtype.kind == "f" else float((a != b).mean()) for a, b in both)


def _spiking(network: Network, feeds: Mapping[str, Array]) -> tuple[list[Array], list[str]]:
    """Outputs after all steps, and the populations that stayed silent."""
    result = load(network).run(feeds, record=True)
    dead = [name for name, train in result.spikes.items() if not train.any()]
    return [result.outputs[name] for name in network.outputs], dead


def _approximations(network: Network, steps: Sequence[Step]) -> list[str]:
    """What the report says of passes that change the teacher on purpose: by how much they do."""
    named = [step.pass_.name for step in steps if getattr(step.pass_, "approximate", False)]
    return [reason for _, _, reason in network.meta["report"] if any(f"{name} changed" in reason for name in named)]


def _differences(network: Network, feeds: Mapping[str, Array]) -> list[str]:
    """Where engines, the closed form of the counts, or stock onnxruntime on the written file are not equal."""
    steps = min(COMPARED, network.meta["timesteps"])
    runs = {name: load(network, name).run(feeds, steps, record=True) for name in ENGINES}
    want = runs.pop("reference")
    assert want.counts.counts is not None
    faults = []
    if want.spikes and not closed_form(network, want.spikes).same(want.counts.counts):
        faults.append("counts differ from their closed form")
    for engine, found in runs.items():
        for kind, a, b in (("spikes", found.spikes, want.spikes), ("values", found.outputs, want.outputs)):
            faults += [f"{engine}: other {kind} of {key}" for key in b if not np.array_equal(a[key], b[key])]
        if found.counts.counts is None or not found.counts.counts.same(want.counts.counts):
            faults.append(f"{engine}: other counts")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.snn.onnx"
        write(network, file)
        outputs = load(read(file)).run(feeds, steps).outputs
        quiet = onnxruntime.SessionOptions()
        quiet.log_severity_level = 3
        session = onnxruntime.InferenceSession(file, quiet, providers=["CPUExecutionProvider"])
        chosen = {} if steps == network.meta["timesteps"] else {"T": np.array([steps], np.int64)}
        stock = session.run(list(network.outputs), {**feeds, **chosen})
    faults += [f"stock onnxruntime: other {k}" for k, y in zip(outputs, stock, strict=True)
               if not np.array_equal(outputs[k], y)]  # fmt: skip
    return faults


def complaints(entry: Entry, outcome: Outcome) -> list[str]:
    """Everything about an outcome that is not as the entry says."""
    found = list(outcome.faults)
    if outcome.verdict != entry.expected:
        found.append(f"{outcome.verdict} in place of {entry.expected}: {outcome.reason}")
    if outcome.verdict == "refused":
        if not outcome.remedy or "supported operators" in outcome.remedy:
            found.append(f"a refusal without a remedy of its own: {outcome.reason}")
        if not entry.gap and not re.search(entry.because, outcome.reason):
            found.append(f"refused for another reason than {entry.because!r}: {outcome.reason}")
    else:
        if entry.lowered > LOOSE and not outcome.reason:
            found.append("an approximation whose error is not stated")
        if outcome.lowered > entry.lowered:
            found.append(f"lowered network: error {outcome.lowered:.2g}, allowed {entry.lowered:.2g}")
        if outcome.mean > entry.bound:
            found.append(f"spiking network: mean error {outcome.mean:.2g}, allowed {entry.bound:.2g}")
    return found
