"""Resize, pads and pools as matrices: onnxruntime is the judge of every attribute; then the synapse itself."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snncc.errors import FormatError, UnsupportedError
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.network import Network
from snncc.passes.linear_ops import route_of
from snncc.passes.lower import Lower
from snncc.passes.recipe import graph_passes
from snncc.passes.resampling import local_sum, resample, resize_matrices
from snncc.pipeline import Context, run_pipeline
from snncc.runtime.host import run_graph
from snncc.synapses import Pool, Resample
from snncc.synapses.apply import apply
from snncc.synapses.base import Synapse
from snncc.synapses.routing import Take, Upsample
from snncc.synapses.taps import taps
from tests.onnx_models import model
from tests.test_agreement import check_engines, check_lowering, compiled, sample

MANY = settings(max_examples=150, deadline=None)
COORDINATES = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"]
NEAREST = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
SIZES = {1: (1, 9), 2: (1, 9), 3: (1, 5)}


def one_node(size: list[int], call: str, attrs: dict[str, Any], inputs: str = "", **weights: Any) -> Graph:
    """`y = call<attrs>(x, ...)` on 2 channels."""
    op, rest = call.split("(")
    told = ", ".join(f"{key}={json.dumps(value)}" for key, value in attrs.items())
    text = f"a (float[1,2,{','.join(map(str, size))}] x{inputs}) => (float y) {{ y = {op}<{told}>({rest} }}"
    try:
        return ingest(model(text, weights))
    except FormatError:  # an output without elements
        assume(False)
        raise


def judged(graph: Graph) -> tuple[Array, Array]:
    """x [2, *in] and what onnxruntime makes of it."""
    x = np.random.default_rng(3).normal(size=graph.shape("x")).astype(np.float32)
    return x[0].astype(np.float64), run_graph(graph, {"x": x}, ["y"])["y"][0]


def separable(matrices: list[Array], x: Array) -> Array:
    for axis, matrix in enumerate(matrices, 1):
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


@MANY
@given(st.data())
def test_resizing_is_one_matrix_an_axis(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]))
    rank = 2 if mode == "cubic" else data.draw(st.integers(1, 3))  # onnxruntime's own limit
    size = [data.draw(st.integers(*SIZES[rank])) for _ in range(rank)]
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": data.draw(st.sampled_from(COORDINATES))}
    if mode == "nearest":
        attrs["nearest_mode"] = data.draw(st.sampled_from(NEAREST))
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": data.draw(st.sampled_from([-0.75, -0.5]))}
        attrs |= {"exclude_outside": data.draw(st.integers(0, 1))}
    if data.draw(st.booleans()):
        sizes = [1, 2, *(data.draw(st.integers(1, 14)) for _ in size)]
        graph = one_node(size, "Resize(x, , , s)", attrs, f", int64[{rank + 2}] s", s=sizes)
    else:
        factors = [data.draw(st.sampled_from([1, 2, 3, 1.5, 0.5, 1.3]) | st.floats(1, 3)) for _ in size]
        graph = one_node(size, "Resize(x, , s)", attrs, f", float[{rank + 2}] s", s=[1, 1, *factors])
    assume(graph.nodes)
    node, (x, want) = graph.nodes[0], judged(graph)
    if mode == "nearest":
        route = route_of(graph, node)
        if route is None:  # a tie between two neighbours that float32 decides
            assert "round" in attrs["nearest_mode"] or "symmetric" in str(attrs)
        else:
            np.testing.assert_array_equal(route.apply(x, rank + 1).astype(np.float32), want)
    else:
        matrices = resize_matrices(graph, node)
        assert matrices is not None
        np.testing.assert_allclose(separable(matrices, x), want, rtol=0, atol=1e-5)


@MANY
@given(st.data())
def test_average_pooling_of_every_kind(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))

    def each(low: int, high: int) -> list[int]:
        return [data.draw(st.integers(low, high)) for _ in range(rank)]

    size, kernel = each(*SIZES[rank]), each(1, 4)
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": each(1, 3), "dilations": each(1, 2), "pads": pads}
    attrs |= {"ceil_mode": data.draw(st.integers(0, 1)), "count_include_pad": data.draw(st.integers(0, 1))}
    reach = [d * (k - 1) + 1 for d, k in zip(attrs["dilations"], kernel, strict=True)]
    assume(all(n + a + b >= r for n, a, b, r in zip(size, pads[:rank], pads[rank:], reach, strict=True)))
    graph = one_node(size, "AveragePool(x)", attrs)
    assume(graph.nodes and graph.nodes[0].op == "AveragePool")
    found = local_sum(graph, graph.nodes[0], (2, *size))
    if isinstance(found, str):  # a window without input, of which onnxruntime makes NaN, or none at all
        return
    synapse, error = found
    assert isinstance(synapse, Synapse) and error == 0
    x, want = judged(graph)
    np.testing.assert_allclose(apply(synapse, x), want, rtol=0, atol=1e-6)


@MANY
@given(st.data())
def test_pads_choose_positions(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    size = [data.draw(st.integers(*SIZES[rank])) for _ in range(rank)]
    mode = data.draw(st.sampled_from(["reflect", "edge", "wrap"]))
    before, after = ([data.draw(st.integers(0, n - 1)) for n in size] for _ in range(2))
    graph = one_node(
        size, "Pad(x, p)", {"mode": mode}, f", int64[{2 * rank + 4}] p", p=[0, 0, *before, 0, 0, *after]
    )
    assume(graph.nodes)
    route = route_of(graph, graph.nodes[0])
    assert isinstance(route, Take | Upsample)
    x, want = judged(graph)
    assert route.shape(x.shape) == want.shape
    np.testing.assert_array_equal(route.apply(x, rank + 1).astype(np.float32), want)


def test_nearest_by_whole_factors_is_an_upsample() -> None:
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    graph = one_node([3, 2], "Resize(x, , s)", attrs, ", float[4] s", s=[1, 1, 2, 3])
    assert route_of(graph, graph.nodes[0]) == Upsample((2, 3))


def linear(size: list[int], to: list[int], **attrs: Any) -> list[Array] | None:
    graph = one_node(size, "Resize(x, , , s)", {"mode": "linear", **attrs}, f", int64[{len(to) + 2}] s", s=[1, 2, *to])
    return resize_matrices(graph, graph.nodes[0])


def test_doubling_has_quarters() -> None:
    matrices = linear([3, 3], [6, 3])
    assert matrices is not None
    synapse, error = resample(matrices, 2)
    assert error == 0
    want = [[4, 0, 0], [3, 1, 0], [1, 3, 0], [0, 3, 1], [0, 1, 3], [0, 0, 4]]
    np.testing.assert_array_equal(synapse.matrices[0], want)
    np.testing.assert_array_equal(synapse.matrices[1], np.eye(3))
    np.testing.assert_array_equal(synapse.weight, [0.25, 0.25])


def test_what_has_no_small_denominator_is_rounded_and_said_so() -> None:
    matrices = linear([300, 2], [601, 499], coordinate_transformation_mode="align_corners")
    assert matrices is not None
    synapse, error = resample(matrices, 1)
    denominator = synapse.matrices[0].sum(1)
    assert 0 < error < 1 / 256 and np.all(denominator == denominator[0])  # constants stay constant
    per_axis = [whole / whole.sum(1, keepdims=True) for whole in synapse.matrices]
    assert max(float(np.abs(a - b).max()) for a, b in zip(per_axis, matrices, strict=True)) == pytest.approx(error)
    assert float(synapse.weight[0]) * np.prod([m[0].sum() for m in synapse.matrices]) == pytest.approx(1)


@st.composite
def resamples(draw: st.DrawFn) -> tuple[Resample, Array]:
    rng, rank = np.random.default_rng(draw(st.integers(0, 999))), draw(st.integers(1, 3))
    shape = [(draw(st.integers(1, 4)), draw(st.integers(1, 4))) for _ in range(rank)]
    matrices = tuple(rng.integers(-2, 4, s) + np.eye(*s, dtype=np.int64) * 5 for s in shape)
    x = rng.integers(-1, 2, (2, *(n for _, n in shape)))
    return Resample(rng.integers(-9, 9, 2), matrices), x


@MANY
@given(resamples())
def test_the_synapse_in_plain_loops(case: tuple[Resample, Array]) -> None:
    synapse, x = case
    want = np.zeros(synapse.shape(x.shape))
    table = taps(synapse, (), x.shape)
    kernel, met = synapse.kernel_weights(x.ndim - 1), np.zeros_like(want)
    for place in product(*map(range, want.shape[1:])):
        to: tuple[Any, ...] = (slice(None), *place)
        for position in product(*map(range, x.shape[1:])):
            at: tuple[Any, ...] = (slice(None), *position)
            entry = np.prod([m[o, i] for m, o, i in zip(synapse.matrices, place, position, strict=True)])
            want[to] += synapse.weight * entry * x[at]
        for k in product(*map(range, kernel.shape[:-2])):
            source = [synapse.taps(a, n)[o, j] for a, (n, o, j) in enumerate(zip(x.shape[1:], place, k, strict=True))]
            at = (slice(None), *source)
            if min(source) >= 0:
                met[to] += kernel[k][:, 0] * x[at]
    np.testing.assert_array_equal(apply(synapse, x), want)
    np.testing.assert_array_equal(met, want)
    assert np.all(table.multiplicity == 1)  # no two paths: paths are pairs
    loads = synapse.loads(synapse.rows())
    up, down = np.maximum(loads, 0).sum(1), np.minimum(loads, 0).sum(1)
    flat = want.reshape(2, -1)
    assert np.all(flat.max(1) <= up - down) and np.all(flat.min(1) >= down - up)
    positive = apply(synapse, np.maximum(x, 0)).reshape(2, -1)
    assert np.all(positive.max(1) <= up) and np.all(positive.min(1) >= down)


def lowered(body: str, inputs: str = "", **weights: Any) -> tuple[Network, Context]:
    text = f"a (float[1,1,6,6] x, float[2,1,3,3] w, float[2,2,1,1] u{inputs}) => (float y) {{ c = Conv(x, w) "
    context = Context()
    graph = ingest(model(f"{text} r = Relu(c) {body} d = Conv(k, u) y = Relu(d) }}", weights))
    network = run_pipeline(graph, [*graph_passes(), Lower()], context)
    assert isinstance(network, Network)
    return network, context


def test_a_choice_of_positions_needs_no_relay_and_a_sum_one() -> None:
    chosen, _ = lowered('k = Pad<mode="reflect">(r, p)', ", int64[8] p", p=[0, 0, 1, 1, 0, 0, 1, 1])
    assert [p.name for p in chosen.populations] == ["x", "r", "y", "y.readout"]
    summed, _ = lowered('k = Resize<mode="linear">(r, , s)', ", float[4] s", s=[1, 1, 2, 2])
    assert [p.name for p in summed.populations] == ["x", "r", "k.relay", "y", "y.readout"]
    assert isinstance(summed.incoming(summed["k.relay"])[0].synapse, Resample)
    plain, _ = lowered("k = AveragePool<kernel_shape=[2,2], ceil_mode=1>(r)")
    assert not [j for j in plain.projections if isinstance(j.synapse, Resample | Pool)]  # multiplied into the Conv


def test_a_route_behind_a_sum_chooses_rows_of_its_matrices() -> None:
    body = 'k = Resize<mode="linear">(r, , s) m = Pad<mode="reflect">(k, p) d = Pad(m, q)'
    text = f"""a (float[1,1,6,6] x, float[2,1,3,3] w, float[4] s, int64[8] p, int64[8] q) => (float y) {{
        c = Conv(x, w) r = Relu(c) {body} y = MaxPool<kernel_shape=[2,2]>(d) }}"""
    weights = {"s": [1, 1, 2, 1.5], "p": [0, 0, 1, 2, 0, 0, 3, 0], "q": [0, 0, 0, 1, 0, 0, 0, 2]}
    network = check_lowering(model(text, weights))
    assert [p.name for p in network.populations] == ["x", "r", "d.relay", "y", "y.readout"]
    (resized,) = network.incoming(network["d.relay"])
    assert isinstance(resized.synapse, Resample) and not resized.routing
    graph = ingest(model(text, weights))
    check_engines(compiled(graph), sample(graph, np.random.default_rng(2)))


def test_tables_beyond_bounds_are_refused() -> None:
    assert linear([5000], [5001]) is None
    many = Resample(np.ones(1 << 12), (np.arange(1, 257).reshape(1, 256), np.arange(1, 258).reshape(1, 257)))
    with pytest.raises(ValueError, match="too many"):
        many.kernel_weights(2)
    with pytest.raises(ValueError, match="too many"):
        Resample(np.ones(1), (np.arange(1 << 13).reshape(1 << 12, 2),)).taps(0, 2)


def test_the_report_states_the_error_of_rounding() -> None:
    _, context = lowered('k = Resize<mode="cubic">(r, , , s)', ", int64[4] s", s=[1, 2, 7, 9])
    assert any("rounded by up to 0.00" in note.reason for note in context.notes)


@pytest.mark.parametrize(
    "attrs",
    [
        'antialias=1, mode="linear"',
        'mode="nearest", nearest_mode="floor", coordinate_transformation_mode="half_pixel_symmetric"',
    ],
)
def test_other_resizes_are_refused(attrs: str) -> None:
    with pytest.raises(UnsupportedError, match="Resize k") as refusal:
        lowered(f"k = Resize<{attrs}>(r, , , s)", ", int64[4] s", s=[1, 2, 7, 12])
    assert refusal.value.remedy


def test_weights_of_resampled_spikes_are_fine_enough() -> None:
    """3D with large denominators: the weight of one spike is about 2^-16 of a threshold."""
    text = """a (float[1,1,4,4,4] x, float[2,1,1,1,1] w, int64[5] s) => (float y) {
        c = Conv(x, w) r = Relu(c) k = Resize<mode="linear", coordinate_transformation_mode="align_corners">(r, , , s)
        m = MaxPool<kernel_shape=[2,2,2]>(k) y = Relu(m) }"""
    graph = ingest(model(text, {"s": [1, 2, 17, 18, 14], "w": [0.5, 1.7]}))
    network = compiled(graph)
    (relay,) = [j for j in network.projections if isinstance(j.synapse, Resample)]
    post, pre = network[relay.post], network[relay.pre]
    assert pre.unit is not None and post.unit is not None
    total = np.prod([m[0].sum() for m in relay.synapse.matrices])  # type: ignore[attr-defined]
    gain = relay.synapse.weight * total / post.kind.theta  # type: ignore[union-attr]
    np.testing.assert_allclose(gain, pre.unit / post.unit, rtol=1e-3)
    check_engines(network, sample(graph, np.random.default_rng(1)))
