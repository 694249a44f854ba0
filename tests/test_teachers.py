"""The teachers of the conversion benchmarks: what their files hold, and the modules that peers convert."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest

from benchmarks.conversion.teachers import data
from snncc.ingest import ingest
from snncc.macs import graph_macs

torch = pytest.importorskip("torch")
models: Any = pytest.importorskip("benchmarks.conversion.teachers.models")

NAMES = sorted(path.stem for path in models.HERE.glob("*.onnx"))


@pytest.mark.parametrize("name", NAMES)
def test_module_equals_its_file(name: str) -> None:
    file = models.HERE / f"{name}.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (description,) = session.get_inputs()
    image = np.random.default_rng(0).random(description.shape, dtype=np.float32)
    module = models.load_onnx(models.BUILDERS[name](), file)
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    (actual,) = session.run(None, {description.name: image})
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_report_matches_the_file(name: str) -> None:
    file = models.HERE / f"{name}.onnx"
    report = json.loads(file.with_suffix(".json").read_text())
    graph = ingest(file)
    assert graph_macs(graph).padded == report["macs"]
    assert json.loads(graph.meta["snncc.teacher"]) == report


def test_psnr_of_noise_alone() -> None:
    """With nothing taken away the error is the noise: 20 log10(255 / 25) = 20.17 dB, unless clipping takes some."""
    clean = np.full((1, 1, 321, 481), 0.5, np.float32)
    noise = np.random.default_rng(0).normal(0, data.SIGMA, clean.shape).astype(np.float32)
    assert data.psnr(clean + noise, np.zeros_like(clean), clean) == pytest.approx([20.17], abs=0.02)
    assert data.psnr(clean + noise, noise, clean)[0] > 120
