"""`snncc inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from snncc.cli.shared import Emit, snncc_command
from snncc.cli.tables import recipe_table, table
from snncc.network import Network, Population
from snncc.network_text import network_text
from snncc.neurons import Neuron
from snncc.onnx_file import read
from snncc.summary import summary


@snncc_command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
def command(emit: Emit, model: Path) -> None:
    """Show the spiking network in the compiled MODEL, its thresholds and where it comes from."""
    network = read(model)
    click.echo(network_text(network))
    populations = [_entry(network, p) for p in network.populations]
    rows = [
        (p["name"], p["kind"], p["neurons"], *(p["threshold"] or ("", "", "")), *(p["unit"] or ("", "", "")))
        for p in populations
    ]
    columns = ("population", "kind", "neurons", "θ least", "median", "most", "λ least", "median", "most")
    table("thresholds, and the analog value of one spike, over channels", columns, rows, left=2)
    click.echo()
    recipe_table(network)
    click.echo()
    facts = {key: value for key, value in network.meta.items() if key not in ("report", "calibration", "measured")}
    table("provenance", ("", ""), [(key, value) for key, value in facts.items()], left=2)
    report = network.meta.get("report", [])
    click.echo()
    table("conversion", ("node", "action", "reason"), report, left=3)
    emit({"meta": dict(network.meta), "recipe": summary(network), "populations": populations})


def _entry(network: Network, population: Population) -> dict[str, Any]:
    parameters = population.kind.parameters() if isinstance(population.kind, Neuron) else {}
    return {
        "name": population.name,
        "kind": population.kind.op,
        "shape": list(population.shape),
        "neurons": population.size,
        "threshold": _range(parameters.get("theta")),
        "unit": _range(population.unit),
        "synapses_in": [j.name for j in network.incoming(population)],
    }


def _range(values: Any) -> list[float] | None:
    """Least, median and most."""
    if values is None or not np.size(values):
        return None
    return [float(np.min(values)), float(np.median(values)), float(np.max(values))]
