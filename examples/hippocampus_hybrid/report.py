"""The results page, made of what the work folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np

from examples.hippocampus_hybrid import figures, vgg
from examples.hippocampus_hybrid.convert import MANY, OWN, grid
from examples.hippocampus_hybrid.evaluate import measured
from examples.hippocampus_hybrid.measure import together
from examples.hippocampus_hybrid.settings import INPUTS, Settings
from examples.hippocampus_hybrid.teacher import trained
from examples.hippocampus_hybrid.tune import record_of, trainings
from examples.kit.commands import Context
from examples.kit.pages import table, write
from examples.kit.stats import paired
from snncc.errors import OptionError

NAME = "hippocampus"
WORDS = {"teacher": "ANN", "converted": "converted", "start": "converted, few steps", "tuned hybrid": "fine-tuned",
         "tuned direct": "trained directly", "tuned own": "fine-tuned"}  # fmt: skip
STAGE = ("teacher", "converted", "start", "tuned hybrid")
GOAL = 0.001
WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
Rows = dict[tuple[str, str, str], dict[str, Any]]


def report(context: Context[Settings]) -> None:
    """Write the results page, its JSON and its pictures."""
    found, settings = measured(context), context.settings
    images = vgg.evaluate(context)
    wanted = [("binary", loss, what) for loss in settings.losses for what in STAGE]
    wanted += [("ternary", settings.loss, what) for what in STAGE]
    wanted += [("binary", settings.loss, what) for what in (*OWN, "tuned direct", "tuned own")]
    if missing := [", ".join(key) for key in wanted if key not in found] or ([] if len(images) == 6 else ["VGG-5"]):
        remedy = "run teacher, compile and finetune (or reproduce) first"
        raise OptionError(f"no results of {'; '.join(missing)}", remedy=remedy)
    rows = {key: one.row(found[key[0], key[1], "teacher"]) for key, one in found.items()}
    steps = {case.name: grid(context, case) for case in trained(context)}
    curves = {t.kind: json.loads(record_of(context.work, t).read_text()) for t in trainings(context)
              if t.case.fold == 0 and t.case.input == "binary" and t.case.loss == settings.loss}  # fmt: skip
    _draw(context, found, rows, steps, curves, images)
    text = _page(context, found, rows, steps, curves, images)
    write(context.out, NAME, text, _json(settings, found, rows, steps, images))


def _draw(context: Context[Settings], found: Any, rows: Rows, steps: Any, curves: Any, images: Any) -> None:
    settings, out = context.settings, context.out
    main = {what: one for (kind, loss, what), one in found.items() if (kind, loss) == ("binary", settings.loss)}
    figures.masks(context, main, out / f"{NAME}-masks.png")
    figures.grid(settings, next(iter(steps.values())), out / f"{NAME}-grid.svg")
    figures.cutoffs(settings, found, out / f"{NAME}-cutoffs.svg")
    names = {"hybrid": "fine-tuned", "direct": "direct training", "own": f"radix:{settings.digits}, fine-tuned"}
    figures.training({names[kind]: curves[kind]["history"] for kind in names}, out / f"{NAME}-training.svg")
    bars = {f"{WORDS[what]}, T = {main[what].steps}": rows["binary", settings.loss, what]["rates"]
            for what in ("converted", "start", "tuned hybrid")}  # fmt: skip
    figures.rates(bars, list(next(iter(bars.values()))), out / f"{NAME}-rates.svg")
    figures.inputs(_inputs(settings, found, images), settings.over, out / f"{NAME}-inputs.svg")


def _inputs(settings: Settings, found: Any, images: Any) -> dict[str, dict[str, list[float]]]:
    """For `figures.inputs`."""
    lines: dict[str, dict[str, list[float]]] = {"hippocampus: Dice": {}, "VGG-5, CIFAR-10: accuracy": {}}
    steps = settings.over
    for kind in INPUTS:
        one = found[kind, settings.loss, "converted"]
        counts = np.sum([part["prefixes"] for part in images[f"{kind}, converted"]["parts"]], 0)
        pairs = (
            ([one.after(k) for k in range(len(steps))], np.mean(found[kind, settings.loss, "teacher"].volumes)),
            ((counts[:, 0] / counts[:, 1])[: len(steps)].tolist(), np.mean(images[f"{kind}, teacher"]["right"])),
        )
        for task, (line, level) in zip(lines.values(), pairs, strict=True):
            task |= {f"{kind}, converted": line, f"{kind}, ANN": [float(level)]}
    return lines


def _json(settings: Settings, found: Any, rows: Rows, steps: Any, images: Any) -> dict[str, Any]:
    own, main = rows["binary", settings.loss, "tuned own"], ("binary", settings.loss)
    return {
        "teacher": {**rows[*main, "teacher"], "synops_per_mac": None}, "compiled": rows[*main, list(OWN)[-1]],
        "fine_tuned": own, "paired_p": own["paired"]["p_t"],
        "hybrid": {"compiled": rows[*main, "converted"], "fine_tuned": rows[*main, "tuned hybrid"]},
        "rows": {", ".join(key): row for key, row in rows.items()},
        "scores": {", ".join(key): one.volumes for key, one in found.items()}, "grid": steps,
        "cutoffs": {loss: [found["binary", loss, "converted"].cut(1 + k) for k in range(len(settings.cutoffs))]
                    for loss in settings.losses},
        "vgg": {name: {"accuracy": float(np.mean(one["right"])), "steps": one["steps"], **together(one["parts"])}
                for name, one in images.items()},
    }  # fmt: skip


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _cells(name: str, row: Mapping[str, Any]) -> list[Any]:
    """A line of the tables of networks."""
    test = row["paired"]
    chances = [_p(test[key]) for key in ("p_t", "p_wilcoxon")] if test else [None] * 2
    lost = [f"{test['mean']:+.4f}", f"{test['se']:.4f}"] if test else [None] * 2
    cost = [f"{row[key]:.3f}" if row["steps"] else None for key in ("synops_per_mac", "analog_per_mac")]
    return [name, f"{row['metric']:.4f}", f"{row['sd']:.4f}", f"{row['metric_2d']:.4f}", *lost, *chances,
            row["steps"], row["latency"], *cost]  # fmt: skip


HEAD = ("network", "Dice 3D", "sd", "Dice 2D", "lost", "se", "p (t)", "p (Wilcoxon)", "steps", "latency", "SynOps",
        "analog MACs")  # fmt: skip


def _page(context: Context[Settings], found: Any, rows: Rows, steps: Any, curves: Any, images: Any) -> str:
    settings = context.settings
    main, size = ("binary", settings.loss), f" --size {context.size}" if context.size != "small" else ""
    three = f"{_findings(settings, rows)}{_stuck(context, rows)}"
    stage = [_cells(f"{loss}: {WORDS[what]}", rows["binary", loss, what]) for loss in settings.losses for what in STAGE]
    own = [_cells("ANN", rows[*main, "teacher"])]
    own += [_cells(name if name == MANY else f"radix:{settings.digits}, {name}", rows[*main, name]) for name in OWN]
    own += [_cells(f"radix:{settings.digits}, fine-tuned", rows[*main, "tuned own"])]
    sections = {
        "": INTRODUCTION.format(size=size, data=_data(settings, rows)),
        "Goals": _goals(settings, rows),
        "Conversion and fine-tuning, three losses": f"{three}\n\n{table(HEAD, stage)}\n\n{MASKS}",
        "Our own conversion": f"{_own(settings, rows)}\n\n{table(HEAD, own)}",
        "Cut-off of the output": _cutoffs(settings, found, rows),
        "Steps and threshold scale": _grid(settings, steps),
        "Fine-tuning against direct training": _direct(settings, rows, curves),
        "Rates": _rates(settings, rows),
        "Binary against ternary input": _kinds(settings, found, rows, images),
        "Times": _times(context, curves),
    }
    whole = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections.items())
    return "\n\n".join(part if part[0] in "#|!" else fill(part, 120, **WHOLE_WORDS) for part in whole.split("\n\n"))


INTRODUCTION = """# Hippocampus: hybrid segmentation

Made by `python -m examples.hippocampus_hybrid reproduce{size}`: the system of Yue et al. (2023), whose code is not
public, rebuilt from what their text says, and the same teacher through the compiler's own codes.

{data}

lost: paired difference by subject, teacher - spiking: mean, its standard error, and the chance of one as large if there
were none (paired t test, Wilcoxon's signed-rank test; two-sided). SynOps, analog MACs: per MAC of the teacher; the
first are exact, of all spikes, the second those of constant inputs. Latency is in steps. Dice 2D: mean over the slices
whose label is not empty. Scales and epochs are chosen on the validation split. Settings were, too, but those of
fine-tuning (epochs, rate, slices) and of VGG-5 were changed once after a first test table had been seen."""
MASKS = "![Masks of the first test subject: label white, network red](hippocampus-masks.png)"


def _data(settings: Settings, rows: Rows) -> str:
    row = rows["binary", settings.loss, "teacher"]
    parts = "the data's own split" if settings.folds == 1 else f"{settings.folds} folds of all subjects"
    return (
        "The data differ from the paper's: Medical Segmentation Decathlon Task04, one hippocampus each of patients and "
        "controls in slices padded to 48x64, anterior and posterior label merged; theirs are 24x56x48 crops of the "
        f"right hippocampus of 110 controls of ADNI. {row['subjects']} test subjects with {row['slices']} slices that "
        f"show it, {parts}, seed {settings.seed}. U-Net {'-'.join(map(str, settings.channels))}; the paper's channels "
        "are in a picture only. Neurons are `if` from zero, reset by subtraction, as in the paper's equation "
        "(`if:first`, as in the code it builds on, would fire a step later in every layer). Fine-tuning runs at "
        f"T = {settings.tune_steps} and without dropout; the paper's at T = 200, with dropout."
    )


def _verdict(row: Mapping[str, Any]) -> str:
    """How a network compares with its teacher, in words."""
    test = row["paired"]
    if test["mean"] <= 0 or test["p_t"] >= 0.05:
        return f"not worse than the ANN by the paired test (lost {test['mean']:+.4f}, p = {_p(test['p_t'])})"
    return f"worse than the ANN by {test['mean']:.4f} +- {test['se']:.4f} (p {_p(test['p_t'])})"


def _goals(settings: Settings, rows: Rows) -> str:
    free, own, hybrid = (rows["binary", settings.loss, what] for what in (MANY, "tuned own", "tuned hybrid"))
    cells = [
        *((f"the ANN's Dice within 0.001 in 3 steps, {how}",
           f"{'reached' if row['paired']['mean'] <= GOAL else 'missed'}: lost {row['paired']['mean']:+.4f} in "
           f"{row['steps']}") for how, row in (("converted only", free), ("fine-tuned", own))),
        ("fine-tuned at T of 8 or less: not worse than the ANN, SynOps below its MACs",
         f"radix:{settings.digits}, fine-tuned: {_verdict(own)}, {own['synops_per_mac']:.3f} SynOps per MAC"),
        ("the same by the paper's own method",
         f"T = {hybrid['steps']}: {_verdict(hybrid)}, {hybrid['synops_per_mac']:.3f} SynOps per MAC"),
    ]  # fmt: skip
    return table(("goal", "found"), cells)


def _findings(settings: Settings, rows: Rows) -> str:
    """The paper's findings on the three stages, beside these."""
    best = {what: max(settings.losses, key=lambda loss: rows["binary", loss, what]["metric"]) for what in STAGE}
    row, dropped = rows["binary", settings.loss, "converted"], []
    for loss in settings.losses:
        ann, made, after = (rows["binary", loss, what]["metric"] for what in ("teacher", "converted", "tuned hybrid"))
        dropped.append(f"{loss} {ann - made:+.3f} and {ann - after:+.3f}")
    ann, share = (one["voxels"] / row["voxels_label"] for one in (rows["binary", settings.loss, "teacher"], row))
    return (
        "The paper finds a large drop after conversion, masks of the right shape that are too small, and after "
        "fine-tuning nearly the ANN's Dice, best with the Dice loss. Lost here after conversion, "
        f"T = {settings.steps}, and after fine-tuning, T = {settings.tune_steps}: {'; '.join(dropped)}. The converted "
        f"network's masks have {share:.0%} of the label's voxels, the ANN's {ann:.0%} ({settings.loss}). Highest Dice: "
        f"ANN with {best['teacher']}, converted with {best['converted']}, fine-tuned with {best['tuned hybrid']}. "
        f"\"Converted, few steps\" is what "
        f"fine-tuning starts from."
    )


def _stuck(context: Context[Settings], rows: Rows) -> str:
    """Which networks fine-tuning did not make better."""
    found = [t.case for t in trainings(context)
             if t.kind == "hybrid" and not json.loads(record_of(context.work, t).read_text())["best"]]  # fmt: skip
    if not found:
        return ""
    named = (f"{c.loss}, {c.input} input (Dice {rows[c.input, c.loss, 'start']['metric']:.3f})" for c in found)
    return (
        f" No epoch of fine-tuning was better on validation data than what it started from with {'; '.join(named)}: "
        "the row states the start again."
    )


def _own(settings: Settings, rows: Rows) -> str:
    many, free, own = (rows["binary", settings.loss, name] for name in (MANY, list(OWN)[-1], "tuned own"))
    return (
        f"The same teacher ({settings.loss}) with constant input, no Poisson noise, in {settings.digits} steps. "
        f"Without training, neurons of four thresholds lose {many['paired']['mean']:+.4f}, at "
        f"{many['synops_per_mac']:.2f} SynOps for each MAC of the teacher; `radix:{settings.digits}`, as many "
        "binary digits a neuron, loses "
        f"{free['paired']['mean']:+.4f} at best. The goal was 0.001, and fewer SynOps than MACs. So the latter was "
        "fine-tuned: weights, biases and thresholds, with the ANN's probabilities as a second target. It is then "
        f"{_verdict(own)}. Its neurons wait for all digits: the latency is larger than the number of steps."
    )


def _cutoffs(settings: Settings, found: Any, rows: Rows) -> str:
    lines, best = [], []
    for loss in settings.losses:
        values = [found["binary", loss, "converted"].cut(1 + k) for k in range(len(settings.cutoffs))]
        best.append(f"{loss} {settings.cutoffs[int(np.argmax(values))]:g}")
        lines.append([loss, *(f"{value:.3f}" for value in values)])
    return (
        f"Dice 3D of the converted networks at T = {settings.steps}. The paper's best is 0.48, hence no error that a "
        f"common factor of all outputs would explain; here: {', '.join(best)}.\n\n"
        f"{table(('loss', *map(str, settings.cutoffs)), lines)}\n\n![Dice over cut-offs](hippocampus-cutoffs.svg)"
    )


def _grid(settings: Settings, steps: Mapping[str, Any]) -> str:
    main = next(iter(steps.values()))
    lines = [[f"{scale:g}", *(f"{value:.3f}" for value in row)]
             for scale, row in zip(settings.scales, main["dice"], strict=True)]  # fmt: skip
    chosen = [[name, f"{one['scale']:g}", one["elbow"], f"{one['tune_scale']:g}"] for name, one in steps.items()]
    head = ("fold, input, loss", f"best scale, T = {settings.steps}", "elbow", f"best scale, T = {settings.tune_steps}")
    return (
        f"Validation Dice of {main['subjects']} subjects by scale of all thresholds (rows) and time steps (columns), "
        f"{settings.loss}; thresholds balanced in {settings.balance_steps} steps, each counted in spikes of the layer "
        "before it. Too high, and nothing arrives at the end; too low, and neurons that fire at every step saturate. "
        f"\n\n{table(('scale', *map(str, settings.prefixes)), lines)}\n\n![Dice over steps](hippocampus-grid.svg)\n\n"
        "Elbow: the fewest steps within 0.01 of the longest run. Fine-tuning starts from the scale that is best at "
        f"its number of steps.\n\n{table(head, chosen)}"
    )


def _direct(settings: Settings, rows: Rows, curves: Mapping[str, Any]) -> str:
    lines = []
    for kind, name in (("hybrid", "fine-tuned"), ("direct", "direct")):
        history, row = curves[kind]["history"], rows["binary", settings.loss, f"tuned {kind}"]
        cells = [history[0], history[1], history[curves[kind]["best"]], history[-1]]
        lines.append([name, *(f"{e['metric']:.4f}" for e in cells), curves[kind]["best"], f"{row['metric']:.4f}"])
    stuck = " Direct training found nothing in so few epochs." if not curves["direct"]["best"] else ""
    head = ("training", "start", "first epoch", "best epoch", "last epoch", "number of the best", "test")
    return (
        f"The same network (T = {settings.tune_steps}), data, loss, rate and epochs, from converted or from random "
        f"weights; thresholds as balanced. Validation Dice, and that of the test subjects.{stuck}\n\n"
        f"{table(head, lines)}\n\n![Validation Dice over epochs](hippocampus-training.svg)"
    )


def _rates(settings: Settings, rows: Rows) -> str:
    named = [rows["binary", settings.loss, what] for what in ("converted", "start", "tuned hybrid")]
    lines = [[layer, *(f"{row['rates'][layer]:.4f}" for row in named)] for layer in named[0]["rates"]]
    head = ["layer", *(f"{WORDS[what]}, T = {row['steps']}" for what, row in
                       zip(("converted", "start", "tuned hybrid"), named, strict=True))]  # fmt: skip
    return f"Events per neuron and step.\n\n{table(head, lines)}\n\n![Rates](hippocampus-rates.svg)"


def _kinds(settings: Settings, found: Any, rows: Rows, images: Mapping[str, Any]) -> str:
    lines = []
    for kind in INPUTS:
        for what in STAGE:
            row = rows[kind, settings.loss, what]
            lines.append(["hippocampus", kind, WORDS[what], row["steps"], f"{row['metric']:.4f}",
                          f"{row['synops_per_mac']:.3f}" if row["steps"] else None])  # fmt: skip
    for name, one in images.items():
        kind, what = name.split(", ")
        cost = together(one["parts"])["synops_per_mac"]
        lines.append(["CIFAR-10", kind, what.replace("teacher", "ANN"), one["steps"], f"{np.mean(one['right']):.4f}",
                      None if cost is None else f"{cost:.3f}"])  # fmt: skip
    tests = []
    pairs = {f"hippocampus, {WORDS[what]}": [found[kind, settings.loss, what].volumes for kind in INPUTS[::-1]]
             for what in ("converted", "tuned hybrid")}  # fmt: skip
    pairs |= {f"CIFAR-10, {what}": [images[f"{kind}, {what}"]["right"] for kind in INPUTS[::-1]]
              for what in ("converted", "fine-tuned")}  # fmt: skip
    for name, (ternary, binary) in pairs.items():
        test = paired(ternary, binary)
        tests.append(f"{name}: {test['mean']:+.4f} +- {test['se']:.4f} (p {_p(test['p_t'])})")
    return (
        "Input in [0, 1] gives spikes of 0 and 1, in [-1, 1] those of -1, 0 and 1; a teacher was trained for each. The "
        f"paper finds ternary better on both. Ternary minus binary here: {'; '.join(tests)}. VGG-5 "
        f"{'-'.join(map(str, settings.vgg_channels))}, {settings.vgg_hidden} hidden units, on JPEG images "
        f"of CIFAR-10; {settings.vgg_tests} test images.\n\n"
        f"{table(('task', 'input', 'network', 'steps', 'Dice or accuracy', 'SynOps'), lines)}\n\n"
        "![Binary and ternary input over steps](hippocampus-inputs.svg)"
    )


def _times(context: Context[Settings], curves: Mapping[str, Any]) -> str:
    folder, lines = context.work, []
    for path in (*sorted((folder / "teachers").glob("*.json")), *sorted((folder / "vgg").glob("*.json"))):
        facts = json.loads(path.read_text())
        lines.append([f"{path.parent.name}, {path.stem}", len(facts["history"]), facts["seconds"]])
    for kind, facts in curves.items():
        lines.append([f"{kind}, {facts['slices']} slices an epoch", len(facts["history"]) - 1, facts["seconds"]])
    lines = [[name, epochs, f"{seconds / 60:.1f}"] for name, epochs, seconds in lines]
    text = "Minutes of one process with one thread, whatever else ran meanwhile."
    return f"{text}\n\n{table(('training', 'epochs', 'minutes'), lines)}"
