"""Tables and progress bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from snncc.crossover import PROFILES, SOURCES, crossover, verdict
from snncc.network import Network
from snncc.run_counts import RunCounts
from snncc.runtime.kernels import when_compiling
from snncc.summary import summary

PLAIN_WIDTH = 120
DAY = 86400.0  # seconds; the time left is estimated from as much of the past: a single file may take long


def console() -> Console:
    """stdout; wide enough for a table where it is no terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> None:
    """Print a table whose first `left` columns are text and whose others are numbers."""
    if title:
        console().print(Text(title, "italic"))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k, column in enumerate(columns):
        grid.add_column(column, justify="left" if k < left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(shown(cell)) for cell in row))
    console().print(grid)


def steps_text(network: Network, steps: int) -> str:
    """T, and the latency where neurons wait for their whole window."""
    late = network.windows
    return f"T = {steps}" + (f", latency {late * steps} steps ({late} windows of T)" if late > 1 else "")


def shown(cell: Any) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"


def run_table(counts: RunCounts) -> None:
    """Populations, totals, and the energy projection of a run."""
    synops, nonzero = counts.leaving("synops"), counts.leaving("synops_nonzero")
    rows = [
        (p["name"], p["neurons"], p["events"], f"{p['rate']:.2%}", synops[p["name"]], nonzero[p["name"]])
        for p in counts.populations
    ]
    totals = counts.totals
    neurons = sum(p["neurons"] for p in counts.populations)
    rate = totals["events"] / max(neurons * counts.timesteps * len(counts.samples), 1)
    rows.append(("total", neurons, totals["events"], f"{rate:.2%}", totals["synops"], totals["synops_nonzero"]))
    steps = steps_text(counts.facts.network, counts.timesteps)
    title = f"{len(counts.samples)} samples, {steps}, engine {counts.engine}"
    table(title, ("population", "neurons", "events", "rate", "SynOps", "SynOps non-zero"), rows)
    console().print()
    table("", ("operations", "number", "per teacher MAC"), _operations(totals))
    console().print()
    crossover_table(crossover(counts))


def crossover_table(found: Mapping[str, Any]) -> None:
    """The spiking network beside ANNs; `found`: from `crossover`."""
    names, rows = [profile.name for profile in PROFILES], []
    for row in ({"name": "spiking network", "times": 1.0, "energy_times": {}, **found}, *found["against"]):
        cells = [row["name"], row["operations"], f"{row['times']:.2f}"]
        for name in names:
            nj, times = row["energy_nj"].get(name), row["energy_times"].get(name, 1.0)
            cells += ["", ""] if nj is None else [round(nj / 1000) if nj >= 1e6 else nj / 1000, f"{times:.2f}"]
        rows.append(cells)
    table(
        "crossover (energy is a projection: operations only, no memory traffic; not a measurement)",
        ("", "operations", "spiking / it", *chain(*((f"{name}, uJ", "spiking / it") for name in names))),
        rows,
    )
    for line in (*SOURCES, *map(verdict, found["against"])):
        console().print(line)


def recipe_table(network: Network) -> None:
    """Code, neurons, steps and what they cost."""
    found = summary(network)
    trains = any(p.timed for p in network.encoders)
    rows = [
        ("code", found["code"]),
        ("steps", "those of a sample" if trains else steps_text(network, found["timesteps"])),
    ]
    if (measured := found["measured"]) is not None:
        on = f"on {measured['samples']} {measured.get('on', 'calibration')} sample(s)"
        rows.append(("events per neuron", f"{measured['events_per_neuron']:.3f} {on}"))
        if measured["synops_per_teacher_mac"] is not None:
            rows.append(("SynOps per teacher MAC", f"{measured['synops_per_teacher_mac']:.3f} {on}"))
    for kind in found["neurons"]:
        needs = kind["extra_state"] or "no more state than a membrane"
        rows.append((f"{kind['kind']} ({kind['number']:,})", needs))
    table("", ("recipe", ""), rows, left=2)


def _operations(totals: Mapping[str, int]) -> list[tuple[str, int, str]]:
    names = {
        "synops": "SynOps",
        "synops_paths": "SynOps path by path",
        "macs": "analog MACs",
        "neuron_updates": "neuron updates",
        "bias_adds": "bias additions",
        "teacher_macs": "teacher MACs",
        "teacher_macs_padded": "teacher MACs with padding",
    }
    each = totals["teacher_macs"]
    return [(text, totals[key], f"{totals[key] / each:.3f}" if each else "") for key, text in names.items()]


class Bars:
    """Progress on stderr, one bar a label; a full one goes away."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int | None) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[label], completed=done, total=total)
        if done == total:
            self._progress.remove_task(self._tasks.pop(label))


@contextmanager
def bars() -> Iterator[Bars]:
    """Progress while this lasts, and a line if kernels are not in the cache yet."""
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=err, disable=not err.is_terminal, transient=True, speed_estimate_period=DAY)
    with progress, when_compiling(lambda: err.print("compiling kernels for this machine (once) ...", highlight=False)):
        yield Bars(progress)
