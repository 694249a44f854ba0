"""lambda, where membranes start, and what is corrected on calibration data, against plain formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import snncc
from snncc.cli import main
from snncc.cli.data import path_stream
from snncc.errors import DataError, OptionError, PassError, SnnccError
from snncc.graph import Array, Graph
from snncc.ingest import ingest
from snncc.network import Network, Population
from snncc.neurons import Rectifier
from snncc.passes import BUILTIN
from snncc.passes.network.histograms import BINS, SHARES, least_squares, percentile
from snncc.passes.network.threshold_scale import ThresholdScale
from snncc.passes.recipe import default_pipeline
from snncc.pipeline import Context, Feeds, pipeline_text, run_pipeline
from snncc.plugins import registry
from snncc.runtime.calibration import Simulator
from snncc.runtime.fast import FastEngine
from snncc.runtime.host import run_graph
from snncc.runtime.reference import ReferenceEngine
from snncc.runtime.trace import Engine
from snncc.synapses.apply import apply
from snncc.synapses.routing import apply_all
from tests.onnx_models import model

TEACHER = """agraph (float[1,1,8,8] x, float[2,1,3,3] wa, float[2] ba, float[3,1,3,3] wb, float[3,5,3,3] wc,
    float[3] bc, float[3,3,3,3] wd, float[2,3,1,1] we, float[1,2,1,1] wh) => (float y) {
  ca = Conv <pads=[1,1,1,1]> (x, wa, ba)
  a = Relu (ca)
  pa = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a)
  cb = Conv <pads=[1,1,1,1]> (x, wb)
  b = Relu (cb)
  pb = MaxPool <kernel_shape=[2,2], strides=[2,2]> (b)
  t = Concat <axis=1> (pa, pb)
  cc = Conv <pads=[1,1,1,1]> (t, wc, bc)
  c = Relu (cc)
  cd = Conv <pads=[1,1,1,1]> (c, wd)
  d = Relu (cd)
  s = Add (c, d)
  ce = Conv (s, we)
  e = Relu (ce)
  y = Conv (e, wh)
}"""
RNG = np.random.default_rng(0)
DATA = [{"x": RNG.random((1, 1, 8, 8), dtype=np.float32)} for _ in range(4)]
GRAPH = ingest(model(TEACHER))
FIRED = ["a", "b", "c", "d", "e"]
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hippocampus"
VOLUME = EXAMPLE / "volumes" / "imagesTr" / "hippocampus_025.nii.gz"


def after(
    passes: str,
    data: Sequence[Feeds] = DATA,
    graph: Graph = GRAPH,
    engine: Callable[[Network], Engine] = ReferenceEngine,
) -> Network:
    context = Context(lambda: iter(data), run_graph, Simulator(engine), timesteps=4)
    network = run_pipeline(graph, registry(BUILTIN).parse(f"lower,{passes}"), context)
    assert isinstance(network, Network)
    return network


def teacher(population: Population, data: Sequence[Feeds] = DATA, graph: Graph = GRAPH) -> Array:
    """Activations [samples, C, *spatial]."""
    value, channels = population.watched
    return np.stack([run_graph(graph, feeds, [value])[value][0][channels] for feeds in data])


def unit(network: Network, name: str) -> Array:
    found = network[name].unit
    assert found is not None
    return found


def rows(x: Array) -> Array:
    """[samples, C, *spatial] -> [C, all]."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def quantised(a: Array, lam: Array | float, levels: int) -> Array:
    return lam / levels * np.clip(np.floor(a * levels / lam + 0.5), 0, levels)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 50), min_size=1), st.integers(1, 40), st.floats(0.1, 9))
def test_least_squares_against_every_candidate(bins: dict[int, int], levels: int, limit: float) -> None:
    histogram = np.zeros((1, BINS), np.int64)
    histogram[0, list(bins)] = list(bins.values())
    (found,) = least_squares(histogram, np.array([limit]), levels)

    def cost(lam: float) -> float:
        a = (np.array(list(bins)) + 0.5) / BINS * limit
        return float(np.sum(list(bins.values()) * (a - quantised(a, lam, levels)) ** 2))

    best = min(cost(limit * share) for share in SHARES)
    assert cost(float(found)) <= best * (1 + 1e-6) + 1e-12 and cost(float(found)) <= cost(limit) * (1 + 1e-6) + 1e-12


def test_squared_error_on_activations() -> None:
    network, largest = after("calibrate{method=mse,levels=3}"), after("calibrate{method=max}")
    better = 0
    for name in FIRED:
        a = rows(teacher(network[name]))
        errors = [((a - quantised(a, unit(n, name)[:, None], 3)) ** 2).sum(1) for n in (network, largest)]
        assert np.all(errors[0] <= errors[1] * 1.01)
        better += int((errors[0] < errors[1] * 0.9).sum())
    assert better > 3


def test_the_levels_are_those_of_the_code() -> None:
    assert np.array_equal(unit(after("calibrate{method=mse}"), "c"), unit(after("calibrate{method=mse,levels=4}"), "c"))
    network = snncc.compile(model(TEACHER), calibrate=DATA, calibration="mse", timesteps=7, precision="float32")
    assert np.array_equal(unit(network, "c"), unit(after("calibrate{method=mse,levels=7}"), "c"))
    assert "calibrate{method=mse,levels=15}" in pipeline_text(default_pipeline(calibration="mse", code="radix:4"))


@pytest.mark.parametrize("zeros", [True, False])
def test_percentile(zeros: bool) -> None:
    network = after(f"calibrate{{q=90,per=connection,zeros={zeros}}}")
    for name in FIRED:
        a = teacher(network[name]).ravel()
        want = np.quantile(a if zeros else a[a > 0], 0.9, method="inverted_cdf")
        assert want > 0 and np.abs(unit(network, name) - want).max() <= a.max() / BINS * 1.001


def test_percentile_of_a_row_of_zeros() -> None:
    histogram = np.zeros((2, BINS), np.int64)
    histogram[:, 0], histogram[1, 2048] = 999, 1
    assert np.array_equal(percentile(histogram, np.array([1.0, 1.0]), 99.0), [0, 0])
    assert percentile(histogram, np.array([1.0, 1.0]), 100.0)[1] == pytest.approx(0.5, abs=1e-3)


def test_what_shares_a_lambda() -> None:
    channel, connection, layer = (after(f"calibrate{{method=max,per={p}}}") for p in ("channel", "connection", "layer"))
    top = {name: rows(teacher(channel[name])).max(1) for name in FIRED}
    for name in FIRED:
        assert np.allclose(unit(channel, name), top[name])
        assert np.allclose(unit(connection, name), top[name].max())
    for names in ("ab", "cd", "e"):  # read together through gates and a concatenation; as a sum; alone
        assert all(np.allclose(unit(layer, name), max(top[n].max() for n in names)) for name in names)
    assert np.array_equal(unit(layer, "pa"), unit(layer, "a"))
    assert not np.allclose(unit(connection, "a"), unit(connection, "b")[:2])


def test_sharing_is_transitive() -> None:
    text = """agraph (float[1,1,6,6] x, float[1,1,1,1] wa, float[1,1,1,1] wb, float[1,1,1,1] wc, float[1,2,1,1] wd,
        float[1,2,1,1] we) => (float y, float z) {
      ca = Conv (x, wa)
      a = Relu (ca)
      cb = Conv (x, wb)
      b = Relu (cb)
      cc = Conv (x, wc)
      c = Relu (cc)
      ab = Concat <axis=1> (a, b)
      y = Conv (ab, wd)
      bc = Concat <axis=1> (b, c)
      z = Conv (bc, we)
    }"""
    graph = ingest(model(text, {"wa": [[[[1]]]], "wb": [[[[2]]]], "wc": [[[[3]]]]}))
    data = [{"x": np.full((1, 1, 6, 6), 1, np.float32)}]
    network = after("calibrate{method=max,per=layer}", data, graph)
    assert [float(unit(network, n)[0]) for n in "abc"] == [3, 3, 3]
    network = after("calibrate{method=mse,per=connection,levels=4}", data, graph)
    assert [float(unit(network, n)[0]) for n in "abc"] == [1, 2, 3]


@dataclass(frozen=True, eq=False)
class Capped(Rectifier):
    ceiling: float = 0.5


def test_threshold_scale() -> None:
    plain, scaled = after("calibrate"), after("calibrate,threshold-scale{factor=1.25}")
    for name in [*FIRED, "pa", "pb"]:
        assert np.allclose(unit(scaled, name), 1.25 * unit(plain, name))
    assert np.array_equal(unit(scaled, "x"), [1]) and np.array_equal(unit(scaled, "y.readout"), [1])
    capped = plain.with_populations({"a": replace(plain["a"], kind=Capped())})
    scaled = ThresholdScale(1.25).run(capped, Context())
    assert unit(scaled, "a").max() == unit(scaled, "pa").max() == 0.5
    assert np.array_equal(unit(scaled, "b"), 1.25 * unit(plain, "b"))


def test_threshold_scale_compounds_with_depth() -> None:
    plain, scaled = after("calibrate"), after("calibrate,threshold-scale{factor=0.5,compound=yes}")
    share = {p.name: unit(scaled, p.name)[0] / unit(plain, p.name)[0] for p in plain.populations}
    assert share["x"] == share["y.readout"] == 1 and share["a"] == 0.5
    for population in plain.populations:
        if population.fires and not (population.is_encoder or population.is_gate):
            before = min(share[j.pre] for j in plain.incoming(population))
            assert share[population.name] == pytest.approx(before / 2)


def test_threshold_scale_by_population() -> None:
    plain, scaled = after("calibrate"), after("calibrate,threshold-scale{factor=2,layers=a:1.5;[cd]:0.5}")
    for name, factor in zip(FIRED, (1.5, 2, 0.5, 0.5, 2), strict=True):
        assert np.allclose(unit(scaled, name), factor * unit(plain, name))
    assert np.array_equal(unit(scaled, "pa"), unit(scaled, "a"))


@pytest.mark.parametrize("layers", ["zz:2", "a:two", "a:0", "a", "a:nan"])
def test_threshold_scale_refuses(layers: str) -> None:
    with pytest.raises(OptionError, match="threshold-scale"):
        after(f"calibrate,threshold-scale{{layers={layers}}}")


def test_v_init() -> None:
    for at, share in (("half", 0.5), ("zero", 0)):
        network = after(f"calibrate,neurons{{kind=if}},v-init{{at={at}}}")
        for name in FIRED:
            kind: Any = network[name].kind
            assert np.array_equal(kind.v0, share * kind.theta)
    network = after("calibrate,neurons{kind=if},v-init{at=channel}")
    maps = after("calibrate,neurons{kind=if},v-init{at=neuron}")
    for name in FIRED:
        assert maps[name].kind.v0.shape == network[name].shape  # type: ignore[union-attr]
    assert np.allclose(rows(maps["a"].kind.v0[None]).mean(1), network["a"].kind.v0, atol=1e-5)  # type: ignore[union-attr]
    error = error_of(after("calibrate,neurons{kind=if}"), 4)["a"]
    assert np.allclose(maps["a"].kind.v0, 0.5 - 4 * error, atol=1e-5)  # type: ignore[union-attr]


def error_of(network: Network, steps: int, data: Sequence[Feeds] = DATA) -> dict[str, Array]:
    """Population -> mean over the data of (what its spikes say - activation) / unit [C, *spatial], from the spikes."""
    found = {name: np.zeros(network[name].shape) for name in FIRED}
    for feeds in data:
        timed = len(feeds["x"]) > 1
        spikes = ReferenceEngine(network).run({"x": feeds["x"] if timed else feeds["x"][0]}, steps, record=True).spikes
        seen = {"x": feeds["x"].mean(0, keepdims=True)}
        for name in FIRED:
            population = network[name]
            lam = unit(network, name).reshape(-1, *(1,) * (len(population.shape) - 1))
            weights = network.base ** np.arange(steps - 1, -1, -1)
            rate = np.tensordot(weights / weights.sum(), spikes[name], 1)
            value = teacher(population, [seen])[0] / np.where(lam > 0, lam, 1)
            found[name] += np.where(lam > 0, rate - value, 0) / len(data)
    return found


def test_corrections_bring_rates_closer() -> None:
    """Mean error of the rates, averaged over channels, then over populations; first correction by formula."""
    plain = after("calibrate{q=99},neurons{kind=if}")
    error = {name: rows(e[None]).mean(1) for name, e in error_of(plain, 4).items()}
    before = np.mean([np.abs(e).mean() for e in error.values()])
    for correction, part in (("bias-correction{rounds=3}", 0.5), ("v-init{at=channel}", 0.8)):
        network = after(f"calibrate{{q=99}},neurons{{kind=if}},{correction}")
        rest = np.mean([np.abs(rows(e[None]).mean(1)).mean() for e in error_of(network, 4).values()])
        assert rest < part * before
    once = after("calibrate{q=99},neurons{kind=if},bias-correction")
    found, bias = once["a"].bias, plain["a"].bias
    assert found is not None and bias is not None and np.allclose(found, bias - error["a"], atol=1e-6)
    assert once["b"].bias is not None and plain["b"].bias is None


@pytest.mark.parametrize("kind", ["signed", "leaky:0.9", "settled", "multi-threshold:2:signed", "radix"])
def test_corrections_in_every_code(kind: str) -> None:
    plain = after(f"calibrate,neurons{{kind={kind}}}")
    error = error_of(plain, 4)["a"]
    found, bias = after(f"calibrate,neurons{{kind={kind}}},bias-correction")["a"].bias, plain["a"].bias
    assert found is not None and bias is not None and np.allclose(found, bias - rows(error[None]).mean(1), atol=1e-5)
    kind_: Any = after(f"calibrate,neurons{{kind={kind}}},v-init{{at=neuron}}")["a"].kind
    assert np.allclose(kind_.v0, 0.5 - (15 if kind == "radix" else 4) * error, atol=1e-4)


def test_corrections_on_spike_trains() -> None:
    """The teacher sees their mean; the spiking network, the trains themselves."""
    trains = [{"x": (RNG.random((4, 1, 8, 8)) < 0.4).astype(np.float32)} for _ in range(3)]
    options: dict[str, Any] = {"encoder": "spikes", "precision": "float32", "timesteps": 4, "neuron": "if"}
    plain, found = (
        snncc.compile(model(TEACHER), calibrate=[t["x"] for t in trains], passes=passes, **options)
        for passes in ((), ("bias-correction",))
    )
    error = rows(error_of(plain, 4, trains)["a"][None]).mean(1)
    bias, before = found["a"].bias, plain["a"].bias
    assert bias is not None and before is not None and np.allclose(bias, before - error, atol=1e-5)
    balance = ["balance-thresholds{steps=4,encoder=spikes}"]
    balanced = snncc.compile(model(TEACHER), calibrate=[t["x"] for t in trains], passes=balance, **options)
    (j,), shift = balanced.incoming(balanced["a"]), balanced["a"].bias
    assert shift is not None
    currents = [apply(j.synapse, step) + shift.reshape(-1, 1, 1) for t in trains for step in t["x"]]
    assert np.max(currents) == pytest.approx(1, rel=1e-5)  # in units of lambda


def test_bias_correction_on_a_real_teacher() -> None:
    graph = ingest(EXAMPLE / "teacher_2d.onnx")
    options: dict[str, Any] = {"calibration": "percentile:99", "timesteps": 4, "neuron": "if", "precision": "float32"}
    preprocess = snncc.api.plan(EXAMPLE / "teacher_2d.onnx").meta["preprocess"]
    data = list(path_stream([str(VOLUME)], {"image": graph.shape("image")}, preprocess)())[8:24:4]
    mean = []
    for passes in ([], ["bias-correction"]):
        model_ = snncc.load(snncc.compile(EXAMPLE / "teacher_2d.onnx", calibrate=data, passes=passes, **options))
        fired = [p for p in model_.network.populations if p.fires and not p.is_gate]
        total = {p.name: np.zeros(p.channels) for p in fired}
        for feeds in data:
            spikes = model_.run(feeds, record=True).spikes
            for p in fired:
                assert p.unit is not None
                rate = rows(spikes[p.name].mean(0)[None]).mean(1)
                total[p.name] += rate - rows(teacher(p, [feeds], graph)).mean(1) / p.unit
        mean.append(np.mean([np.abs(t).mean() / len(data) for t in total.values()]))
    assert mean[1] < 0.7 * mean[0]


@pytest.mark.parametrize("encoder", ["constant", "poisson"])
def test_balanced_thresholds_are_the_largest_currents(encoder: str) -> None:
    """Each layer's currents again, from the spikes of the layers before it."""
    steps = 10
    balance = f"balance-thresholds{{steps={steps},encoder={encoder},samples=2}}"
    network, spiking = after(balance), after(f"{balance},neurons{{kind=if,encoder={encoder}}}")
    for name in FIRED:
        top = 0.0
        for feeds in DATA[:2]:
            trains: dict[str, Any] = ReferenceEngine(spiking).run({"x": feeds["x"][0]}, steps, record=True).spikes
            if encoder == "constant":
                trains["x"] = [feeds["x"][0]] * steps
            for t in range(steps):
                current = np.zeros(network[name].shape)
                for j in network.incoming(network[name]):
                    lam = unit(spiking, j.pre).reshape(-1, 1, 1)
                    current += apply(j.synapse, apply_all(j.routing, trains[j.pre][t] * lam, network[j.pre].shape))
                bias = network[name].bias
                top = max(top, float((current + (0 if bias is None else bias.reshape(-1, 1, 1))).max()))
        assert np.allclose(unit(network, name), top, rtol=1e-4), name
    assert network.meta["calibration"]["ranges"]["x"][1] > 0.9


def test_both_engines_correct_alike() -> None:
    passes = "balance-thresholds{steps=6,encoder=constant},neurons{kind=if},bias-correction,v-init{at=channel}"
    fast, reference = (after(passes, engine=engine) for engine in (FastEngine, ReferenceEngine))
    for name in FIRED:
        assert np.allclose(fast[name].bias, reference[name].bias, atol=1e-3)  # type: ignore[arg-type]


def test_where_the_passes_are_put() -> None:
    known = registry(BUILTIN)
    steps = known.insert(default_pipeline(neuron="if"), "balance-thresholds,threshold-scale,v-init,bias-correction")
    names = [step.name for step in steps]
    assert names[names.index("lower") + 1 :] == [
        "balance-thresholds", "threshold-scale", "neurons", "v-init", "bias-correction", "quantize"
    ]  # fmt: skip
    steps = known.insert(steps, "calibrate-weights,v-init")
    assert [step.name for step in steps][-3:] == ["v-init", "bias-correction", "calibrate-weights"]
    steps = known.insert(default_pipeline(), "calibrate-weights,bias-correction")
    assert [step.name for step in steps][-3:] == ["neurons", "bias-correction", "calibrate-weights"]


@pytest.mark.parametrize(
    "passes",
    [
        "calibrate{method=median}", "calibrate{per=neuron}", "calibrate{q=0}", "calibrate{levels=-1}",
        "calibrate,threshold-scale{factor=0}", "calibrate,neurons,v-init{at=top}", "calibrate,neurons,v-init{steps=-1}",
        "calibrate,neurons,bias-correction{rounds=0}", "balance-thresholds{steps=0}", "balance-thresholds{encoder=x}",
        "calibrate,neurons,calibrate", "calibrate,neurons,threshold-scale", "calibrate,v-init", "threshold-scale",
    ],
)  # fmt: skip
def test_refused(passes: str) -> None:
    with pytest.raises(OptionError if "{" in passes else PassError) as caught:
        after(passes)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["percentile", "percentile:99:negative", "percentile:99:positive:x", "mse:4", "max:1"])
def test_unknown_calibrations(text: str) -> None:
    with pytest.raises(OptionError, match="is unknown"):
        default_pipeline(calibration=text)


@pytest.mark.parametrize("option", [{"code": "radix:²"}, {"code": "radix:0"}, {"precision": "int²"}])
def test_what_only_looks_like_a_number(option: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="is unknown"):
        default_pipeline(**option)  # type: ignore[arg-type]


def test_data_that_says_nothing() -> None:
    with pytest.raises(DataError, match="zero everywhere") as caught:
        after("calibrate", [{"x": np.zeros((1, 1, 8, 8), np.float32)}])
    assert caught.value.node == "input x" and caught.value.remedy
    with pytest.raises(SnnccError, match="no engine"):
        run_pipeline(
            GRAPH, registry(BUILTIN).parse("lower,calibrate,neurons,bias-correction"),
            Context(lambda: iter(DATA), run_graph),
        )  # fmt: skip


def test_activations_beyond_float32_are_named() -> None:
    text = """a (float[1,1,4,4] x, float[1,1,1,1] w) => (float y) {
        c = Conv(x, w) r = Relu(c) d = Conv(r, w) s = Relu(d) e = Conv(s, w) t = Relu(e) y = Conv(t, w) }"""
    huge = model(text, {"w": [[[[1e17]]]]})
    with pytest.raises(DataError, match="the teacher gives NaN or infinity") as caught:
        snncc.compile(huge, calibrate=[{"x": np.ones((1, 1, 4, 4), np.float32)}])
    assert caught.value.node == "t"


def test_channels_that_never_fire_are_counted(tmp_path: Path) -> None:
    bias = -1e3 * np.array([1, 0])
    onnx.save(model(TEACHER, {"ba": bias}), str(tmp_path / "t.onnx"))
    np.save(tmp_path / "data.npy", np.concatenate([feeds["x"] for feeds in DATA]))
    command = ["compile", str(tmp_path / "t.onnx"), "--calibrate", str(tmp_path / "data.npy"), "-T", "4"]
    options = ["-o", str(tmp_path / "m.onnx"), "--calibration", "percentile:99:positive", "--per", "connection"]
    result = CliRunner().invoke(main, [*command, *options, "--neuron", "if", "-p", "bias-correction"])
    assert result.exit_code == 0, result.output
    assert "warning: 1 of 13 channels never fire on the calibration data\n" in result.output
    network = after("calibrate", graph=ingest(model(TEACHER, {"ba": bias})))
    assert network.meta["calibration"]["silent"] == 1 and unit(network, "a")[0] == 0
