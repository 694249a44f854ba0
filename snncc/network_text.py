"""A spiking network as text: one line a population, one a projection; for people, `inspect` and golden tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import groupby
from typing import Any

import numpy as np

from snncc.graph import Array, Graph
from snncc.network import Network, Population, Projection
from snncc.synapses import Pool, Window
from snncc.synapses.routing import Route, Take
from snncc.text import graph_text

Line = tuple[str, Population | Projection | None]  # the text and what it tells of


def network_text(network: Network) -> str:
    """The whole network; equal networks give equal text. Weights are shown by shape, type and range."""
    return "\n".join(text for text, _ in network_lines(network)) + "\n"


def network_lines(network: Network) -> list[Line]:
    """The lines of `network_text`, each with the population or projection it shows. Never fails on a faulty one."""
    lines: list[Line] = [(text, None) for text in _header(network)]
    lines += _graph_lines("prologue", network.prologue)
    shown: set[Projection] = set()
    for population in network.populations:
        lines.append((population_text(population), population))
        for projection in network.projections:
            if projection.post == population.name and projection not in shown:
                lines.append((f"  <- {projection_text(projection)}", projection))
                shown.add(projection)
    lines += [(f"to nowhere, {j.post}: <- {projection_text(j)}", j) for j in network.projections if j not in shown]
    return lines + _graph_lines("epilogue", network.epilogue)


def is_integer(network: Network) -> bool:
    """Do all thresholds live on integers?"""
    thresholds = [p.kind.theta for p in network.populations if hasattr(p.kind, "theta")]
    return bool(thresholds) and all(t.dtype.kind == "i" for t in thresholds)


def _header(network: Network) -> list[str]:
    facts = [str(network.meta.get("precision") or ("integer" if is_integer(network) else "float"))]
    facts += [f"{key}={network.meta[key]}" for key in ("timesteps", "t_max") if key in network.meta]
    leads = {name: "T" if shape[0] == 0 else str(shape[0]) for name, shape in network.input_shapes.items()}
    inputs = ", ".join(f"{name} {leads[name]}x{_times(shape[1:])}" for name, shape in network.inputs.items())
    return [f"network {' '.join(facts)}", f"inputs: {inputs}", f"outputs: {', '.join(network.outputs)}"]


def _graph_lines(title: str, graph: Graph | None) -> list[Line]:
    if graph is None:
        return []
    return [(f"{title}:", None), *((f"  {text}", None) for text in graph_text(graph).splitlines())]


def population_text(population: Population) -> str:
    """`e1: 16x48x64 IntegrateFire theta=[103..1900] v0=[51..950] bias=[-3..5] unit=[0.1..2.3]  # relu_1`"""
    kind = population.kind
    words = [f"{population.name}:", _times(population.shape), kind.op]
    shown = {f.name: getattr(kind, f.name) for f in fields(kind)}  # type: ignore[arg-type]
    usual = {f.name: f.default for f in fields(kind)} | {"dip": 0}  # type: ignore[arg-type]
    words += [f"{key}={value_text(v)}" for key, v in shown.items() if not np.all(np.asarray(v) == usual[key])]
    if population.bias is not None:
        bias = population.bias
        words.append(f"bias={'map' if bias.ndim > 1 else ''}{value_text(bias)}")
    if population.unit is not None:
        words.append(f"unit={value_text(population.unit)}")
    if population.is_encoder:
        words.append(f"reads={population.value}")
    if population.is_readout:
        words.append(f"makes={population.value}")
    return " ".join(words) + _origin(population.origin)


def projection_text(projection: Projection) -> str:
    """`d1: upsample 2,2 | conv 16x1x3x3 pads=1,1,1,1 int8[-127..127] shift=[-3..0]`"""
    tag = f"#{projection.tag}" if projection.tag else ""
    steps = [*(_route(route) for route in projection.routing), _synapse(projection)]
    return f"{projection.pre}{tag}: {' | '.join(steps)}{_origin(projection.origin)}"


def _route(route: Route) -> str:
    parts = [_commas(value) for value in route.__dict__.values()]
    if isinstance(route, Take):
        parts = [_runs(index) for index in route.indices]
    return f"{route.kind} {' '.join(parts)}"


def _runs(index: tuple[int, ...]) -> str:
    """`2,1,0..5,4`: three or more in a row as first..last."""
    words: list[str] = []
    for _, run in groupby(enumerate(index), lambda pair: pair[1] - pair[0]):
        row = [str(value) for _, value in run]
        words += [f"{row[0]}..{row[-1]}"] if len(row) > 2 else row
    return ",".join(words)


def _synapse(projection: Projection) -> str:
    synapse = projection.synapse
    words = [synapse.kind]
    if not isinstance(synapse, Pool):
        words.append(_times(synapse.weight.shape))
    words += [f"{key}={_commas(v)}" for key, v in synapse.attributes().items() if not _is_default(key, v)]
    if not isinstance(synapse, Window):
        words.append(f"{synapse.weight.dtype.name}{_range(synapse.weight)}")
    if synapse.shift is not None:
        words.append(f"shift={_range(synapse.shift)}")
    return " ".join(words)


_DEFAULTS: Mapping[str, int] = {"stride": 1, "dilation": 1, "pads": 0, "output_padding": 0, "group": 1}


def _is_default(key: str, value: Any) -> bool:
    return key in _DEFAULTS and all(v == _DEFAULTS[key] for v in (value if isinstance(value, tuple) else (value,)))


def _origin(origin: tuple[str, ...]) -> str:
    return f"  # {'+'.join(origin)}" if origin else ""


def value_text(value: Any) -> str:
    """Arrays by their range, floats with four digits."""
    if isinstance(value, np.ndarray):
        return _range(value)
    return _number(value) if isinstance(value, float) else str(value)


def _range(array: Array) -> str:
    if not array.size:
        return "[]"
    low, high = array.min(), array.max()
    return f"[{_number(low)}]" if low == high else f"[{_number(low)}..{_number(high)}]"


def _number(value: Any) -> str:
    return f"{value:d}" if isinstance(value, int | np.integer) else f"{float(value):.4g}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _commas(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
