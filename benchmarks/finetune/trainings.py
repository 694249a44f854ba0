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
from benchmarks.conversion.recipes import Goal, Recipe, radix, rate
from benchmarks.finetune.parity import parity
from snncc.comparison.metrics import Metric
from snncc.trainer import SpikingModule
from snncc.trainer.fit import Settings, fit
from snncc.trainer.losses import Objective

TASK = "hippocampus-2d"
DICE = Metric("dice", threshold=0.5)
PARAMETERS = ("weights", "biases", "thresholds")


@dataclass(frozen=True)
class Training:
    """
    Args:
        start: the compiled network. budget: SynOps per teacher MAC; None: any number. The loss aims a little below,
            since validation and test data differ.
        rate: learning rate, in thresholds. fresh: from random weights.
        every: an epoch sees one out of so many neighbouring slices, another one each time.
    """

    start: Recipe
    budget: float | None = None
    rate: float = 2e-4
    fresh: bool = False
    epochs: int = 10
    every: int = 5
    batch: int = 16
    weight: float = 2.0  # of SynOps above the budget

    @property
    def kind(self) -> str:
        return "direct" if self.fresh else "fine-tuned"

    @property
    def name(self) -> str:
        words = [self.start.name, self.kind]
        return ", ".join(words + ([] if self.budget is None else [f"{self.budget:.2f} SynOps"]))

    @property
    def recipe(self) -> Recipe:
        """What the table of results calls it."""
        return Recipe(self.name, self.kind)

    def settings(self) -> Settings:
        rates = dict.fromkeys(PARAMETERS, self.rate)
        return Settings(epochs=self.epochs, batch=self.batch, rates=rates, budget=self._share(0.98))

    def objective(self) -> Objective:
        aim = self._share(0.96)
        return Objective.of("bce-dice", [] if aim is None else [f"{self.weight}*synops:{aim}"])

    def _share(self, share: float) -> float | None:
        return None if self.budget is None else round(share * self.budget, 4)


SIGNED = rate("signed", 4)
TRAININGS = (
    *(Training(radix(2), budget) for budget in (0.3, 0.25, 0.2)),
    Training(radix(3), 0.3),
    Training(SIGNED),
    Training(radix(2), 0.3, 1e-3, fresh=True),
    Training(SIGNED, None, 1e-3, fresh=True),
)
QUICK = tuple(Training(radix(2), 0.3, fresh=fresh, epochs=1, every=36) for fresh in (False, True))
CONVERTED = (radix(2), radix(3), radix(4), SIGNED)  # for comparison
GOALS = (
    Goal(TASK, "radix of 2 or 3 digits: within 0.003 at no more than 0.30 SynOps", "radix:?, fine-tuned*", 0.003, 0.30),
    Goal(TASK, "signed, T = 4: within 0.002", "signed, T = 4, fine-tuned", 0.002),
)


@cache
def split(name: str) -> tuple[Tensor, Tensor, list[int]]:
    """All slices of a split [N, 1, 48, 64], their labels, and the subject of each."""
    cases = [h.case(subject, 2) for subject in h.subjects(name)]
    images, labels = (torch.as_tensor(np.concatenate(parts)) for parts in zip(*cases, strict=True))
    return images, labels, [k for k, (image, _) in enumerate(cases) for _ in image]


class Slices:
    """Slices of a split; every > 0: see `Training`, and at random mirrored."""

    def __init__(self, name: str, every: int = 0):
        self.images, self.labels, self.subjects = split(name)
        self.every = every

    def __len__(self) -> int:
        return len(self.images) // max(self.every, 1)

    def __getitem__(self, k: int) -> tuple[Mapping[str, Tensor], Tensor]:
        if not self.every:
            return {"image": self.images[k]}, self.labels[k]
        k = k * self.every + int(torch.randint(self.every, ()))
        turned = (1,) if torch.rand(()) < 0.5 else ()  # left and right hippocampi are mirror images
        return {"image": self.images[k].flip(turned)}, self.labels[k].flip(turned)


def train_one(training: Training, start: Path, folder: Path) -> dict[str, Any]:
    """Train, save, and compare with the engines before, after, and once more from the file.

    Returns:
        What `benchmarks.conversion.measure.compile_one` says of a network, and what training did. A training that was
        interrupted goes on from its last epoch.
    """
    torch.set_num_threads(1)
    clock = perf_counter()
    module = SpikingModule.from_file(start)
    found = {"before": parity(module, snncc.load(start).network)}
    if training.fresh:
        module.reset_parameters()
    validation = Slices("val")
    done = fit(
        module, Slices("train", training.every), validation, training.objective(), DICE, folder, training.settings(),
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
