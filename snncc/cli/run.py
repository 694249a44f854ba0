"""`snncc run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from hashlib import sha256
from pathlib import Path

import click

import snncc
from snncc.bounds import check_steps
from snncc.cli.data import bind, expand, open_case
from snncc.cli.files import SpikeWriter
from snncc.cli.inference import LABELS, check_files, check_output, output_path, run_case
from snncc.cli.journal import Done, Journal
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import Emit, preprocess_of, snncc_command, writable
from snncc.cli.tables import Bars, bars, run_table
from snncc.crossover import crossover
from snncc.errors import DataError, FormatError, OptionError
from snncc.model import ENGINES, Model, load
from snncc.run_counts import RunCounts

Paths = Mapping[str, Path]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@snncc_command("run")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", required=True, metavar="OUT", type=click.Path(path_type=Path), help="File or folder.")
@click.option("-T", "timesteps", type=int, help="Time steps; default: those it was compiled for.")
@click.option("--engine", type=click.Choice(ENGINES), default="fast", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=usable_cores, show_default="usable cores")
@click.option("--seed", type=int, default=0, show_default=True, help="Of Poisson encoders.")
@click.option("--spikes", metavar="FILE.npz", type=click.Path(path_type=Path), help="int8 [samples, T, ...] each.")
@click.option("--probabilities", is_flag=True, help="The network's values, not labels.")
@click.option("--moving-labels", metavar="PATH", type=click.Path(path_type=Path),
              help="Of a registration: labels to be moved, too; a file, folder or list as for an INPUT.")
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
    moving_labels: Path | None,
    preprocess: str | None,
) -> None:
    """Run the compiled MODEL on each INPUT and count what it executes.

    INPUT: .npy or .npz (preprocessed; raw outputs), .nii, .nii.gz or .png (labels or --probabilities in the input's
    own space), a folder, or a .txt list. NAME=PATH binds the inputs of a network that has several. A network for
    registration (its preprocessing names a displacement) writes the field in mm (LPS) to OUT, and beside it the image
    it moved and with --moving-labels its labels. With several
    inputs OUT is a folder; one that cannot be read or run is reported, the others still run, and the exit status is
    2. After that, or after an interruption, the same command goes on with what is not done (not with --spikes).
    """
    writable(spikes)
    if spikes is not None and spikes.suffix != ".npz":
        raise OptionError("--spikes writes .npz", file=str(spikes), remedy="end its name in .npz")
    network = load(model, engine, threads)
    check_steps(timesteps, network.network)
    prepare = Preprocess.of({**network.network.meta.get("preprocess", {}), **preprocess_of(preprocess)})
    files = _with_labels(bind(inputs, network.input_shapes), moving_labels, prepare, network)
    several = len(files) > 1
    check_files(files, output, network, prepare)
    if several:
        _folder(output)
    content = sha256(model.read_bytes()).hexdigest() if several else ""
    facts = [snncc.__version__, content, timesteps, engine, seed, probabilities, repr(prepare)]
    journal = Journal(output if several and spikes is None else None, facts)

    def one(paths: Paths, key: str) -> Done:
        case = open_case({name: paths[name] for name in network.input_shapes}, network.input_shapes, prepare)
        target = output_path(case.name, output, several)
        check_output(case, target)
        for draft in target.parent.glob(f".snncc-????????-{escape(target.name)}"):  # of a run that was killed
            draft.unlink(missing_ok=True)
        found, counts = run_case(network, case, timesteps=timesteps, seed=seed, spikes=writer, progress=progress)
        assert counts.counts is not None
        done = Done(counts.samples, counts.counts, found.save(target, prepare, probabilities, paths.get(LABELS)))
        journal.add(key, done, found.written)
        return done

    with SpikeWriter(spikes) as writer, bars() as progress:
        total = _Total(network)
        total.run(files, journal, one, progress)
        writer.finish()
    if total.counts is not None:
        run_table(total.counts)
    for remark in total.remarks:
        click.echo(remark)
    counted = {} if total.counts is None else {**total.counts.to_dict(), "crossover": crossover(total.counts)}
    emit({**counted, "failed": total.failed})
    if total.failed:
        click.echo(f"{len(total.failed)} of {len(files)} inputs failed; the same command runs these alone", err=True)
        sys.exit(2)
    journal.remove()


@dataclass
class _Total:
    """What all inputs add up to, in their order, whether they run now or did before."""

    model: Model
    counts: RunCounts | None = None
    remarks: list[str] = field(default_factory=list)
    failed: list[dict[str, str | None]] = field(default_factory=list)

    def run(self, files: Sequence[Paths], journal: Journal, one: Callable[[Paths, str], Done], progress: Bars) -> None:
        """Let `one` run each input that the journal does not know; nothing of it stays but what it returns."""
        keys = [journal.key(paths) for paths in files]
        known = [journal.find(key) for key in keys]
        if (left := known.count(None)) < len(files):
            click.echo(f"{len(files) - left} of {len(files)} inputs were done before", err=True)
        for k, (paths, key, done) in enumerate(zip(files, keys, known, strict=True)):
            if len(files) > 1:
                progress("inputs", known[:k].count(None), left)
            try:
                done = done or one(paths, key)
                self.counts = self.counts or RunCounts(self.model.facts, self.model.engine, done.counts.timesteps)
                self.counts.merge(done.samples, done.counts)
                self.remarks += done.remarks
            except (DataError, FormatError) as error:
                ours = error.file in (None, *map(str, paths.values()))
                error.at(next(iter(paths.values())))
                if not ours or not journal.kept:  # nothing can be written, or no output can be without it
                    raise
                click.echo(f"error: {error}", err=True)
                self.failed.append({"file": error.file, "error": error.message, "remedy": error.remedy})


def _with_labels(files: list[dict[str, Path]], labels: Path | None, prepare: Preprocess, model: Model) -> list[Paths]:
    """The files of each case, with its labels if there are some. Raises OptionError where these mean nothing."""
    shapes, (flow, moving) = model.input_shapes, prepare.displacement or ("", "")
    if flow and (flow not in model.network.outputs or moving not in shapes or len(shapes) != 2):
        raise OptionError(
            f"the displacement {flow!r} of {moving!r}",
            remedy=f"outputs are {', '.join(model.network.outputs)}, and of two inputs one moves: {', '.join(shapes)}",
        )
    if labels is None:
        return list(files)
    found = expand(labels)
    if not flow or len(found) != len(files):
        what = f"{len(found)} files for {len(files)} moving images" if flow else "this network moves no image"
        raise OptionError(f"--moving-labels: {what}", remedy="give one file for each, to a network for registration")
    return [{**paths, LABELS: label} for paths, label in zip(files, found, strict=True)]


def _folder(output: Path) -> None:
    """Make the folder for several outputs. Raises OptionError where it cannot be one."""
    if output.exists() and not output.is_dir():
        raise OptionError("several inputs need a folder", file=str(output), remedy="name a folder with -o")
    output.mkdir(parents=True, exist_ok=True)
