"""`snncc run`."""

from __future__ import annotations

from pathlib import Path

import click

from snncc.api import ENGINES, load
from snncc.cli.data import bind, open_case
from snncc.cli.files import SpikeWriter
from snncc.cli.inference import output_path, run_case
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import Emit, preprocess_of, snncc_command, writable
from snncc.cli.tables import bars, run_table
from snncc.errors import OptionError
from snncc.run_counts import RunCounts


@snncc_command("run")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", required=True, metavar="OUT", type=click.Path(path_type=Path), help="File or folder.")
@click.option("-T", "timesteps", type=int, help="Time steps; default: those it was compiled for.")
@click.option("--engine", type=click.Choice(ENGINES), default="fast", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of Poisson encoders.")
@click.option("--spikes", metavar="FILE.npz", type=click.Path(path_type=Path), help="int8 [samples, T, ...] each.")
@click.option("--probabilities", is_flag=True, help="The network's values, not labels.")
@click.option("--preprocess", metavar="JSON|FILE", help="Override keys of the recorded preprocessing.")
def command(
    emit: Emit,
    model: Path,
    inputs: tuple[str, ...],
    output: Path,
    timesteps: int | None,
    engine: str,
    threads: int,
    seed: int,
    spikes: Path | None,
    probabilities: bool,
    preprocess: str | None,
) -> None:
    """Run the compiled MODEL on each INPUT and count what it executes.

    INPUT: .npy or .npz (preprocessed; raw outputs), .nii, .nii.gz or .png (labels or --probabilities in the input's
    own space), a folder, or a .txt list. NAME=PATH binds the inputs of a network that has several. With several
    inputs OUT is a folder.
    """
    writable(spikes)
    if spikes is not None and spikes.suffix != ".npz":
        raise OptionError("--spikes writes .npz", file=str(spikes), remedy="end its name in .npz")
    network = load(model, engine, threads)
    network.check_timesteps(timesteps)
    prepare = Preprocess.of({**network.network.meta.get("preprocess", {}), **preprocess_of(preprocess)})
    files = bind(inputs, network.input_shapes)
    several = len(files) > 1
    if several:
        _folder(output, [next(iter(case.values())) for case in files])
    counts: RunCounts | None = None
    remarks: list[str] = []
    with SpikeWriter(spikes) as writer, bars() as progress:
        for each in files:
            case = open_case(each, network.input_shapes, prepare)
            target = output_path(case, output, several)
            found, counts = run_case(
                network, case, counts, timesteps=timesteps, seed=seed, spikes=writer, progress=progress
            )
            remarks += found.save(target, prepare, probabilities)
        writer.finish()
    assert counts is not None
    run_table(counts)
    for remark in remarks:
        click.echo(remark)
    emit(counts.to_dict())


def _folder(output: Path, files: list[Path]) -> None:
    """Make the folder for several outputs. Raises OptionError if two would have one name."""
    names = [path.name for path in files]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise OptionError(f"several inputs are called {', '.join(sorted(twice))}", remedy="run them one by one")
    if output.exists() and not output.is_dir():
        raise OptionError("several inputs need a folder", file=str(output), remedy="name a folder with -o")
    output.mkdir(parents=True, exist_ok=True)
