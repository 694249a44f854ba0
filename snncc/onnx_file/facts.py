"""What writer and reader of compiled files share: names, JSON, functions, and weights as ONNX operators want them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import parser

from snncc.encoders import KINDS as ENCODERS
from snncc.errors import FormatError
from snncc.graph import Array, Graph
from snncc.graph_onnx import OPSET
from snncc.network import Kind, Projection
from snncc.neurons import KINDS as NEURONS
from snncc.neurons.base import per_channel
from snncc.synapses import Dense, Diagonal, Pool, Resample, Synapse

DOMAIN = "ai.snncc"
FORMAT = 2  # raise it whenever the same network would give other bytes
NETWORK_KEY, POPULATION_KEY, PROJECTION_KEY, GRAPH_KEY = (
    "snncc.network",
    "snncc.population",
    "snncc.projection",
    "snncc.graph",
)
HASH_KEY = "snncc.sha256"
KINDS: dict[str, type[Kind]] = {**{n.op: n for n in NEURONS}, **{e.op: e for e in ENCODERS}}


@cache
def function(op: str) -> onnx.FunctionProto:
    """The specification of a kind of neuron or encoder."""
    return parser.parse_function(f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>{KINDS[op].function}')


def to_json(value: Any) -> str:
    """One text for one value. Raises FormatError for what is not like JSON."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError) as fault:
        raise FormatError(f"cannot be written to a file: {fault}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not like JSON")


def projection_facts(projection: Projection, weight: Any, shift: Any = None) -> dict[str, Any]:
    synapse = projection.synapse
    return {
        "name": projection.name,
        "pre": projection.pre,
        "post": projection.post,
        "tag": projection.tag,
        "origin": projection.origin,
        "routing": [{"kind": r.kind, **r.attributes()} for r in projection.routing],
        "synapse": {"kind": synapse.kind, **synapse.attributes()},
        "weight": weight or {"channels": len(synapse.weight), "dtype": synapse.weight.dtype.name},
        "shift": shift,
    }


def file_weight(synapse: Synapse, rank: int) -> Array:
    """The weight in the shape that its ONNX operator wants; `rank` = 1 + spatial axes."""
    weight = synapse.weight
    if isinstance(synapse, Dense):
        return weight.T
    if isinstance(synapse, Diagonal | Resample):
        return per_channel(weight, rank)
    if isinstance(synapse, Pool):
        return np.broadcast_to(per_channel(weight, rank + 1), (len(weight), 1, *synapse.kernel))
    return weight


def graph_facts(graph: Graph | None) -> dict[str, Any] | None:
    if graph is None:
        return None
    types = {name: [kind.dtype, kind.shape] for name, kind in graph.types.items()}
    listed = {"inputs": graph.inputs, "outputs": graph.outputs, "weights": sorted(graph.weights)}
    return {**listed, "types": types, "meta": graph.meta}


def listed(array: Array | None) -> Any:
    return None if array is None else {"dtype": array.dtype.name, "values": array.tolist()}


def tell(node: onnx.NodeProto, key: str, facts: Any) -> None:
    node.metadata_props.add(key=key, value=to_json(facts))
