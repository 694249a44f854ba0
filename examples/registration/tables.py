"""Tables of the results page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from examples.kit.pages import table
from examples.kit.stats import paired
from examples.registration.conversion import BLOCKS, Spiking, conversions, paper, tunings
from examples.registration.data import split
from examples.registration.settings import Settings

NAMES = {
    2: "cerebral white matter", 3: "cerebral cortex", 4: "lateral ventricle", 7: "cerebellar white matter",
    8: "cerebellar cortex", 10: "thalamus", 11: "caudate", 12: "putamen", 13: "pallidum", 14: "third ventricle",
    15: "fourth ventricle", 16: "brain stem", 17: "hippocampus", 18: "amygdala", 26: "accumbens", 28: "ventral DC",
}  # fmt: skip
RIGHT = {41: 2, 42: 3, 43: 4, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18, 58: 26, 60: 28}
HEAD = ("Dice", "lost", "se", "p (t)", "p (Wilcoxon)", "HD95 mm", "folding %", "SDlogJ", "T", "latency", "SynOps",
        "MACs", "energy", "their formula")  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What was kept, and what can be said of it."""

    settings: Settings
    kept: dict[str, Any]

    def has(self, name: str) -> bool:
        return name in self.kept["measured"]

    def pairs(self, name: str, extended: bool = False) -> list[dict[str, Any]]:
        """Results of the test pairs; of brains, `extended`: the longer list, where validation subjects take part."""
        rows = self.kept["measured"][name]["pairs"]
        parts = split(self.settings.brain if name.startswith("brain") else "hippocampus")
        wanted = set(parts.extended if extended and parts.extended else parts.test)
        return [row for row in rows if (row["fixed"], row["moving"]) in wanted]

    def mean(self, name: str, key: str, extended: bool = False) -> float:
        return float(np.mean([row[key] for row in self.pairs(name, extended)]))

    def dice(self, name: str, extended: bool = False) -> list[float]:
        return [row["dice"] for row in self.pairs(name, extended)]

    def lost(self, lesson: str, name: str, extended: bool = False) -> dict[str, Any]:
        """Teacher - network, paired."""
        return paired(self.dice(f"{lesson}-teacher", extended), self.dice(name, extended))

    def spent(self, name: str) -> dict[str, Any]:
        counts: dict[str, Any] = self.kept["measured"][name].get("counts", {})
        return counts

    def runs(self, lesson: str | None = None) -> list[Spiking]:
        """Networks that were measured, each followed by what fine-tuning made of it."""
        tuned = [run for run in tunings(self.settings) if self.has(run.name)]
        found: list[Spiking] = []
        for run in conversions(self.settings):
            if self.has(run.name) and lesson in (None, run.lesson):
                found += [run, *(other for other in tuned if other.start == run)]
        return found


def title(run: Spiking) -> str:
    """A network in words."""
    if run.code:
        text = run.code
    elif run.neuron == "leaky":
        text = f"leaky, T = {run.steps}, {run.percentile:g} %{', rates between blocks' if run.barriers else ''}"
    else:
        text = f"{run.neuron}, T = {run.steps}"
    how = {", fine-tuned": run.tuned, " with distillation": run.distill, " with winners": run.winners}
    return text + "".join(words for words, there in how.items() if there)


def _row(found: Found, lesson: str, name: str, what: str, extended: bool) -> list[Any]:
    cells: list[Any] = [what, f"{found.mean(name, 'dice', extended):.4f}"]
    if name.endswith(("-affine", "-teacher")):
        cells += [None] * 4
    else:
        lost = found.lost(lesson, name, extended)
        cells += [f"{lost['mean']:+.4f}", f"{lost['se']:.4f}", f"{lost['p_t']:.2g}", f"{lost['p_wilcoxon']:.2g}"]
    distance, folding, spread = (found.mean(name, key, extended) for key in ("hd95", "folding", "sdlogj"))
    cells += [f"{distance:.2f}", f"{100 * folding:.3f}", f"{spread:.3f}"]
    if spent := found.spent(name):
        cells += [spent["steps"], spent["latency"], f"{spent['synops_per_mac']:.3f}", f"{spent['macs_per_mac']:.3f}"]
        cells += [f"{1 / spent['energy']:.1f}x", f"{1 / spent['energy_repository']:.1f}x"]
    return cells + [None] * (1 + len(HEAD) - len(cells))


def networks(found: Found, lesson: str, extended: bool = False) -> str:
    """Affine alignment alone, the teacher, and all networks of one teacher."""
    rows = []
    for name, what in ((f"{lesson}-affine", "affine alone"), (f"{lesson}-teacher", "teacher")):
        if found.has(name):
            rows.append(_row(found, lesson, name, what, extended))
    rows += [_row(found, lesson, run.name, title(run), extended) for run in found.runs(lesson)]
    return table(("", *HEAD), rows)


def labels(found: Found, lesson: str, columns: Sequence[tuple[str, str]]) -> str:
    """Dice by label; both sides of the brain together."""
    codes = split(found.settings.brain if lesson == "brain" else "hippocampus").codes
    names = NAMES if lesson == "brain" else {1: "anterior", 2: "posterior"}
    rows = []
    for code, name in names.items():
        places = [k for k, c in enumerate(codes) if RIGHT.get(c, c) == code]
        cells = [np.nanmean([np.array(row["by_label"], float)[places] for row in found.pairs(of)]) for of, _ in columns]
        rows.append([name, *(f"{cell:.4f}" for cell in cells)])
    return table(("label", *(what for _, what in columns)), rows)


def percentiles(found: Found) -> str:
    """SpikeReg's neurons on hippocampi: thresholds and steps."""
    rows = []
    for run in found.runs("hippocampus"):
        if run.neuron == "leaky" and not run.tuned:
            spent = found.spent(run.name)
            cells = [f"{run.percentile:g}", run.steps, "rates" if run.barriers else "spikes"]
            cells += [f"{found.mean(run.name, 'dice'):.4f}", f"{spent['synops_per_mac']:.3f}"]
            rows.append([*cells, f"{spent['macs_per_mac']:.3f}", f"{100 * spent['mean_rate']:.1f}"])
    return table(("percentile", "T", "between blocks", "Dice", "SynOps", "MACs", "mean rate %"), rows)


def rates(found: Found, runs: Sequence[Spiking]) -> str:
    """Events per neuron and step of each population."""
    columns = [found.spent(run.name)["rates"] for run in runs]
    names = [("enc", k) if k < 4 else ("bottleneck", None) if k == 4 else ("dec", k - 5) for k in range(len(BLOCKS))]
    rows = []
    for (part, k), block in zip(names, BLOCKS, strict=True):
        for place, population in enumerate(block):
            what = part if k is None else f"{part} {k}.{place}"
            rows.append([what, *(f"{100 * column[population]:.1f}" for column in columns)])
    return table(("population", *(title(run) for run in runs)), rows)


def trainings(found: Found) -> str:
    """What was trained, and for how long."""
    rows = []
    for name, one in found.kept["teachers"].items():
        rows.append([f"teacher {name}", f"{one['history'][0]['score']:.4f}", f"{one['best']['score']:.4f}",
                     f"{one['best']['epoch']} of {len(one['history'])}", f"{one['seconds'] / 60:.1f}"])  # fmt: skip
    for name, one in found.kept["tuned"].items():
        epochs = one["history"]
        rows.append([name, f"{epochs[0]['metric']:.4f}", f"{epochs[one['best']]['metric']:.4f}",
                     f"{one['best']} of {epochs[-1]['epoch']}", f"{one['seconds'] / 60:.1f}"])  # fmt: skip
    return table(("training", "first", "best", "epoch", "minutes"), rows)


def findings(found: Found) -> str:
    """The two findings that SpikeReg reports as negative, as far as they were measured."""
    steps, first = found.settings.paper_steps, found.settings.tuned_percentile
    plain = paper("hippocampus", steps, first, tuned=True)
    told = paper("hippocampus", steps, first, tuned=True, distill=found.settings.distill)
    lines = []
    if found.has(plain.name) and found.has(told.name):
        lost = paired(found.dice(plain.name), found.dice(told.name))
        lines.append(
            f"**Distillation** (weight {found.settings.distill:g}) of the teacher's displacement, {title(plain)}: "
            f"Dice\n{found.mean(plain.name, 'dice'):.4f} without, {found.mean(told.name, 'dice'):.4f} with it; "
            f"without - with {lost['mean']:+.4f} (se {lost['se']:.4f},\np = {lost['p_t']:.2g}). "
            f"The paper: distillation hurts."
        )
    rows = []
    for lesson in ("hippocampus", "label-dice"):
        for run in found.runs(lesson):
            if run.lesson == "label-dice" or Spiking("label-dice", *_form(run)) in found.runs("label-dice"):
                lost, before = found.lost(lesson, run.name), found.mean(f"{lesson}-teacher", "dice")
                cells = [before, found.mean(run.name, "dice"), lost["se"]]
                rows.append([lesson, title(run), *(f"{cell:.4f}" for cell in cells), f"{lost['mean']:+.4f}"])
    if rows:
        lines.append(
            "**A teacher that was shown labels** (soft Dice beside NCC). The paper: it does not survive conversion to "
            "rates.\n\n" + table(("teacher", "network", "teacher's Dice", "Dice", "se", "lost"), rows)
        )
    return "\n\n".join(lines)


def winners(found: Found) -> str:
    """What SpikeReg's winners-take-all does to fine-tuning."""
    settings = found.settings
    plain, other = (
        paper("hippocampus", settings.paper_steps, settings.tuned_percentile, tuned=True, winners=yes)
        for yes in (False, True)
    )
    if not (found.has(plain.name) and found.has(other.name)):
        return ""
    rows = []
    for run in (plain, other):
        one = found.kept["tuned"][run.name]
        at = [one["history"][k]["metric"] for k in (0, one["best"])]
        rows.append([title(run), *(f"{value:.4f}" for value in at), f"{found.mean(run.name, 'dice'):.4f}"])
    return table(("network", "validation, before", "after", "test pairs, on the engine"), rows)


def _form(run: Spiking) -> tuple[Any, ...]:
    return run.code, run.neuron, run.steps, run.percentile, run.barriers, run.tuned, run.distill, run.winners


def variants(found: Found) -> str:
    """Teachers of other forms, and what conversion takes from them."""
    rows = []
    for lesson in ("hippocampus", "average", "no-skips", "velocity", "label-dice"):
        name = f"{lesson}-teacher"
        code = Spiking(lesson, code=found.settings.codes[-1])
        if found.has(name) and found.has(code.name):
            lost = found.lost(lesson, code.name)
            rows.append([lesson, f"{found.mean(name, 'dice'):.4f}", f"{found.mean(code.name, 'dice'):.4f}",
                         f"{lost['mean']:+.4f}", f"{lost['p_t']:.2g}", f"{100 * found.mean(name, 'folding'):.3f}",
                         f"{100 * found.mean(code.name, 'folding'):.3f}",
                         f"{found.spent(code.name)['synops_per_mac']:.3f}"])  # fmt: skip
    head = ("teacher", "its Dice", "spiking", "lost", "p (t)", "folding %", "spiking %", "SynOps")
    return table(head, rows)


def whole(found: Found) -> str:
    """The inference at 1 mm."""
    start, run = found.kept["whole"].get("start"), found.kept["whole"].get("run")
    if start is None or run is None:
        return ""
    rows = []
    for what, one in (("affine alone", start["affine"]), ("teacher", start["teacher"]), ("spiking", run)):
        folding = f"{100 * one['folding']:.3f}"
        rows.append([what, f"{one['dice']:.4f}", f"{one['hd95']:.2f}", folding, f"{one['seconds']:.1f}"])
    counts = run["counts"]
    return (
        table(("", "Dice", "HD95 mm", "folding %", "seconds"), rows)
        + f"\n\n{counts['teacher_macs'] / 1e9:.2f} GMACs of the teacher; {counts['synops_per_mac']:.3f} SynOps for "
        f"each\nof them, and {counts['macs_per_mac']:.3f} MACs of analog input; {run['gigabytes']:.1f} GiB at most, "
        f"{start['seconds']['compile']:.0f} s to compile. Pair: {' <- '.join(run['pair'])}."
    )
