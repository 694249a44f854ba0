"""What passes that approximate on purpose share: they measure what they change, and say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snncc.errors import PassError
from snncc.graph import Graph

if TYPE_CHECKING:
    from snncc.pipeline import Context


def note_error(before: Graph, after: Graph, context: Context, owner: str) -> None:
    """Note for each real output the relative error |after - before| / |before| (2-norms over the calibration set)."""
    if context.evaluate is None:
        raise PassError("no engine was handed in to evaluate the teacher")
    wanted = [name for name in before.outputs if np.issubdtype(before.types[name].dtype, np.floating)]
    changed, whole = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0)
    found = [context.evaluate(before, context.analog(feeds), wanted) for feeds in context.stream(owner)]
    for feeds, old in zip(context.stream(owner), found, strict=True):  # graph by graph: an engine keeps one session
        new = context.evaluate(after, context.analog(feeds), wanted)
        for name in wanted:
            changed[name] += float(np.square(new[name].astype(np.float64) - old[name]).sum())
            whole[name] += float(np.square(old[name].astype(np.float64)).sum())
    for name in wanted:
        error = np.sqrt(changed[name] / whole[name]) if whole[name] else np.sqrt(changed[name])
        context.note(f"output {name}", "folded", f"{owner} changed it by {error:.2%} over {len(found)} sample(s)")
