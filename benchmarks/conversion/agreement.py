"""Do all engines say the same of a compiled recipe, spike by spike, and count alike?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

import snncc
from benchmarks.conversion.tasks import Task
from snncc.counting import closed_form
from snncc.network import Network

# engine, threads; the first one is what the others are held against
ENGINES = (("reference", 1), ("onnxruntime", 1), ("fast", 1), ("fast", 2), ("fast", 3))


def agreement(task: Task, file: Path) -> dict[str, Any]:
    """Differences over a real sample: all zero if the engines agree, and each count equals its closed form."""
    network = snncc.load(file).network
    if task.crop is not None:
        network = smaller(task, network)
    sample = task.cropped(task.probe())
    want, *others = (snncc.load(network, engine, threads).run(sample, record=True) for engine, threads in ENGINES)
    counts = want.counts.counts
    assert counts is not None
    found = {
        "spikes": sum(int(np.abs(s).sum(dtype=np.int64)) for s in want.spikes.values()),
        "differing_spikes": 0,
        "differing_outputs": 0,
        "differing_counts": int(not counts.same(closed_form(network, want.spikes))),
    }
    for other in others:
        assert other.spikes.keys() == want.spikes.keys() and other.counts.counts is not None
        found["differing_spikes"] += sum(int((other.spikes[k] != s).sum()) for k, s in want.spikes.items())
        found["differing_outputs"] += sum(int((other.outputs[k] != v).sum()) for k, v in want.outputs.items())
        found["differing_counts"] += not other.counts.counts.same(counts)
    return found


def agrees(found: dict[str, Any]) -> bool:
    return not any(value for key, value in found.items() if key.startswith("differing"))


def smaller(task: Task, network: Network) -> Network:
    """The same passes on the teacher for inputs of the size `task.crop`: whole ones take the slow engines minutes."""
    model = onnx.load(task.teacher)
    (given,) = model.graph.input
    for value in (given, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_param = "size"  # left open, and inferred anew
    del model.graph.value_info[:]
    shapes = {given.name: (1, *task.cropped(task.probe()).shape)}
    samples = [task.cropped(sample) for sample in task.calibration()]
    passes, steps = network.meta["pipeline"], network.meta["timesteps"]
    return snncc.compile(model, calibrate=samples, shapes=shapes, pipeline=passes, timesteps=steps)
