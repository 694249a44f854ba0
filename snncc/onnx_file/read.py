"""ModelProto -> Network: reads what write.py wrote and nothing else.

The bytes are not trusted. Nothing is expanded before its size is known, and at the end the network is written again
and must give the very same model: what is not in the network, or says something else, cannot be in the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from snncc.errors import FormatError, SnnccError
from snncc.graph import Array, Graph, Node, Type, frozen
from snncc.ingest.limits import first_line
from snncc.network import Network, Population, Projection
from snncc.network_checks import verify_network
from snncc.onnx_attributes import plain
from snncc.onnx_file.facts import DOMAIN, FORMAT, GRAPH_KEY, KINDS, NETWORK_KEY, POPULATION_KEY, PROJECTION_KEY
from snncc.onnx_file.write import write_model
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Resample, Synapse, Window
from snncc.synapses.routing import KINDS as ROUTES
from snncc.synapses.routing import Route, Take

MAX_SIZE = 2**31  # neurons of one population
MAX_CHANNELS = 2**20
DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64")
ALTERED = "not a file written by snncc, or altered"
REMEDY = "compile the teacher again: snncc compile teacher.onnx"


def read_model(model: onnx.ModelProto) -> Network:
    """Raises FormatError unless `write_model` gives this very model for some network."""
    text = {entry.key: entry.value for entry in model.metadata_props}.get(NETWORK_KEY)
    if text is None:
        if any(entry.domain == DOMAIN for entry in model.opset_import):
            raise FormatError(f"{ALTERED}: its description is missing", remedy=REMEDY)
        raise FormatError("a plain ONNX model, not a spiking network", remedy="run `snncc compile` on it first")
    try:
        facts = json.loads(text)
        if facts["format"] != FORMAT:
            raise FormatError(f"file format {facts['format']!r}, where this snncc reads {FORMAT}", remedy=REMEDY)
        network = _Reader(model, facts).network()
        verify_network(network)
        same = write_model(network).model.SerializeToString(deterministic=True)
    except SnnccError as fault:
        if fault.remedy == REMEDY:
            raise
        raise FormatError(f"{ALTERED}: {first_line(fault)}", remedy=REMEDY) from None
    except Exception as fault:  # whatever altered JSON or arrays may lead to
        raise FormatError(f"{ALTERED}: {type(fault).__name__}", remedy=REMEDY) from fault
    if same != model.SerializeToString(deterministic=True):
        raise FormatError(f"{ALTERED}: its parts contradict each other", remedy=REMEDY)
    return network


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(what)


def _facts(node: onnx.NodeProto, key: str) -> Any:
    found = [entry.value for entry in node.metadata_props if entry.key == key]
    return json.loads(found[0]) if found else None


def _whole(values: Any) -> tuple[int, ...]:
    _require(isinstance(values, list) and all(type(v) is int and abs(v) <= MAX_SIZE for v in values), "not integers")
    return tuple(values)


def _shape(values: Any) -> tuple[int, ...]:
    shape = _whole(values)
    _require(0 < len(shape) <= 8 and min(shape) > 0 and prod(shape) <= MAX_SIZE, "a shape out of bounds")
    _require(shape[0] <= MAX_CHANNELS, "too many channels")
    return shape


def _dtype(name: Any) -> str:
    _require(name in DTYPES, f"the element type {name!r}")
    return str(name)


@dataclass
class _Reader:
    model: onnx.ModelProto
    facts: Any

    def __post_init__(self) -> None:
        self.tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def network(self) -> Network:
        facts = self.facts
        populations: dict[str, Population] = {}
        projections: dict[str, Projection] = {}
        for node in self.model.graph.node:
            if (told := _facts(node, POPULATION_KEY)) is not None:
                populations[told["name"]] = self._population(told)
            if (told := _facts(node, PROJECTION_KEY)) is not None:
                projections[told["name"]] = self._projection(told)
        return Network(
            {name: _whole(shape) for name, shape in facts["inputs"]},
            tuple(facts["outputs"]),
            tuple(populations[name] for name in facts["populations"]),
            tuple(projections[name] for name in facts["projections"]),
            self._graph("prologue"),
            self._graph("epilogue"),
            facts["meta"],
        )

    def _array(self, name: str) -> Array:
        tensor = self.tensors[name]
        _require(tensor.data_location == onnx.TensorProto.DEFAULT, "weights outside the file")
        array: Array = numpy_helper.to_array(tensor)
        return array

    def _stored(self, told: Any) -> Array:
        """An array that the writer put away as float32."""
        with np.errstate(invalid="ignore"):  # what does not fit is not the same when written again
            return self._array(told["tensor"]).astype(_dtype(told["dtype"]))

    def _population(self, told: Any) -> Population:
        shape, kind = _shape(told["shape"]), KINDS[told["kind"]]
        values = {}
        for key, value in told["fields"].items():
            values[key] = self._parameter(value["tensor"], shape) if isinstance(value, dict) else value
        unit, bias = told["unit"], None
        if told.get("bias") is not None:
            bias = frozen(self._stored(told["bias"]).reshape(_shape(told["bias"]["shape"])))
        return Population(
            name=told["name"],
            shape=shape,
            kind=kind(**values),
            bias=bias,
            unit=None if unit is None else frozen(np.array(unit["values"], _dtype(unit["dtype"]))),
            value=told["value"],
            origin=tuple(told["origin"]),
        )

    def _parameter(self, name: str, shape: tuple[int, ...]) -> Array:
        """[C], or a map [C, *spatial]."""
        array = self._array(name)
        return frozen(array if array.shape == shape and array.size > shape[0] else array.reshape(-1))

    def _projection(self, told: Any) -> Projection:
        shift = None
        if told["shift"] is not None:
            factor = self._array(told["shift"]["tensor"]).reshape(-1)
            shift = frozen((np.frexp(factor)[1] - 1).astype(_dtype(told["shift"]["dtype"])))
        return Projection(
            pre=told["pre"],
            post=told["post"],
            synapse=self._synapse(told["synapse"], told["weight"], shift),
            routing=tuple(_route(route) for route in told["routing"]),
            origin=tuple(told["origin"]),
            tag=told["tag"],
        )

    def _synapse(self, geometry: Any, told: Any, shift: Array | None) -> Synapse:
        kind = geometry.pop("kind")
        values: dict[str, Any] = {key: v if key == "group" else _whole(v) for key, v in geometry.items()}
        if kind == Window.kind:
            _require(0 < told["channels"] <= MAX_CHANNELS, "too many channels")
            return Window(frozen(np.ones(told["channels"], _dtype(told["dtype"]))), **values, shift=shift)
        weight = self._stored(told)
        if kind == Dense.kind:
            return Dense(frozen(weight.T), shift)
        if kind == Diagonal.kind:
            return Diagonal(frozen(weight.reshape(-1)), shift)
        if kind == Resample.kind:
            return Resample(frozen(weight.reshape(-1)), tuple(frozen(self._stored(m)) for m in told["matrices"]), shift)
        if kind == Pool.kind:
            _require(weight.shape[2:] == values["kernel"], "a pool whose kernel is of another size")
            return Pool(frozen(weight.reshape(len(weight), -1)[:, 0]), **values, shift=shift)
        _require(kind in (Conv.kind, ConvTranspose.kind), f"the synapse {kind!r}")
        return (Conv if kind == Conv.kind else ConvTranspose)(frozen(weight), **values, shift=shift)

    def _graph(self, part: str) -> Graph | None:
        told = self.facts[part]
        if told is None:
            return None
        nodes = []
        for proto in self.model.graph.node:
            about = _facts(proto, GRAPH_KEY)
            if about is not None and about["part"] == part:
                nodes.append(_node(proto, tuple(about["origin"])))
        return Graph(
            inputs=tuple(told["inputs"]),
            outputs=tuple(told["outputs"]),
            nodes=tuple(nodes),
            weights={name: frozen(self._array(name)) for name in told["weights"]},
            types={name: Type(_value_shape(shape), str(dtype)) for name, (dtype, shape) in told["types"].items()},
            meta=told["meta"],
        )


def _value_shape(values: Any) -> tuple[int, ...]:
    shape = _whole(values)
    _require(len(shape) <= 8 and min(shape, default=1) >= 0 and prod(shape) <= MAX_SIZE, "a shape out of bounds")
    return shape


def _route(told: Any) -> Route:
    kind = {route.kind: route for route in ROUTES}[told.pop("kind")]
    if kind is Take:
        return Take(tuple(map(_whole, told["indices"])))
    return kind(**{key: _whole(value) for key, value in told.items()})


def _node(proto: onnx.NodeProto, origin: tuple[str, ...]) -> Node:
    _require(proto.domain == "", "an analog operator that is not standard")
    attributes = {}
    for attribute in proto.attribute:
        _require(not (attribute.HasField("g") or attribute.graphs), "control flow in an analog part")
        attributes[attribute.name] = plain(helper.get_attribute_value(attribute))
    return Node(proto.op_type, tuple(proto.input), tuple(proto.output), attributes, origin)
