"""Sampling at places that a network gives: values as onnxruntime's, gradients by finite differences."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import snncc
from snncc.ingest import ingest
from tests.onnx_models import expected, feeds, model

torch = pytest.importorskip("torch")
from snncc.trainer import SpikingModule  # noqa: E402
from snncc.trainer.analog import OPERATORS, evaluate  # noqa: E402
from snncc.trainer.losses import Objective  # noqa: E402

SIZES = {4: ((2, 5, 6), (4, 3, 2)), 5: ((2, 4, 5, 3), (3, 2, 5, 3))}  # of the image and the grid, without the batch
CASES = [
    (rank, mode, padding, corners)
    for rank, padding, corners in itertools.product((4, 5), ("zeros", "border", "reflection"), (0, 1))
    for mode in ("linear", "nearest", "cubic")
    if mode != "cubic" or rank == 4
]


@pytest.mark.parametrize(("rank", "mode", "padding", "corners"), CASES)
def test_values(rank: int, mode: str, padding: str, corners: int) -> None:
    image, grid = (",".join(map(str, (1, *size))) for size in SIZES[rank])
    proto = model(
        f"""agraph (float[{image}] x, float[{grid}] xg) => (float y)
        {{ y = GridSample <mode = "{mode}", padding_mode = "{padding}", align_corners = {corners}> (x, xg) }}"""
    )
    given = feeds(proto)  # normal numbers: a third of the places lie outside -1..1
    graph = ingest(proto)
    found = evaluate(graph, {name: torch.as_tensor(value) for name, value in given.items()}, ["y"])["y"]
    np.testing.assert_allclose(found.numpy(), expected(proto, given)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [4, 5])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_gradients(rank: int, padding: str) -> None:
    torch.manual_seed(0)
    image, grid = (torch.rand(1, *size, dtype=torch.float64, requires_grad=True) for size in SIZES[rank])
    sample: Any = OPERATORS["GridSample"]
    attributes = {"mode": "linear", "padding_mode": padding, "align_corners": 1}
    assert torch.autograd.gradcheck(lambda x, at: sample([x, 2.4 * at - 1.2], attributes), (image, grid))


def test_trains_behind_a_warp() -> None:
    """The network gives the places; the loss compares the image found there with another one."""
    proto = model(
        """agraph (float[1,1,6,6,6] xm, float[1,1,6,6,6] xf, float[4,1,3,3,3] w, float[4,1,3,3,3] u, float[3,4,1,1,1] h,
        float[1,6,6,6,3] grid) => (float moved) {
          a = Conv <pads = [1,1,1,1,1,1]> (xm, w)
          b = Conv <pads = [1,1,1,1,1,1]> (xf, u)
          s = Add (a, b)
          r = Relu (s)
          flow = Conv (r, h)
          last = Transpose <perm = [0,2,3,4,1]> (flow)
          at = Add (last, grid)
          moved = GridSample <align_corners = 1, padding_mode = "border"> (xm, at)
        }""",
        {"grid": np.stack(np.meshgrid(*[np.linspace(-1, 1, 6)] * 3, indexing="ij")[::-1], -1)[None]},
    )
    rng = np.random.default_rng(0)
    given = {name: rng.random((1, 1, 6, 6, 6)).astype(np.float32) for name in ("xm", "xf")}
    network = snncc.compile(proto, calibrate=[given])
    module = SpikingModule(network)
    values = {name: torch.as_tensor(value) for name, value in given.items()}
    trace = module.trace(values)
    Objective.of("ncc")(trace, values["xf"]).backward()
    assert all(float(link.weight.grad.abs().sum()) > 0 for link in module.link.values())
    moved = snncc.load(network).run(given).outputs["moved"]
    np.testing.assert_allclose(trace.outputs["moved"].detach().numpy(), moved, atol=1e-5)
