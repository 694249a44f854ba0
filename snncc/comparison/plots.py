"""PNG plots of a comparison; matplotlib is in the extra [report]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snncc.errors import OptionError
from snncc.onnx_file import replacing

if TYPE_CHECKING:
    from snncc.comparison import Comparison

COLUMNS, SIZE = 4, 2.6  # panels in a row, and inches of each


def prepare(folder: Path) -> None:
    """Make the folder. Raises OptionError at once, not after the work, where nothing can be drawn."""
    _figure(1, 1)
    folder.mkdir(parents=True, exist_ok=True)


def draw(found: Comparison, folder: Path) -> list[Path]:
    """Write all plots; gives their files."""
    drawn = {"activations.png": _activations(found), "rates.png": _rates(found)}
    if found.prefixes is not None:
        drawn["prefixes.png"] = _prefixes(found)
    for name, figure in drawn.items():
        save(figure, folder / name)
    return [folder / name for name in drawn]


def save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def before_and_after(before: Mapping[str, float], after: Mapping[str, float]) -> Any:
    """Events per neuron and step of each population. Raises OptionError without matplotlib."""
    figure = _figure(5, 1.5 + 0.3 * len(after))
    axes, places = figure.add_subplot(), np.arange(len(after))
    for shift, label, rates in ((-0.2, "before", before), (0.2, "after", after)):
        axes.barh(places + shift, [rates[name] for name in after], 0.4, label=label)
    axes.set_yticks(places, list(after), fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("events per neuron and step")
    axes.legend()
    return figure


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        remedy = "pip install -c constraints.txt -e '.[report]' in a clone"
        raise OptionError("a plot needs matplotlib", remedy=remedy) from None
    return Figure(figsize=(width, height), layout="constrained")


def _activations(found: Comparison) -> Any:
    """What spikes say against the teacher's activation, a panel a layer."""
    layers = [layer for layer in found.layers if len(layer.points)]
    rows = max(-(-len(layers) // COLUMNS), 1)
    figure = _figure(COLUMNS * SIZE, rows * SIZE)
    for k, layer in enumerate(layers):
        axes = figure.add_subplot(rows, COLUMNS, k + 1)
        exact, said = layer.points.T
        ends = [layer.points.min(), layer.points.max()]
        axes.plot(ends, ends, color="0.7", linewidth=1)
        axes.plot(exact, said, ".", markersize=2)
        axes.set_title(layer.name, fontsize=8)
        axes.tick_params(labelsize=7)
    figure.supxlabel("teacher's activation")
    figure.supylabel("rate x unit")
    return figure


def _prefixes(found: Comparison) -> Any:
    assert found.prefixes is not None
    figure = _figure(5, 3.5)
    axes = figure.add_subplot()
    axes.plot(np.arange(1, len(found.prefixes) + 1), found.prefixes, marker=".", label="spiking")
    if np.isfinite(found.attribution.teacher):
        axes.axhline(found.attribution.teacher, color="0.5", linestyle="--", label="teacher")
    axes.set_xlabel("steps t of one run")
    axes.set_ylabel(found.metric)
    axes.legend()
    return figure


def _rates(found: Comparison) -> Any:
    """Events per neuron and step, and SynOps per sample, by layer."""
    names, samples = [layer.name for layer in found.layers], len(found.counts.samples)
    figure = _figure(8, 1.5 + 0.22 * len(names))
    for k, (label, values) in enumerate((
        ("events per neuron and step", [layer.rate for layer in found.layers]),
        ("SynOps per sample", [layer.synops / samples for layer in found.layers]),
    )):  # fmt: skip
        axes = figure.add_subplot(1, 2, k + 1)
        axes.barh(np.arange(len(names)), values)
        axes.set_yticks(np.arange(len(names)), names if not k else [], fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel(label)
    return figure
