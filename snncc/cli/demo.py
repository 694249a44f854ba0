"""`snncc demo`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np

import snncc
from snncc.api import calibration_stream, execute, plan
from snncc.cli.agreement import agreement, show
from snncc.cli.data import open_case
from snncc.cli.inference import Collector, run_case
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import Emit, snncc_command
from snncc.cli.tables import bars, recipe_table, run_table
from snncc.cli.volumes import read_volume
from snncc.errors import FormatError
from snncc.graph import Array
from snncc.model import load
from snncc.onnx_file import write
from snncc.runtime.host import HostSession

CALIBRATION, SUBJECT = "hippocampus_025", "hippocampus_036"


@snncc_command("demo")
def command(emit: Emit) -> None:
    """Compile a small trained U-Net, segment a hippocampus in an MRI volume with it, and count what that took."""
    root = _example()
    images, labels = root / "volumes/imagesTr", root / "volumes/labelsTr"
    todo = plan(root / "teacher_2d.onnx")
    prepare = Preprocess.of(todo.meta["preprocess"])
    stream = calibration_stream([images / f"{CALIBRATION}.nii.gz"], todo)
    assert stream is not None
    with tempfile.TemporaryDirectory() as folder, bars() as progress:
        click.echo(f"compile {root.name}/teacher_2d.onnx, calibrated on {CALIBRATION}")
        network = execute(todo, stream, (), progress)
        write(network, Path(folder) / "model.snn.onnx")
        model = load(Path(folder) / "model.snn.onnx")
        found, measured = agreement(todo, model, stream, prepare.threshold, progress)
        show("", found)
        click.echo()
        recipe_table(network.with_meta(measured=measured))
        click.echo(f"\nrun {SUBJECT}, slice by slice")
        path = images / f"{SUBJECT}.nii.gz"
        case = open_case({name: path for name in model.input_shapes}, model.input_shapes, prepare)
        spiking, counts = run_case(model, case, progress=progress)
        teacher, session = Collector(case), HostSession(todo.graph, todo.graph.outputs)
        for feeds in case.samples():
            teacher.add(session.run(feeds))
    run_table(counts)
    shape = next(iter(model.input_shapes.values()))
    truth = read_volume(labels / f"{SUBJECT}.nii.gz", shape, Preprocess(prepare.orientation, None, prepare.slice_axis))
    dices = {
        name: dice(collector.images["probability"].result() > (prepare.threshold or 0.5), truth.stack > 0)
        for name, collector in (("teacher", teacher), ("spiking", spiking))
    }
    click.echo(f"\nDice against the expert's label: teacher {dices['teacher']:.4f}, spiking {dices['spiking']:.4f}")
    emit({**counts.to_dict(), "dice": dices, "agreement": found})


def dice(mask: Array, truth: Array) -> float:
    """Overlap of two boolean volumes; two empty ones agree."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int(np.logical_and(mask, truth).sum()) / total if total else 1.0


def _example() -> Path:
    """examples/hippocampus of the checkout that this package was installed from with `pip install -e`."""
    root = Path(snncc.__file__).resolve().parents[1] / "examples" / "hippocampus"
    if not (root / "teacher_2d.onnx").is_file():
        raise FormatError(
            "the demo's files are not here", file=str(root), remedy="clone the repository and pip install -e . in it"
        )
    return root
