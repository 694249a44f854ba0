"""The stage `report`: the results page from what `evaluate` left."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

import snncc
from examples.kit.commands import Context
from examples.kit.pages import table, write
from examples.spiking_unet import drawings, text
from examples.spiking_unet.data import pictures
from examples.spiking_unet.results import LIKELY, NEAR, Result, compared, headline, results
from examples.spiking_unet.runs import Exact, whole
from examples.spiking_unet.scores import NAMES
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import Array, Task
from examples.spiking_unet.theory import check
from examples.spiking_unet.tune import record, trainings
from examples.spiking_unet.variants import model_file, teacher_file
from snncc.errors import OptionError

NAME = "spiking-unet"
PAPER, SIGNED, OWN = ("mt4", "mt4-tuned"), ("own", "own-tuned"), ("radix", "radix-tuned")
LAYERS = {"if": "IF, connection-wise", "if-layer": "IF, layer-wise", "mt4": "MT-4, connection-wise",
          "mt4-layer": "MT-4, layer-wise"}  # fmt: skip
TITLES = {"if": "IF", "mt4": "MT-4", "mt4-tuned": "MT-4, tuned", "radix-tuned": "radix, tuned"}
METRICS = ("f1", "iou", "miou", "accuracy", "psnr", "ssim")


def report(context: Context[Settings]) -> None:
    """Write spiking-unet.md, spiking-unet.json and the pictures from what has been measured so far.

    Raises:
        OptionError: nothing has been measured.
    """
    found = results(context)
    done = {task: of for task, of in found.items() if headline(task, of, OWN)}
    if not done:
        raise OptionError("no task has been measured", file=str(context.work), remedy="run the stage evaluate")
    looked_at = compared(context)
    drawings.over_steps(context.out / f"{NAME}-steps.svg", done)
    pictured = [task for task in done if not task.denoises or task.sigma == 25] or list(done)
    shown = [(task, _shown(context, task)) for task in pictured]
    drawings.examples(context.out / f"{NAME}-pictures.png", shown)
    first = next((task for task in done if set(LAYERS) <= set(looked_at.get(task.name, ()))), None)
    if first is not None:
        drawings.scatter(context.out / f"{NAME}-scatter.png", looked_at[first.name], LAYERS)
    theorem = [check(n) for n in (1, 2, 3, 4)]
    missing = [name for name in context.settings.tasks if name not in {task.name for task in done}]
    sections = [
        text.intro(context.settings, context.size, missing),
        "## Against the teacher\n", text.RULES, _verdicts(done), _sentences(done),
        "## Against the paper's findings\n", _findings(done, context.settings.tuned_steps),
        "## Steps to equal quality\n", text.STEPS, _steps(done, "teacher"), text.STEPS_IF, _steps(done, "if"),
        f"![over T]({NAME}-steps.svg)",
        "## All networks\n", text.NETWORKS, *_networks(done),
        *_colour(done),
        "## Normalisation\n", text.NORMALISATION, _correlations(looked_at),
        f"![activations and rates]({NAME}-scatter.png)" if first else "",
        "## The theorem on thresholds\n", text.THEOREM,
        table(["N", "best on the grid", "residue", "predicted", "this engine's neuron", "every spike equal"],
              [[f.n, ", ".join(f"{v:g}" for v in f.thresholds), f"{f.residue:.5f}", f"{f.predicted[1]:.5f}",
                f"{f.engine:.5f}", "yes" if f.same else "no"] for f in theorem]),
        "## Energy\n", text.ENERGY, _energy(done),
        "## Pictures\n", text.PICTURES, f"![pictures]({NAME}-pictures.png)",
        "## Training and time\n", text.training(context.settings), _trainings(context, done),
    ]  # fmt: skip
    tasks = {task.name: {**(headline(task, of, OWN) or {}), "paper": headline(task, of, PAPER),
                         "networks": {name: _numbers(task, r) for name, r in of.items()}}
             for task, of in done.items()}  # fmt: skip
    main = tasks[next(iter(done)).name]
    summary = {key: main[key] for key in ("teacher", "compiled", "fine_tuned", "paired_p")}
    theory = [{"n": f.n, "thresholds": f.thresholds, "residue": f.residue, "engine": f.engine} for f in theorem]
    everything = {"size": context.size, "main": next(iter(done)).name, **summary, "tasks": tasks, "theorem": theory}
    write(context.out, NAME, "\n\n".join(part for part in sections if part), everything)


def _numbers(task: Task, r: Result) -> dict[str, Any]:
    return {
        "network": r.variant.says if r.variant else "", "steps": r.steps, "synops_per_mac": r.synops.tolist(),
        "events_per_mac": r.events.tolist(), "first_convolution": r.macs, "seconds": r.seconds,
        "scores": {metric: values.mean(1).tolist() for metric, values in r.scores.items()},
        "pictures": dict(zip(r.pictures, r.scores[task.metric].T.tolist(), strict=True)),
    }  # fmt: skip


def number(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric == "psnr" else f"{value:.4f}"


def _verdicts(done: dict[Task, dict[str, Result]]) -> str:
    rows = []
    for task, of in done.items():
        for found in (headline(task, of, pair) for pair in (PAPER, SIGNED, OWN)):
            if found:
                values = [number(task.metric, found[key]["metric"]) for key in ("teacher", "compiled", "fine_tuned")]
                tuned = found["fine_tuned"]
                lost = [f"{tuned['lost']:+.4f}", f"{2 * tuned['se']:.4f}", f"{tuned['p_t']:.2g}"]
                lost += [f"{tuned['p_wilcoxon']:.2g}", f"{tuned['synops_per_mac']:.2f}", verdict(tuned)]
                kind = tuned["network"].partition(",")[0]
                told = [task.name, NAMES[task.metric], tuned["n"], kind, tuned["steps"], tuned["latency"]]
                rows.append([*told, *values, *lost])
    head = ["task", "metric", "pictures", "neuron", "T", "latency", "U-Net", "converted", "fine-tuned", "lost",
            "two standard errors", "p (t)", "p (Wilcoxon)", "SynOps / MAC", ""]  # fmt: skip
    return table(head, rows)


def verdict(tuned: dict[str, Any]) -> str:
    if tuned["lost"] <= 0:
        return "not worse"
    return "worse" if tuned["p_t"] < LIKELY else "not worse (no difference shown)"


def _sentences(done: dict[Task, dict[str, Result]]) -> str:
    """What is worse than the teacher, by how much, and what costs more, in words."""
    lines = []
    for pair, name in ((PAPER, "the paper's MT-4"), (OWN, "radix networks")):
        for key, how in (("compiled", "converted"), ("fine_tuned", "fine-tuned")):
            found = {task: h[key] for task, of in done.items() if (h := headline(task, of, pair))}
            worse = [f"{t.name} by {number(t.metric, h['lost'])}" for t, h in found.items() if verdict(h) == "worse"]
            dear = [f"{t.name} ({h['synops_per_mac']:.2f})" for t, h in found.items() if h["synops_per_mac"] >= 1]
            lines.append(f"- {name}, {how}: worse than the U-Net by the paired t-test: {'; '.join(worse) or 'none'}. As"
                         f" many SynOps as the U-Net has MACs, or more: {', '.join(dear) or 'none'}.")  # fmt: skip
    return "\n".join(lines)


def _findings(done: dict[Task, dict[str, Result]], t: int) -> str:
    """In how many tasks each claim of the paper is found again."""
    tasks = {task: {name: of[name].mean(task.metric, t) for name in ("if", "mt4", "mt4-layer", "mt4-tuned")}
             for task, of in done.items()}  # fmt: skip
    claims = {
        f"multi-threshold neurons (MT-4) are better than IF at T = {t}": ("mt4", "if"),
        f"connection-wise normalisation is better than layer-wise (MT-4, T = {t})": ("mt4", "mt4-layer"),
        f"fine-tuning makes MT-4 better (T = {t})": ("mt4-tuned", "mt4"),
    }
    lines = []
    for claim, (better, worse) in claims.items():
        found = [task.name for task, at in tasks.items() if at[better] > at[worse]]
        names = f" ({', '.join(found)})" if found else ""
        lines.append(f"- {claim}: in {len(found)} of {len(tasks)} tasks{names}.")
    reached = [task.name for task, of in done.items()
               if of["mt4-tuned"].first(task.metric, of["teacher"].mean(task.metric) - NEAR[task.metric])]  # fmt: skip
    lines.append(f"- fine-tuned MT-4 reaches the U-Net but for {NEAR['f1']:g} or {NEAR['psnr']:g} dB:"
                 f" in {len(reached)} of {len(tasks)} tasks.")  # fmt: skip
    return "\n".join(lines)


def _steps(done: dict[Task, dict[str, Result]], against: str) -> str:
    """Steps to what the U-Net reaches, but for a small part, or to the best that converted `against` networks reach."""
    rows = []
    for task, of in done.items():
        wanted = of["teacher"].mean(task.metric) - NEAR[task.metric]
        if against != "teacher":
            wanted = float(of[against].scores[task.metric].mean(1).max())
        firsts = {name: of[name].first(task.metric, wanted) for name in ("if", "mt4", PAPER[1], "own")}
        cells = [str(t) if t else f"not within {of[name].steps[-1]}" for name, t in firsts.items()]
        saved = [_saved(firsts["if"], of["if"].steps[-1], firsts[name]) for name in ("mt4", PAPER[1], "own")]
        rows.append([task.name, number(task.metric, wanted), *cells, *saved])
    head = ["task", "at least", "IF", "MT-4", "MT-4, fine-tuned", "MT signed", "MT-4 saves", "MT-4, fine-tuned saves",
            "MT signed saves"]  # fmt: skip
    return table(head, rows)


def _saved(plain: int | None, longest: int, t: int | None) -> str:
    """The share of IF's steps that is saved; where IF never gets there, more than that share of its longest run."""
    if t is None:
        return "-"
    return f"{1 - t / plain:.0%}" if plain else f"over {1 - t / longest:.0%}"


def _networks(done: dict[Task, dict[str, Result]]) -> Iterable[str]:
    for task, of in done.items():
        metrics = [m for m in METRICS if m in of["teacher"].scores]
        rows: list[list[Any]] = []
        rows.append(["U-Net", None, *(number(m, of["teacher"].mean(m)) for m in metrics), None, None, None])
        for r in of.values():
            for t in _rows_of(r) if r.variant is not None else ():
                lost, says = r.lost(of["teacher"], task.metric, t), "" if r.variant is None else r.variant.says
                rows.append([says, t, *(number(m, r.mean(m, t)) for m in metrics),
                             f"{lost['mean']:+.4f}", f"{lost['p_t']:.2g}", f"{r.synops[r.at(t)]:.2f}"])  # fmt: skip
        yield f"### {task.name}\n"
        yield table(["network", "T", *(NAMES[m] for m in metrics), "lost", "p", "SynOps / MAC"], rows)


def _rows_of(r: Result) -> list[int]:
    """The prefixes that are listed: the T of a training, powers of two that matter, and the last."""
    assert r.variant is not None
    wanted = {r.steps[-1], r.variant.tuned_at, *((8, 32) if r.variant.neuron == "if" else (1, 2, 4, 8))}
    return [t for t in r.steps if t in wanted]


def _colour(done: dict[Task, dict[str, Result]]) -> Iterable[str]:
    rows = [[task.name, *(number("psnr", of[name].mean("psnr")) for name in ("teacher", "grey"))]
            for task, of in done.items() if "grey" in of]  # fmt: skip
    if rows:
        yield "## Colour\n"
        yield text.COLOUR
        yield table(["task", "colour U-Net, PSNR, dB", "grey U-Net, channel by channel"], rows)


def _correlations(looked_at: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    rows = []
    for task, of in looked_at.items():
        for name in (name for name in LAYERS if name in of):
            found = [layer["correlation"] for layer in of[name] if layer["correlation"] is not None]
            rows.append([task, LAYERS[name], f"{np.mean(found):.4f}", f"{min(found):.4f}"])
    return table(["task", "network", "correlation, mean of populations", "the worst"], rows)


def _energy(done: dict[Task, dict[str, Result]]) -> str:
    rows = []
    for task, of in done.items():
        for r in (of[name] for name in ("if", *PAPER, *SIGNED, *OWN) if name in of):
            assert r.variant is not None
            later = (one.variant.tuned_at for one in of.values() if one.variant and one.variant.start == r.variant.name)
            t = r.variant.tuned_at or next(later, r.steps[-1])
            paper, exact = r.paper_energy(t), r.energy(t)
            fan_out = r.synops[r.at(t)] / r.sent[r.at(t)]
            rows.append([task.name, r.variant.says, t, f"{100 * paper:.2f} %", f"{1 / paper:.1f}", f"{fan_out:.0f}",
                         f"{r.synops[r.at(t)]:.2f}", f"{100 * exact:.1f} %", f"{1 / exact:.2f}"])  # fmt: skip
    head = ["task", "network", "T", "paper's energy / U-Net", "times less", "SynOps per spike", "SynOps / MAC",
            "with SynOps / U-Net", "times less"]  # fmt: skip
    return table(head, rows)


def _trainings(context: Context[Settings], done: dict[Task, dict[str, Result]]) -> str:
    rows: list[list[Any]] = []
    for task in done:
        taught = context.work / "teachers" / f"{task.name}.json"
        if taught.exists():
            row = json.loads(taught.read_text())
            best, size = row["best"], row["parameters"] / 1e6
            what = f"{size:.2f} M parameters, {len(row['history'])} epochs, best {best['epoch']}"
            rows.append([task.name, "U-Net", what, number(task.metric, best["score"]), f"{row['seconds'] / 60:.1f}"])
    for task, variant, start in trainings(context):
        if task in done and start.exists() and (kept := record(context, task, variant, start)).exists():
            row = json.loads(kept.read_text())
            before, best = (number(task.metric, row["history"][k]["metric"]) for k in (0, row["best"]))
            what = f"{len(row['history']) - 1} epochs, best {row['best']}; before {before}"
            rows.append([task.name, variant.says, what, best, f"{row['seconds'] / 60:.1f}"])
    for task, of in done.items():
        minutes = sum(r.seconds for r in of.values()) / 60
        rows.append([task.name, "evaluation", f"{len(of)} networks, {len(of['teacher'].pictures)} pictures", None,
                     f"{minutes:.1f}"])  # fmt: skip
    return table(["task", "what", "training", "on validation patches", "minutes"], rows)


def _shown(context: Context[Settings], task: Task) -> dict[str, Array]:
    """The first test picture as networks see it, put together from its patches."""
    picture, settings = pictures(task, "test", context.settings)[0], context.settings
    found = {"input": picture.image, "wanted": picture.target}
    exact = Exact(teacher_file(context.work, task.name))
    found["U-Net"] = whole(picture, task, lambda x: exact(x)[0])
    steps = dict.fromkeys(("if", *PAPER), settings.tuned_steps) | {OWN[1]: settings.digits[task.denoises]}
    for name, t in steps.items():
        model = snncc.load(model_file(context.work, task.name, name))
        found[f"{TITLES[name]}, T = {t}"] = whole(picture, task, lambda x: model.run(x, t).outputs["out"])  # noqa: B023
    return found
