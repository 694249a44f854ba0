"""Network -> ModelProto. Each population is one node of the domain `ai.snncc`, each projection standard linear ONNX.

Tensors carry a leading time axis, of length T, or 1 where they are constant in time. What the graph cannot say lies in
the nodes' metadata as JSON; arrays lie in initializers and are named there. The same network gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from snncc.encoders import Encoder
from snncc.errors import FormatError
from snncc.graph import Array, Graph, Type
from snncc.graph_onnx import IR_VERSION, OPSET, onnx_node, value_info
from snncc.network import Network, Population, Projection
from snncc.neurons.base import per_channel
from snncc.onnx_file.facts import (
    DOMAIN,
    FORMAT,
    GRAPH_KEY,
    HASH_KEY,
    KINDS,
    NETWORK_KEY,
    POPULATION_KEY,
    PROJECTION_KEY,
    file_weight,
    function,
    graph_facts,
    listed,
    projection_facts,
    tell,
    to_json,
)
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Resample, Window
from snncc.synapses.routing import Pad, Reshape, Route, Slice, Take, Transpose, Upsample


@dataclass(frozen=True)
class Written:
    """A model and where things are in it.

    outputs: population -> its tensor (spikes, current, or a readout's value). currents: neuron -> what it takes in.
    steps, seed: names of those inputs; seed is None where nothing is drawn.
    """

    model: onnx.ModelProto
    outputs: Mapping[str, str]
    currents: Mapping[str, str]
    steps: str
    seed: str | None


def write_model(network: Network) -> Written:
    """Raises FormatError for what a file cannot hold exactly."""
    return _Writer(network).write()


@dataclass
class _Writer:
    network: Network
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    outputs: dict[str, str] = field(default_factory=dict)
    currents: dict[str, str] = field(default_factory=dict)

    def write(self) -> Written:
        network = self.network
        self._reserve()
        steps, seed = self.name("T"), self.name("seed")
        drawn = False
        types = {v: t for g in (network.prologue, network.epilogue) if g is not None for v, t in g.types.items()}
        self._graph("prologue", network.prologue)
        infos = []
        for population in network.populations:
            node = self._population(population, steps, seed)
            drawn = drawn or seed in node.input
            lead: int | str = "T" if population.fires else 1
            infos.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [lead, *population.shape]))
            types.setdefault(population.value, Type((1, *population.shape)))
        self._graph("epilogue", network.epilogue)
        self.weights[steps] = np.array([network.meta.get("timesteps", 1)], np.int64)
        inputs = [value_info(n, types.get(n, Type(s))) for n, s in network.inputs.items()] + [_scalar(steps)]
        for info, shape in zip(inputs, network.input_shapes.values(), strict=False):
            if shape[0] == 0:
                info.type.tensor_type.shape.dim[0].dim_param = "T"
        if drawn:
            self.weights[seed] = np.zeros(1, np.int64)
            inputs.append(_scalar(seed))
        results = [value_info(name, types[name]) for name in network.outputs]
        graph = helper.make_graph(
            self.nodes,
            "snncc",
            inputs,
            results,
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
            value_info=[info for info in infos if info.name not in network.outputs],
        )
        used = {n.op_type for n in self.nodes if n.domain == DOMAIN}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, FORMAT)],
            functions=[function(op) for op in KINDS if op in used],
            ir_version=IR_VERSION,
            producer_name="snncc",
        )
        model.metadata_props.add(key=NETWORK_KEY, value=to_json(self._facts()))
        # so that the reader, which writes the network again and compares, notices a flipped bit in a weight, too
        model.metadata_props.add(key=HASH_KEY, value=sha256(model.SerializeToString(deterministic=True)).hexdigest())
        return Written(model, self.outputs, self.currents, steps, seed if drawn else None)

    def _reserve(self) -> None:
        """The teacher's own names stay; ours keep out of their way."""
        network = self.network
        self.taken = {*network.inputs, *network.outputs, *(p.value for p in (*network.encoders, *network.readouts))}
        for graph in (network.prologue, network.epilogue):
            if graph is not None:
                self.taken.update(graph.types, graph.weights, *(n.outputs for n in graph.nodes))

    def _facts(self) -> dict[str, Any]:
        network = self.network
        return {
            "format": FORMAT,
            "inputs": [[name, shape] for name, shape in network.inputs.items()],
            "outputs": network.outputs,
            "populations": [p.name for p in network.populations],
            "projections": [j.name for j in network.projections],
            "prologue": graph_facts(network.prologue),
            "epilogue": graph_facts(network.epilogue),
            "meta": network.meta,
        }

    def name(self, stem: str) -> str:
        name, k = stem, 1
        while name in self.taken:
            name, k = f"{stem}_{k}", k + 1
        self.taken.add(name)
        return name

    def constant(self, stem: str, array: Array) -> str:
        name = self.name(stem)
        self.weights[name] = array
        return name

    def integers(self, stem: str, values: tuple[int, ...]) -> str:
        return self.constant(stem, np.array(values, np.int64))

    def stored(self, stem: str, array: Array, shaped: Array) -> dict[str, Any]:
        """Puts `shaped`, the same numbers, away as float32 and says how `array` comes back."""
        exact = shaped.astype(np.float32)
        if not np.array_equal(exact.astype(array.dtype), shaped):
            raise FormatError(f"{stem}: {array.dtype} numbers that float32 cannot hold", remedy="run the pass quantize")
        return {"tensor": self.constant(stem, exact), "dtype": array.dtype.name}

    def op(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A standard node; `output` is a stem."""
        name = self.name(output)
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def _graph(self, part: str, graph: Graph | None) -> None:
        if graph is None:
            return
        for node in graph.nodes:
            proto = onnx_node(node)
            tell(proto, GRAPH_KEY, {"part": part, "origin": node.origin})
            self.nodes.append(proto)
        for name in sorted(graph.weights):
            self.weights[name] = np.asarray(graph.weights[name])

    def _population(self, population: Population, steps: str, seed: str) -> onnx.NodeProto:
        kind, name, incoming = population.kind, population.name, self.network.incoming(population)
        if not kind.function:
            raise FormatError(f"{kind.op} has no dynamics yet", node=name, remedy="run the pass neurons")
        spec = function(kind.op)
        facts: dict[str, Any] = {"name": name, "kind": kind.op, "shape": population.shape, "value": population.value}
        facts |= {"origin": population.origin, "unit": listed(population.unit)}
        attributes: dict[str, Any] = {}
        if isinstance(kind, Encoder):
            current, attributes, arrays = population.value, dict(kind.attributes()), {}
        else:
            arrays = dict(kind.parameters())
            attributes = dict(kind.attributes())
            if population.is_gate:
                current, geometry = self._window(incoming[0])
                attributes |= geometry
            else:
                current, facts["bias"] = self._current(population, incoming)
        self.currents[name] = current
        inputs = [current]
        names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
        facts["fields"] = {key: getattr(kind, key) for key in names if key not in arrays}
        for wanted in spec.input[1:]:
            if wanted in arrays:
                array = arrays[wanted]
                if array.dtype.name not in ("int32", "float32"):
                    raise FormatError(f"{wanted} is {array.dtype}", node=name, remedy="int32 or float32 is wanted")
                inputs.append(self.constant(f"{name}.{wanted}", per_channel(array, len(population.shape))))
                facts["fields"][wanted] = {"tensor": inputs[-1]}
            else:
                inputs.append({"T": steps, "seed": seed}[wanted])
        called = self.name(name)
        output = population.value if population.is_readout else called
        others = [self.name(f"{name}.{other}") for other in spec.output[1:]]  # shape inference wants all of them
        node = helper.make_node(kind.op, inputs, [output, *others], name=called, domain=DOMAIN, **attributes)
        tell(node, POPULATION_KEY, facts)
        if population.is_gate:
            tell(node, PROJECTION_KEY, projection_facts(incoming[0], None))
        self.outputs[name] = output
        self.nodes.append(node)
        return node

    def _current(self, population: Population, incoming: tuple[Projection, ...]) -> tuple[str, Any]:
        """The sum of the projections, left to right, plus the bias; with what to say about the bias."""
        name, bias, rank = population.name, population.bias, len(population.shape)
        current, facts = "", None
        for projection in incoming:
            part = self._projection(projection, rank)
            current = self.op("Add", [current, part], f"{name}.sum") if current else part
        if bias is not None:
            shaped = bias if bias.shape == population.shape else per_channel(bias, rank)
            facts = self.stored(f"{name}.bias", bias, shaped)
            facts["shape"] = bias.shape
            if current:
                current = self.op("Add", [current, facts["tensor"]], f"{name}.current")
        if not current:
            constant = facts["tensor"] if facts else self.constant(f"{name}.nothing", np.zeros((), np.float32))
            shape = self.integers(f"{name}.shape", (1, *population.shape))
            current = self.op("Expand", [constant, shape], f"{name}.current")
        return current, facts

    def _routed(self, projection: Projection) -> str:
        tensor, shape = self.outputs[projection.pre], self.network[projection.pre].shape
        for route in projection.routing:
            tensor = self._route(route, tensor, len(shape), projection.name)
            shape = route.shape(shape)
        return tensor

    def _route(self, route: Route, x: str, rank: int, name: str) -> str:
        stem = f"{name}.{route.kind}"
        axes = tuple(range(1, rank + 1))
        if isinstance(route, Upsample):
            scales = self.constant(f"{stem}.scales", np.array((1, 1, *route.factors), np.float32))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return self.op("Resize", [x, "", scales], stem, **how)
        if isinstance(route, Take):
            for axis, index in enumerate(route.indices, 2):
                x = self.op("Gather", [x, self.integers(f"{stem}.indices", index)], stem, axis=axis)
            return x
        if isinstance(route, Pad):
            pads = self.integers(f"{stem}.pads", (0, 0, *route.before, 0, 0, *route.after))
            return self.op("Pad", [x, pads], stem)
        if isinstance(route, Slice):
            ends = [self.integers(f"{stem}.{e}", v) for e, v in (("start", route.start), ("stop", route.stop))]
            return self.op("Slice", [x, *ends, self.integers(f"{stem}.axes", axes)], stem)
        if isinstance(route, Transpose):
            return self.op("Transpose", [x], stem, perm=(0, *(1 + axis for axis in route.perm)))
        assert isinstance(route, Reshape)
        return self.op("Reshape", [x, self.integers(f"{stem}.to", (0, *route.to))], stem)

    def _window(self, projection: Projection) -> tuple[str, dict[str, Any]]:
        window = projection.synapse
        assert isinstance(window, Window)
        geometry = {"kernel_shape": window.kernel, "strides": window.stride, "dilations": window.dilation}
        return self._routed(projection), {**geometry, "pads": window.pads}

    def _projection(self, projection: Projection, rank: int) -> str:
        """Routing, the linear map, its power of two and, for analog currents, rounding half up. rank: of the post."""
        name, synapse = projection.name, projection.synapse
        x = self._routed(projection)
        stored = self.stored(f"{name}.weight", synapse.weight, file_weight(synapse, rank))
        if isinstance(synapse, Resample):
            x, stored["matrices"] = self._resampled(x, synapse, name)
        inputs = [x, stored["tensor"]]
        if isinstance(synapse, Dense):
            current = self.op("MatMul", inputs, name)
        elif isinstance(synapse, Diagonal | Resample):
            current = self.op("Mul", inputs, name)
        else:
            assert isinstance(synapse, Conv | ConvTranspose | Pool)
            how = {"strides": synapse.stride, "dilations": synapse.dilation, "pads": synapse.pads}
            how["kernel_shape"] = synapse.kernel if isinstance(synapse, Pool) else synapse.weight.shape[2:]
            if isinstance(synapse, ConvTranspose):
                how["output_padding"] = synapse.output_padding
            op = "ConvTranspose" if isinstance(synapse, ConvTranspose) else "Conv"
            current = self.op(op, inputs, name, group=synapse.groups, **how)
        linear = self.nodes[-1]
        shift = None
        if synapse.shift is not None:
            factor = per_channel(np.ldexp(np.float32(1), synapse.shift), rank)
            shift = {"tensor": self.constant(f"{name}.shift", factor), "dtype": synapse.shift.dtype.name}
            current = self.op("Mul", [current, shift["tensor"]], f"{name}.scaled")
            if self.network.analog(projection):
                half = self.constant(f"{name}.half", np.array(0.5, np.float32))
                current = self.op("Floor", [self.op("Add", [current, half], f"{name}.up")], f"{name}.rounded")
        tell(linear, PROJECTION_KEY, projection_facts(projection, stored, shift))
        return current


    def _resampled(self, x: str, synapse: Resample, name: str) -> tuple[str, list[Any]]:
        """One Einsum, `tczyx,oz,py,qx->tcopq` in 3D, and what to say about its matrices."""
        rank = len(synapse.matrices)
        source, target = "zyx"[-rank:], "opq"[-rank:]
        told = [self.stored(f"{name}.matrix", matrix, matrix) for matrix in synapse.matrices]
        factors = ",".join(map("".join, zip(target, source, strict=True)))
        equation = f"tc{source},{factors}->tc{target}"
        return self.op("Einsum", [x, *(t["tensor"] for t in told)], f"{name}.resampled", equation=equation), told


def _scalar(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, [1])
