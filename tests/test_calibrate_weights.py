"""Weights by least squares on spikes, and integers with error feedback, against plain formulas."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import snncc
from snncc.bounds import EXACT
from snncc.errors import OptionError
from snncc.ingest import ingest
from snncc.network import Network
from snncc.passes.network.calibrate_weights import CalibrateWeights
from snncc.passes.network.regression import (
    chosen,
    clipped,
    fed_back,
    gram,
    influence,
    logistic,
    on_grid,
    patches,
    regressed,
)
from snncc.passes.recipe import default_pipeline
from snncc.pipeline import run_pipeline
from snncc.runtime.calibration import Simulator
from snncc.runtime.fast import FastEngine
from snncc.runtime.host import run_graph
from snncc.synapses import Conv, ConvTranspose, Dense
from snncc.synapses.apply import apply
from tests.random_geometry import synapse_into
from tests.random_teachers import teachers
from tests.test_agreement import QUICK, context, sample
from tests.test_calibration import GRAPH, after


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_patches_and_rows_make_the_map(seed: int) -> None:
    """At every output position of random synapses, with groups, strides, dilation and pads."""
    rng = np.random.default_rng(seed)
    post = (int(rng.integers(1, 7)), *(int(n) for n in rng.integers(1, 6, rng.integers(0, 4))))
    found = synapse_into(rng, post)
    assume(found is not None and isinstance(found[0], Conv | ConvTranspose | Dense))
    assert found is not None
    synapse, shape = found
    synapse = synapse.with_rows(np.asarray(rng.standard_normal(synapse.rows().shape)), None)
    x = rng.standard_normal(shape)
    at = np.unravel_index(np.arange(prod(post[1:])), post[1:]) if post[1:] else ()
    seen = patches(synapse, x, at)
    rows = synapse.rows().reshape(synapse.groups, -1, seen.shape[2])
    made = np.einsum("ngk,gck->gcn", seen, rows).reshape(post)
    assert np.allclose(made, apply(synapse, x))


def test_gram_is_a_sum_over_samples() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5000, 4)).astype(np.float32), rng.standard_normal((5000, 3)).astype(np.float32)
    total = sum(np.outer(a, b) for a, b in zip(x.astype(float), y.astype(float), strict=True))
    assert np.allclose(gram(x, y), total)


def test_a_planted_error_is_taken_back() -> None:
    """Spikes that say 0.8 a + 0.1 instead of a: the weights become W / 0.8 and the bias takes the offset."""
    rng = np.random.default_rng(0)
    a = rng.random((500, 6))
    weights = rng.standard_normal((3, 7))
    target = a @ weights[:, :6].T + weights[:, 6]
    x = np.column_stack([0.8 * a + 0.1, np.ones(500)]).astype(np.float32)
    found = regressed(x, target, weights, np.linalg.inv(gram(x, x) + 1e-9 * np.eye(7)), None, 0)
    assert np.allclose(found[:, :6], weights[:, :6] / 0.8, atol=1e-4)
    assert np.allclose(found[:, 6], weights[:, 6] - found[:, :6].sum(1) * 0.1, atol=1e-4)
    kept = regressed(x, target, weights, np.linalg.inv(gram(x, x) + 1e9 * np.eye(7)), None, 0)
    assert np.allclose(kept, weights, atol=1e-4)


def test_what_is_silent_or_saturated_is_free() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random((4000, 5)), np.ones(4000)]).astype(np.float32)
    weights = rng.standard_normal((4, 6))
    target = x @ weights.T + 0.3 * rng.standard_normal((4000, 4))
    low, high = np.zeros(1), np.ones(1)
    start = weights + 0.2 * rng.standard_normal(weights.shape)

    def cost(w: Any) -> float:
        return float(((np.clip(x @ w.T, low, high) - np.clip(target, low, high)) ** 2).sum())

    inverse = np.linalg.inv(gram(x, x) + 1e-6 * np.eye(6))
    plain = regressed(x, target, start, inverse, None, 0)
    found = regressed(x, target, start, inverse, clipped(target, low, high), 4)
    assert cost(found) < cost(start) and cost(found) < cost(plain)


def test_a_logit_keeps_its_share_of_yes() -> None:
    """Least squares draws rare values to the mean; at the least cross-entropy with a bias the mean sigmoids agree."""
    rng = np.random.default_rng(0)
    a = 2 * rng.standard_normal(20000) - 4
    x = np.column_stack([a + rng.standard_normal(20000), np.ones(20000)]).astype(np.float32)
    start, inverse = np.array([[1.0, 0.0]]), np.linalg.inv(gram(x, x) + 1e-6 * np.eye(2))
    plain = regressed(x, a[:, None], start, inverse, None, 0)
    found = regressed(x, a[:, None], start, inverse, logistic(a[:, None]), 300)
    shares = [float((1 / (1 + np.exp(-x @ w[0]))).mean()) for w in (plain, found)]
    wanted = float((1 / (1 + np.exp(-a))).mean())
    assert shares[1] == pytest.approx(wanted, rel=0.01) and shares[0] < 0.9 * wanted


@pytest.mark.parametrize("most", [7, 31, 127])
def test_error_feedback_beats_the_nearest(most: int) -> None:
    """In the sense of the Hessian; on the grid; the bias is free."""
    ratios = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.random((400, 150)) @ rng.standard_normal((150, 150)) * (rng.random((400, 150)) < 0.7)
        hessian = x.T @ x / 400 + 0.01 * np.eye(150)
        weights = rng.standard_normal((8, 150))
        step = np.repeat(np.abs(weights[:, :-1]).max(1, keepdims=True) / most, 150, 1)
        step[:, -1] = 0
        found = fed_back(weights, step, most, *influence(np.linalg.inv(hessian)))
        nearest = on_grid(weights, step, most)
        whole = found[:, :-1] / step[:, :-1]
        assert np.allclose(whole, np.rint(whole)) and np.abs(whole).max() <= most + 1e-6
        costs = [np.einsum("ck,kl,cl->", e, hessian, e) for e in (found - weights, nearest - weights)]
        ratios.append(costs[0] / costs[1])
    assert max(ratios) < 0.6


def test_the_ridge_suits_the_data() -> None:
    """An error of the inputs that all samples share is worth learning, noise in few samples is not."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random((400, 40)), np.ones(400)]).astype(np.float32)
    weights = rng.standard_normal((3, 41))
    assert chosen(x, (1.2 * x) @ weights.T, weights, (0.01, 1.0, 100.0)) == 0.01
    few = x[:48]
    assert chosen(few, few @ weights.T + rng.standard_normal((48, 3)), weights, (0.01, 1.0, 100.0)) == 100.0


def test_four_bits_come_closer() -> None:
    """What the readout says, against the teacher, on other data than it was fitted to; and all within the proofs."""
    errors, bits = [], 4
    rng = np.random.default_rng(1)
    data = [{"x": rng.random((1, 1, 8, 8), dtype=np.float32)} for _ in range(24)]
    for quantised in ("quantize", "calibrate-weights"):
        network = after(f"calibrate{{method=mse}},neurons{{kind=radix}},{quantised}{{bits={bits}}}", data[:16])
        error = 0.0
        for feeds in data[16:]:
            said = snncc.load(network, engine="reference").run(feeds, 4).outputs["y"]
            error += float(((said - run_graph(GRAPH, feeds, ["y"])["y"]) ** 2).sum())
        errors.append(error)
        for population in network.populations:
            for j in network.incoming(population):
                if not population.is_gate:
                    assert np.abs(j.synapse.weight).max() <= (1 << (bits - 1)) - 1
                    assert np.abs(j.synapse.rows()).sum(1).max() < EXACT
    assert errors[1] < errors[0], errors


@settings(QUICK, max_examples=6)
@given(teachers(), st.sampled_from(["if", "signed", "settled", "multi-threshold:2:signed", "radix"]), st.data())
def test_random_teachers(teacher: onnx.ModelProto, kind: str, data: st.DataObject) -> None:
    """Whatever can be quantised can be calibrated, and the engines agree on it."""
    graph = ingest(teacher)
    code = {"code": "radix:3"} if kind == "radix" else {"neuron": kind}
    passes = default_pipeline(**code, timesteps=3)[:-1]  # type: ignore[arg-type]
    bits = data.draw(st.sampled_from([3, 4, 8]))
    given_ = context(graph)
    given_.simulate, given_.timesteps = Simulator(FastEngine), 3
    network = run_pipeline(graph, [*passes, CalibrateWeights(bits=bits, positions=300)], given_)
    assert isinstance(network, Network)
    feeds = sample(graph, np.random.default_rng(1))
    fast, plain = (snncc.load(network, engine=e).run(feeds, 3, record=True) for e in ("fast", "reference"))
    assert all(np.array_equal(fast.spikes[n], plain.spikes[n]) for n in plain.spikes)
    assert all(np.array_equal(fast.outputs[n], plain.outputs[n]) for n in plain.outputs)


def test_options() -> None:
    for wrong in ({"positions": 0}, {"bits": 9}):
        with pytest.raises(OptionError):
            CalibrateWeights(**wrong)
