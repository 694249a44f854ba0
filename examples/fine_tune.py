"""Fine-tune a compiled network for fewer SynOps: two minutes, the Python API, and only files of this repository.

    python examples/fine_tune.py          # needs pip install -e .[train]; writes fine_tune.snn.onnx

A radix network of two digits loses Dice. It is trained on two volumes, with a penalty on SynOps above 0.28 per MAC of
the teacher, and judged on a third one: by the runtime, which takes the saved file and needs no torch.
"""

import sys
from pathlib import Path

import torch

import snncc
from snncc.comparison.metrics import Metric
from snncc.trainer import SpikingModule
from snncc.trainer.fit import Settings, fit
from snncc.trainer.losses import Objective

HIPPOCAMPUS = Path(__file__).parent / "hippocampus"
sys.path.insert(0, str(HIPPOCAMPUS))
from data import load_case, split_names  # noqa: E402

DICE = Metric("dice", threshold=0.5)


def slices(name: str) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """All slices of a volume with their labels, as the trainer takes them."""
    volume = zip(*load_case(name, 2, HIPPOCAMPUS / "volumes"), strict=True)
    return [({"image": torch.as_tensor(image)}, torch.as_tensor(label)) for image, label in volume]


def measure(file: Path, name: str) -> None:
    model, found, synops = snncc.load(file), 0, 0.0
    images, labels = load_case(name, 2, HIPPOCAMPUS / "volumes")
    for image, label in zip(images, labels, strict=True):
        result = model.run(image)
        found = found + DICE.counts(result.outputs["probability"], label)
        synops += result.counts.totals["synops"] / result.counts.totals["teacher_macs"] / len(images)
    print(f"{file.name}: Dice {DICE.value(found):.4f}, {synops:.3f} SynOps per teacher MAC")


def main(out: Path, epochs: int = 8) -> None:
    *names, test = split_names("test", HIPPOCAMPUS / "volumes")
    train = [sample for name in names for sample in slices(name)]
    compiled = out.with_name("compiled.snn.onnx")
    images = [inputs["image"].numpy() for inputs, _ in train]
    snncc.compile(HIPPOCAMPUS / "teacher_2d.onnx", compiled, calibrate=images, code="radix:2")
    measure(compiled, test)
    module, loss = SpikingModule.from_file(compiled), Objective.of("bce-dice", ["2*synops:0.28"])
    settings = Settings(epochs, batch=8, rates={"weights": 2e-4, "biases": 2e-4, "thresholds": 2e-4}, budget=0.28)
    show = "epoch {epoch}: Dice {metric:.4f} and {synops_per_mac:.3f} SynOps, on training slices".format_map
    fit(module, train, train[::4], loss, DICE, out.with_suffix(""), settings, report=lambda e: print(show(e.row())))
    module.save(out)
    measure(out, test)


if __name__ == "__main__":
    main(Path("fine_tune.snn.onnx"))
