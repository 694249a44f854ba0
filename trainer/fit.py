"""The training loop: Lightning, one checkpoint an epoch, exact resume."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from snncc.errors import OptionError
from snncc.trainer.forward import Trace
from snncc.trainer.module import SpikingModule

Batch = tuple[dict[str, Tensor], Any]  # inputs by name, and what the loss compares with
Loss = Callable[[Trace, Any], Tensor]
Metric = Callable[[Trace, Any], Tensor]
SCHEDULES = ("plateau", "cosine", "none")


@dataclass(frozen=True)
class Settings:
    """epochs: at most; rates: learning rate by parameter group (0: left as it is); schedule: plateau halves after
    `patience` epochs without a better validation loss, cosine falls to 0; stop: epochs without a better metric after
    which training ends (0: never); higher: is a higher metric better?; clip: of the gradient's norm (0: none)."""

    epochs: int = 20
    batch: int = 16
    rates: Mapping[str, float] = field(default_factory=lambda: {"weights": 1e-3, "biases": 1e-3, "thresholds": 1e-3})
    schedule: str = "cosine"
    patience: int = 3
    stop: int = 0
    higher: bool = True
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise OptionError(f"the schedule {self.schedule!r} is unknown", remedy=f"one of {', '.join(SCHEDULES)}")
        if self.epochs < 1 or self.batch < 1:
            raise OptionError(f"epochs {self.epochs}, batch {self.batch}", remedy="1 or more")


class _Task(lightning.LightningModule):
    def __init__(self, module: SpikingModule, loss: Loss, metric: Metric, timesteps: int | None, settings: Settings):
        super().__init__()
        self.spiking, self.loss, self.metric = module, loss, metric
        self.timesteps, self.settings = timesteps, settings

    def training_step(self, batch: Batch, index: int) -> Tensor:
        inputs, target = batch
        found = self.loss(self.spiking.trace(inputs, self.timesteps, seed=self.global_step, outputs=False), target)
        size = len(next(iter(inputs.values())))
        self.log("loss", found, on_epoch=True, on_step=False, prog_bar=True, batch_size=size)
        return found

    def validation_step(self, batch: Batch, index: int) -> None:
        inputs, target = batch
        trace = self.spiking.trace(inputs, self.timesteps)
        macs = max(float(self.spiking.network.meta.get("teacher", {}).get("macs", 0)), 1.0)
        found = {
            "val_loss": self.loss(trace, target), "metric": self.metric(trace, target),
            "synops_per_mac": trace.synops().mean() / macs,
        }  # fmt: skip
        size = len(next(iter(inputs.values())))
        self.log_dict({k: v.float() for k, v in found.items()}, prog_bar=True, batch_size=size, sync_dist=True)

    def configure_optimizers(self) -> Any:
        groups = self.spiking.groups()
        for name in set(groups) - set(self.settings.rates):
            for parameter in groups[name]:
                parameter.requires_grad_(False)
        rates = [
            {"params": groups[name], "lr": rate, "name": name}
            for name, rate in self.settings.rates.items()
            if rate > 0 and groups[name]
        ]
        optimiser = torch.optim.Adam(rates)
        if self.settings.schedule == "none":
            return optimiser
        if self.settings.schedule == "cosine":
            schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.settings.epochs)
            return {"optimizer": optimiser, "lr_scheduler": schedule}
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=self.settings.patience, factor=0.5)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


class _Shuffled(Sampler[int]):
    """Another order in each epoch, which depends on the seed and the number of the epoch alone: so a resumed run sees
    what an uninterrupted one would have seen."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        yield from torch.randperm(self.size, generator=generator).tolist()


def fit(
    module: SpikingModule,
    train: Dataset[Batch],
    validation: Dataset[Batch],
    loss: Loss,
    metric: Metric,
    folder: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    timesteps: int | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Path:
    """Train `module` in place; afterwards it has the parameters of its best epoch.

    Args:
        train, validation: samples ({input name: [C, *spatial]}, target).
        loss, metric: of a Trace and the batch's targets. The metric is measured on `validation` after each epoch.
        folder: for checkpoints and logs (metrics.csv). If it holds the checkpoint of a run that did not end, that run
            goes on, and ends with the weights that it would have had without the interruption (on the CPU).
        timesteps: those the network was compiled for.

    Returns:
        The best epoch's checkpoint.
    """
    settings = settings or Settings()
    folder = Path(folder)
    lightning.seed_everything(settings.seed, verbose=False)
    mode = "max" if settings.higher else "min"
    best = ModelCheckpoint(folder, "best", monitor="metric", mode=mode, save_last=True, enable_version_counter=False)
    extra: list[Callback] = [best, *callbacks]
    if settings.stop:
        extra.append(EarlyStopping("metric", patience=settings.stop, mode=mode))
    if progress:
        extra.append(RichProgressBar())
    trainer = lightning.Trainer(
        max_epochs=settings.epochs, callbacks=extra, logger=CSVLogger(folder, "", ""), deterministic="warn",
        gradient_clip_val=settings.clip or None, enable_progress_bar=progress, enable_model_summary=False,
        num_sanity_val_steps=0, log_every_n_steps=1,
    )  # fmt: skip
    batches = DataLoader(train, settings.batch, sampler=_Shuffled(len(train), settings.seed))
    task = _Task(module, loss, metric, timesteps, settings)
    last = folder / "last.ckpt"
    trainer.fit(
        task, batches, DataLoader(validation, settings.batch), ckpt_path=str(last) if last.exists() else None
    )
    state = torch.load(best.best_model_path, weights_only=False)["state_dict"]
    task.load_state_dict(state)
    return Path(best.best_model_path)
