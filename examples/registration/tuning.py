"""Fine-tuning of a compiled network: NCC, smoothness and costs of rates, through the warp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from examples.registration.conversion import WINNERS, Spiking, lesson_of
from examples.registration.data import FLOW, Array, Pair, split
from examples.registration.fields import integrate
from examples.registration.metrics import moved
from examples.registration.settings import Settings
from examples.registration.teacher import random_pairs, similarity, tensors
from snncc.ingest import ingest
from snncc.runtime.host import HostSession
from snncc.trainer import SpikingModule
from snncc.trainer import fit as fitting
from snncc.trainer.forward import Trace
from snncc.trainer.losses import rate, rate_target


@dataclass(frozen=True)
class Objective:
    """NCC + smoothness * diffusion + the two costs of rates, and `distill` times the mean squared distance from the
    teacher's displacement."""

    settings: Settings
    data: str
    svf: bool
    distill: float

    def __call__(self, trace: Trace, target: Mapping[str, Tensor]) -> Tensor:
        raw, settings = trace.value(FLOW), self.settings
        flow = integrate(raw) if self.svf else raw
        found = similarity(flow, target, settings.window, settings.of(self.data, "tune_smoothness"))
        found = found + settings.rate_weight * rate(trace)
        found = found + settings.target_weight * rate_target(trace, settings.target)
        return found + self.distill * F.mse_loss(raw, target["teacher"]) if self.distill else found


@dataclass(frozen=True)
class Overlap:
    """Mean Dice over labels, moved by nearest neighbour: a metric of `snncc.trainer.fit`."""

    codes: tuple[int, ...]
    svf: bool

    def counts(self, output: Array, target: Mapping[str, Array]) -> Array:
        """[3, labels]: voxels in the fixed image, in the moved one, and in both."""
        flow = integrate(torch.as_tensor(output)).numpy() if self.svf else output
        fixed, labels = target["fixed_labels"][0], moved(target["moving_labels"][0], flow[0])
        pairs = [(fixed == code, labels == code) for code in self.codes]
        return np.array([[a.sum(), b.sum(), (a & b).sum()] for a, b in pairs]).T

    def value(self, counts: Array) -> float:
        return float(np.mean(2 * counts[2] / np.maximum(counts[0] + counts[1], 1)))


class Pairs(torch.utils.data.Dataset[Any]):
    """Pairs of a set: those given, or `count` random training pairs, drawn anew each time. What the teacher says of a
    pair goes with it, if there is one."""

    def __init__(self, file: Path, data: str, pairs: Sequence[Pair] | int, teacher: Path | None = None):
        self.file, self.data, self.pairs = file, data, pairs
        self.teacher = None if teacher is None else HostSession(ingest(teacher), [FLOW])

    def __len__(self) -> int:
        return self.pairs if isinstance(self.pairs, int) else len(self.pairs)

    def __getitem__(self, k: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        pair = next(random_pairs(self.data, 1)) if isinstance(self.pairs, int) else self.pairs[k]
        target = tensors(self.file, self.data, pair)
        inputs = {name: target[name] for name in ("fixed", "moving")}
        if self.teacher is not None:
            told = self.teacher.run({name: value[None].numpy() for name, value in inputs.items()})[FLOW]
            target["teacher"] = torch.as_tensor(told[0])
        if isinstance(self.pairs, int):  # labels are for validation
            target = {name: value for name, value in target.items() if not name.endswith("labels")}
        return inputs, target


def tune(run: Spiking, settings: Settings, start: Path, teacher: Path, file: Path, folder: Path) -> dict[str, Any]:
    """Fine-tune the compiled network `start` on the volumes of `file` into folder/tuned.snn.onnx.

    Returns:
        What each epoch was worth, the best one, rates by population before and after, and seconds.
    """
    torch.set_num_threads(1)
    clock, lesson, leaky = perf_counter(), lesson_of(run, settings), run.neuron == "leaky"
    data, parts = lesson.data, split(lesson.data)
    epochs, pairs, step, distill = (settings.of(data, f"tune_{key}") for key in ("epochs", "pairs", "rate", "distill"))
    if leaky:
        epochs, pairs = settings.of(data, "leaky_epochs"), settings.of(data, "leaky_pairs")
        step, distill = settings.leaky_rate, run.distill
    surrogate, winners = "sigmoid" if leaky else "triangle", WINNERS if run.winners else None
    module = SpikingModule.from_file(start, surrogate=surrogate, winners=winners)
    rates = dict.fromkeys(("weights", "biases", "thresholds", "leaks"), step)
    plan = fitting.Settings(epochs, batch=1, rates=rates, clip=settings.clip, seed=settings.seed)
    shown = teacher if distill else None
    done = fitting.fit(
        module, Pairs(file, data, pairs, shown), Pairs(file, data, parts.tuning, shown),
        Objective(settings, data, lesson.svf, distill), Overlap(parts.codes, lesson.svf), folder, plan,
        facts={"run": asdict(run)},
    )  # fmt: skip
    module.save(folder / "tuned.snn.onnx", epochs=plan.epochs, distill=distill)
    return {
        "history": [epoch.row() for epoch in done.history],
        "best": done.best.number,
        "rates": {"before": dict(done.history[0].found.rates), "after": dict(done.best.found.rates)},
        "seconds": round(perf_counter() - clock),
    }
