"""A first picture within minutes, from the small teacher that lies beside this file, and that teacher itself. Where
DRIVE is not at hand, of a made-up retina."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from examples.kit.commands import read
from examples.kit.pages import table
from examples.kit.paths import ROOT, data_root
from examples.kit.work import keep
from examples.spiking_unet import drawings
from examples.spiking_unet.data import pictures
from examples.spiking_unet.made_up import retina
from examples.spiking_unet.runs import Exact, Spiking, whole
from examples.spiking_unet.scores import Score
from examples.spiking_unet.settings import CONFIG, Settings
from examples.spiking_unet.tasks import Array, Picture, Task, counted, task_of
from examples.spiking_unet.variants import Variant, compile_one
from snncc.errors import SnnccError

BUILD = ROOT / "build"
TEACHER = Path(__file__).with_name("teacher_drive.onnx")
CHANNELS = 4  # of it; 16 in `small`, 64 in `paper`
SHOWN = (Variant("if", "if", 4), Variant("mt4", "multi-threshold:4", 4),
         Variant("own", "multi-threshold:3:signed", 4, "mse", "channel"))  # fmt: skip


def tiny(size: str = "small") -> tuple[Settings, Task]:
    settings = replace(read(CONFIG, size, Settings), channels=CHANNELS)
    return settings, task_of("drive", settings)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=BUILD / "spiking-unet-first.png")
def picture(out: Path) -> None:
    """A first picture: vessels of a retina by a small U-Net that is at hand, and by spiking networks made of it."""
    try:
        settings, task = tiny()
        there = (data_root() / task.data).is_dir()
        shown = pictures(task, "val", settings)[0] if there else retina(0)
        samples = None if there else [image for seed in (1, 2) for image, _ in counted(retina(seed), task)]
        found = {"input": shown.image, "wanted": shown.target}
        rows: list[list[Any]] = []
        exact = Exact(TEACHER)
        found["U-Net"] = whole(shown, task, lambda x: exact(x)[0])
        rows.append(["U-Net", None, f"{f1(task, shown, found['U-Net']):.4f}", None])
        with tempfile.TemporaryDirectory() as folder:
            for variant in SHOWN:
                file = Path(folder) / f"{variant.name}.snn.onnx"
                compile_one(TEACHER, file, task, variant, settings, samples)
                run = Spiking(file)
                title = f"{variant.neuron}, T = {variant.steps}"
                found[title] = whole(shown, task, lambda x: run(x)[-1])  # noqa: B023
                spent = run.synops[-1] / run.teacher_macs
                rows.append([variant.says, variant.steps, f"{f1(task, shown, found[title]):.4f}", f"{spent:.2f}"])
        drawings.examples(out, [(task, found)])
    except SnnccError as error:
        raise click.ClickException(str(error)) from None
    click.echo(table(["network", "T", "F1", "SynOps / MAC"], rows))
    click.echo(f"wrote {out}" + ("" if there else f"; made up, as there is no {data_root() / task.data}"))


def f1(task: Task, shown: Picture, labels: Array) -> float:
    one_hot = np.stack([labels != 1, labels == 1])[None].astype(np.float32)
    score = Score(task)
    return score.value(score.counts(one_hot, shown.target))


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=BUILD / "spiking-unet-first")
def first_teacher(work: Path) -> None:
    """Train the small teacher that is committed: minutes."""
    from examples.spiking_unet.teacher import trained

    settings, task = tiny()
    found = trained(task, settings, work, TEACHER)
    keep(work / "found.json", f"{found}\n")
    click.echo(f"{TEACHER.name}: F1 {found['best']['score']:.4f} on validation patches")
