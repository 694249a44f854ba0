"""model.snn.onnx: what is written is valid, deterministic, runs the same everywhere, and alone is read back."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from snncc.encoders import KINDS as ENCODERS
from snncc.encoders import SpikeTrain
from snncc.errors import FormatError
from snncc.graph import Array
from snncc.network import Network
from snncc.network_checks import verify_network
from snncc.network_text import network_text
from snncc.neurons import KINDS as NEURONS
from snncc.neurons import Readout, Rectifier
from snncc.onnx_file import read, to_model, write
from snncc.onnx_file.facts import FORMAT
from snncc.runtime.host import run_graph
from snncc.runtime.onnx_engine import OnnxEngine
from snncc.runtime.reference import ReferenceEngine
from snncc.runtime.trace import Trace
from snncc.synapses import KINDS as SYNAPSES
from snncc.synapses.routing import KINDS as ROUTES
from tests.file_networks import NETWORKS, STEPS, i32, relays, skips

every = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def values_of(network: Network, seed: int = 0) -> dict[str, Array]:
    """One sample for every encoder, on a grid of 1/64, some of it out of range; or a spike train."""
    draw = np.random.default_rng(seed)
    values = {p.name: (draw.integers(-9, 73, p.shape) / 64).astype(np.float32) for p in network.encoders}
    for population in network.encoders:
        if isinstance(population.kind, SpikeTrain):
            values[population.name] = draw.integers(-1, 2, (STEPS, *population.shape)).astype(np.float32)
    return values


def session(model: onnx.ModelProto, level: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def same(a: Any, b: Any) -> bool:
    """Equal in every field; arrays in type and number, too."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and bool(np.all(a == b))
    if dataclasses.is_dataclass(a):
        fields = [f.name for f in dataclasses.fields(a)]
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in fields)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def test_all_kinds_are_met() -> None:
    populations = [p.kind for n in NETWORKS.values() for p in n.populations]
    projections = [j for n in NETWORKS.values() for j in n.projections]
    assert {type(k) for k in populations} == {*NEURONS, *ENCODERS}
    assert {type(j.synapse) for j in projections} == set(SYNAPSES)
    assert {type(r) for j in projections for r in j.routing} == set(ROUTES)


@every
def test_round_trip(network: Network, tmp_path: Path) -> None:
    verify_network(network)
    write(network, tmp_path / "a.snn.onnx")
    back = read(tmp_path / "a.snn.onnx")
    assert same(network, back)
    assert list(back.inputs) == list(network.inputs)
    assert network_text(back) == network_text(network)
    write(back, tmp_path / "b.snn.onnx")
    assert (tmp_path / "a.snn.onnx").read_bytes() == (tmp_path / "b.snn.onnx").read_bytes()


@every
def test_valid_for_the_checker_and_typed(network: Network) -> None:
    model = to_model(network)
    onnx.checker.check_model(model, full_check=True)
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert [v.name for v in model.graph.output] == list(network.outputs)
    assert all(shape and 0 not in shape for shape in shapes)


@every
def test_all_engines_agree(network: Network) -> None:
    values = values_of(network)
    traces = [
        engine.run(values, STEPS, seed=5, record=True, prefixes=True)
        for engine in (OnnxEngine(network), OnnxEngine(network, optimise=True), ReferenceEngine(network))
    ]
    for other in traces[1:]:
        assert same(traces[0].spikes, other.spikes)
        assert same(traces[0].potentials, other.potentials)
        assert traces[0].counts.same(other.counts)
    assert any(spikes.any() for spikes in traces[0].spikes.values())
    last = OnnxEngine(network).run(values, STEPS, seed=5)
    assert not last.spikes
    assert same(last.potentials, {name: v[-1] for name, v in traces[0].potentials.items()})


@every
def test_the_file_itself_runs_from_input_to_output(network: Network) -> None:
    model = to_model(network)
    draw = np.random.default_rng(3)
    feeds = {name: (draw.integers(-9, 73, shape) / 64).astype(np.float32) for name, shape in network.inputs.items()}
    for name, shape in network.input_shapes.items():
        if shape[0] == 0:
            feeds[name] = draw.integers(-1, 2, (STEPS, *shape[1:])).astype(np.float32)
    steps = next(i for i in model.graph.node if i.op_type == "Readout").input[-1]
    results = [
        session(model, level).run(None, {**feeds, **extra})
        for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
        for extra in ({}, {steps: np.array([STEPS], np.int64)})
    ]
    for result in results[1:]:
        assert same(tuple(results[0]), tuple(result))
    wanted = by_hand(network, feeds)
    for name, got in zip(network.outputs, results[0], strict=True):
        assert got.dtype == wanted[name].dtype and got.shape == wanted[name].shape
        assert np.allclose(got, wanted[name], rtol=1e-6, atol=0)


def by_hand(network: Network, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Prologue, reference engine, readouts, epilogue."""
    found = dict(feeds)
    if network.prologue is not None:
        found |= run_graph(network.prologue, found, network.prologue.outputs)
    trace: Trace = ReferenceEngine(network).run(
        {p.name: found[p.value] if isinstance(p.kind, SpikeTrain) else found[p.value][0] for p in network.encoders},
        STEPS,
    )
    for population in network.readouts:
        assert isinstance(population.kind, Readout)
        found[population.value] = population.kind.value(trace.potentials[population.name], STEPS)[None]
    if network.epilogue is not None:
        found |= run_graph(network.epilogue, found, network.epilogue.outputs)
    return found


def changed(model: onnx.ModelProto, how: str) -> None:
    graph = model.graph
    weight = next(t for t in graph.initializer if t.name.endswith(".weight"))
    props = model.metadata_props[0]
    node = next(n for n in graph.node if n.op_type == "Conv")
    if how == "weight":
        array = numpy_helper.to_array(weight).copy()
        array.flat[0] = 1 - array.flat[0]
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    elif how == "external":
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="/etc/passwd")
    elif how == "shape":
        weight.dims[0] += 1
    elif how == "attribute":
        next(a for a in node.attribute if a.name == "pads").ints[0] = 5
    elif how == "operator":
        graph.node.append(helper.make_node("Relu", ["y"], ["other"]))
    elif how == "function":
        del model.functions[0]
    elif how == "meta":
        props.value = props.value.replace('"t_max":1000', '"t_max": 1000')
    elif how == "format":
        props.value = props.value.replace(f'"format":{FORMAT}', '"format":99')
    elif how == "json":
        props.value = "[" * 100_000
    elif how == "huge":
        text = node.metadata_props[0].value
        node.metadata_props[0].value = text.replace('"pads":[1,1,1,1]', '"pads":[1,1,1,2147483648]')
        assert text != node.metadata_props[0].value
    elif how == "population":
        gate = next(n for n in graph.node if n.op_type == "MaxGate")
        gate.metadata_props[0].value = gate.metadata_props[0].value.replace("MaxGate", "__class__")
    elif how == "doc":
        node.doc_string = "hello"


ALTERATIONS = (
    "weight", "external", "shape", "attribute", "operator", "function", "meta", "format", "json", "huge", "population",
    "doc",
)  # fmt: skip


@pytest.mark.parametrize("how", ALTERATIONS)
def test_an_altered_file_is_refused(how: str, tmp_path: Path) -> None:
    model = to_model(skips())
    changed(model, how)
    path = tmp_path / "altered.snn.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=r"altered|file format") as caught:
        read(path)
    assert caught.value.file == str(path) and caught.value.remedy


def test_a_teacher_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "teacher",
        [helper.make_tensor_value_info("x", 1, [1, 2])],
        [helper.make_tensor_value_info("y", 1, [1, 2])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "teacher.onnx")
    with pytest.raises(FormatError, match="snncc compile") as caught:
        read(tmp_path / "teacher.onnx")
    assert "teacher.onnx" in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write(skips(), tmp_path / "whole.snn.onnx")
    content = (tmp_path / "whole.snn.onnx").read_bytes()
    path = tmp_path / "cut.snn.onnx"
    for size in range(0, len(content), 100):
        path.write_bytes(content[:size])
        with pytest.raises(FormatError):
            read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(FormatError, match="not a file"):
            read(path)


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(
    call: str, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.snn.onnx"
    write(skips(), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(FormatError if isinstance(fault, OSError) else KeyboardInterrupt) as caught:
            write(relays(), path)
    if isinstance(caught.value, FormatError):
        assert "No space left" in caught.value.message and caught.value.file == str(path) and caught.value.remedy
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.snn.onnx"]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file") as caught:
        write(skips(), tmp_path / "none" / "model.snn.onnx")
    assert caught.value.file and caught.value.remedy


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    network = skips()
    ideal = network.with_populations({"e1": replace(network["e1"], kind=Rectifier())})
    wide = network.with_populations({"e1": replace(network["e1"], bias=i32(1, 2, 3, 2**24 + 1))})
    odd = network.with_meta(thing=object())
    for broken, remedy in ((ideal, "neurons"), (wide, "quantize"), (odd, "")):
        with pytest.raises(FormatError) as caught:
            write(broken, tmp_path / "m.onnx")
        assert remedy in (caught.value.remedy or "")
    assert not os.listdir(tmp_path)
