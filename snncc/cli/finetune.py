"""`snncc finetune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from snncc.bounds import check_steps
from snncc.cli.compare import numbers
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import Emit, preprocess_of, snncc_command, writable
from snncc.cli.tables import bars, table
from snncc.cli.training_data import Cropped, Progress, Reader, Samples, teacher
from snncc.comparison.metrics import METRICS, Wish
from snncc.errors import OptionError
from snncc.network import Network
from snncc.onnx_file import read, write
from snncc.provenance import sha256_of

GROUPS = ("weights", "biases", "thresholds", "leaks")


@snncc_command("finetune")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="OUT", type=click.Path(path_type=Path))
@click.option("--data", required=True, multiple=True, metavar="PATH", help="As for run; may be given several times.")
@click.option("--labels", metavar="PATH", type=click.Path(path_type=Path), help="As for compare.")
@click.option("--val-data", multiple=True, metavar="PATH", help="Validation data; default: a part of --data.")
@click.option("--val-labels", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--val-fraction", default=0.2, show_default=True, type=float, help="Of all cases.")
@click.option("--loss", default="", metavar="LOSS", help="As bce-dice, or 0.3*bce+0.7*dice; see below.")
@click.option("--cost", "costs", multiple=True, metavar="[W*]COST", help="As synops:0.3, or 1e-4*rate; see below.")
@click.option("--distill", default=0.0, metavar="W", help="Weight of the distance from the teacher's logits.")
@click.option("--teacher", "origin", metavar="ONNX", type=click.Path(path_type=Path), help="For --distill.")
@click.option("-p", "--pass", "passes", multiple=True, metavar="FILE.py:CLASS", help="Of the teacher. As for compile.")
@click.option("--metric", type=click.Choice(METRICS), help="Default: what suits the labels.")
@click.option("--foreground", metavar="N,N...", help="Labels that count as one class; default: all above 0.")
@click.option("-T", "timesteps", type=int, help="Time steps of a rate code; the new file's default.")
@click.option("--budget-synops", type=float, metavar="X", help="The best epoch keeps to X SynOps per teacher MAC.")
@click.option("--epochs", default=20, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--learning-rate", "rates", multiple=True, metavar="[GROUP=]R", help="Default: 1e-3; see below.")
@click.option("--schedule", default="cosine", show_default=True, type=click.Choice(["cosine", "plateau", "none"]))
@click.option("--stop", default=0, metavar="N", help="End after N epochs without a better one.")
@click.option("--surrogate", default="triangle", show_default=True, metavar="KIND[:A]")
@click.option("--flow", is_flag=True, help="Train on accumulated flow: memory does not grow with T.")
@click.option("--relearn-scales", "relearn", is_flag=True, help="After each epoch choose the integers' scales anew.")
@click.option("--float32", "in_float", is_flag=True, help="Train and write float32, not the integers.")
@click.option("--from-scratch", is_flag=True, help="From random weights.")
@click.option("--seed", default=0, show_default=True)
@click.option("--work", metavar="DIR", type=click.Path(path_type=Path), help="Checkpoints; default: OUT.finetune.")
@click.option("--plot", metavar="PNG", type=click.Path(path_type=Path), help="Rates before and after (matplotlib).")
@click.option("--preprocess", metavar="JSON|FILE", help="Override keys of the recorded preprocessing.")
def command(emit: Emit, model: Path, output: Path, plot: Path | None, work: Path | None, **options: Any) -> None:
    """Train the compiled MODEL on data; write the same network with better numbers.

    \b
    LOSS  bce, dice, bce-dice, cross-entropy (these read logits), l1, mse, ncc
    COST  synops:X (SynOps per teacher MAC above X), rate, rate-target:X, diffusion, bending
    GROUP weights, biases, thresholds, leaks

    After each epoch the metric is measured on the validation data; what is written is the best epoch. Interrupted or
    killed, the same command goes on, and ends with the same weights. `torchrun -m snncc finetune ...` uses several
    processes. See docs/finetune.md.
    """
    _need_torch()
    from snncc.trainer.fit import fit, processes

    writable(output, model)
    if plot is not None:
        from snncc.comparison import plots as drawing

        writable(plot)
        drawing.before_and_after({}, {})
    network = _network(model, options["timesteps"])
    objective, settings = _objective(options), _settings(options)
    module = _module(network, options)
    work = work or output.with_name(f"{output.name}.finetune")
    leads = processes()[0] == 0
    with bars() as progress:
        shown = progress if leads else lambda label, done, total: None
        parts, metric, steps = _data(network, options, shown)
        facts = _facts(model, parts, options, metric)
        try:
            fitted = fit(
                module, parts[0], parts[1], objective, metric, work, settings, cases=parts[1].cases, timesteps=steps,
                facts=facts, progress=shown, report=_line(metric.metric.name) if leads else lambda epoch: None,
            )  # fmt: skip
        except KeyboardInterrupt:
            click.echo(f"the same command goes on behind the last epoch; its checkpoint is in {work}", err=True)
            raise
    if not leads:
        return
    before, after = fitted.history[0].found, fitted.best.found
    trained = module.saved(command="finetune", best_epoch=fitted.best.number, **facts)
    trained = trained.with_meta(measured=_measured(trained, after, len(parts[1])))
    check_steps(None, trained)
    write(trained, output)
    _show(metric.metric.name, before, after)
    if plot is not None:
        drawing.save(drawing.before_and_after(before.rates, after.rates), plot)
        click.echo(f"wrote {plot}")
    click.echo(f"wrote {output}: epoch {fitted.best.number}")
    emit({
        "model": str(output), "metric": metric.metric.name, "epochs": [epoch.row() for epoch in fitted.history],
        "best_epoch": fitted.best.number, "before": before.to_dict(), "after": after.to_dict(), "training": facts,
    })  # fmt: skip


def _need_torch() -> None:
    try:
        import snncc.trainer.fit  # noqa: F401
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("torch", "lightning", "monai"):
            raise
        remedy = "pip install -c constraints.txt -e '.[train]' in a clone"
        raise OptionError(f"finetune needs {package}", remedy=remedy) from None


def _network(model: Path, timesteps: int | None) -> Network:
    network = read(model)
    steps = check_steps(timesteps, network)
    return network if timesteps is None else network.with_meta(timesteps=steps)


def _objective(options: Mapping[str, Any]) -> Any:
    from snncc.trainer.losses import TASKS, Objective

    found = Objective.of(options["loss"], options["costs"], options["distill"])
    if not found.tasks and not found.distill:
        raise OptionError("nothing to learn", remedy=f"--loss {', '.join(TASKS)}; or --distill W")
    if options["origin"] is None and (found.distill or options["labels"] is None):
        what = "--distill" if found.distill else "training without --labels"
        raise OptionError(f"{what} needs the teacher", remedy="--teacher TEACHER.onnx")
    return found


def _settings(options: Mapping[str, Any]) -> Any:
    from snncc.trainer.fit import Settings

    rates = dict.fromkeys(GROUPS, 1e-3)
    for text in options["rates"]:
        group, _, number = text.rpartition("=")
        try:
            if group and group not in GROUPS:
                raise ValueError
            rates |= dict.fromkeys([group] if group else GROUPS, float(number))
        except ValueError:
            remedy = f"form: 1e-3, or GROUP=1e-4 of {', '.join(GROUPS)}"
            raise OptionError(f"--learning-rate {text}", remedy=remedy) from None
    names = ("epochs", "batch", "schedule", "stop", "relearn", "seed")
    return Settings(rates=rates, budget=options["budget_synops"], **{name: options[name] for name in names})


def _module(network: Network, options: Mapping[str, Any]) -> Any:
    from snncc.trainer import SpikingModule

    precision = "float32" if options["in_float"] else None
    module = SpikingModule(network, surrogate=options["surrogate"], flow=options["flow"], precision=precision)
    if options["from_scratch"]:
        module.reset_parameters(options["seed"])
        module.relearn_scales()
    return module


def _data(
    network: Network, options: Mapping[str, Any], progress: Progress
) -> tuple[tuple[Samples, Samples], Cropped, int | None]:
    """(training and validation data, the metric, the steps of spike trains)"""
    from snncc.trainer.losses import value_read

    prepare = Preprocess.of({**network.meta.get("preprocess", {}), **preprocess_of(options["preprocess"])})
    origin, given = options["origin"], options["val_data"]
    teach = None if origin is None else teacher(origin, network, value_read(network, logits=True), options["passes"])
    reader = Reader(network, Wish(options["metric"], numbers(options["foreground"]), prepare), teach, progress)
    data = reader.read(options["data"], options["labels"])
    if given:
        if options["labels"] is not None and options["val_labels"] is None:
            raise OptionError("--val-data without labels", remedy="--val-labels")
        parts = data, reader.read(given, options["val_labels"])
    else:
        parts = data.split(options["val_fraction"], options["seed"])
    return parts, Cropped(reader.metric_of(data)), reader.steps


def _facts(model: Path, parts: Sequence[Samples], options: Mapping[str, Any], metric: Cropped) -> dict[str, Any]:
    """What the result depends on: kept in the checkpoint and in the file."""
    names = (
        "loss", "costs", "distill", "timesteps", "budget_synops", "epochs", "batch", "rates", "schedule", "stop",
        "relearn", "surrogate", "flow", "in_float", "from_scratch", "seed",
    )  # fmt: skip
    kept = {name: list(value) if isinstance(value := options[name], tuple) else value for name in names}
    data, validation = (part.sha256 for part in parts)
    return {"model": sha256_of(model), "data": data, "validation": validation, "metric": metric.metric.name, **kept}


def _line(metric: str) -> Any:
    def show(epoch: Any) -> None:
        row = epoch.row()
        loss = "" if epoch.loss is None else f"loss {epoch.loss:.4f}, "
        found = f"loss {row['val_loss']:.4f}, {metric} {row['metric']:.4f}"
        spent = f"{row['synops_per_mac']:.3f} SynOps per teacher MAC"
        click.echo(f"epoch {epoch.number}: {loss}validation: {found}, {spent}")

    return show


def _measured(network: Network, found: Any, samples: int) -> dict[str, Any]:
    """As `snncc compile` measures on calibration data."""
    firing = [p for p in network.populations if p.fires]
    events = sum(found.rates[p.name] * p.size for p in firing) * network.meta["timesteps"]
    each = events / max(sum(p.size for p in firing), 1)
    return {
        "samples": samples, "on": "validation", "events_per_neuron": each, "synops_per_teacher_mac": found.synops,
    }  # fmt: skip


def _show(metric: str, before: Any, after: Any) -> None:
    rows = [(name, f"{before.rates[name]:.2%}", f"{after.rates[name]:.2%}") for name in after.rates]
    table("events per neuron and step, on the validation data", ("population", "before", "after"), rows)
    click.echo()
    rows = [
        (name, f"{a:.4f}", f"{b:.4f}")
        for name, a, b in (
            (metric, before.metric, after.metric), ("loss", before.loss, after.loss),
            ("SynOps per teacher MAC", before.synops, after.synops),
        )
    ]  # fmt: skip
    table("", ("validation", "before", "after"), rows)
