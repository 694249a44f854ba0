"""What the affine start, a teacher and a spiking network are worth on the test pairs, and what a network spends."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

import snncc
from examples.registration.conversion import BLOCKS
from examples.registration.data import FLOW, GRIDS, SPACING, Array, Pair, split
from examples.registration.fields import integrate
from examples.registration.metrics import of_pair
from examples.registration.settings import Settings
from examples.registration.teacher import Lesson, tensors
from snncc.ingest import ingest
from snncc.run_counts import RunCounts
from snncc.runtime.host import HostSession

MAC, AC = 4.6, 0.9  # pJ of a 32-bit multiply-accumulate and of an addition at 45 nm (Horowitz, 2014)
Run = Callable[[Mapping[str, Array]], tuple[Array, RunCounts | None]]


def test_pairs(data: str, most: int) -> list[Pair]:
    """The test pairs, and where there is one the extended list of about as many as the paper's."""
    parts = split(data)
    pairs = list(dict.fromkeys((*parts.test, *parts.extended)))
    return pairs[:most] if most else pairs


def still(inputs: Mapping[str, Array]) -> tuple[Array, None]:
    """No displacement: what the affine alignment of the data is worth."""
    return np.zeros((1, 3, *inputs["fixed"].shape[2:]), np.float32), None


def teacher(source: Path | onnx.ModelProto) -> Run:
    """A teacher on onnxruntime."""
    session = HostSession(ingest(source), [FLOW])
    return lambda inputs: (session.run(dict(inputs))[FLOW], None)


def network(file: Path) -> Run:
    """A compiled network on the fast engine."""
    model = snncc.load(file, threads=1)

    def run(inputs: Mapping[str, Array]) -> tuple[Array, RunCounts]:
        found = model.run(inputs)
        return found.outputs[FLOW], found.counts

    return run


def images(pair: Mapping[str, Tensor]) -> dict[str, Array]:
    """What a network reads."""
    return {name: pair[name][None].numpy() for name in ("fixed", "moving")}


def measure(run: Run, lesson: Lesson, settings: Settings, file: Path, picture: Path | None = None) -> dict[str, Any]:
    """Every test pair through `run`.

    Args:
        picture: where the displacement of the first pair is kept (.npz), for a figure.

    Returns:
        pairs: metrics of each; of a network also `counts`: see `spent`.
    """
    torch.set_num_threads(1)
    rows, total = [], None
    for pair in test_pairs(lesson.data, settings.test_pairs):
        known = tensors(file, lesson.data, pair)
        clock = perf_counter()
        raw, counts = run(images(known))
        seconds = perf_counter() - clock
        flow = integrate(torch.as_tensor(raw)).numpy() if lesson.svf else raw
        fixed, moving = (known[f"{name}_labels"][0].numpy() for name in ("fixed", "moving"))
        row = of_pair(fixed, moving, flow[0], split(lesson.data).codes, SPACING[lesson.data])
        rows.append({"fixed": pair[0], "moving": pair[1], "seconds": seconds, **row})
        if counts is not None and counts.counts is not None:
            total = counts if total is None else total.merge(counts.samples, counts.counts)
        if picture is not None and len(rows) == 1:
            picture.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(picture, flow=flow[0].astype(np.float16))
    return {"pairs": rows, **({} if total is None else {"counts": spent(total)})}


def spent(counts: RunCounts) -> dict[str, Any]:
    """Means over samples: SynOps and analog MACs per teacher MAC, rates by population, and three ratios of energy to
    the teacher's, with `MAC` and `AC`: of exact SynOps and analog MACs, of exact SynOps alone, and by the formula of
    SpikeReg's code, steps * mean rate of the block outputs * AC / MAC."""
    totals, rates = counts.totals, {p["name"]: p["rate"] for p in counts.populations}
    synops, macs = (totals[key] / totals["teacher_macs"] for key in ("synops", "macs"))
    ends = [rates[block[-1]] for block in BLOCKS]
    mean = float(np.mean(ends))
    return {
        "steps": counts.timesteps, "latency": counts.latency, "synops_per_mac": synops, "macs_per_mac": macs,
        "teacher_macs": totals["teacher_macs"] // len(counts.samples), "rates": rates, "mean_rate": mean,
        "energy": (synops * AC + macs * MAC) / MAC, "energy_spikes": synops * AC / MAC,
        "energy_repository": counts.timesteps * mean * AC / MAC,
    }  # fmt: skip


def resized(file: Path, size: tuple[int, ...]) -> onnx.ModelProto:
    """A teacher for volumes of another size: nothing in it but the shapes of its values says for which it is."""
    model = onnx.load(file)
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for place, length in enumerate(size, start=2):
            value.type.tensor_type.shape.dim[place].dim_value = length
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


WHOLE = "brain-1mm"


def whole_start(source: Path, file: Path, options: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Compile a teacher for brains, of any size, for 160x192x224 voxels, calibrated on one validation pair, into
    `out`, and let the teacher itself register the first test pair of `file`: its metrics, and those of no displacement.
    """
    model, known = resized(source, GRIDS[WHOLE]), split(WHOLE)
    clock = perf_counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    snncc.compile(model, out, calibrate=[images(tensors(file, WHOLE, known.val[0]))], **options)
    seconds = {"compile": perf_counter() - clock}
    clock, run = perf_counter(), teacher(model)
    found = {"affine": _first(still, file), "teacher": _first(run, file)}
    return {**found, "seconds": {**seconds, "teacher": perf_counter() - clock}}


def whole_run(network_file: Path, file: Path) -> dict[str, Any]:
    """The same pair through the compiled network on one core: metrics, seconds, counts, and the most memory that this
    process took."""
    torch.set_num_threads(1)
    found = _first(network(network_file), file)
    return {**found, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _first(run: Run, file: Path) -> dict[str, Any]:
    pair = split(WHOLE).test[0]
    known = tensors(file, WHOLE, pair)
    clock = perf_counter()
    flow, counts = run(images(known))
    seconds = perf_counter() - clock
    fixed, moving = (known[f"{name}_labels"][0].numpy() for name in ("fixed", "moving"))
    found = {"pair": pair, "seconds": seconds, **of_pair(fixed, moving, flow[0], split(WHOLE).codes, SPACING[WHOLE])}
    return found if counts is None else {**found, "counts": spent(counts)}
