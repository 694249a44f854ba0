"""What the commands do. Every result is kept in the work folder; what is there is not made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from examples.kit.commands import Context
from examples.kit.work import finished
from examples.registration import conversion, evaluation, teacher, tuning
from examples.registration.conversion import Spiking, conversions, lesson_of, mark, teacher_file, tunings
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
    data, teacher = data_file(work, lesson_of(run, settings).data), teacher_file(run.lesson, settings, work)
    conversion.convert(run, settings, teacher, data, compiled(run, settings, work))
    return run.name


def compiled(run: Spiking, settings: Settings, work: Path) -> Path:
    """A network's file."""
    name = f"{run.name}-{mark(run.lesson, settings, work)}"
    return work / "tuned" / name / "tuned.snn.onnx" if run.tuned else work / "compiled" / f"{name}.snn.onnx"


def record(run: Spiking, settings: Settings, work: Path) -> Path:
    """Where it is kept that, and how, a network was made."""
    folder = work / ("tuned" if run.tuned else "compiled")
    return folder / f"{run.name}-{mark(run.lesson, settings, work)}.json"


def _there(context: Work, runs: list[Spiking]) -> list[Spiking]:
    """Those whose teacher there is: trained, or come with the example."""
    there = [run for run in runs if teacher_file(run.lesson, context.settings, context.work).exists()]
    if not there:
        raise DataError("there is no teacher", file=str(context.work), remedy="python -m examples.registration teacher")
    return there


def convert(context: Work) -> None:
    """Compile the spiking networks of all teachers that there are."""
    runs = _there(context, conversions(context.settings))
    jobs = {record(run, context.settings, context.work): (run, context.settings, context.work) for run in runs}
    finished(jobs, _compile, context.workers, "networks")


def _tune(run: Spiking, settings: Settings, work: Path) -> dict[str, Any]:
    data, teacher = data_file(work, lesson_of(run, settings).data), teacher_file(run.lesson, settings, work)
    start, folder = compiled(run.start, settings, work), compiled(run, settings, work).parent
    return tuning.tune(run, settings, start, teacher, data, folder)


def finetune(context: Work) -> None:
    """Fine-tune networks."""
    runs = _there(context, tunings(context.settings))
    jobs = {record(run, context.settings, context.work): (run, context.settings, context.work) for run in runs}
    finished(jobs, _tune, context.workers, "fine-tunings")


def _measure(lesson: Lesson, file: Path | None, settings: Settings, work: Path, picture: Path) -> dict[str, Any]:
    """file: of a teacher or a network; None: no displacement."""
    spiking = file is not None and file.name.endswith(".snn.onnx")
    run = evaluation.still if file is None else (evaluation.network if spiking else evaluation.teacher)(file)
    return evaluation.measure(run, lesson, settings, data_file(work, lesson.data), picture)


def measured(context: Work) -> dict[str, tuple[Path, Lesson, Path | None]]:
    """Name -> (where its result is kept, lesson, file) of whatever there is: no displacement, teachers, networks before
    and after fine-tuning, these first."""
    settings, work = context.settings, context.work
    found: dict[str, tuple[Path, Lesson, Path | None]] = {}
    folder = work / "measured"
    for lesson in lessons(settings):
        if lesson.name in ("hippocampus", "brain"):
            found[f"{lesson.name}-affine"] = (folder / f"{lesson.name}-affine.json", lesson, None)
        if (file := teacher_file(lesson.name, settings, work)).exists():
            name = f"{lesson.name}-teacher"
            found[name] = (folder / f"{name}-{mark(lesson.name, settings, work)}.json", lesson, file)
    tuned = tunings(settings)
    for run in _existing(context, [*(run.start for run in tuned), *tuned, *conversions(settings)]):
        path = folder / f"{run.name}-{mark(run.lesson, settings, work)}.json"
        found[run.name] = (path, lesson_of(run, settings), compiled(run, settings, work))
    return found


def _existing(context: Work, runs: list[Spiking]) -> list[Spiking]:
    """Those that were made."""
    settings, work = context.settings, context.work
    return [run for run in dict.fromkeys(runs) if teacher_file(run.lesson, settings, work).exists()
            and record(run, settings, work).exists()]  # fmt: skip


def flow_file(kept: Path) -> Path:
    """Where the displacement of the first pair is, beside a result."""
    return kept.with_suffix(".npz")


def evaluate(context: Work) -> None:
    """Measure whatever there is on the test pairs: no displacement, teachers, networks before and after tuning."""
    jobs = {path: (lesson, file, context.settings, context.work, flow_file(path))
            for path, lesson, file in measured(context).values()}  # fmt: skip
    finished(jobs, _measure, context.workers, "networks")
    _whole(context)


def _whole(context: Work) -> None:
    """One inference at 1 mm."""
    file = data_file(context.work, evaluation.WHOLE)
    source = teacher_file("brain", context.settings, context.work)
    if not source.exists():
        return
    built = _whole_folder(context) / "network.snn.onnx"
    options = Spiking("brain", code=context.settings.codes[-1]).options()
    start = {built.with_name("start.json"): (source, file, options, built)}
    finished(start, evaluation.whole_start, 1, "1 mm: teacher")
    finished({built.with_name("run.json"): (built, file)}, evaluation.whole_run, 1, "1 mm: network")


def _whole_folder(context: Work) -> Path:
    return context.work / "whole" / mark("brain", context.settings, context.work)


def results(context: Work) -> dict[str, Any]:
    """All that was kept and is asked for: part -> name -> result. Also `flows`: name -> file."""
    settings, work = context.settings, context.work
    kept = {
        "teachers": {one.name: work / "teachers" / f"{one.name}.json" for one in lessons(settings)},
        "tuned": {run.name: record(run, settings, work) for run in _existing(context, tunings(settings))},
        "measured": {name: path for name, (path, *_) in measured(context).items()},
        "whole": {name: _whole_folder(context) / f"{name}.json" for name in ("start", "run")},
    }
    found: dict[str, Any] = {
        part: {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
        for part, paths in kept.items()
    }
    return found | {"flows": {name: flow_file(path) for name, path in kept["measured"].items()}}
