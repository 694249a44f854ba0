"""Training of a teacher: Lightning's loop, the best epoch on validation data, and a checkpoint after each."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from examples.kit.work import keep

Batches = Callable[[int], Iterable[Any]]
SCHEDULES = ("one-cycle", "cosine", "plateau", "none")


@dataclass(frozen=True)
class Plan:
    """epochs; steps: batches of an epoch; rate: of Adam; schedule: see SCHEDULES (plateau halves the rate after
    `patience` epochs without a better score); floor: the rate that cosine falls to; decay: of weights; clip: of the
    gradient's norm (0: none); bf16: forward and backward passes in bfloat16 where that is safe (autocast)."""

    epochs: int
    steps: int
    rate: float = 1e-3
    schedule: str = "one-cycle"
    patience: int = 5
    floor: float = 0.0
    decay: float = 0.0
    clip: float = 0.0
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule}: one of {', '.join(SCHEDULES)}")


def train(
    model: nn.Module, batches: Batches, loss: Callable[[nn.Module, Any], Tensor],
    score: Callable[[nn.Module], float], folder: Path, plan: Plan,
) -> dict[str, Any]:  # fmt: skip
    """Train `model` in place; afterwards it is in eval mode with the parameters of its best epoch.

    Args:
        batches: of an epoch (0, 1, ...), `plan.steps` of them. torch's random numbers are seeded by epoch before.
        loss: of the model, in training mode, and a batch.
        score: the larger the better, measured after each epoch, in eval mode without gradients.
        folder: for last.ckpt and best.ckpt. A training that was interrupted goes on after its last whole epoch.

    Returns:
        {"history": [{"epoch", "loss", "score"}], "best": the best epoch's row, "seconds"}; kept as `history.json`.
    """
    task = _Task(model, batches, loss, score, plan)
    task.folder = folder
    last = folder / "last.ckpt"
    if last.exists():  # Lightning would read it only in a training that is not at its end
        task.on_load_checkpoint(torch.load(last, map_location="cpu", weights_only=False))
    if len(task.history) < plan.epochs:
        _fit(task, plan, folder, last)
    task.load_state_dict(torch.load(folder / "best.ckpt", map_location="cpu", weights_only=False)["state_dict"])
    model.cpu().eval()
    best = max(task.history, key=lambda row: row["score"])
    return {"history": task.history, "best": best, "seconds": round(task.seconds)}


def _fit(task: _Task, plan: Plan, folder: Path, last: Path) -> None:
    best = ModelCheckpoint(folder, filename="best", monitor="score", mode="max", enable_version_counter=False)
    every = ModelCheckpoint(folder, filename="last", enable_version_counter=False)  # save_last is for the best only
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")  # of Lightning: no workers, no logger, a folder that is not empty
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=1, max_epochs=plan.epochs,
            precision="bf16-mixed" if plan.bf16 else "32-true", gradient_clip_val=plan.clip or None, logger=False,
            callbacks=[best, every, _Scored(), RichProgressBar()], enable_model_summary=False, num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
        )  # fmt: skip
        trainer.fit(task, ckpt_path=last if last.exists() else None, weights_only=False)
        if trainer.interrupted:
            raise KeyboardInterrupt


class _Epoch(IterableDataset):
    def __init__(self, task: _Task):
        self.task = task

    def __iter__(self) -> Any:
        lightning.seed_everything(self.task.plan.seed * 10_007 + self.task.current_epoch, verbose=False)
        return iter(self.task.batches(self.task.current_epoch))

    def __len__(self) -> int:
        return self.task.plan.steps


class _Task(lightning.LightningModule):
    folder: Path

    def __init__(self, model: nn.Module, batches: Batches, loss: Any, score: Callable[[nn.Module], float], plan: Plan):
        super().__init__()
        self.model, self.batches, self.loss, self.score, self.plan = model, batches, loss, score, plan
        self.history: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.seconds = 0.0
        self.falling: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self.fell: dict[str, Any] | None = None  # its state in a checkpoint

    def train_dataloader(self) -> Any:
        return DataLoader(_Epoch(self), batch_size=None)

    def on_train_epoch_start(self) -> None:
        self.clock, self.losses = perf_counter(), []

    def training_step(self, batch: Any, index: int) -> Tensor:
        found = self.loss(self.model, batch)
        self.losses.append(float(found.detach()))
        self.log("loss", self.losses[-1], prog_bar=True)
        return found

    def configure_optimizers(self) -> Any:
        plan = self.plan
        optimiser = torch.optim.AdamW(self.parameters(), lr=plan.rate, weight_decay=plan.decay)
        if plan.schedule == "none":
            return optimiser
        if plan.schedule == "one-cycle":
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, plan.epochs * plan.steps)
            return [optimiser], [{"scheduler": cycle, "interval": "step"}]
        if plan.schedule == "cosine":
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.epochs, plan.floor)
            return [optimiser], [{"scheduler": cosine, "interval": "epoch"}]
        # stepped by _Scored: Lightning's own comes behind the epoch's checkpoint, and would be lost in a break there
        self.falling = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "max", 0.5, plan.patience)
        if self.fell is not None:
            self.falling.load_state_dict(self.fell)
        return optimiser

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fell = None if self.falling is None else self.falling.state_dict()
        checkpoint |= {"history": self.history, "seconds": self.seconds, "plateau": fell}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.seconds = checkpoint["history"], checkpoint["seconds"]
        self.fell = checkpoint["plateau"]


class _Scored(Callback):
    """Scores an epoch in front of its checkpoint: ModelCheckpoint always comes last."""

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        task.model.eval()
        with torch.no_grad():
            score = float(task.score(task.model))
        task.model.train()
        task.seconds += perf_counter() - task.clock
        loss = sum(task.losses) / max(len(task.losses), 1)
        task.history.append({"epoch": task.current_epoch + 1, "loss": loss, "score": score})
        task.log("score", score, prog_bar=True)
        if task.falling is not None:
            task.falling.step(score)
        keep(task.folder / "history.json", json.dumps(task.history, indent=1) + "\n")
