"""The speed of snncc beside its peers and goals, in one run: docs/results/performance.{md,json}.

    make bench                                            # installs the peers, measures everything
    python -m benchmarks.performance --only layers        # one section; the others keep what was measured last
    python -m benchmarks.performance --quick              # every section on a small case, nothing written

Nothing else should run meanwhile. A section that cannot run says why, and the others go on.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks import breakdown, cold_start, goals, large, layers, scaling, teacher, unets
from benchmarks.alternate import ROOT
from benchmarks.machine import line, machine

Found = dict[str, Any]
OUT = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Section:
    """A part of the report: measure(quick) gives what the JSON keeps, its outcomes under "goals"; lines shows it."""

    title: str
    measure: Callable[[bool], Found]
    lines: Callable[[Found], list[str]]


SECTIONS = {
    "unet2d": Section("2D U-Net", lambda quick: unets.measure("unet_2d", quick), unets.lines),
    "unet3d": Section("3D U-Net", lambda quick: unets.measure("unet_3d", quick), unets.lines),
    "breakdown": Section("Where the time goes", breakdown.measure, breakdown.lines),
    "layers": Section("Layers and roofline", layers.measured, layers.lines),
    "teacher": Section("A real teacher on real volumes", teacher.measure, teacher.lines),
    "large": Section("A large volume", large.measure, large.lines),
    "scaling": Section("Cost against steps, events and voxels", scaling.measure, scaling.lines),
    "cold": Section("Cold start", cold_start.measure, cold_start.lines),
}


def markdown(found: dict[str, Found]) -> str:
    """The report: all goals first, then each section that has been measured, with what it was measured on."""
    text = ["# Performance", "", "Made by `make bench` (`python -m benchmarks.performance`).", ""]
    text += ["Systems of one table took turns in one run, each in its own process. Ratios: of minima, 2 threads.", ""]
    each = ((section.title, one) for name, section in SECTIONS.items() for one in found.get(name, {}).get("goals", ()))
    text += goals.table([{**one, "goal": f"{title}: {one['goal']}"} for title, one in each])
    for name, section in SECTIONS.items():
        text += ["", f"## {section.title}", ""]
        part = found.get(name)
        if part is None:
            text += ["Not measured."]
        elif "failed" in part:
            text += [f"Could not run: {part['failed']}", "", line(part["machine"])]
        else:
            text += [*section.lines(part), "", f"{line(part['machine'])} Took {part['seconds']:.0f} s."]
    return "\n".join(text) + "\n"


def measured(section: Section, quick: bool) -> Found:
    """What a section found, or why it could not run."""
    before, start = machine(), time.perf_counter()
    try:
        found = section.measure(quick)
    except Exception as fault:  # the other sections go on, and the report says it
        traceback.print_exc()
        found = {"failed": f"{type(fault).__name__}: {fault}"}
    return {"machine": before, "seconds": time.perf_counter() - start, **found}


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(list(SECTIONS)), help="this section; may be given again")
@click.option("--quick", is_flag=True, help="small cases that show that everything runs; nothing is written")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(only: tuple[str, ...], quick: bool, out: Path) -> None:
    """Measure the sections and write the report."""
    file = out / "performance.json"
    found: dict[str, Found] = json.loads(file.read_text()) if file.exists() and not quick else {}
    for name in only or SECTIONS:
        click.echo(f"{name} ...", err=True)
        found[name] = measured(SECTIONS[name], quick)
        if not quick:
            out.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=1) + "\n")
            file.with_suffix(".md").write_text(markdown(found))
    click.echo(markdown(found))


if __name__ == "__main__":
    main()
