"""docs/coverage.md: what came of every entry of the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.zoo.harness import CALIBRATION, COMPARED, EXACT, STEPS, Entry, Outcome

FILE = Path(__file__).parents[2] / "docs" / "coverage.md"
HEADER = f"""# Coverage

What `snncc compile` makes of {{entries}} teachers: {{architectures}} architectures through {{exporters}} ways of
export. Made by `python -m tests.zoo`; `pytest -m slow tests/test_zoo.py` checks every line again. The networks are
small and not trained (He's weights, normalisation that has seen data), with random blobs for images: they show what is
read and lowered, not how accurate trained networks are, which [main_job.md](results/main_job.md) does.

- **neurons**, **populations**: max gates and relays included, encoders and readouts left out.
- **lowered**: largest error of the lowered network on analog values, as a part of the largest output of torch. It
  is a matter of rounding ({EXACT:g} is allowed), except where a row says what a pass changed on purpose (measured on
  the images for calibration), or where the exporter halved the precision.
- **spiking**: the same for the spiking network at T = {STEPS} (a radix code: at its digits); in brackets the root mean
  square error as a part of the output's root mean square; of labels, the part that differs. Signed neurons, int8
  and thresholds by the 99.9th percentile but for the options, calibrated on {CALIBRATION} other images.
- **engines**: "equal" where spikes, outputs and counts of the reference, the fast engine and onnxruntime are equal over
  {COMPARED} steps, the counts equal their closed form, and stock onnxruntime gives these outputs from the written file.
"""
COMPILED = "| architecture | exporter | options | neurons | populations | relays | lowered | spiking | engines |"
REFUSED = "| architecture | exporter | options | reason | remedy |"


def page(entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> str:
    """The whole file."""
    both = list(zip(entries, outcomes, strict=True))
    counts = {
        "entries": len(entries), "architectures": len({e.architecture for e in entries}),
        "exporters": len({e.exporter for e in entries}),
    }  # fmt: skip
    gaps = [(e, o) for e, o in both if e.gap]
    return "\n".join((
        HEADER.format(**counts),
        f"## Compiled ({sum(o.verdict == 'compiled' for o in outcomes)})\n", *_table(COMPILED),
        *(_compiled(e, o) for e, o in both if o.verdict == "compiled"),
        f"\n## Refused ({sum(o.verdict == 'refused' for o in outcomes)})\n", *_table(REFUSED),
        *(_refused(e, o) for e, o in both if o.verdict == "refused"),
        *(("\n## Not as intended\n", *(f"- {e.name}: {e.gap}" for e, _ in gaps)) if gaps else ()),
        "",
    ))  # fmt: skip


def _table(header: str) -> tuple[str, str]:
    return header, "|" + "---|" * (header.count("|") - 1)


def _key(entry: Entry) -> str:
    return f"| {entry.architecture} | {entry.exporter} | {entry.choices} |"


def _compiled(entry: Entry, outcome: Outcome) -> str:
    equal = "equal" if not outcome.faults else "; ".join(outcome.faults)
    error = f"{outcome.worst:.3f} ({outcome.mean:.3f})"
    lowered = f"{outcome.lowered:.1e}" + (f": {outcome.reason}" if outcome.reason else "")
    figures = (f"{outcome.neurons:,}", outcome.populations, outcome.relays, lowered, error, equal)
    return f"{_key(entry)} {' | '.join(map(str, figures))} |"


def _refused(entry: Entry, outcome: Outcome) -> str:
    return f"{_key(entry)} {outcome.reason} | {outcome.remedy} |".replace("\n", " ")


def verdicts(text: str) -> list[tuple[str, str]]:
    """(key, verdict) of every row of the page, sorted."""
    found = []
    for verdict, part in zip(("compiled", "refused"), text.partition("\n## Refused")[::2], strict=True):
        rows = [line.split("|")[1:4] for line in part.splitlines() if line.startswith("| ")]
        keys = ["|".join(cell.strip() for cell in row) for row in rows]
        found += [(key, verdict) for key in keys if not key.startswith("architecture|")]
    return sorted(found)


def expected(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(key, verdict) of every entry, sorted."""
    return sorted(("|".join((e.architecture, e.exporter, e.choices)), e.expected) for e in entries)
