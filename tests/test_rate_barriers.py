"""Blocks that exchange rates: the same on every engine, what block-synchronous time means, and how it is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from snncc.errors import OptionError, PassError
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.model import Model
from snncc.network import Network
from snncc.network_checks import verify_network
from snncc.neurons.base import total_count
from snncc.onnx_file import read, write
from snncc.passes.network.rate_barriers import RateBarriers
from snncc.passes.recipe import default_pipeline
from snncc.pipeline import run_pipeline
from snncc.plugins import insert_pass
from snncc.synapses.apply import apply
from tests.onnx_models import model
from tests.random_teachers import teachers
from tests.test_agreement import QUICK, check_engines, codes, context, sample

T = 4
BLOCKS = """agraph (float[1,1,6,6] x, float[3,1,3,3] wa, float[3] ba, float[4,3,3,3] wb, float[4] bb, float[1,7,1,1] wh)
  => (float y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)
  ra = Relu(a)
  b = Conv<pads=[1,1,1,1]>(ra, wb, bb)
  rb = Relu(b)
  k = Concat<axis=1>(ra, rb)
  y = Conv(k, wh)
}"""


def barred(graph: Graph, layers: str = "*", low: float = 0.0, **options: Any) -> Network:
    options = {"code": "rate", "calibration": "percentile:99.9", **options}
    passes = insert_pass(default_pipeline(**options), RateBarriers(layers))
    steps = int(options["code"].partition(":")[2] or T)
    network = run_pipeline(graph, passes, replace(context(graph, low), timesteps=steps))
    assert isinstance(network, Network)
    verify_network(network)
    return network.with_meta(timesteps=steps)


@QUICK
@given(teachers(), codes(), st.booleans())
def test_engines_agree(teacher: onnx.ModelProto, options: dict[str, Any], negative: bool) -> None:
    graph, low = ingest(teacher), -1.0 if negative else 0.0
    try:
        network = barred(graph, low=low, **options)
    except PassError as error:
        assert "could overflow in one step" in error.message
        reject()
    steps = min(T, network.meta.get("t_max", T))
    check_engines(network, sample(graph, np.random.default_rng(2), low), steps)


def test_a_block_that_never_fires_hands_on_nothing() -> None:
    """Its readout has no weights: that is not the fault of rounding."""
    graph = ingest(model(BLOCKS, {"ba": [-1e3] * 3}))
    check_engines(barred(graph), sample(graph, np.random.default_rng(2)), T)


def test_a_block_sees_the_mean_rate_of_the_one_before(tmp_path: Path) -> None:
    graph = ingest(model(BLOCKS))
    network = barred(graph, "ra", neuron="leaky:0.9", precision="float32")
    write(network, tmp_path / "a.snn.onnx")
    (feeds,) = [sample(graph, np.random.default_rng(5))]
    result = Model(read(tmp_path / "a.snn.onnx")).run(feeds["x"][0], T, record=True)
    by_name = {j.name: j for j in network.projections}

    def leaky(name: str, current: Array) -> Array:
        """Spikes [T, C, *spatial] of a constant current, decay, integrate, subtract."""
        v, found = np.full(current.shape, 0.5), []
        for _ in range(T):
            v = v * network[name].kind.multiplier / 256 + current  # type: ignore[union-attr]
            found.append(v >= 1)
            v = v - found[-1]
        return np.array(found)

    def bias(name: str) -> Array:
        found = network[name].bias
        assert found is not None
        return found.reshape(-1, 1, 1)

    first = leaky("ra", apply(by_name["x->ra"].synapse, feeds["x"][0]) + bias("ra"))
    np.testing.assert_array_equal(result.spikes["ra"], first)
    rate = first.mean(0)
    second = leaky("rb", apply(by_name["ra.rate->rb"].synapse, rate) + bias("rb"))
    np.testing.assert_array_equal(result.spikes["rb"], second)
    out = apply(by_name["ra.rate->y.readout"].synapse, rate)
    out = out + apply(by_name["rb->y.readout"].synapse, second.mean(0))
    np.testing.assert_allclose(result.outputs["y"][0], out, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"neuron": "if"}, {"neuron": "multi-threshold:2:signed"}, {"code": "radix:3"}])
def test_the_grid_holds_every_rate(options: dict[str, Any]) -> None:
    network = barred(ingest(model(BLOCKS)), **options)
    kind = network["ra.rate"].kind
    values = np.arange(kind.low, kind.high + 1) / kind.levels  # type: ignore[union-attr]
    most = (1 << network.levels(network["ra"])) - 1
    steps = total_count(network.base, network.meta["timesteps"])
    for count in range(most * steps + 1):
        assert np.isclose(values, count / steps, atol=1e-7).any(), count


def test_rates_are_multiplied_and_wait_a_window() -> None:
    plain, network = (barred(ingest(model(BLOCKS)), layers, neuron="if") for layers in ("rb", "ra;rb"))
    feeds = sample(ingest(model(BLOCKS)), np.random.default_rng(5))
    few, many = (Model(n).run(feeds["x"][0], T).counts for n in (plain, network))
    assert many.totals["macs"] - few.totals["macs"] == 36 * 3 * 1 + 16 * 16 * 12  # of a pixel's head; taps in the frame
    assert (plain.windows, network.windows) == (2, 3)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(OptionError, match="'r9'") as error:
        barred(ingest(model(BLOCKS)), "ra;r9")
    assert "there are ra, rb" in str(error.value)


def test_max_gates_go_on_reading_spikes() -> None:
    text = BLOCKS.replace(
        "k = Concat<axis=1>(ra, rb)", "k = Concat<axis=1>(ra, rb) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(k)"
    ).replace("y = Conv(k, wh)", "y = Conv(m, wh)")  # fmt: skip
    network = barred(ingest(model(text)), neuron="if")
    gates = [p for p in network.populations if p.is_gate]
    assert gates and all(network[network.incoming(gate)[0].pre].fires for gate in gates)
    assert {j.pre for j in network.incoming(network["rb"])} == {"ra.rate"}


def test_the_trainer_has_the_same_spikes_and_gradients_through_rates() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    from snncc.trainer import SpikingModule
    from tests.test_trainer import agree, batch_of

    graph = ingest(model(BLOCKS))
    network = barred(graph, neuron="leaky:0.9")
    module = SpikingModule(network)
    agree(module, network, batch_of(graph, 3), T)
    inputs = {"x": torch.as_tensor(np.stack([s["x"][0] for s in batch_of(graph, 3)]))}
    module.trace(inputs).readouts["y"].square().sum().backward()
    first = module.link["x->ra"].weight
    assert first.grad is not None and first.grad.abs().sum() > 0
