"""`snncc compare`."""

from __future__ import annotations

from pathlib import Path

import click

from snncc.cli.run import usable_cores
from snncc.cli.shared import Emit, preprocess_of, snncc_command
from snncc.cli.tables import bars, crossover_table, steps_text, table
from snncc.comparison import SAMPLES, Comparison, compare
from snncc.comparison.metrics import METRICS
from snncc.crossover import crossover
from snncc.errors import OptionError

MOST = 12  # rows of the table of causes


@snncc_command("compare")
@click.argument("teacher", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, multiple=True, metavar="PATH", help="As for run; may be given several times.")
@click.option("--labels", metavar="PATH", type=click.Path(path_type=Path), help="A folder; or .npy, .npz, .csv.")
@click.option("--metric", type=click.Choice(METRICS), help="Default: what suits the labels.")
@click.option("--foreground", metavar="N,N...", help="Labels that count as one class; default: all above 0.")
@click.option("--samples", default=SAMPLES, show_default=True, type=click.IntRange(1), help="For the causes.")
@click.option("-T", "timesteps", type=int, help="Time steps; default: those it was compiled for.")
@click.option("--threads", type=click.IntRange(1), default=usable_cores, show_default="usable cores")
@click.option("--seed", type=int, default=0, show_default=True, help="Of Poisson encoders.")
@click.option("--plots", metavar="DIR", type=click.Path(path_type=Path), help="Write PNG plots (needs matplotlib).")
@click.option("-p", "--pass", "passes", multiple=True, metavar="FILE.py:CLASS", help="As for compile.")
@click.option("--preprocess", metavar="JSON|FILE", help="Override keys of the recorded preprocessing.")
def command(
    emit: Emit,
    teacher: Path,
    model: Path,
    data: tuple[str, ...],
    labels: Path | None,
    metric: str | None,
    foreground: str | None,
    samples: int,
    timesteps: int | None,
    threads: int,
    seed: int,
    plots: Path | None,
    passes: tuple[str, ...],
    preprocess: str | None,
) -> None:
    """Say what the compiled MODEL loses against its TEACHER on data, and where.

    --labels: a folder that holds a file of the same name for each input (volumes and images of labels, arrays), or one
    .npy, .npz or .csv with an integer for each sample. Metric: dice for label maps, accuracy for one label a sample,
    psnr for images of values; without labels: agreement with the teacher. Causes are measured by exchanging one layer
    after the other for its exact form.
    """
    if plots is not None:
        from snncc.comparison import plots as drawing

        drawing.prepare(plots)
    with bars() as progress:
        found = compare(
            teacher, model, data, labels, metric=metric, foreground=numbers(foreground), samples=samples,
            timesteps=timesteps, seed=seed, threads=threads, preprocess=preprocess_of(preprocess), passes=passes,
            progress=progress,
        )  # fmt: skip
    _show(found)
    if plots is not None:
        for file in drawing.draw(found, plots):
            click.echo(f"wrote {file}")
    emit(found.to_dict())


def numbers(text: str | None) -> tuple[int, ...]:
    """`--foreground`"""
    try:
        return tuple(int(n) for n in text.split(",")) if text else ()
    except ValueError:
        raise OptionError(f"--foreground {text}", remedy="form: --foreground 1,2") from None


def _show(found: Comparison) -> None:
    steps = steps_text(found.counts.facts.network, found.counts.timesteps)
    click.echo(f"{found.metric} over {found.cases} cases ({len(found.counts.samples)} samples), {steps}:")
    lost = found.teacher - found.spiking
    click.echo(f"teacher {found.teacher:.4f}, spiking {found.spiking:.4f}, lost {lost:+.4f}\n")
    rows = [
        (layer.name, *map(_number, (layer.correlation, layer.bias, layer.error)), f"{layer.rate:.2%}", layer.synops)
        for layer in found.layers
    ]
    table("spikes against activations", ("population", "correlation", "bias", "error", "rate", "SynOps"), rows)
    own = found.attribution
    columns = ("cause", "share", "error with", "error without", f"{found.metric} without")
    click.echo(f"\n{found.samples} samples: error {own.error:.4f} (relative 2-norm of what the readouts say), "
               f"{found.metric} {own.metric:.4f}, teacher {own.teacher:.4f}")  # fmt: skip
    table("\nlayers exchanged one at a time", ("layer", *columns), [
        (c.node or c.population, c.cause, f"{c.share:.1%}", c.error_with, c.error_without, c.metric_without)
        for c in own.causes[:MOST]
    ], left=2)  # fmt: skip
    rows = [(c.cause, f"{c.share:.1%}", c.error_with, c.error_without, c.metric_without) for c in own.summary]
    table("\nall layers at once, one cause after the other", columns, rows)
    if found.prefixes is not None:
        along = "  ".join(f"{t}: {value:.4f}" for t, value in enumerate(found.prefixes, 1))
        click.echo(f"\n{found.metric} after t steps  {along}")
    elif found.note:
        click.echo(f"\n{found.metric} after t steps: {found.note}")
    click.echo()
    crossover_table(crossover(found.counts, found.nonzero))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
