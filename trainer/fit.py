"""The training loop: Lightning's, with a checkpoint after each epoch from which it goes on exactly."""

from __future__ import annotations

import csv
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, Sampler

from snncc.errors import FormatError, OptionError
from snncc.onnx_file import replacing
from snncc.trainer.evaluation import Evaluation, Loss, Metric, Progress, Sample, evaluate
from snncc.trainer.module import SpikingModule

SCHEDULES = ("plateau", "cosine", "none")
LAST, BEST = "last.ckpt", "best.ckpt"
ANEW = "remove this folder to start anew, or name another one"


@dataclass(frozen=True)
class Settings:
    """epochs: at most; batch: of all processes together; rates: learning rate by parameter group (0 or absent: left as
    it is); schedule: plateau halves after `patience` epochs without a lower validation loss, cosine falls to 0; stop:
    epochs without a better one after which training ends (0: never); budget: SynOps per teacher MAC that the best epoch
    must keep to, see `fit` (None: any); clip: of the gradient's norm (0: none); relearn: choose the scales of all rows
    of integers anew after each epoch, and not only where they would overflow."""

    epochs: int = 20
    batch: int = 16
    rates: Mapping[str, float] = field(default_factory=lambda: {"weights": 1e-3, "biases": 1e-3, "thresholds": 1e-3})
    schedule: str = "cosine"
    patience: int = 3
    stop: int = 0
    budget: float | None = None
    clip: float = 1.0
    relearn: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise OptionError(f"the schedule {self.schedule!r} is unknown", remedy=f"one of {', '.join(SCHEDULES)}")
        if self.epochs < 1 or self.batch < 1:
            raise OptionError(f"epochs {self.epochs}, batch {self.batch}", remedy="1 or more")
        if not 0 <= self.seed < 1 << 63:
            raise OptionError(f"seed {self.seed}", remedy="0 or more, below 2^63")
        if wrong := [f"{name} {rate}" for name, rate in self.rates.items() if not 0 <= rate < inf]:
            raise OptionError(f"learning rate of {wrong[0]}", remedy="a number, 0 or more")
        if not any(self.rates.values()):
            raise OptionError("no learning rate is above 0", remedy="give one to some parameters")
        if not (self.budget is None or self.budget >= 0) or not 0 <= self.clip < inf:
            raise OptionError(f"budget {self.budget}, clip {self.clip}", remedy="numbers, 0 or more")


@dataclass(frozen=True)
class Epoch:
    """number: 0 is the network as it was given; loss: mean over the training batches (None: there were none); found: on
    the validation data."""

    number: int
    loss: float | None
    found: Evaluation

    def rank(self, budget: float | None) -> tuple[float, float]:
        """The larger the better: within the budget by the metric, and above it, where none within can be below, by
        how few SynOps it takes."""
        if budget is not None and self.found.synops > budget:
            return 0.0, -self.found.synops
        return 1.0, self.found.metric

    def row(self) -> dict[str, float | None]:
        """epoch, loss, val_loss, metric, synops_per_mac: a line of metrics.csv."""
        found = self.found
        return {
            "epoch": self.number, "loss": self.loss, "val_loss": found.loss, "metric": found.metric,
            "synops_per_mac": found.synops,
        }  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """history: of all epochs, from 0; best: the one whose parameters the module has now; checkpoint: its file."""

    history: tuple[Epoch, ...]
    best: Epoch
    checkpoint: Path


class Batches(Sampler[list[int]]):
    """The part of a process of each batch. The order, and numbers that a data set draws, depend on the seed and on how
    many epochs are done alone. The last batch is filled up, from the start, to a multiple of the number of processes.
    """

    def __init__(self, size: int, settings: Settings, history: Sequence[Epoch]):
        self.size, self.settings, self.history = size, settings, history
        self.rank, self.world = processes()

    def __len__(self) -> int:
        return -(-self.size // self.settings.batch)

    def __iter__(self) -> Iterator[list[int]]:
        lightning.seed_everything((self.settings.seed * 100_003 + len(self.history)) % (1 << 32), verbose=False)
        order = torch.randperm(self.size).tolist()
        order += order[: -self.size % self.world]
        for start in range(0, len(order), self.settings.batch):
            yield order[start : start + self.settings.batch][self.rank :: self.world]


class _Task(lightning.LightningModule):
    """What Lightning runs. What depends on an epoch's end (schedule, best epoch, early stop) is done here, in front of
    the checkpoint, so that a checkpoint holds all of it."""

    def __init__(self, module: SpikingModule, loss: Loss, settings: Settings, timesteps: int | None, folder: Path):
        super().__init__()
        self.spiking, self.loss = module, loss
        self.timesteps, self.settings, self.folder = timesteps, settings, folder
        self.evaluated: Callable[[], Evaluation]
        self.batches: Batches
        self.facts: dict[str, Any]
        self.report: Callable[[Epoch], None]
        self.history: list[Epoch] = []
        self.losses: list[Tensor] = []
        self.schedule: Any = None
        self.restored: Any = None  # the schedule's state in a checkpoint

    @property
    def best(self) -> Epoch:
        """The first of the best."""
        return max(self.history, key=lambda epoch: epoch.rank(self.settings.budget))

    @property
    def ended(self) -> bool:
        """Are there as many epochs as wanted, or too many without a better one?"""
        done, stop = self.history[-1].number, self.settings.stop
        return done >= self.settings.epochs or (stop > 0 and done - self.best.number >= stop)

    def configure_optimizers(self) -> Any:
        groups, settings = self.spiking.groups(), self.settings
        rates = [{"params": groups[name], "lr": rate} for name, rate in settings.rates.items() if rate and groups[name]]
        optimiser = torch.optim.Adam(rates)
        if settings.schedule == "cosine":
            self.schedule = lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
        elif settings.schedule == "plateau":
            self.schedule = lr_scheduler.ReduceLROnPlateau(optimiser, patience=settings.patience, factor=0.5)
        return optimiser

    def on_train_start(self) -> None:
        if not self.history:
            self._validated(None)
        if self.restored is not None:
            self.schedule.load_state_dict(self.restored)
        self.trainer.should_stop = self.ended

    def training_step(self, batch: Sample, index: int) -> Tensor:
        inputs, target = batch
        found = self.loss(self.spiking.trace(inputs, self.timesteps, seed=self.global_step, outputs=False), target)
        self.losses.append(found.detach())
        return found

    def on_train_epoch_end(self) -> None:
        mean = self.all_gather(torch.stack(self.losses).mean()).mean()
        self.losses = []
        self.spiking.relearn_scales(overflowing=not self.settings.relearn)
        self._validated(float(mean))
        if self.settings.schedule == "plateau":
            self.schedule.step(self.history[-1].found.loss)
        elif self.schedule is not None:
            self.schedule.step()
        draft = self.folder / f"{LAST}.draft"
        self.trainer.save_checkpoint(draft)  # by way of another disk, perhaps; a rename is all or nothing
        if self.trainer.is_global_zero:
            draft.replace(self.folder / LAST)
        self.trainer.should_stop = self.ended

    def _validated(self, loss: float | None) -> None:
        """Add an epoch to the history."""
        epoch = Epoch(len(self.history), loss, self.evaluated())
        self.history.append(epoch)
        if not self.trainer.is_global_zero:
            return
        if self.best is epoch:
            with replacing(self.folder / BEST) as draft:
                torch.save(self.spiking.state_dict(), draft)
        with replacing(self.folder / "metrics.csv") as draft, draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(epoch.row()))
            writer.writeheader()
            writer.writerows(e.row() for e in self.history)
        self.report(epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["facts"] = self.facts
        checkpoint["history"] = [{**asdict(epoch), "found": epoch.found.to_dict()} for epoch in self.history]
        checkpoint["schedule"] = self.schedule and self.schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history[:] = [Epoch(e["number"], e["loss"], Evaluation(**e["found"])) for e in checkpoint["history"]]
        self.restored = checkpoint["schedule"]


class _Shown(Callback):
    """Progress over the batches of an epoch."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, index: int) -> None:
        self.progress(f"epoch {trainer.current_epoch + 1}", index + 1, len(task.batches))


def fit(
    module: SpikingModule,
    train: Dataset[Sample],
    validation: Dataset[Sample],
    loss: Loss,
    metric: Metric | None,
    folder: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    cases: Sequence[int] | None = None,
    timesteps: int | None = None,
    facts: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress = lambda label, done, total: None,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> Fitted:
    """Train `module` in place; afterwards it has the parameters of its best epoch (0: those it came with).

    The best epoch is that of the highest metric among those that keep to `settings.budget`; while none does, that of
    the fewest SynOps. Under `torchrun` all processes share the data of each batch.

    Args:
        train, validation: samples ({input name: [C, *spatial]}, target).
        loss: of a Trace and the batch's targets, such as `losses.Objective`.
        metric: measured on `validation` before training and after each epoch; None: minus the loss.
        folder: for checkpoints and metrics.csv. If it holds the checkpoint of a run that was interrupted, that run goes
            on from the end of its last epoch, and ends with the weights that it would have had without the interruption
            (on the CPU, with as many threads and processes).
        cases: case of each validation sample; None: each is one. timesteps: those the network was compiled for.
        facts: what else the result depends on (data, loss); a checkpoint made with other facts is refused.
        progress: called with (label, done, total); report: with each epoch.

    Raises:
        OptionError: the folder holds a run with other settings or facts; or nothing that has a learning rate.
        FormatError: a checkpoint in it is damaged.
        KeyboardInterrupt: on Ctrl-C; the same call goes on.
    """
    settings, folder = settings or Settings(), Path(folder)
    _, world = processes()
    if settings.batch % world:
        raise OptionError(f"a batch of {settings.batch} for {world} processes", remedy=f"a multiple of {world}")
    if not any(module.groups().get(name) for name, rate in settings.rates.items() if rate):
        raise OptionError("no parameter of this network has a learning rate", remedy=f"of {', '.join(module.groups())}")
    folder.mkdir(parents=True, exist_ok=True)
    task = _Task(module, loss, settings, timesteps, folder)
    task.facts = {"settings": asdict(settings), "timesteps": timesteps, **(facts or {})}
    _check(folder / LAST, task.facts)
    task.batches, task.report = Batches(len(train), settings, task.history), report
    task.evaluated = lambda: evaluate(
        module, validation, loss, metric, cases=cases, timesteps=timesteps, batch=-(-settings.batch // world),
        progress=progress,
    )  # fmt: skip
    last = folder / LAST
    with _quiet(module, settings):
        trainer = _trainer(settings, world, [_Shown(progress), *callbacks])
        try:
            trainer.fit(task, DataLoader(train, batch_sampler=task.batches), ckpt_path=last if last.exists() else None)
        except SystemExit:  # what Lightning makes of Ctrl-C
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
    module.load_state_dict(_checkpoint(folder / BEST))
    return Fitted(tuple(task.history), task.best, folder / BEST)


def processes() -> tuple[int, int]:
    """(rank of this one, how many `torchrun` started)"""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def _check(last: Path, facts: Mapping[str, Any]) -> None:
    """Raises OptionError where a checkpoint is of another run."""
    if last.exists():
        _checkpoint(last.with_name(BEST))
        found = _checkpoint(last, weights_only=False)["facts"]
        if other := [name for name in {**found, **facts} if found.get(name) != facts.get(name)]:
            what = f"the run that was interrupted here had other {', '.join(sorted(other))}"
            raise OptionError(what, file=str(last), remedy=ANEW)


def _checkpoint(file: Path, weights_only: bool = True) -> Any:
    """Raises FormatError."""
    try:
        return torch.load(file, map_location="cpu", weights_only=weights_only)
    except Exception as error:  # pickle and zip raise anything
        raise FormatError(f"a damaged checkpoint ({type(error).__name__})", file=str(file), remedy=ANEW) from None


def _trainer(settings: Settings, world: int, callbacks: Sequence[Callback]) -> lightning.Trainer:
    """On the GPU if there is one; float32 without reduced precision, nothing chosen by timing."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    # a process may have fewer validation batches than another one: nothing is synchronised during a forward pass
    several = DDPStrategy(broadcast_buffers=False, find_unused_parameters=True)
    return lightning.Trainer(
        accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=local, num_nodes=world // local,
        strategy=several if world > 1 else "auto", max_epochs=settings.epochs, deterministic="warn", benchmark=False,
        gradient_clip_val=settings.clip or None, callbacks=list(callbacks), logger=False, use_distributed_sampler=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


@contextmanager
def _quiet(module: SpikingModule, settings: Settings) -> Iterator[None]:
    """Parameters without a learning rate are left out; Lightning keeps quiet, and what it sets is set back."""
    fixed = [p for name, group in module.groups().items() if not settings.rates.get(name) for p in group]
    strict, interrupt = torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT)
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    for parameter in fixed:
        parameter.requires_grad_(False)
    try:
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for parameter in fixed:
            parameter.requires_grad_(True)
        log.setLevel(level)
        torch.use_deterministic_algorithms(strict)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)
