"""`snncc check`."""

from __future__ import annotations

from pathlib import Path

import click

from snncc.api import conversion, plan
from snncc.cli.shared import Emit, shapes_of, snncc_command
from snncc.cli.tables import table


@snncc_command("check")
@click.argument("teacher", type=click.Path(path_type=Path))
@click.option("--shape", "shapes", multiple=True, metavar="NAME=DIMS", help="Shape of an input left open.")
@click.option("-p", "--pass", "passes", multiple=True, metavar="PASS{...}", help="Insert a pass.")
def command(emit: Emit, teacher: Path, shapes: tuple[str, ...], passes: tuple[str, ...]) -> None:
    """Say for each node of TEACHER whether it is lowered, folded, kept analog or refused, and why. Reads no data."""
    todo = plan(teacher, shapes=shapes_of(shapes), passes=passes)
    notes, error = conversion(todo)
    table(teacher.name, ("node", "action", "reason"), [(n.node, n.action, n.reason) for n in notes], left=3)
    click.echo(f"\n{teacher.name} {'converts' if error is None else 'is refused'}")
    emit(
        {
            "teacher": todo.meta["teacher"],
            "converts": error is None,
            "refused": None if error is None else {"node": error.node, "what": error.message, "remedy": error.remedy},
            "nodes": [{"node": n.node, "action": n.action, "reason": n.reason} for n in notes],
        }
    )
    if error is not None:
        raise error
