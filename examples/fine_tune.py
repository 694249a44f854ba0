"""Fine-tune a compiled network for fewer SynOps with the Python API: two minutes, and only files of this repository.

    python examples/fine_tune.py          # needs pip install -e .[train]; writes fine_tune.snn.onnx here

The teacher becomes a radix network of two digits, which loses Dice. It is then trained on two volumes, with a penalty
on SynOps above 0.28 per MAC of the teacher, and judged on a third one.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import snncc
from snncc.comparison.metrics import Metric
from snncc.trainer import SpikingModule
from snncc.trainer.fit import Epoch, Settings, fit
from snncc.trainer.losses import Objective

HIPPOCAMPUS = Path(__file__).parent / "hippocampus"
sys.path.insert(0, str(HIPPOCAMPUS))
from data import load_case, split_names  # noqa: E402

DICE = Metric("dice", threshold=0.5)


def slices(name: str) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """All slices of a volume with their labels, as the trainer takes them."""
    images, labels = load_case(name, 2, HIPPOCAMPUS / "volumes")
    return [({"image": torch.as_tensor(x)}, torch.as_tensor(y)) for x, y in zip(images, labels, strict=True)]


def measure(file: Path, volume: list[tuple[dict[str, torch.Tensor], torch.Tensor]]) -> str:
    """On the runtime, without torch: Dice of the volume, and SynOps."""
    model, counts, total = snncc.load(file), np.zeros(()), {"synops": 0, "teacher_macs": 0}
    for inputs, label in volume:
        result = model.run(inputs["image"].numpy())
        counts = counts + DICE.counts(result.outputs["probability"], label.numpy())
        total = {key: total[key] + result.counts.totals[key] for key in total}
    return f"Dice {DICE.value(counts):.4f}, {total['synops'] / total['teacher_macs']:.3f} SynOps per teacher MAC"


def main(out: Path, epochs: int = 6) -> None:
    *train, test = [slices(name) for name in split_names("test", HIPPOCAMPUS / "volumes")]
    samples = [sample for volume in train for sample in volume]
    compiled = out.with_name("compiled.snn.onnx")
    calibration = [inputs["image"].numpy() for inputs, _ in samples[::4]]
    snncc.compile(HIPPOCAMPUS / "teacher_2d.onnx", compiled, calibrate=calibration, code="radix:2")
    print("compiled:  ", measure(compiled, test))

    def report(epoch: Epoch) -> None:
        print(f"epoch {epoch.number}: training loss {epoch.loss:.4f}, validation Dice {epoch.found.metric:.4f}")

    module, rates = SpikingModule.from_file(compiled), {"weights": 1e-4, "biases": 1e-4, "thresholds": 1e-4}
    loss, settings = Objective.of("bce-dice", ["2*synops:0.28"]), Settings(epochs, batch=8, rates=rates)
    fit(module, samples, train[1], loss, DICE, out.with_suffix(""), settings, cases=[0] * len(train[1]), report=report)
    module.save(out)
    print("fine-tuned:", measure(out, test))


if __name__ == "__main__":
    main(Path("fine_tune.snn.onnx"))
