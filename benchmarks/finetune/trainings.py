"""The trainings that are measured, and one of them from end to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

import snncc
from benchmarks import hippocampus as h
from benchmarks.conversion.measure import what_runs
from benchmarks.conversion.recipes import Recipe
from benchmarks.finetune.parity import parity
from snncc.comparison.metrics import Metric
from snncc.trainer import SpikingModule, Trace
from snncc.trainer.fit import Settings, fit
from snncc.trainer.losses import bce, bce_dice, synops

DICE = Metric("dice", threshold=0.5)
PARAMETERS = ("weights", "biases", "thresholds")


@dataclass(frozen=True)
class Training:
    """
    Args:
        start: the compiled network. budget: SynOps per teacher MAC that training aims at, and that the best epoch
            keeps to on the validation data; None: any number.
        rate: learning rate, in thresholds. fresh: from random weights.
        flow: gradients by accumulated flow. every: an epoch sees one out of so many neighbouring slices, another one
            each time. weight: of SynOps above the budget.
    """

    start: Recipe
    budget: float | None = None
    rate: float = 4e-4
    fresh: bool = False
    flow: bool = False
    epochs: int = 7
    every: int = 6
    batch: int = 16
    weight: float = 1.0

    @property
    def kind(self) -> str:
        return "direct" if self.fresh else "fine-tuned"

    @property
    def name(self) -> str:
        words = [self.start.name, self.kind]
        return ", ".join(words + ([] if self.budget is None else [f"{self.budget:g} SynOps"]))

    @property
    def recipe(self) -> Recipe:
        """What the table of results calls it."""
        return Recipe(self.name, self.kind)

    def settings(self) -> Settings:
        rates = dict.fromkeys(PARAMETERS, self.rate)
        return Settings(epochs=self.epochs, batch=self.batch, rates=rates, budget=self.budget)

    def loss(self, trace: Trace, target: Tensor | Mapping[str, Tensor]) -> Tensor:
        """0.3 BCE + 0.7 Dice, SynOps above the budget, and in training BCE against the teacher's probabilities."""
        given = {"truth": target} if isinstance(target, Tensor) else target
        (logits,) = trace.readouts.values()
        found = bce_dice(logits, given["truth"])
        if self.budget is not None:
            found = found + self.weight * synops(trace, self.budget)
        return found + bce(logits, given["teacher"]) if "teacher" in given else found


@cache
def split(name: str) -> tuple[Tensor, Tensor, list[int]]:
    """All slices of a split [N, 1, 48, 64], their labels, and the subject of each."""
    cases = [h.case(subject, 2) for subject in h.subjects(name)]
    images, labels = (torch.as_tensor(np.concatenate(parts)) for parts in zip(*cases, strict=True))
    return images, labels, [k for k, (image, _) in enumerate(cases) for _ in image]


class Slices:
    """Slices of a split with their labels; every > 0: see `Training`; with what the teacher says."""

    def __init__(self, name: str, every: int = 0):
        self.images, self.labels, self.subjects = split(name)
        self.every = every

    def __len__(self) -> int:
        return len(self.images) // max(self.every, 1)

    def __getitem__(self, k: int) -> tuple[Mapping[str, Tensor], Tensor | Mapping[str, Tensor]]:
        if not self.every:
            return {"image": self.images[k]}, self.labels[k]
        k = k * self.every + int(torch.randint(self.every, ()))
        teacher = torch.as_tensor(h.teacher_output(self.images[k].numpy(), 2)[0])
        return {"image": self.images[k]}, {"truth": self.labels[k], "teacher": teacher}


def train_one(training: Training, start: Path, folder: Path) -> dict[str, Any]:
    """Train, save, and compare with the engines before, after, and once more from the file.

    Returns:
        What `benchmarks.conversion.measure.compile_one` says of a network, and what training did. A training that was
        interrupted goes on from its last epoch.
    """
    torch.set_num_threads(1)
    clock = perf_counter()
    module = SpikingModule.from_file(start, flow=training.flow)
    found = {"before": parity(module, snncc.load(start).network)}
    if training.fresh:
        module.reset_parameters()
    validation = Slices("val")
    done = fit(
        module, Slices("train", training.every), validation, training.loss, DICE, folder, training.settings(),
        cases=validation.subjects, facts={"training": asdict(training)},
    )  # fmt: skip
    file = folder / "trained.snn.onnx"
    network = module.save(file, epochs=training.epochs, budget=training.budget, fresh=training.fresh)
    found["after"] = parity(module, network)
    found["loaded"] = parity(SpikingModule.from_file(file), snncc.load(file).network)
    steps = network.meta["timesteps"]
    return {
        "model": what_runs(file),
        "precision": network.meta["precision"],
        "steps": steps,
        "latency": network.windows * steps,
        "neurons": sum(p.size for p in network.populations if p.fires),
        "history": [epoch.row() for epoch in done.history],
        "best": done.best.number,
        "rates": {"before": dict(done.history[0].found.rates), "after": dict(done.best.found.rates)},
        "parity": found,
        "seconds": round(perf_counter() - clock),
    }
