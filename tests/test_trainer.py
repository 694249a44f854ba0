"""The trainer's forward pass: the spikes, outputs and counts of the engines, before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from snncc.errors import DataError, OptionError, PassError
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.model import Model
from snncc.network import Network
from snncc.neurons import Leaky
from snncc.onnx_file import read
from tests.onnx_models import model as onnx_model
from tests.random_teachers import teachers
from tests.test_agreement import NEURONS, compiled, sample

torch = pytest.importorskip("torch")
from snncc.trainer import SpikingModule  # noqa: E402

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
KINDS = st.one_of(
    st.sampled_from([{"neuron": kind} for kind in NEURONS]), st.sampled_from([{"code": f"radix:{k}"} for k in (1, 3)])
)


def batch_of(graph: Graph, seed: int, size: int = 2) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [sample(graph, rng) for _ in range(size)]


def agree(module: Any, network: Network, samples: list[dict[str, Array]], steps: int, seed: int = 0) -> None:
    """Spikes, outputs, events and SynOps of a batch, and of its samples on the reference engine: ==."""
    model = Model(network, engine="reference")
    inputs = {name: torch.as_tensor(np.concatenate([s[name] for s in samples])) for name in samples[0]}
    with torch.no_grad():
        trace = module.trace(inputs, steps, seed=seed)
    events, synops = trace.events(), trace.synops()
    for k, feeds in enumerate(samples):
        result = model.run(feeds, steps, seed=seed, record=True)
        for name, spikes in result.spikes.items():
            found = trace.trains[name].spikes[:, k].numpy()
            assert np.array_equal(found, spikes), name
            assert int(events[name][k].sum()) == int(result.counts.counts.events[name].sum()), name  # type: ignore[union-attr]
        for name, value in result.outputs.items():
            assert np.array_equal(trace.outputs[name][k : k + 1].numpy(), value), name
        assert int(synops[k]) == result.counts.totals["synops"]


def step(module: Any, samples: list[dict[str, Array]], steps: int, rate: float = 0.02) -> None:
    """One step of gradient descent on whatever lowers the readouts and the SynOps."""
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    inputs = {name: torch.as_tensor(np.concatenate([s[name] for s in samples])) for name in samples[0]}
    trace = module.trace(inputs, steps, outputs=False)
    loss = sum(v.square().mean() for v in trace.readouts.values()) + 1e-6 * trace.synops().mean()
    loss.backward()
    optimiser.step()


@QUICK
@given(teachers(), KINDS, st.integers(0, 99), st.integers(1, 5))
def test_spikes_of_torch_are_those_of_the_engines(model: Any, kind: dict[str, Any], seed: int, steps: int) -> None:
    graph = ingest(model)
    try:
        network = compiled(graph, **kind)
    except (PassError, OptionError):
        reject()
    if network.base == 2:
        steps = network.meta["timesteps"]
    samples = batch_of(graph, seed)
    module = SpikingModule(network)
    agree(module, network, samples, steps)
    step(module, samples, steps)
    module.relearn_scales(overflowing=True)
    agree(module, module.saved(), samples, steps)
    module.relearn_scales()
    agree(module, module.saved(), samples, steps)


UNET = """agraph (float[1,1,8,8] x, float[4,1,3,3] wa, float[4] ba, float[6,4,3,3] wb, float[6] bb,
  float[6,4,2,2] wu, float[4,8,3,3] wc, float[2,4,1,1] wd) => (float y) {
  ca = Conv <pads=[1,1,1,1]> (x, wa, ba)
  a = Relu (ca)
  p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a)
  cb = Conv <pads=[1,1,1,1]> (p, wb, bb)
  b = Relu (cb)
  tu = ConvTranspose <strides=[2,2]> (b, wu)
  u = Relu (tu)
  k = Concat <axis=1> (u, a)
  cc = Conv <pads=[1,1,1,1]> (k, wc)
  c = Relu (cc)
  d = Conv (c, wd)
  y = Sigmoid (d)
}"""


def unet_like() -> Graph:
    return ingest(onnx_model(UNET))


def test_inputs_of_another_shape_are_refused() -> None:
    graph = unet_like()
    module = SpikingModule(compiled(graph, neuron="signed"))
    with pytest.raises(DataError, match="is wanted"):
        module(torch.zeros(2, 9, 3, 3))


def test_what_no_engine_encodes_is_refused() -> None:
    text = "agraph (float[1,1,4,4] x, float[2,1,1,1] w, float[1,2,1,1] v) => (float y) {"
    graph = ingest(onnx_model(text + " l = Log (x)\n c = Conv (l, w)\n a = Relu (c)\n y = Conv (a, v) }"))
    module = SpikingModule(compiled(graph))
    module(torch.ones(1, 1, 4, 4))
    with pytest.raises(DataError, match="cannot be encoded"):
        module(-torch.ones(1, 1, 4, 4))


@pytest.mark.parametrize("surrogate", ["triangle", "triangle:0.3", "sigmoid", "atan", "superspike", "stdb"])
def test_every_surrogate_moves_every_group(surrogate: str) -> None:
    graph = unet_like()
    module = SpikingModule(compiled(graph, neuron="leaky:0.9"), surrogate=surrogate)
    step(module, batch_of(graph, 0), 4)
    for name, group in module.groups().items():
        assert group, name
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in group), name


def test_saved_and_loaded(tmp_path: Path) -> None:
    graph = unet_like()
    module = SpikingModule(compiled(graph, neuron="signed"))
    samples = batch_of(graph, 1)
    step(module, samples, 4)
    network = module.save(tmp_path / "tuned.snn.onnx", epochs=1)
    again = SpikingModule.from_file(tmp_path / "tuned.snn.onnx")
    agree(again, network, samples, 4)
    assert again.network.meta["training"][-1]["epochs"] == 1


def test_winners_alone_keep_their_membranes(tmp_path: Path) -> None:
    """Against a recursion by hand: the largest quarter of the membranes of a sample stays, before each step."""
    graph = ingest(onnx_model("""agraph (float[1,1,4,4] x, float[2,1,1,1] w, float[1,2,1,1] v) => (float y) {
  c = Conv (x, w)
  a = Relu (c)
  y = Conv (a, v)
}"""))  # fmt: skip
    network = compiled(graph, neuron="leaky:0.875:zero", precision="float32", calibration="max")
    (name,) = (p.name for p in network.populations if isinstance(p.kind, Leaky))
    module = SpikingModule(network, winners={name: 0.25})
    samples, steps, count = batch_of(graph, 5, size=3), 8, 8
    inputs = {key: torch.as_tensor(np.concatenate([s[key] for s in samples])) for key in samples[0]}
    cell, (link,) = module.cell[name], (module.link[j.name] for j in network.incoming(network[name]))
    trace, plain = (m.trace(inputs, steps).trains[name].spikes.detach() for m in (module, SpikingModule(network)))
    current = torch.nn.functional.conv2d(inputs["x"], link.whole_weight().detach())
    v, theta = cell.v0(cell.theta()).detach().expand(current.shape).clone(), cell.theta().detach().reshape(-1, 1, 1)
    for t in range(steps):
        kept = torch.zeros_like(v).flatten(1)
        for k, row in enumerate(v.flatten(1)):
            last = sorted(row.tolist())[-count]
            kept[k] = torch.where(row >= last, row, 0.0)
        charged = kept.reshape(v.shape) * 0.875 + current
        fired = charged >= theta
        assert torch.equal(trace[t], fired.float())
        v = torch.where(fired, 0.0, charged)
    assert not torch.equal(trace, plain)  # it does something here
    saved = module.save(tmp_path / "n.snn.onnx")
    assert saved.meta["training"][-1]["winners"] == {name: 0.25}
    for wrong in ({name: 0.0}, {"nothing": 0.1}, {"y": 0.1}):
        with pytest.raises(OptionError, match="winners"):
            SpikingModule(network, winners=wrong)


def error(link: Any) -> Any:
    """How far the integers of a projection are from its weights, in units of a row."""
    return float((link.whole_weight() / link.scale - link.weight).detach().abs().max())


def test_relearned_scales_hold_weights_that_have_grown() -> None:
    graph = unet_like()
    module = SpikingModule(compiled(graph, neuron="signed"))
    samples, links = batch_of(graph, 3), list(module.link.values())
    with torch.no_grad():
        for link in links:
            link.weight.mul_(3)
    clipped = max(error(link) for link in links)
    places = [buffer.data_ptr() for buffer in module.buffers()]
    module.relearn_scales()
    assert [buffer.data_ptr() for buffer in module.buffers()] == places, "they stay where they are, on a GPU, say"
    after = max(error(link) for link in links)
    assert after < clipped / 10
    agree(module, module.saved(), samples, 4)


@pytest.mark.parametrize("kind", [{"code": "radix:4"}, {"neuron": "signed"}, {"neuron": "leaky:0.9"}])
def test_precision_float32_leaves_the_integers_out(kind: dict[str, Any], tmp_path: Path) -> None:
    graph = unet_like()
    network = compiled(graph, **kind)
    module = SpikingModule(network, precision="float32")
    (feeds,) = batch_of(graph, 4, 1)
    step(module, [feeds], 16 if network.base == 1 else network.meta["timesteps"], rate=0.0)
    saved = module.save(tmp_path / "float.snn.onnx")
    assert saved.meta["precision"] == "float32"
    steps = None if network.base == 2 else 16
    with torch.no_grad():
        found = module(torch.as_tensor(next(iter(feeds.values()))), steps)["y"].numpy()
    whole = Model(network, engine="reference").run(feeds, steps).outputs["y"]
    again = Model(read(tmp_path / "float.snn.onnx"), engine="reference").run(feeds, steps).outputs["y"]
    np.testing.assert_allclose(found, again, atol=0.02)
    assert np.abs(found - whole).mean() < 0.05
    with pytest.raises(OptionError, match="float32"):
        SpikingModule(network, precision="int4")


def test_flow_gives_the_same_numbers() -> None:
    """Of spikes; and its gradient is that of its definition: 1 / theta where the summed current is above zero."""
    graph = unet_like()
    network = compiled(graph, neuron="if")
    samples = batch_of(graph, 2)
    inputs = torch.as_tensor(np.concatenate([next(iter(s.values())) for s in samples]))
    plain, flow = SpikingModule(network), SpikingModule(network, flow=True)
    a, b = plain.trace(inputs, 4), flow.trace(inputs, 4)
    for name, train in a.trains.items():
        assert torch.equal(train.numbers, b.trains[name].numbers), name
    for name, value in a.readouts.items():
        assert torch.equal(value, b.readouts[name])


def test_flow_runs_what_is_analog_in_front() -> None:
    graph = ingest(onnx_model("a (float[1,1,6,6] x, float[2,1,3,3] w, float[1,2,1,1] u) => (float y) "
                              "{ p = Sigmoid(x) c = Conv(p, w) r = Relu(c) y = Conv(r, u) }"))  # fmt: skip
    network = compiled(graph, neuron="if")
    assert network.prologue is not None
    inputs = torch.as_tensor(np.concatenate([s["x"] for s in batch_of(graph, 2)]))
    plain, flow = SpikingModule(network), SpikingModule(network, flow=True)
    assert torch.equal(plain.trace(inputs, 4).readouts["y"], flow.trace(inputs, 4).readouts["y"])


def test_flow_refuses_what_waits() -> None:
    with pytest.raises(OptionError, match="waits"):
        SpikingModule(compiled(unet_like(), neuron="settled"), flow=True)
