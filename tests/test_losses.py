"""Losses and costs of the trainer against short formulas in numpy, and their gradients against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from snncc.errors import DataError, OptionError
from snncc.graph import Array
from snncc.ingest import ingest
from tests.onnx_models import model as onnx_model
from tests.test_agreement import compiled
from tests.training import MACS, Images, network

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
from snncc.trainer import SpikingModule  # noqa: E402
from snncc.trainer import losses as L  # noqa: E402
from snncc.trainer.surrogate import surrogate  # noqa: E402

EPS = 1e-5


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array) -> Array:
    return np.asarray(np.exp(x) / np.exp(x).sum(1, keepdims=True))


def bce(x: Array, y: Array) -> float:
    return float(-(y * np.log(sigmoid(x)) + (1 - y) * np.log(1 - sigmoid(x))).mean())


def dice(x: Array, y: Array) -> float:
    p = sigmoid(x)
    return float(1 - (2 * (p * y).sum() + EPS) / (p.sum() + y.sum() + EPS))


def classes_dice(x: Array, y: Array) -> float:
    parts = [(softmax(x)[:, c], y == c) for c in range(1, x.shape[1])]
    return float(np.mean([1 - (2 * (p * t).sum() + EPS) / (p.sum() + t.sum() + EPS) for p, t in parts]))


def cross_entropy(x: Array, y: Array) -> float:
    return float(-np.log(np.take_along_axis(softmax(x), y[:, None], 1)).mean())


def ncc(x: Array, y: Array) -> float:
    """Squared correlation coefficients of windows of 9 x 9, zero outside the image."""
    a, b = (np.pad(v, ((0, 0), (0, 0), (4, 4), (4, 4))) for v in (x, y))
    windows = [np.lib.stride_tricks.sliding_window_view(v, (9, 9), (2, 3)) for v in (a, b)]
    a, b = (w - w.mean((-1, -2), keepdims=True) for w in windows)
    cross, power = (a * b).sum((-1, -2)), [np.maximum(np.square(v).sum((-1, -2)), 1e-5) for v in (a, b)]
    return float(-(cross**2 / (power[0] * power[1])).mean())


rng = np.random.default_rng(0)
LOGITS, MASK = rng.normal(size=(2, 1, 6, 7)), (rng.random((2, 1, 6, 7)) < 0.3).astype(float)
SCORES, CLASSES = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
MOVED, FIXED = rng.random((2, 1, 12, 11)), rng.random((2, 1, 12, 11))
CASES: list[tuple[Callable[..., Any], Callable[..., float], Array, Array]] = [
    (L.bce, bce, LOGITS, MASK),
    (L.dice, dice, LOGITS, MASK),
    (L.bce_dice, lambda x, y: 0.3 * bce(x, y) + 0.7 * dice(x, y), LOGITS, MASK),
    (L.dice, classes_dice, SCORES, CLASSES),
    (L.TASKS["cross-entropy"].loss, cross_entropy, SCORES, CLASSES),
    (L.TASKS["l1"].loss, lambda x, y: float(np.abs(x - y).mean()), MOVED, FIXED),
    (L.TASKS["mse"].loss, lambda x, y: float(np.square(x - y).mean()), MOVED, FIXED),
    (L.ncc, ncc, MOVED, FIXED),
]


@pytest.mark.parametrize(("loss", "formula", "x", "y"), CASES)
def test_losses(loss: Callable[..., Any], formula: Callable[..., float], x: Array, y: Array) -> None:
    found, truth = torch.tensor(x, requires_grad=True), torch.tensor(y)
    assert float(loss(found, truth)) == pytest.approx(formula(x, y), rel=1e-6)
    assert torch.autograd.gradcheck(lambda v: loss(v, truth), found)


def central(x: Array, axis: int) -> Array:
    """Central differences of a field [B, D, H, W], inside a border of 1."""
    found = (np.roll(x, -1, axis) - np.roll(x, 1, axis)) / 2
    return found[:, :, 1:-1, 1:-1]


def second(x: Array, axis: int) -> Array:
    return np.asarray((np.roll(x, -1, axis) - 2 * x + np.roll(x, 1, axis))[:, :, 1:-1, 1:-1])


def mixed(x: Array) -> Array:
    return np.asarray((x[:, :, 2:, 2:] - x[:, :, 2:, :-2] - x[:, :, :-2, 2:] + x[:, :, :-2, :-2]) / 4)


def test_regularisers_of_displacements() -> None:
    flow = np.random.default_rng(1).normal(size=(2, 2, 6, 7))
    found = torch.tensor(flow, requires_grad=True)
    slope = (central(flow, 2) ** 2 + central(flow, 3) ** 2).mean()
    bent = (second(flow, 2) ** 2 + second(flow, 3) ** 2 + 2 * mixed(flow) ** 2).mean()
    assert float(L.diffusion(found)) == pytest.approx(slope) and float(L.bending(found)) == pytest.approx(bent)
    assert torch.autograd.gradcheck(L.diffusion, found) and torch.autograd.gradcheck(L.bending, found)


def traced(**options: Any) -> Any:
    images = Images(3)
    return SpikingModule(network(), **options).trace(torch.as_tensor(images.images)), torch.as_tensor(images.truth)


def test_costs() -> None:
    trace, _ = traced()
    rates = np.array([float(rate) for rate in trace.rates().values()])
    spent = float(trace.synops().mean()) / MACS
    assert len(rates) > 1 and rates.min() > 0 and spent > 0.01
    assert float(L.rate(trace)) == pytest.approx(rates.sum(), rel=1e-6)
    assert float(L.rate_target(trace, 0.2)) == pytest.approx(np.square(rates - 0.2).sum(), rel=1e-5)
    assert float(L.synops(trace)) == pytest.approx(spent, rel=1e-6)
    assert float(L.synops(trace, 0.01)) == pytest.approx(spent - 0.01, rel=1e-5)
    assert float(L.synops(trace, 2 * spent)) == 0


@pytest.mark.parametrize("cost", ["rate", "rate-target:0.01", "synops:0.01"])
@pytest.mark.parametrize("flow", [False, True])
def test_a_cost_falls_along_its_gradient(cost: str, flow: bool) -> None:
    module = SpikingModule(network(), flow=flow)
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    inputs, objective = torch.as_tensor(Images(3).images), L.Objective.of("", [f"1*{cost}"])
    values = []
    for _ in range(8):
        found = objective(module.trace(inputs), {})
        values.append(float(found))
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
    assert values[-1] < 0.9 * values[0]


def test_synops_need_the_teachers_macs() -> None:
    module = SpikingModule(network().with_meta(teacher={}))
    trace = module.trace(torch.as_tensor(Images(1).images))
    with pytest.raises(OptionError, match="MACs"):
        L.synops(trace, 0.1)


def test_logits_in_front_of_the_sigmoid_values_behind_it() -> None:
    trace, truth = traced()
    (logits,) = trace.readouts.values()
    assert float(L.TASKS["bce"](trace, truth)) == float(L.bce(logits, truth))
    found = float(L.TASKS["mse"](trace, truth))
    assert found == pytest.approx(np.square(sigmoid(logits.detach().numpy()) - truth.numpy()).mean(), rel=1e-5)


CLASSIFIER = """agraph (float[1,1,6,6] x, float[4,1,3,3] wa, float[4] ba, float[3,4] wd) => (int64[1] y) {
  a = Conv(x, wa, ba)
  b = Relu(a)
  c = GlobalAveragePool(b)
  d = Flatten(c)
  e = Gemm<transB=1>(d, wd)
  s = Softmax(e)
  y = ArgMax<axis=1, keepdims=0>(s)
}"""


def test_logits_of_classes() -> None:
    """Through an argmax and a softmax; one class number a sample."""
    module = SpikingModule(compiled(ingest(onnx_model(CLASSIFIER))))
    assert L.value_read(module.network, logits=False) == "y"
    trace = module.trace(torch.rand(4, 1, 6, 6))
    logits, truth = trace.value("e"), torch.tensor([0, 2, 1, 1])
    assert np.array_equal(trace.outputs["y"].numpy().ravel(), logits.detach().numpy().argmax(1))
    loss = L.TASKS["cross-entropy"](trace, truth)
    assert float(loss) == pytest.approx(cross_entropy(logits.detach().numpy(), truth.numpy()), rel=1e-5)
    loss.backward()
    assert all(link.weight.grad is not None and link.weight.grad.any() for link in module.links)


def test_a_sum_of_losses_costs_and_the_distance_from_the_teacher() -> None:
    trace, truth = traced()
    (logits,) = trace.readouts.values()
    taught = logits.detach() + 0.5
    objective = L.Objective.of("0.25*bce + dice", ["2*synops:0.01", "rate"], distill=3.0)
    parts = 0.25 * L.bce(logits, truth) + L.dice(logits, truth) + 2 * L.synops(trace, 0.01) + 1e-4 * L.rate(trace)
    found = float(objective(trace, {"truth": truth, "teacher": taught}))
    assert found == pytest.approx(float(parts) + 3 * 0.25, rel=1e-5)
    alone = L.Objective.of("", distill=1.0)
    assert float(alone(trace, {"teacher": taught})) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("loss", "costs", "text"),
    [
        ("bcedice", [], "'bcedice' is unknown"), ("x*bce", [], r"'x\*bce' is unknown"), ("bce", ["spikes"], "unknown"),
        ("bce", ["synops:few"], "no number"), ("bce", ["rate:3"], "takes no number"),
        ("nan*bce", [], r"'nan\*bce' is unknown"), ("bce", ["synops:inf"], "no number"),
    ],
)  # fmt: skip
def test_what_is_no_loss(loss: str, costs: list[str], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        L.Objective.of(loss, costs)
    with pytest.raises(OptionError, match="distill nan"):
        L.Objective.of("bce", distill=float("nan"))
    with pytest.raises(OptionError, match="no number"):
        surrogate("triangle:nan")


def test_targets_of_another_size() -> None:
    trace, truth = traced()
    with pytest.raises(DataError, match=r"targets of shape \(3, 1, 4, 8\) for values of shape \(3, 1, 8, 8\)"):
        L.TASKS["bce"](trace, truth[:, :, :4])
