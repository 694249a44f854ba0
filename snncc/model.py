"""A compiled network ready to run: `snncc.load`, `Model.run`. Imports nothing of the compiler, so it is up soon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snncc.bounds import check_steps
from snncc.encoders import Encoder
from snncc.errors import DataError, OptionError
from snncc.graph import Array
from snncc.inputs import checked
from snncc.network import Network, Population
from snncc.onnx_file import Source, read
from snncc.run_counts import Facts, RunCounts
from snncc.runtime.host import HostSession, InterludeSession, read_out
from snncc.runtime.trace import Engine, Trace

ENGINES = ("fast", "reference", "onnxruntime")


@dataclass(frozen=True)
class Result:
    """outputs: name -> array as the teacher gives it; over_time: name -> [T, *shape of the output], if asked for;
    counts: what the run executed; spikes: population -> int8 [T, C, *spatial], if asked for; clipped: input values
    outside what the encoders can say."""

    outputs: dict[str, Array]
    counts: RunCounts
    over_time: dict[str, Array] = field(default_factory=dict)
    spikes: dict[str, Array] = field(default_factory=dict)
    clipped: int = 0


class Model:
    """A compiled network ready to run; plan, buffers and sessions stay warm between calls."""

    def __init__(self, network: Network, engine: str = "fast", threads: int | None = None):
        self.network = network
        self.engine = engine
        self._engine = make_engine(network, engine, threads)
        self.facts = Facts.of(network)
        self._before = HostSession(network.prologue, network.prologue.outputs) if network.prologue else None
        self._between = InterludeSession(network)
        left = [v for v in network.outputs if network.epilogue and network.epilogue.producer(v) is not None]
        self._after = HostSession(network.epilogue, left) if network.epilogue and left else None

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Input name -> shape with batch 1, or 0 for the time steps of a spike train."""
        return self.network.input_shapes

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        timesteps: int | None = None,
        *,
        seed: int = 0,
        over_time: bool = False,
        record: bool = False,
    ) -> Result:
        """Run one sample of preprocessed input for `timesteps` (default: those it was compiled for).

        Raises:
            DataError: the input does not fit.
            OptionError: `timesteps` is below 1, above the largest that cannot overflow, or not the number of digits
                of a radix code.
        """
        values = checked(inputs, self.network.input_shapes)
        lengths = {len(values[name]) for name, shape in self.network.input_shapes.items() if shape[0] == 0}
        if len(lengths) > 1 or (timesteps is not None and lengths - {timesteps}):
            asked = "" if timesteps is None else f" for a run of {timesteps} steps"
            raise DataError(f"spike trains of {sorted(lengths)} steps{asked}", remedy="one length, and no other T")
        steps = check_steps(next(iter(lengths), timesteps), self.network)
        if self._before is not None:
            values |= self._before.run(values)
        currents = {p.name: _read(p, values) for p in self.network.encoders if not self.network.is_midway(p)}
        if over_time and self.network.interlude:
            raise OptionError("its interlude waits for the last step before it", remedy="run each T by itself")
        if over_time and any(p.waits for p in self.network.populations):
            raise OptionError("its neurons say nothing before their last step", remedy="run each T by itself")
        between = self._between.during(values, steps)
        trace = self._engine.run(
            currents, steps, seed=seed, record=record, prefixes=over_time, interlude=between
        )
        encoders = self.network.encoders
        clipped = sum(p.kind.clipped(_read(p, values)) for p in encoders if isinstance(p.kind, Encoder))
        counts = RunCounts(self.facts, self.engine, steps).add(trace.counts)
        if not over_time:
            return Result(self._outputs(values, trace, steps), counts, {}, trace.spikes, clipped)
        each = [self._outputs(values, trace, t) for t in range(1, steps + 1)]
        along = {name: np.stack([now[name] for now in each]) for name in self.network.outputs}
        return Result(each[-1], counts, along, trace.spikes, clipped)

    def _outputs(self, values: Mapping[str, Array], trace: Trace, step: int) -> dict[str, Array]:
        """Graph outputs at prefix `step`."""
        found = {**values, **read_out(self.network, trace.potentials, step)}
        if self._after is not None:
            found |= self._after.run(found)
        return {name: found[name] for name in self.network.outputs}


def _read(encoder: Population, values: Mapping[str, Array]) -> Array:
    """[C, *spatial], or a spike train [T, C, *spatial]."""
    return values[encoder.value] if encoder.timed else values[encoder.value][0]


def load(model: Source | Network, engine: str = "fast", threads: int | None = None) -> Model:
    """A compiled network, from its file or as it is, on one of the engines fast, reference, onnxruntime."""
    return Model(model if isinstance(model, Network) else read(Path(model)), engine, threads)


def make_engine(network: Network, name: str, threads: int | None = None) -> Engine:
    """Engines are imported when asked for: each brings a large library."""
    if name == "fast":
        from snncc.runtime.fast import FastEngine

        return FastEngine(network, threads=threads or 1)
    if name == "reference":
        from snncc.runtime.reference import ReferenceEngine

        return ReferenceEngine(network)
    if name == "onnxruntime":
        from snncc.runtime.onnx_engine import OnnxEngine

        return OnnxEngine(network, threads=threads or 1)
    raise OptionError(f"there is no engine {name!r}", remedy=f"one of {', '.join(ENGINES)}")
