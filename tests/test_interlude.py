"""--allow-analog: what cannot spike stays analog between readouts and encoders, and everything else is as before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from snncc.api import compile, conversion, plan
from snncc.cli import main
from snncc.errors import DataError, OptionError, UnsupportedError, VerifyError
from snncc.graph import Array, Graph, Type
from snncc.ingest import ingest
from snncc.interlude import stretches
from snncc.macs import graph_macs
from snncc.model import ENGINES, Model
from snncc.network import Network
from snncc.network_checks import verify_network
from snncc.onnx_file import read, to_model, write
from snncc.passes.lower import Lower
from snncc.passes.recipe import graph_passes
from snncc.pipeline import Context, run_pipeline
from snncc.runtime.calibration import Simulator
from snncc.runtime.host import InterludeSession
from snncc.runtime.reference import ReferenceEngine
from tests.file_networks import interludes
from tests.onnx_models import model
from tests.random_teachers import teachers
from tests.test_agreement import (
    QUICK,
    THOROUGH,
    check_engines,
    check_lowering,
    check_model,
    compiled,
    context,
    sample,
)

IMAGE = "float[1,2,6,6] x, float[3,2,3,3] w, float[3,3,3,3] u, float[2,6,3,3] q, float[2,3,1,1] o, float[3] b"
PAD = "<pads=[1,1,1,1]>"
FRONT = f"c = Conv{PAD}(x, w, b) r = Relu(c) d = Conv{PAD}(r, u)"
SILU = "s = Sigmoid(d) m = Mul(d, s)"

# name -> (inputs and weights, body, outputs, ops of the interlude, number of stretches)
NETS: Mapping[str, tuple[str, str, str, tuple[str, ...], int]] = {
    "SiLU with a skip around it": (
        IMAGE, f"{FRONT} {SILU} e = Conv{PAD}(m, u) f = Relu(e) t = Concat<axis=1>(f, r) g = Conv{PAD}(t, q)"
        " h = Relu(g) y = Sigmoid(h)", "float y", ("Sigmoid", "Mul"), 1,
    ),
    "a residual sum with what stays analog": (
        IMAGE, f"{FRONT} {SILU} a = Add(m, r) e = Relu(a) y = Conv(e, o)", "float y", ("Sigmoid", "Mul"), 1,
    ),
    "InstanceNormalization, its ReLU spikes": (
        f"{IMAGE}, float[3] vs", f"{FRONT} n = InstanceNormalization(d, vs, b) e = Relu(n) y = Conv(e, o)", "float y",
        ("InstanceNormalization",), 1,
    ),
    "two stretches": (
        f"{IMAGE}, float[3] vs",
        f"{FRONT} {SILU} e = Conv{PAD}(m, u) f = Relu(e) k = Conv{PAD}(f, u) n = InstanceNormalization(k, vs, b)"
        " p = Add(n, f) t = Tanh(p) z = Concat<axis=1>(t, r) y = Conv(z, q)", "float y",
        ("Sigmoid", "Mul", "InstanceNormalization", "Add", "Tanh"), 2,
    ),
    "an attention gate of one channel": (
        f"{IMAGE}, float[1,3,1,1] j",
        f"{FRONT} e = Relu(d) k = Conv(e, j) s = Sigmoid(k) a = Mul(r, s) t = Concat<axis=1>(a, e) g = Conv{PAD}(t, q)"
        " y = Relu(g)", "float y", ("Sigmoid", "Mul"), 1,
    ),
    "two inputs, one of them in the interlude": (
        f"{IMAGE}, float[1,3,6,6] x2",
        f"{FRONT} s = Sigmoid(x2) m = Mul(d, s) k = Mul(m, x2) e = Conv{PAD}(k, u) y = Relu(e)", "float y",
        ("Mul", "Mul"), 1,
    ),
    "weightless operators between two others": (
        IMAGE, f"{FRONT} s = Sigmoid(d) a = Add(s, r) f = Relu(a) t = Tanh(f) e = Conv{PAD}(t, u) y = Relu(e)",
        "float y", ("Sigmoid", "Add", "Relu", "Tanh"), 1,
    ),
    "a weighted operator between two others": (
        IMAGE, f"{FRONT} s = Sigmoid(d) a = Conv{PAD}(s, u) t = Tanh(a) y = Conv(t, o)", "float y",
        ("Sigmoid", "Tanh"), 2,
    ),
    "a concatenation read out, and one stretch for two encoders": (
        f"{IMAGE}, float[3,6,1,1] k, float[6] vs, float[6] p",
        f"{FRONT} t = Concat<axis=1>(d, r) s = InstanceNormalization(t, vs, p) e = Conv(s, k) f = Relu(e)"
        f" g, h = Split<axis=1, num_outputs=2>(s) l = Conv{PAD}(g, u) n = Add(l, f) y = Relu(n)", "float y, float s",
        ("Concat", "InstanceNormalization"), 1,
    ),
    "a refusal found late": (
        IMAGE, f"{FRONT} p = LeakyRelu<alpha=1.5>(d) f = Conv{PAD}(p, u) y = Relu(f)", "float y",
        ("LeakyRelu",), 1,
    ),
    "attention over positions": (
        f"{IMAGE}, int64[3] i, int64[4] l",
        f"{FRONT} z = Reshape(d, i) v = Transpose<perm=[0,2,1]>(z) a = MatMul(v, z) p = Softmax<axis=-1>(a)"
        f" m = MatMul(z, p) k = Reshape(m, l) g = Add(k, r) e = Conv{PAD}(g, u) y = Relu(e)", "float y",
        ("Reshape", "Transpose", "MatMul", "Softmax", "MatMul"), 1,
    ),
    "max pooling of what stays analog": (
        IMAGE, f"{FRONT} {SILU} p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(m) e = Conv{PAD}(p, u) y = Relu(e)",
        "float y", ("Sigmoid", "Mul", "MaxPool"), 1,
    ),
}
GIVEN = {"i": [1, 3, 36], "l": [1, 3, 6, 6], "lo": -1, "hi": 2}


def teacher(name: str) -> Any:
    inputs, body, outputs, *_ = NETS[name]
    given = {name: value for name, value in GIVEN.items() if f" {name}," in f"{inputs},"}
    return model(f"a ({inputs}) => ({outputs}) {{ {body} }}", given)


def lowered(graph: Graph, allow_analog: bool = True) -> Network:
    network = run_pipeline(graph, [*graph_passes(), Lower(allow_analog)], Context())
    assert isinstance(network, Network)
    return network


@pytest.mark.parametrize("name", NETS)
def test_the_lowered_network_is_the_teacher(name: str) -> None:
    network = check_lowering(teacher(name), -1.0, allow_analog=True)
    assert network.interlude is not None
    assert tuple(node.op for node in network.interlude.nodes) == NETS[name][3]
    assert len(stretches(network)) == NETS[name][4]


@pytest.mark.parametrize("name", NETS)
def test_without_the_flag_it_is_refused_with_advice(name: str) -> None:
    with pytest.raises(UnsupportedError, match="--allow-analog") as refusal:
        lowered(ingest(teacher(name)), allow_analog=False)
    assert refusal.value.node


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("neuron", ["signed", "if", "multi-threshold:2", "settled"])
def test_every_engine_gives_the_same_spikes_and_counts(name: str, neuron: str) -> None:
    graph = ingest(teacher(name))
    network = compiled(graph, -1.0, neuron=neuron, allow_analog=True)
    check_engines(network, sample(graph, np.random.default_rng(2), -1.0))


@pytest.mark.parametrize("name", NETS)
def test_the_file_comes_back_and_runs_on_stock_onnxruntime(name: str, tmp_path: Path) -> None:
    graph = ingest(teacher(name))
    feeds, path = sample(graph, np.random.default_rng(5), -1.0), tmp_path / "m.snn.onnx"
    write(compiled(graph, -1.0, allow_analog=True), path)
    network = read(path)
    write(network, tmp_path / "again.snn.onnx")
    assert path.read_bytes() == (tmp_path / "again.snn.onnx").read_bytes()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for steps in (1, 7):
        stock = session.run(None, {**feeds, "T": np.array([steps], np.int64)})
        for engine in ("fast", "reference", "onnxruntime"):
            found = Model(network, engine).run(feeds, steps).outputs
            for output, value in zip(network.outputs, stock, strict=True):
                np.testing.assert_array_equal(found[output], value)


@pytest.mark.parametrize("name", NETS)
def test_many_steps_come_close_to_the_teacher(name: str) -> None:
    graph = ingest(teacher(name))
    options: dict[str, Any] = {"calibration": "max", "allow_analog": True}
    free, whole = (Model(compiled(graph, -1.0, precision=p, **options)) for p in ("float32", "int8"))
    rng = np.random.default_rng(0)
    for feeds in (sample(graph, rng, -1.0) for _ in range(3)):  # those of the calibration
        want, near, rounded = run_teacher(graph, feeds), free.run(feeds, 512).outputs, whole.run(feeds, 512).outputs
        for output in graph.outputs:
            most = np.abs(want[output]).max()
            assert np.abs(near[output] - want[output]).max() < 0.03 * most
            assert np.abs(rounded[output] - want[output]).mean() < 0.02 * most


def with_activations(proto: onnx.ModelProto, places: Sequence[int], ops: Sequence[str]) -> onnx.ModelProto:
    """The model with operators that cannot spike behind some of its nodes."""
    nodes = list(proto.graph.node)
    for place, op in zip(places, ops, strict=True):
        node = nodes[place % len(nodes)]
        value, raw = node.output[0], f"{node.output[0]}.raw{place}.{op}"
        node.output[0] = raw
        nodes.insert(nodes.index(node) + 1, helper.make_node(op, [raw], [value], name=raw))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


RANDOM = (teachers(), st.lists(st.integers(0, 99), min_size=3, max_size=3, unique=True),
          st.lists(st.sampled_from(["Sigmoid", "Tanh", "Abs", "Cos"]), min_size=3, max_size=3))


@QUICK
@given(*RANDOM)
def test_random_teachers(proto: onnx.ModelProto, places: list[int], ops: list[str]) -> None:
    proto = with_activations(proto, places, ops)
    check_lowering(proto, -1.0, allow_analog=True)
    check_model(proto, -1.0, allow_analog=True)


@pytest.mark.slow
@THOROUGH
@given(*RANDOM)
def test_random_teachers_thoroughly(proto: onnx.ModelProto, places: list[int], ops: list[str]) -> None:
    proto = with_activations(proto, places, ops)
    check_lowering(proto, -1.0, allow_analog=True)
    check_model(proto, -1.0, allow_analog=True)


def run_teacher(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    evaluate = context(graph).evaluate
    assert evaluate is not None
    return dict(evaluate(graph, feeds, graph.outputs))


def test_the_macs_of_the_interlude_are_reported_and_counted() -> None:
    name = "attention over positions"
    todo = plan(teacher(name), allow_analog=True)
    notes, refusal = conversion(todo)
    assert refusal is None
    macs = 36 * 3 * 36
    reasons = {note.node: note.reason.rpartition("; ")[2] for note in notes if note.action == "analog"}
    assert reasons == {
        f"{node}": f"kept analog between a readout and an encoder ({macs if 'MatMul' in node else 0:,} MACs)"
        for node in ("Reshape z", "Transpose v", "MatMul a", "Softmax p", "MatMul m")
    }
    graph = ingest(teacher(name))
    network = compiled(graph, -1.0, allow_analog=True)
    assert graph_macs(network.interlude).valid == 2 * macs
    found = Model(network).run(sample(graph, np.random.default_rng(0)), 3)
    assert found.counts.counts is not None
    assert found.counts.totals["macs"] == sum(found.counts.counts.macs.values()) + 2 * macs


def test_inputs_alone_make_no_interlude() -> None:
    """A late refusal on the input becomes a part of the prologue; a stretch before no encoder, of the epilogue."""
    text = f"""a ({IMAGE}) => (float y) {{
        p = LeakyRelu<alpha=1.5>(x) c = Conv{PAD}(p, w) r = Relu(c) s = Cos(r) y = Relu(s) }}"""
    network = check_lowering(model(text), -1.0, allow_analog=True)
    assert network.interlude is None and network.prologue is not None and network.epilogue is not None
    assert [n.op for n in network.prologue.nodes] == ["LeakyRelu"]
    assert [n.op for n in network.epilogue.nodes] == ["Cos", "Relu"]


def test_each_encoder_in_the_middle_has_the_range_of_its_own_values() -> None:
    graph = ingest(teacher("SiLU with a skip around it"))
    network = compiled(graph, -1.0, allow_analog=True)
    (encoder,) = [p for p in network.encoders if network.is_midway(p)]
    low, high = network.meta["calibration"]["ranges"][encoder.name]
    kind: Any = encoder.kind
    assert -0.3 < low < 0 < high and kind.low < 0 < kind.high and 254 <= kind.high - kind.low <= 256
    assert kind.high / kind.levels == pytest.approx(high, rel=0.02)
    feeds = {"x": 9 * sample(graph, np.random.default_rng(0), -1.0)["x"]}
    beyond = sum(int(np.count_nonzero(np.abs(np.rint(x * 127)) > 127)) for x in feeds.values())
    assert Model(network).run(feeds, 8).clipped > beyond  # values of the interlude, too


@pytest.mark.parametrize("encoder", ["poisson", "spikes"])
def test_an_encoder_in_the_middle_is_a_constant_current_whatever_the_inputs_are(encoder: str) -> None:
    graph = ingest(teacher("two stretches"))
    network = compiled(graph, 0.0, encoder=encoder, allow_analog=True)
    assert {p.kind.op for p in network.encoders if network.is_midway(p)} == {"ConstantCurrent"}
    check_engines(network, sample(graph, np.random.default_rng(2)))


def test_a_radix_code_says_the_same_across_the_interlude_as_settled_rates() -> None:
    """Decision 10: 2^K - 1 settled steps and K digits have the same numbers."""
    data = np.random.default_rng(0).random((3, 2, 6, 6), np.float32)
    options: dict[str, Any] = {"calibrate": data, "calibration": "max", "allow_analog": True}
    digits = compile(teacher("two stretches"), code="radix:4", **options)
    settled = compile(teacher("two stretches"), neuron="settled", timesteps=15, **options)
    outputs = [Model(network).run(data[0]).outputs["y"] for network in (digits, settled)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    check_engines(digits, {"x": data[:1]})


def test_numbers_that_no_encoder_can_say_are_refused() -> None:
    text = f"""a ({IMAGE}, float[3,3,3,3] v) => (float y) {{
        {FRONT} e = Relu(d) s = Sqrt(e) f = Conv{PAD}(s, v) y = Relu(f) }}"""
    graph = ingest(model(text))
    network = compiled(graph, -1.0, allow_analog=True)
    (name,) = stretches(network)
    readout = next(p for p in network.readouts if p.value == "e")
    with pytest.raises(DataError, match="NaN or infinity on the calibration data"):
        compiled(ingest(model(text.replace("Sqrt", "Log"))), -1.0, allow_analog=True)
    below = {readout.name: np.full(readout.shape, -1, np.int32)}
    with pytest.raises(DataError, match="NaN") as refusal:
        InterludeSession(network).during({}, 4)(network[name], below)
    assert refusal.value.node == name and refusal.value.remedy


def test_a_prologue_that_makes_no_number_is_refused_by_every_engine() -> None:
    text = """a (float[1,1,4,4] x, float[2,1,1,1] w, float[2,2,1,1] u) => (float y) {
        l = Log(x) c = Conv(l, w) r = Relu(c) y = Conv(r, u) }"""
    image = np.ones((1, 4, 4), np.float32)
    network = compile(model(text), calibrate=[image + 1])
    assert network.prologue is not None
    for number in (-1, 0):  # NaN, and minus infinity
        for engine in ENGINES:
            with pytest.raises(DataError, match="cannot be encoded") as refusal:
                Model(network, engine).run(image * number)
            assert refusal.value.node == network.encoders[0].name and refusal.value.remedy
        with pytest.raises(DataError, match="cannot be encoded"):
            Simulator(ReferenceEngine)(network, {"x": image[None] * number}, 4, False)


@pytest.mark.parametrize("number", [-1, 0.5, 256, 300])
def test_an_input_of_integers_takes_what_it_can_hold(number: float) -> None:
    text = """a (uint8[1,1,4,4] x, float[2,1,1,1] w, float[2,2,1,1] u) => (float y) {
        f = Cast<to=1>(x) c = Conv(f, w) r = Relu(c) y = Conv(r, u) }"""
    image = np.ones((1, 4, 4), np.float32)
    found = Model(compile(model(text), calibrate=[image * 255]))
    found.run(image * 255)
    with pytest.raises(DataError, match=f"input 'x' holds {number:g}") as refusal:
        found.run(image * np.float32(number))
    assert "uint8: whole numbers from 0 to 255" in str(refusal.value)


def test_prefixes_are_refused() -> None:
    graph = ingest(teacher("two stretches"))
    with pytest.raises(OptionError, match="interlude") as refusal:
        Model(compiled(graph, allow_analog=True)).run(sample(graph, np.random.default_rng(0)), 4, over_time=True)
    assert refusal.value.remedy


@pytest.mark.parametrize(
    "text",
    ["balance-thresholds{steps=4,encoder=constant}", "v-init{at=neuron}", "bias-correction", "calibrate-weights"],
)
def test_passes_that_run_the_network_on_data_know_the_interlude(text: str) -> None:
    data = np.random.default_rng(0).random((3, 2, 6, 6), np.float32)
    options: dict[str, Any] = {"neuron": "if", "passes": [text], "timesteps": 8}
    network = compile(teacher("two stretches"), calibrate=data, allow_analog=True, **options)
    assert len(stretches(network)) == 2
    check_engines(network, {"x": data[:1]})


def broken(how: str) -> Network:
    network = interludes()
    graph, populations = network.interlude, network.populations
    assert graph is not None
    places = {p.name: k for k, p in enumerate(populations)}
    if how == "an encoder before its readout":
        order = [*populations[:3], populations[6], *populations[3:6], *populations[7:]]
        return replace(network, populations=tuple(order))
    if how == "nodes that no encoder waits for":
        return replace(network, interlude=replace(graph, nodes=graph.nodes[::-1]))
    if how == "an unknown value":
        return replace(network, interlude=replace(graph, inputs=("m", "x", "nothing")))
    if how == "another shape":
        return replace(network, interlude=replace(graph, types={**graph.types, "z": Type((1, 8))}))
    if how == "nobody encodes it":
        given = replace(populations[places["gate"]], value="x"), replace(populations[places["z"]], value="x")
        return network.with_populations({p.name: p for p in given})
    assert how == "not given"
    return replace(network, interlude=replace(graph, outputs=("gate",)))


FAULTS = (
    "an encoder before its readout", "nodes that no encoder waits for", "an unknown value", "another shape",
    "nobody encodes it", "not given",
)  # fmt: skip


@pytest.mark.parametrize("how", FAULTS)
def test_a_malformed_interlude_is_noticed(how: str) -> None:
    verify_network(interludes())
    with pytest.raises(VerifyError):
        verify_network(broken(how))


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(teacher("two stretches"), "t.onnx")
    np.save("data.npy", np.random.default_rng(0).random((3, 2, 6, 6), np.float32))
    invoke = CliRunner().invoke
    for command in ("check t.onnx", "compile t.onnx -o m.snn.onnx --calibrate data.npy"):
        refused = invoke(main, command.split())
        assert refused.exit_code == 1 and "--allow-analog" in refused.stderr
        done = invoke(main, [*command.split(), "--allow-analog"])
        assert done.exit_code == 0, done.output
    shown = invoke(main, ["inspect", "m.snn.onnx"]).stdout
    assert "interlude:" in shown and "kept analog between a readout and an encoder" in shown
    assert "lower{allow_analog=True}" in shown
    ran = invoke(main, ["run", "m.snn.onnx", "data.npy", "-o", "out.npy"])
    assert ran.exit_code == 0, ran.output


def test_a_unet_with_silu_in_its_bottleneck_from_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class UNet(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            nn = torch.nn
            self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            self.pool = nn.MaxPool2d(2)
            self.bottom = nn.Sequential(
                nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(),
                nn.Conv2d(16, 16, 3, padding=1), nn.GELU(),
            )
            self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
            self.last = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))

        def forward(self, x: Any) -> Any:
            skip = self.down(x)
            return torch.sigmoid(self.last(torch.cat([self.up(self.bottom(self.pool(skip))), skip], 1)))

    torch.manual_seed(0)
    data = np.random.default_rng(0).random((4, 1, 16, 16), np.float32)
    net = UNet().eval()
    options: dict[str, Any] = {"example_input": torch.from_numpy(data[:1]), "calibrate": data, "calibration": "max"}
    options["timesteps"] = 64
    with pytest.raises(UnsupportedError, match="--allow-analog"):
        compile(net, **options)
    network = compile(net, tmp_path / "m.snn.onnx", allow_analog=True, **options)
    assert len(stretches(network)) == 2 and to_model(read(tmp_path / "m.snn.onnx")) == to_model(network)
    with torch.no_grad():
        want = net(torch.from_numpy(data)).numpy()
    runs = [Model(network, engine) for engine in ("fast", "reference", "onnxruntime")]
    for x, y in zip(data, want, strict=True):
        found = [run.run(x).outputs for run in runs]
        for output in network.outputs:
            assert all(np.array_equal(found[0][output], other[output]) for other in found[1:])
            assert np.abs(found[0][output][0] - y).max() < 0.02
