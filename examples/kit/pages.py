"""Results pages: Markdown tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.kit.work import keep

NEEDED = ("metric", "steps", "synops_per_mac")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are aligned to the right, None is an empty cell."""
    right = [all(_number(row[k]) for row in rows) for k in range(len(head))]
    lines = [head, ["---:" if r else "---" for r in right], *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(cell: Any) -> bool:
    return cell is None or str(cell)[:1] in "-+0123456789"


def _cell(cell: Any) -> str:
    return "" if cell is None else str(cell)


def write(out: Path, name: str, text: str, found: Mapping[str, Any]) -> None:
    """`NAME.md` and `NAME.json` in the folder `out`.

    Raises:
        ValueError: `found` lacks what every system states: teacher, compiled and fine_tuned, each with metric (a
            number), steps and SynOps per teacher MAC (of a teacher None), and paired_p.
    """
    lacking = [key for key in ("teacher", "compiled", "fine_tuned", "paired_p") if key not in found]
    lacking += [f"{part}.{key}" for part in ("teacher", "compiled", "fine_tuned") for key in NEEDED
                if key not in found.get(part, {})]  # fmt: skip
    parts = [found.get(part, {}) for part in ("teacher", "compiled", "fine_tuned")]
    lacking += ["a metric that is a number" for part in parts if not isinstance(part.get("metric", 0), int | float)]
    if lacking:
        raise ValueError(f"results of {name} lack {', '.join(lacking)}")
    keep(out / f"{name}.md", text.rstrip() + "\n")
    keep(out / f"{name}.json", json.dumps(found, indent=1) + "\n")
