"""Runs a Graph on onnxruntime: the teacher for calibration, and the analog parts of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnxruntime

from snncc.errors import DataError, FormatError
from snncc.graph import Array, Graph
from snncc.graph_onnx import inputs_read, to_onnx
from snncc.ingest.limits import REEXPORT, first_line
from snncc.interlude import stretches
from snncc.network import Network, Population
from snncc.runtime.trace import Interlude, not_finite

QUIET = 4  # fatal only


class HostSession:
    """A graph ready to run; any values it makes can be asked for.

    Args:
        wanted: names of values, graph inputs among them.
        threads: of onnxruntime.
    """

    def __init__(self, graph: Graph, wanted: Sequence[str], *, threads: int = 1):
        self.wanted = tuple(dict.fromkeys(wanted))
        self._made = tuple(name for name in self.wanted if graph.producer(name) is not None)
        part = replace(graph, outputs=self._made).pruned()
        self._inputs = inputs_read(part)
        self._graph = graph
        self._session = None
        if self._made:
            model = to_onnx(replace(part, inputs=tuple(self._inputs)))
            try:
                self._session = onnxruntime.InferenceSession(
                    model.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # each of its error codes is a class of its own
                raise _unable(error) from None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Feeds and results by value name. Raises DataError for a missing input, a wrong shape, or a value that an
        input of integers cannot hold."""
        found: dict[str, Array] = {}
        if self._session is not None:
            given = {name: self._checked(name, feeds) for name in self._inputs}
            try:
                values = self._session.run(list(self._made), given)
            except Exception as error:
                raise _unable(error) from None
            found.update(zip(self._made, values, strict=True))
        for name in self.wanted:
            if name not in found:
                constant = self._graph.constant(name)
                found[name] = self._checked(name, feeds) if constant is None else constant
        return {name: found[name] for name in self.wanted}

    def _checked(self, name: str, feeds: Mapping[str, Array]) -> Array:
        if name not in feeds:
            raise DataError(f"no value for the input {name!r}")
        kind, value = self._graph.types[name], np.asarray(feeds[name])
        if value.shape != kind.shape:
            raise DataError(f"input {name!r} has the shape {value.shape}, the network wants {kind.shape}")
        if np.dtype(kind.dtype).kind in "iub":
            return _whole(name, value, kind.dtype)
        return value.astype(kind.dtype, copy=False)


class InterludeSession:
    """A network's interlude ready to run, stretch by stretch."""

    def __init__(self, network: Network):
        self.network = network
        self._sessions = {name: HostSession(part, part.outputs) for name, part in stretches(network).items()}

    def during(self, values: dict[str, Array], timesteps: int) -> Interlude:
        """For one run: `values` holds graph inputs and prologue values, and gets what readouts and interlude make.

        Raises, when called, DataError for NaN or infinity: what a logarithm makes of a value just below zero.
        """

        def read(encoder: Population, potentials: Mapping[str, Array]) -> Array:
            values.update(read_out(self.network, potentials, timesteps))
            if encoder.name in self._sessions:
                values.update(self._sessions[encoder.name].run(values))
            x = np.asarray(values[encoder.value][0])
            if not np.isfinite(x).all():
                raise not_finite(encoder, midway=True)
            return x

        return read


def read_out(network: Network, potentials: Mapping[str, Array], step: int) -> dict[str, Array]:
    """Values [1, C, *spatial] by name that readouts make at prefix `step` of these potentials (see Trace)."""
    found = {}
    for name, potential in potentials.items():
        population = network[name]
        now = potential[step - 1] if potential.ndim > len(population.shape) else potential
        found[population.value] = population.kind.value(now, step)[None]  # type: ignore[union-attr]
    return found


def run_graph(graph: Graph, feeds: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
    """Run once; see HostSession."""
    return HostSession(graph, wanted).run(feeds)


def _whole(name: str, value: Array, dtype: str) -> Array:
    """As integers or truth values. Raises DataError: a cast would make 44 of 300, and 0 of 0.5."""
    with np.errstate(invalid="ignore"):
        found = value.astype(dtype, copy=False)
    if (lost := found != value).any():
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        remedy = f"it is {dtype}: whole numbers from {low} to {high}"
        raise DataError(f"input {name!r} holds {value[lost].flat[0]:g}", remedy=remedy)
    return found


def _unable(error: Exception) -> FormatError:
    return FormatError(f"onnxruntime cannot run the network: {first_line(error)}", remedy=REEXPORT)


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Of every session: nothing is rewritten, nothing kept."""
    options = onnxruntime.SessionOptions()
    # Its default level turns zero Pad + MaxPool into a MaxPool padded with -inf, which is another function.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = QUIET
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # what nobody reads any more is freed
    return options
