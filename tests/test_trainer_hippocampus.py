"""Both hippocampus networks: every population's spikes in torch are those of all three engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snncc
from benchmarks import hippocampus as h
from snncc.graph import Array
from snncc.network import Network

torch = pytest.importorskip("torch")
from snncc.trainer import SpikingModule  # noqa: E402

ENGINES = ("fast", "reference", "onnxruntime")
CASES = [(2, {}), (2, {"neuron": "signed", "timesteps": 4}), (3, {"code": "radix:2"})]


def agree(module: Any, network: Network, samples: Array) -> None:
    """Spikes, outputs and SynOps of a batch in torch, and of its samples on the engines: ==."""
    with torch.no_grad():
        trace = module.trace(torch.as_tensor(samples))
    for engine in ENGINES:
        model = snncc.load(network, engine=engine)
        for k, sample in enumerate(samples):
            result = model.run(sample, record=True)
            assert result.spikes.keys() == trace.trains.keys()
            for name, spikes in result.spikes.items():
                assert np.array_equal(trace.trains[name].spikes[:, k].numpy(), spikes), (engine, name)
            for name, value in result.outputs.items():
                assert np.array_equal(trace.outputs[name][k : k + 1].numpy(), value), (engine, name)
            assert int(trace.synops()[k]) == result.counts.totals["synops"] > 0


@pytest.mark.parametrize(("dims", "options"), [pytest.param(*c, marks=[pytest.mark.slow] * (c[0] == 3)) for c in CASES])
def test_before_and_after_training_and_from_the_file(dims: int, options: dict[str, Any], tmp_path: Path) -> None:
    images, labels = h.case(h.subjects("train", 1)[0], dims)
    middle = slice(len(images) // 2, len(images) // 2 + (2 if dims == 2 else 1))
    samples, truth = images[middle], torch.as_tensor((labels > 0)[middle])
    compiled = h.compiled(tmp_path, dims, **options)
    module = SpikingModule.from_file(compiled)
    agree(module, module.network, samples)

    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        trace = module.trace(torch.as_tensor(samples), outputs=False)
        (logits,) = trace.readouts.values()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth.reshape(logits.shape).float())
        (loss + 1e-9 * trace.synops().mean()).backward()
        optimiser.step()
    network = module.save(tmp_path / "trained.snn.onnx")
    before = snncc.load(compiled).run(samples[0]).counts.totals["synops"]
    assert before != snncc.load(network).run(samples[0]).counts.totals["synops"], "training has changed the spikes"
    agree(module, network, samples)
    again = SpikingModule.from_file(tmp_path / "trained.snn.onnx")
    agree(again, again.network, samples)
