"""Compiling a teacher: `snncc.compile`, and its steps for the command line."""

from __future__ import annotations

import importlib.util
import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import snncc
from snncc.bounds import check_steps
from snncc.errors import OptionError, SnnccError, UnsupportedError
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.ingest.fold import OPSET
from snncc.ingest.limits import node_label
from snncc.inputs import checked
from snncc.model import make_engine
from snncc.network import Network
from snncc.onnx_file import write
from snncc.passes import BUILTIN
from snncc.passes.recipe import RATE_STEPS, code_of, default_pipeline, speaks_radix
from snncc.pipeline import Context, Feeds, Note, Observer, Pass, pipeline_text, run_pipeline
from snncc.plugins import Registry, insert_pass, registry
from snncc.provenance import preprocess_of, teacher_of, versions
from snncc.runtime.calibration import Evaluator, Simulator
from snncc.runtime.trace import Engine

PathLike = str | os.PathLike[str]
Stream = Callable[[], Iterator[Feeds]]
MEASURED = "output "  # begins the notes on how far a pass that approximates changed the teacher's outputs


@dataclass(frozen=True)
class Plan:
    """What `compile` is going to do: the teacher's graph, the passes, the facts for the file, and notes on those of the
    teacher's nodes that reading left nothing of."""

    graph: Graph
    passes: Sequence[Pass]
    meta: Mapping[str, Any]
    registry: Registry
    read: Sequence[Note] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Input shapes of calibration samples; a leading 0 where these are spike trains."""
        lead = 0 if any(getattr(step, "encoder", "") == "spikes" for step in self.passes) else 1
        return {name: (lead, *self.graph.shape(name)[1:]) for name in self.graph.inputs}

    @property
    def trains(self) -> set[str]:
        """Inputs that are spike trains."""
        return {name for name, shape in self.shapes.items() if shape[0] == 0}

    def analog(self, feeds: Feeds) -> Feeds:
        """What the teacher sees of a sample: the mean over time of a spike train."""
        trains = self.trains
        return {name: x.mean(0, keepdims=True) if name in trains else x for name, x in feeds.items()}


def plan(
    teacher: PathLike | onnx.ModelProto | Any,
    *,
    timesteps: int | None = None,
    precision: str = "int8",
    calibration: str | None = None,
    per: str = "channel",
    code: str | None = None,
    neuron: str | None = None,
    encoder: str = "constant",
    allow_analog: bool = False,
    passes: Iterable[str | Pass] = (),
    pipeline: str | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    example_input: Any = None,
) -> Plan:
    """Read the teacher and choose the passes; the arguments are those of `compile`."""
    if timesteps is not None and timesteps < 1:
        raise OptionError(f"T = {timesteps}: at least one time step is needed", remedy="give -T 1 or more")
    source = _onnx(teacher, example_input)
    graph = ingest(source, shapes)
    known = registry(BUILTIN)
    recipe = {
        "precision": precision, "calibration": calibration, "per": per, "code": code, "neuron": neuron,
        "encoder": encoder, "allow_analog": allow_analog,
    }  # fmt: skip
    if pipeline is None:
        code, timesteps = code_of(code, neuron, encoder, timesteps)
        steps = default_pipeline(**recipe | {"code": code}, timesteps=timesteps)  # type: ignore[arg-type]
    else:
        usual = inspect.signature(default_pipeline).parameters
        if lost := [key for key, value in recipe.items() if value != usual[key].default]:
            what = ", ".join(lost).replace("_", "-")
            raise OptionError(f"{what}: a pipeline of your own replaces it", remedy="say it in the pipeline")
        steps = known.parse(pipeline)
        if timesteps is None and speaks_radix(steps):
            raise OptionError("a pipeline of radix neurons without its digits", remedy="give their number with -T")
        timesteps = timesteps or RATE_STEPS
    for extra in passes:
        steps = known.insert(steps, extra) if isinstance(extra, str) else insert_pass(steps, extra)
    for step in steps:
        known.check(step.name)
    if pipeline is None and (code == "rate") == speaks_radix(steps):
        raise OptionError(f"a pass sets neurons of another code than {code}", remedy="name the code with --code, too")
    meta = {
        "timesteps": timesteps,
        "preprocess": {**preprocess_of(graph), **(preprocess or {})},
        "teacher": teacher_of(source, graph),
        "pipeline": pipeline_text(steps),
        "versions": versions(snncc.__version__),
    }
    return Plan(graph, steps, meta, known, _resolved(source, graph))


def compile(
    teacher: PathLike | onnx.ModelProto | Any,
    output: PathLike | None = None,
    *,
    calibrate: PathLike | Array | Iterable[Any] | Stream | None = None,
    observers: Iterable[Observer] = (),
    progress: Callable[[str, int, int | None], None] | None = None,
    budget_synops: float | None = None,
    max_error: float | None = None,
    max_timesteps: int | None = None,
    **options: Any,
) -> Network:
    """Compile a trained network to a spiking one.

    Args:
        teacher: an ONNX file, a ModelProto, or a torch module (then with `example_input`: what to trace it with).
        output: where to write the compiled network; None: nowhere.
        calibrate: a path or paths as for `snncc compile`; one array [C, *spatial] or [samples, C, *spatial]; a list of
            arrays or of dicts by input name; or a function that gives a new iterator over such dicts at each call.
        observers: called after each pass.
        progress: called with (label, done, total) while data streams.
        budget_synops, max_error, max_timesteps: SynOps per teacher MAC, relative error of the outputs (search.py) and
            steps to keep within: codes and thresholds are searched, and the Pareto set written beside `output`.
        options: code="radix:4" | "radix:K" | "rate"; rate as soon as one of the next three is named:
            neuron="signed" | a text of choose.py, timesteps=32 (of a radix code always K),
            encoder="constant" | "poisson" | "spikes";
            precision="int8" | "float32", per="channel" | "layer" | "connection",
            calibration="mse" | "percentile:99.9:positive" | "max" (by default mse, in a radix code times 1.25, and
            "percentile:99" for the neurons if and leaky),
            allow_analog=False: may a stretch without spiking counterpart stay analog between readouts and encoders?
            passes=(): pass texts or passes to insert, pipeline=None: a text in place of all options before `passes`,
            shapes: input name -> shape where the file leaves it open, preprocess: overrides of the teacher's
            `snncc.preprocess`, example_input.

    Raises:
        UnsupportedError: a node without exact spiking counterpart, before any data is read.
        PassError: no network was found within the limits.
        SnnccError: anything else a user can act on.
    """
    todo = plan(teacher, **options)
    stream = calibration_stream(calibrate, todo)
    limits, found = (budget_synops, max_error, max_timesteps), None
    if any(limit is not None for limit in limits):
        from snncc.pareto import Limits  # these two import this module
        from snncc.search import search

        todo, found = search(teacher, Limits(*limits), stream, progress, output, **options)
    network = execute(todo, stream, observers, progress)
    if output is not None:
        write(network, output)
        if found is not None:
            found.save(Path(output))
    return network


def execute(
    todo: Plan,
    stream: Stream | None,
    observers: Iterable[Observer] = (),
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Network:
    """Run a plan."""
    evaluator = Evaluator()
    context = Context(stream, evaluator, Simulator(_fast), todo.analog, todo.meta["timesteps"], each=evaluator.each)
    if progress is not None:
        context.progress = progress
    network = run_pipeline(todo.graph, todo.passes, context, observers)
    if not isinstance(network, Network):
        raise OptionError("the pipeline ends with a teacher graph", remedy="it needs the pass `lower`")
    for encoder in network.encoders:
        if encoder.timed and encoder.value not in network.inputs:
            remedy = "cut the network behind them, or take another encoder"
            raise UnsupportedError("spike trains meet operators that do not spike", node=encoder.name, remedy=remedy)
    report = [[note.node, note.action, note.reason] for note in _report(todo, context)]
    check_steps(todo.meta["timesteps"], network)
    if "precision" not in network.meta:
        raise OptionError("the pipeline leaves neurons open", remedy="it needs the passes `calibrate` and `neurons`")
    return network.with_meta(**{**todo.meta, **network.meta, "report": report})


def conversion(todo: Plan) -> tuple[list[Note], SnnccError | None]:
    """What becomes of each teacher node, and the refusal if there is one. Reads no data.

    Passes that approximate get one random sample in its place; what they measure on it is left out.
    """
    end = next((i for i, step in enumerate(todo.passes) if step.level == "lower"), None)
    if end is None:
        raise OptionError("the pipeline never lowers the teacher", remedy="it needs the pass `lower`")
    context, error = Context(), None
    if any(getattr(step, "approximate", False) for step in todo.passes[:end]):
        context = Context(lambda: iter([_random(todo.graph)]), Evaluator())
    try:
        run_pipeline(todo.graph, todo.passes[: end + 1], context)
    except SnnccError as found:
        if found.exit_code != 1:
            raise
        error = found
    context.notes = [note for note in context.notes if not note.node.startswith(MEASURED)]
    return _report(todo, context, error), error


def _random(graph: Graph) -> Feeds:
    """One sample for what reads no data."""
    rng, types = np.random.default_rng(0), graph.types
    return {name: rng.random(graph.shape(name)).astype(types[name].dtype) for name in graph.inputs}


def _resolved(source: PathLike | onnx.ModelProto, graph: Graph) -> list[Note]:
    """Notes on the teacher's nodes that are not in its graph."""
    model = source
    if not isinstance(model, onnx.ModelProto):
        model = onnx.load(model, format="protobuf", load_external_data=False)
    kept = {name for node in graph.nodes for name in node.origin}
    gone = [node for node in model.graph.node if kept.isdisjoint((node.name, *node.output))]
    why = f"while reading: a constant, a no-op, unread, or rewritten for opset {OPSET}"
    return [Note(node_label(node), "folded", why) for node in gone]


def _report(todo: Plan, context: Context, refusal: SnnccError | None = None) -> list[Note]:
    """Every node of the teacher once, with its last action and all reasons."""
    found: dict[str, Note] = {}
    for note in (*context.notes, *todo.read):
        reasons = dict.fromkeys((*(found[note.node].reason.split("; ") if note.node in found else ()), note.reason))
        found[note.node] = Note(note.node, note.action, "; ".join(reasons))
    labels = [f"+{label.partition(' ')[2]}+" for label in found]
    for node in todo.graph.nodes:  # a name in a label stands between + or ends
        if not any(f"+{name}+" in label for name in node.origin for label in labels):
            rest = Note(node.label, "skipped", "not looked at: another node is refused")
            found[node.label] = rest if refusal else Note(node.label, "folded", "no output needs it")
    return list(found.values())


def calibration_stream(data: Any, todo: Plan) -> Stream | None:
    """The function that gives the calibration samples anew at each call; opens no file yet."""
    shapes = todo.shapes
    if data is None or callable(data):
        return data  # type: ignore[no-any-return]
    if isinstance(data, str | os.PathLike):
        data = [data]
    if isinstance(data, np.ndarray):
        data = [data] if data.ndim < len(next(iter(shapes.values()))) else list(data)
    items = list(data)
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        from snncc.cli.data import path_stream  # the cli knows files; it imports this module

        return path_stream([os.fspath(item) for item in items], shapes, todo.meta["preprocess"])
    return lambda: (checked(item, shapes) for item in items)


def _fast(network: Network) -> Engine:
    return make_engine(network, "fast")


def _onnx(teacher: Any, example_input: Any) -> PathLike | onnx.ModelProto:
    if isinstance(teacher, str | os.PathLike | onnx.ModelProto):
        return teacher
    try:
        import torch
    except ImportError:
        raise OptionError(f"a {type(teacher).__name__} is no teacher", remedy="give an ONNX file") from None
    if not isinstance(teacher, torch.nn.Module):
        raise OptionError(f"a {type(teacher).__name__} is no teacher", remedy="give an ONNX file or a torch module")
    if example_input is None:
        raise OptionError("a torch module needs an example input", remedy="compile(module, example_input=tensor)")
    arguments = example_input if isinstance(example_input, tuple) else (example_input,)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "teacher.onnx"
        new = importlib.util.find_spec("onnxscript") is not None  # the new exporter needs it
        torch.onnx.export(teacher.eval(), arguments, str(file), dynamo=new, opset_version=20, verbose=False)
        return onnx.load(file)
