"""`snncc passes`."""

from __future__ import annotations

from typing import Any

from snncc.cli.shared import Emit, snncc_command
from snncc.cli.tables import table
from snncc.pass_options import described
from snncc.passes import BUILTIN
from snncc.plugins import Found, registry


@snncc_command("passes")
def command(emit: Emit) -> None:
    """List all passes: built-in and of installed packages, with their levels and options."""
    found = [_entry(item) for item in registry(BUILTIN)]
    rows = []
    for entry in found:
        what = f"BROKEN: {entry['error']}" if entry["error"] else entry["description"]
        rows.append((entry["name"], entry["level"], "\n".join(entry["options"]), entry["owner"], what))
    table("", ("pass", "level", "options", "from", ""), rows, left=5)
    emit(found)


def _entry(item: Found) -> dict[str, Any]:
    kind = item.kind
    return {
        "name": item.name,
        "level": "" if kind is None else kind.level,
        "options": [] if kind is None else described(kind),
        "owner": item.owner,
        "description": ((kind.__doc__ if kind is not None else "") or "").strip().partition("\n")[0],
        "error": item.error,
    }
