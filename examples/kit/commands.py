"""The commands of a system: its stages one by one, or all of them, in one of two sizes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from examples.kit.paths import ROOT
from examples.kit.work import keep
from snncc.errors import OptionError, SnnccError

SIZES = ("small", "paper")
STAGES = ("prepare", "teacher", "compile", "finetune", "evaluate", "report")
S = TypeVar("S")


@dataclass(frozen=True)
class Context(Generic[S]):
    """settings: of the size that was asked for. work: folder for what is made on the way. out: where results pages
    go. workers: processes at once."""

    settings: S
    size: str
    work: Path
    out: Path
    workers: int


Stage = Callable[[Context[Any]], None]


def read(file: Path, size: str, kind: type[S]) -> S:
    """Settings from the tables [both] and [SIZE] of a TOML file; lists become tuples.

    Args:
        kind: a dataclass. The tables together must have its fields, and no others.

    Raises:
        OptionError: a key that is unknown, or missing.
    """
    tables = tomllib.loads(file.read_text())
    if unknown := set(tables) - {"both", *SIZES}:
        raise OptionError(f"unknown tables {', '.join(sorted(unknown))}", file=str(file), remedy="both, small, paper")
    values = {**tables.get("both", {}), **tables.get(size, {})}
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if wrong := names ^ set(values):
        what = ", ".join(f"{'missing' if name in names else 'unknown'}: {name}" for name in sorted(wrong))
        raise OptionError(f"settings of size {size}: {what}", file=str(file), remedy=f"the keys are {sorted(names)}")
    return kind(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def settled(work: Path, settings: Any) -> None:
    """See to it that a work folder holds results of one choice of settings, kept there as settings.json. Those that its
    class names in SELECTING only say which of the results are wanted.

    Raises:
        OptionError: the folder was made with others.
    """
    file, free = work / "settings.json", getattr(settings, "SELECTING", ())
    now = {key: value for key, value in json.loads(json.dumps(asdict(settings))).items() if key not in free}
    before = json.loads(file.read_text()) if file.exists() else now
    if changed := [key for key in sorted({*now, *before}) if now.get(key) != before.get(key)]:
        what = ", ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise OptionError(f"its results are of other settings: {what}", file=str(work), remedy="another --work folder")
    keep(file, json.dumps(now, indent=1) + "\n")


def system(
    name: str, file: Path, kind: type[Any], stages: Mapping[str, Stage], about: str | None = None
) -> click.Group:
    """A command for each of `STAGES`, and `reproduce` for all of them in this order.

    Args:
        name: of the system; results are kept in build/NAME-SIZE unless told otherwise. file: its config.toml.
        about: the help's first line.
    """
    if missing := set(STAGES) ^ set(stages):
        raise ValueError(f"stages {sorted(missing)} of {name}")
    group = click.Group(help=about)
    for stage in STAGES:
        group.add_command(_command(stage, [stages[stage]], name, file, kind, stages[stage].__doc__))
    everything = [stages[stage] for stage in STAGES]
    text = "All stages in order; one that was done before is not repeated."
    group.add_command(_command("reproduce", everything, name, file, kind, text))
    return group


def _command(title: str, run: list[Stage], name: str, file: Path, kind: type[Any], about: str | None) -> click.Command:
    @click.command(title, help=about)
    @click.option("--size", type=click.Choice(SIZES), default="small", show_default=True)
    @click.option("--work", type=click.Path(path_type=Path), help=f"Default: build/{name}-SIZE")
    @click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs" / "results", show_default=True)
    @click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
    def command(size: str, work: Path | None, out: Path, workers: int) -> None:
        try:
            settings = read(file, size, kind)
            context = Context(settings, size, work or ROOT / "build" / f"{name}-{size}", out, workers)
            settled(context.work, settings)
            for stage in run:
                stage(context)
        except SnnccError as error:
            raise click.ClickException(str(error)) from None

    return command
