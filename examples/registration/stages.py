"""What the commands do. Every result is kept in the work folder; what is there is not made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from examples.kit.commands import Context
from examples.kit.work import finished
from examples.registration import conversion, evaluation, teacher, tuning
from examples.registration.conversion import Spiking, conversions, lesson_of, teacher_file, tunings
from examples.registration.data import prepare as prepared
from examples.registration.data import split
from examples.registration.settings import Settings
from examples.registration.teacher import Lesson, lessons
from snncc.errors import DataError

Work = Context[Settings]


def data_file(work: Path, name: str) -> Path:
    """Where `prepare` puts the volumes of a set."""
    return work / "data" / f"{name}.npz"


def prepare(context: Work) -> None:
    """Read all volumes as network inputs."""
    for name in ("hippocampus", context.settings.brain, evaluation.WHOLE):
        file = data_file(context.work, name)
        if not file.exists():
            few = name == evaluation.WHOLE != context.settings.brain
            prepared(name, file, sorted({*split(name).val[0], *split(name).test[0]}) if few else None)
        click.echo(f"{name}: {file}")


def _teach(name: str, settings: Settings, work: Path) -> dict[str, Any]:
    (lesson,) = (one for one in lessons(settings) if one.name == name)
    return teacher.teach(lesson, settings, data_file(work, lesson.data), work / "teachers" / name)


def teach(context: Work) -> None:
    """Train the teachers: one for each set, and those of the ablations."""
    settings, folder = context.settings, context.work / "teachers"
    jobs = {folder / f"{one.name}.json": (one.name, settings, context.work) for one in lessons(settings)}
    for path, found in finished(jobs, _teach, context.workers, "teachers").items():
        best = found["best"]
        click.echo(f"{path.stem}: val Dice {best['score']:.4f} after {best['epoch']} epochs, {found['seconds']} s")


def _compile(run: Spiking, settings: Settings, work: Path) -> str:
    data = data_file(work, lesson_of(run, settings).data)
    conversion.convert(run, settings, teacher_file(run.lesson, work), data, compiled(run, work))
    return run.name


def compiled(run: Spiking, work: Path) -> Path:
    """A network's file."""
    return work / "tuned" / run.name / "tuned.snn.onnx" if run.tuned else work / "compiled" / f"{run.name}.snn.onnx"


def _there(context: Work, runs: list[Spiking]) -> list[Spiking]:
    """Those whose teacher there is: trained, or come with the example."""
    there = [run for run in runs if teacher_file(run.lesson, context.work).exists()]
    if not there:
        raise DataError("there is no teacher", file=str(context.work), remedy="python -m examples.registration teacher")
    return there


def convert(context: Work) -> None:
    """Compile the spiking networks of all teachers that there are."""
    runs = _there(context, conversions(context.settings))
    jobs = {context.work / "compiled" / f"{run.name}.json": (run, context.settings, context.work) for run in runs}
    finished(jobs, _compile, context.workers, "networks")


def _tune(run: Spiking, settings: Settings, work: Path) -> dict[str, Any]:
    data = data_file(work, lesson_of(run, settings).data)
    file = compiled(run, work)
    return tuning.tune(run, settings, compiled(run.start, work), teacher_file(run.lesson, work), data, file.parent)


def finetune(context: Work) -> None:
    """Fine-tune networks."""
    runs = _there(context, tunings(context.settings))
    jobs = {context.work / "tuned" / f"{run.name}.json": (run, context.settings, context.work) for run in runs}
    finished(jobs, _tune, context.workers, "fine-tunings")


def _measure(name: str, lesson: Lesson, file: Path | None, settings: Settings, work: Path) -> dict[str, Any]:
    """file: of a teacher or a network; None: no displacement."""
    spiking = file is not None and file.name.endswith(".snn.onnx")
    run = evaluation.still if file is None else (evaluation.network if spiking else evaluation.teacher)(file)
    picture = work / "flows" / f"{name}.npz"
    return evaluation.measure(run, lesson, settings, data_file(work, lesson.data), picture)


def evaluate(context: Work) -> None:
    """Measure whatever there is on the test pairs: no displacement, teachers, networks before and after tuning."""
    settings, work = context.settings, context.work
    todo: list[tuple[str, Lesson, Path | None]] = []
    for lesson in lessons(settings):
        if lesson.name in ("hippocampus", "brain"):
            todo.append((f"{lesson.name}-affine", lesson, None))
        if (file := teacher_file(lesson.name, work)).exists():
            todo.append((f"{lesson.name}-teacher", lesson, file))
    tuned = tunings(settings)  # these and what they started from come first
    for run in dict.fromkeys((*(run.start for run in tuned), *tuned, *conversions(settings))):
        if compiled(run, work).exists():
            todo.append((run.name, lesson_of(run, settings), compiled(run, work)))
    jobs = {work / "measured" / f"{name}.json": (name, lesson, file, settings, work) for name, lesson, file in todo}
    finished(jobs, _measure, context.workers, "networks")
    _whole(context)


def _whole(context: Work) -> None:
    """One inference at 1 mm."""
    file, source = data_file(context.work, evaluation.WHOLE), teacher_file("brain", context.work)
    if not source.exists():
        return
    built = context.work / "whole" / "network.snn.onnx"
    options = Spiking("brain", code=context.settings.codes[-1]).options()
    start = {built.with_name("start.json"): (source, file, options, built)}
    finished(start, evaluation.whole_start, 1, "1 mm: teacher")
    finished({built.with_name("run.json"): (built, file)}, evaluation.whole_run, 1, "1 mm: network")


def results(work: Path) -> dict[str, Any]:
    """All that was kept: part -> name -> result."""
    parts = ("teachers", "tuned", "measured", "whole")
    return {part: {path.stem: json.loads(path.read_text()) for path in sorted((work / part).glob("*.json"))}
            for part in parts}  # fmt: skip
