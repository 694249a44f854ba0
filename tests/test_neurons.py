"""What the kinds of neuron do, by the reference rules; that every engine follows them is tests/test_agreement.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snncc.encoders import Constant
from snncc.errors import OptionError, VerifyError
from snncc.graph import Array
from snncc.ingest import ingest
from snncc.network import Network, Population, Projection
from snncc.network_checks import verify_network
from snncc.neurons import (
    IntegrateFire,
    Leaky,
    MaxGate,
    MultiThreshold,
    Neuron,
    Radix,
    Readout,
    Settled,
    Signed,
)
from snncc.neurons.leaky import DIVISOR
from snncc.passes.network.choose import choice
from snncc.passes.network.quantize import Quantize
from snncc.pipeline import Context
from snncc.runtime.reference import ReferenceEngine
from snncc.synapses import Conv, Diagonal
from tests.onnx_models import model
from tests.test_agreement import compiled

CHANNELS = 3
THETA = np.array([10, 7, 1], np.int32)
V0 = THETA // 2
currents = hnp.arrays(np.int32, st.tuples(st.integers(1, 9), st.just(CHANNELS)), elements=st.integers(-40, 40))


def train(kind: Neuron, current: Array) -> Array:
    """int8 [T, C] from currents int32 [T, C]."""
    state = kind.initial((CHANNELS,))
    out = [kind.step(state, now.copy()) for now in current]
    return kind.emit(state, len(current)) if kind.waits else np.stack(out)


@given(currents, st.booleans(), st.sampled_from([0, 4, 45]))
def test_one_level_is_the_neuron_without_levels(current: Array, memory: bool, dip: int) -> None:
    dips = np.full(CHANNELS, dip, np.int32)
    one = MultiThreshold(THETA, V0, 1)
    assert np.array_equal(train(one, current), train(IntegrateFire(THETA, V0), current))
    both = MultiThreshold(THETA, V0, 1, True, memory, dips)
    assert np.array_equal(train(both, current), train(Signed(THETA, V0, memory, dips), current))


@given(currents, st.integers(1, 4))
def test_multi_threshold_is_the_cascade(current: Array, levels: int) -> None:
    """Li et al., 2024: from the highest threshold down, each at most once a step."""
    v, want = V0.astype(np.int64), []
    for now in current:
        v = v + now
        spike = np.zeros(CHANNELS, np.int64)
        for k in reversed(range(levels)):
            fired = v >= THETA * 2**k
            v = v - fired * THETA * 2**k
            spike += fired * 2**k
        want.append(spike)
    assert np.array_equal(train(MultiThreshold(THETA, V0, levels), current), np.stack(want))


@given(currents, st.booleans(), st.sampled_from([0, 4]))
def test_a_settled_neuron_is_a_quantised_relu(current: Array, negative: bool, dip: int) -> None:
    total, steps = V0 + current.sum(0), len(current)
    wide = THETA + 2 * dip
    number = np.where(total < 0, np.floor((total + dip) / wide), total // THETA)
    want = np.clip(number, -steps if negative else 0, steps)
    spikes = train(Settled(THETA, V0, negative, np.full(CHANNELS, dip, np.int32)), current)
    assert np.array_equal(spikes.sum(0), want)
    assert np.all(np.abs(spikes[:-1]) >= np.abs(spikes[1:]))  # the first steps, without a gap


@given(st.integers(1, 5), hnp.arrays(np.int32, CHANNELS, elements=st.integers(-300, 300)), st.booleans())
def test_radix_says_in_k_steps_what_settled_says_in_many(digits: int, current: Array, negative: bool) -> None:
    steps = 2**digits - 1
    slow = train(Settled(THETA, V0, negative), np.tile(current, (steps, 1)))
    quick = train(Radix(THETA, V0, negative), np.tile(current, (digits, 1)))
    worth = 2 ** np.arange(digits)[::-1]
    assert np.array_equal(worth @ quick.astype(np.int64), slow.sum(0, dtype=np.int64))


@given(currents, st.booleans(), st.booleans())
def test_a_leak_of_one_is_none(current: Array, to_zero: bool, fire_first: bool) -> None:
    plain = IntegrateFire(THETA, V0, to_zero, fire_first)
    assert np.array_equal(train(Leaky(THETA, V0, to_zero, fire_first, DIVISOR), current), train(plain, current))


def test_leaks_round_toward_zero() -> None:
    kind = Leaky(np.array([1000], np.int32), np.array([-3], np.int32), multiplier=128)
    state = kind.initial((1,))
    seen = []
    for _ in range(3):
        kind.step(state, np.zeros(1, np.int32))
        seen.append(int(state["v"][0]))
    assert seen == [-1, 0, 0]


def test_firing_first_is_one_step_late() -> None:
    current = np.array([[10], [0], [0]], np.int32)
    theta, zero = np.array([10], np.int32), np.array([0], np.int32)

    def spikes(fire_first: bool) -> list[int]:
        kind = IntegrateFire(theta, zero, fire_first=fire_first)
        state = kind.initial((1,))
        return [int(kind.step(state, now)[0]) for now in current]

    assert spikes(False) == [1, 0, 0] and spikes(True) == [0, 1, 0]


def test_reset_to_zero_forgets_the_rest() -> None:
    current = np.array([[19], [1]], np.int32)
    theta, zero = np.array([10], np.int32), np.array([0], np.int32)
    for to_zero, want in ((False, [1, 1]), (True, [1, 0])):
        kind = IntegrateFire(theta, zero, to_zero)
        state = kind.initial((1,))
        assert [int(kind.step(state, now)[0]) for now in current] == want


@given(hnp.arrays(np.int32, CHANNELS, elements=st.integers(-39, 39)), st.sampled_from([0.05, 0.2, 1.0]))
def test_a_dip_makes_a_leaky_relu(current: Array, slope: float) -> None:
    """The net count is within one spike of the leaky ReLU of the charge, as long as one spike a step suffices."""
    theta, steps = np.full(CHANNELS, 40, np.int32), 12
    dip = np.rint((theta / slope - theta) / 2).astype(np.int32)
    charge = steps * current / theta
    want = np.where(charge < 0, slope * charge, charge)
    for kind in (Signed(theta, theta // 2, False, dip), Settled(theta, theta // 2, True, dip)):
        assert np.all(np.abs(train(kind, np.tile(current, (steps, 1))).sum(0) - want) <= 1)


@given(hnp.arrays(np.int8, (6, 4), elements=st.integers(-1, 1)), st.sampled_from([1, 2]))
def test_a_gate_says_the_maximum_at_every_step(spikes: Array, base: int) -> None:
    gate = MaxGate(base)
    state, n, out = gate.initial((1,)), np.zeros(4, np.int64), np.zeros(1, np.int64)
    for now in spikes:
        n = base * n + now
        out = base * out + gate.step(state, np.array([n.max()], np.int32))
        assert out[0] == n.max()


RELU6 = """a (float[1,1,6,6] x, float[4,1,3,3] w, float[1,4,1,1] u, float low, float high) => (float y) {
    c = Conv(x, w) r = Clip(c, low, high) y = Conv(r, u) }"""


@pytest.mark.parametrize("options", [{"code": "radix:5"}, {"neuron": "settled"}, {"neuron": "multi-threshold:3"}])
def test_a_clip_is_a_ceiling(options: dict[str, Any]) -> None:
    weights = {"u": np.full((1, 4, 1, 1), 1.0), "low": np.array(0.0), "high": np.array(0.5)}
    network: Network = compiled(ingest(model(RELU6, weights)), **options)
    trace = ReferenceEngine(network).run({network.encoders[0].name: np.full((1, 6, 6), 8, np.float32)}, 5)
    (out,) = network.readouts
    value = out.kind.value(trace.potentials[out.name], 5)  # type: ignore[union-attr]
    assert 0 < value.max() <= 4 * 0.5 * 1.01


ONE, NONE = np.ones(1, np.int32), np.zeros(1, np.int32)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (IntegrateFire(NONE, NONE), "theta holds values below or at 0"),
        (Settled(ONE, NONE, True, -ONE), "dip holds values below 0"),
        (MultiThreshold(ONE, NONE, 8), "8 levels"),
        (MultiThreshold(ONE, NONE, 0), "0 levels"),
        (Leaky(ONE, NONE, multiplier=257), "a leak of 257 / 256"),
        (Leaky(ONE, NONE, multiplier=0), "a leak of 0 / 256"),
    ],
)
def test_a_file_cannot_hold_neurons_that_engines_differ_on(kind: Neuron, fault: str) -> None:
    populations = (
        Population("x", (1,), Constant(255, 0, 255), value="x"),
        Population("a", (1,), kind),
        Population("y", (1,), Readout(np.ones(1, np.float32)), value="y"),
    )
    projections = (Projection("x", "a", Diagonal(ONE, NONE)), Projection("a", "y", Diagonal(ONE)))
    with pytest.raises(VerifyError, match=fault):
        verify_network(Network({"x": (1, 1)}, ("y",), populations, projections, meta={"precision": "int8"}))


def test_exceptions_by_name() -> None:
    text = """a (float[1,2,6,6] x, float[4,2,3,3] w, float[4,4,3,3] u, float[1,4,1,1] v) => (float y) {
        a = Conv(x, w) ra = Relu(a) b = Conv(ra, u) rb = Relu(b) y = Conv(rb, v) }"""
    graph = ingest(model(text))
    from snncc.passes.recipe import default_pipeline
    from snncc.pipeline import run_pipeline
    from snncc.plugins import registry
    from tests.test_agreement import context

    passes = registry(()).insert(default_pipeline(code="rate"), "")
    index = next(i for i, step in enumerate(passes) if step.name == "neurons")
    passes[index] = type(passes[index])(kind="signed", layers="rb*:multi-threshold:2;none:if")  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="no population is called 'none'"):
        run_pipeline(graph, passes, context(graph))
    passes[index] = type(passes[index])(kind="signed", layers="rb*:multi-threshold:2")  # type: ignore[call-arg]
    network = run_pipeline(graph, passes, context(graph))
    assert isinstance(network, Network)
    assert isinstance(network["ra"].kind, Signed) and isinstance(network["rb"].kind, MultiThreshold)


@pytest.mark.parametrize(
    "text",
    ["", "If", "if:9", "leaky:2", "leaky:x", "signed:zero", "multi-threshold", "multi-threshold:9", "radix:3", "lif"],
)
def test_what_names_no_neuron(text: str) -> None:
    with pytest.raises(OptionError):
        choice(text)


def test_the_proofs_count_a_spike_by_its_size() -> None:
    ones = np.ones(8, np.float32)
    populations = (
        Population("a", (8, 4), MultiThreshold(ones, ones / 2, 4), ones / 10, ones),
        Population("y", (1, 2), Readout(ones[:1], False), None, ones[:1], "y"),
    )
    projection = Projection("a", "y", Conv(np.ones((1, 8, 3), np.float32), (1,), (1,), (0, 0)))
    network = Network({}, ("y",), populations, (projection,), meta={"precision": "float32"})
    whole = Quantize().run(network, Context())
    most = 15 * whole.projections[0].synapse.rows().sum()
    assert most * whole.meta["t_max"] < 2**31
