"""The networks that the benchmarks run."""

from __future__ import annotations

import numpy as np
import pytest

import snncc
from benchmarks import networks
from benchmarks.networks import Architecture
from snncc.ingest import ingest
from snncc.macs import graph_macs

SMALL = [networks.unet_2d(16), networks.unet_3d((8, 8, 8))]


@pytest.mark.parametrize(
    ("net", "gmacs"),
    [(networks.unet_2d(), 0.458), (networks.unet_3d(), 10.45), (SMALL[0], 0.00716), (SMALL[1], 0.0204)],
)
def test_macs(net: Architecture, gmacs: float) -> None:
    """Those stated for the networks, and those of the model that comes of the description."""
    assert networks.macs(net) / 1e9 == pytest.approx(gmacs, rel=0.005)
    assert networks.macs(net) == graph_macs(ingest(networks.to_onnx(net))).padded


@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_every_layer_becomes_a_population(net: Architecture) -> None:
    image = networks.image(net)
    assert image.min() >= 0 and image.max() <= 1 and np.array_equal(np.rint(image * 255), image * 255)
    compiled = snncc.compile(networks.to_onnx(net), calibrate=image, **networks.compile_options(net))
    assert [p.name for p in compiled.populations if p.fires] == [layer.name for layer in net.spiking]
    assert all(np.unique(np.asarray(p.unit)).size == 1 for p in compiled.populations if p.fires)
    output = snncc.load(compiled).run(image).outputs[networks.OUTPUT]
    assert output.shape == (1, *networks.shapes(net)[networks.OUTPUT])
