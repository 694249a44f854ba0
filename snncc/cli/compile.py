"""`snncc compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from snncc.api import MEASURED, calibration_stream, execute, plan
from snncc.cli.agreement import agreement, show
from snncc.cli.files import write_text
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import Emit, pipeline_of, preprocess_of, shapes_of, snncc_command, writable
from snncc.cli.tables import bars, recipe_table, table
from snncc.errors import OptionError
from snncc.graph import Graph
from snncc.model import load
from snncc.network_text import network_text
from snncc.onnx_file import write
from snncc.pareto import Limits
from snncc.passes.network.choose import FORMS
from snncc.passes.network.neurons import ENCODERS
from snncc.passes.recipe import DEFAULT_CODE
from snncc.pipeline import IR, Observer, Step, pass_text, pipeline_text
from snncc.search import search
from snncc.summary import summary
from snncc.text import graph_text

ALL = "*"


@snncc_command("compile")
@click.argument("teacher", type=click.Path(path_type=Path))
@click.argument("more", nargs=-1, metavar="")
@click.option("-o", "--output", required=True, metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--calibrate", multiple=True, metavar="PATH...", help="Data; NAME=PATH for several inputs.")
@click.option("-T", "timesteps", type=int, help="Time steps of a rate code: 32.")
@click.option("--precision", default="int8", show_default=True, metavar="int2..int8|float32")
@click.option("--calibration", metavar="mse|percentile:Q[:positive]|max", help="mse; of if and leaky, percentile:99.")
@click.option("--per", default="channel", show_default=True, type=click.Choice(["layer", "channel", "connection"]))
@click.option("--code", metavar="radix:K|rate", help=f"{DEFAULT_CODE}; with -T, --encoder, other --neuron: rate.")
@click.option("--neuron", metavar="KIND", help=f"Of a rate code; default: signed. {FORMS}.")
@click.option("--budget-synops", type=float, metavar="X", help="Search: least error at X SynOps per teacher MAC.")
@click.option("--max-error", type=float, metavar="E", help="Search: relative error of the outputs, at most.")
@click.option("--max-timesteps", type=int, metavar="N", help="Search: steps per sample, at most.")
@click.option("--encoder", default="constant", show_default=True, type=click.Choice(ENCODERS))
@click.option("--allow-analog", is_flag=True, help="Keep what cannot spike analog, between readout and encoder.")
@click.option("-p", "--pass", "passes", multiple=True, metavar="PASS{...}", help="Insert a pass, or set its options.")
@click.option("--pipeline", metavar="TEXT|FILE", help="In place of the default pipeline and its options.")
@click.option("--print-after", is_flag=False, flag_value=ALL, metavar="[=PASS]", help="Print the IR after passes.")
@click.option("--dump", metavar="DIR", type=click.Path(path_type=Path), help="Write the IR after each pass.")
@click.option("--time-passes", is_flag=True)
@click.option("--shape", "shapes", multiple=True, metavar="NAME=DIMS", help="Shape of an input left open.")
@click.option("--preprocess", metavar="JSON|FILE", help="Override keys of the teacher's preprocessing.")
def command(
    emit: Emit,
    teacher: Path,
    more: tuple[str, ...],
    output: Path,
    calibrate: tuple[str, ...],
    print_after: str | None,
    dump: Path | None,
    time_passes: bool,
    budget_synops: float | None,
    max_error: float | None,
    max_timesteps: int | None,
    **options: Any,
) -> None:
    """Compile TEACHER (ONNX) to a spiking network, calibrated on PATHs.

    PATH: .npy or .npz, already preprocessed: one sample [C, ...] or many [samples, C, ...]; .nii, .nii.gz, .png;
    a folder; or a .txt list of paths.
    """
    if more and not calibrate:
        raise OptionError(f"{more[0]}: one teacher at a time", remedy="name data with --calibrate PATH...")
    writable(output, teacher)
    options["shapes"] = shapes_of(options["shapes"])
    options["preprocess"] = preprocess_of(options["preprocess"])
    options["pipeline"] = pipeline_of(options["pipeline"])
    todo = plan(teacher, **options)
    prepare = Preprocess.of(todo.meta["preprocess"])
    stream = calibration_stream([*calibrate, *more], todo) if calibrate else None
    limits, searched = Limits(budget_synops, max_error, max_timesteps), None
    if limits:
        with bars() as progress:
            todo, searched = search(teacher, limits, stream, progress, output, **options)
    times: list[tuple[str, float]] = []
    observers: list[Observer] = [lambda step: times.append((pass_text(step.pass_), step.seconds))]
    if print_after is not None:
        if print_after not in (ALL, *(step.name for step in todo.passes)):
            raise OptionError(f"--print-after={print_after}: no such pass here", remedy=pipeline_text(todo.passes))
        observers.append(_printer(print_after))
    if dump is not None:
        observers.append(_dumper(dump))
    found: list[dict[str, Any]] = []
    with bars() as progress:
        network = execute(todo, stream, observers, progress)
        if stream is not None:
            found, measured = agreement(todo, load(network), stream, prepare.threshold, progress)
            network = network.with_meta(measured=measured)
        write(network, output)
    if searched is not None:
        searched.show()
    if time_passes:
        table("", ("pass", "seconds"), [(name, f"{seconds:.3f}") for name, seconds in times])
        click.echo()
    if found:
        steps = "T = that of a sample" if todo.trains else f"T = {network.meta['timesteps']}"
        show(f"spiking network ({steps}) against teacher, on calibration data", found)
        click.echo()
    recipe_table(network)
    if not any(p.fires and not p.is_encoder for p in network.populations):
        click.echo("warning: no neuron of this network spikes: all activations stay analog")
    facts = network.meta.get("calibration", {})
    if silent := facts.get("silent", 0):
        click.echo(f"warning: {silent} of {facts['channels']} channels never fire on the calibration data")
    for name, _, reason in network.meta["report"]:
        if name.startswith(MEASURED):
            click.echo(f"approximated: {name}: {reason}")
    for file in (output, *(searched.save(output) if searched is not None else ())):
        click.echo(f"wrote {file}")
    emit(
        {
            "model": str(output),
            "pipeline": network.meta["pipeline"],
            "agreement": found,
            "recipe": summary(network),
            "silent_channels": silent,
            "report": network.meta["report"],
            "search": searched and searched.report(),
            "passes": [{"pass": name, "seconds": seconds} for name, seconds in times],
        }
    )


def _text(ir: IR) -> str:
    return graph_text(ir) if isinstance(ir, Graph) else network_text(ir)


def _printer(wanted: str) -> Observer:
    def show(step: Step) -> None:
        if wanted in (ALL, step.pass_.name):
            click.echo(f"# after {pass_text(step.pass_)}\n{_text(step.after)}")

    return show


def _dumper(folder: Path) -> Observer:
    folder.mkdir(parents=True, exist_ok=True)
    done = iter(range(1, 1000))

    def save(step: Step) -> None:
        write_text(folder / f"{next(done):02}-{step.pass_.name}.txt", _text(step.after))

    return save
