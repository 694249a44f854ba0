"""A small network to train, in a process of its own: python -m tests.training FOLDER [KEY=VALUE...] trains and writes
FOLDER/weights.pt. kill=N: the process kills itself at batch N; batch, epochs, code, schedule; noise=1: random data."""

from __future__ import annotations

import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from snncc.ingest import ingest
from snncc.network import Network
from tests.onnx_models import model
from tests.test_agreement import compiled

TEXT = """agraph (float[1,1,8,8] x, float[4,1,3,3] wa, float[4] ba, float[4,4,3,3] wb, float[4] bb, float[1,4,1,1] wc)
  => (float y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)
  b = Relu(a)
  c = Conv<pads=[1,1,1,1]>(b, wb, bb)
  d = Relu(c)
  e = Conv(d, wc)
  y = Sigmoid(e)
}"""
MACS = 64 * (36 + 144 + 4)


@cache
def network(code: str = "rate") -> Network:
    """Four steps; the teacher's MACs are known."""
    found = compiled(ingest(model(TEXT)), code=code)
    return found.with_meta(teacher={**found.meta.get("teacher", {}), "macs": MACS})


class Images:
    """Noisy images of a square, and where it is. noise: more of it, drawn anew at each reading."""

    def __init__(self, size: int = 24, seed: int = 0, noise: bool = False):
        import torch

        rng = np.random.default_rng(seed)
        self.truth = np.zeros((size, 1, 8, 8), np.float32)
        for k, (row, column) in enumerate(rng.integers(0, 5, (size, 2))):
            self.truth[k, 0, row : row + 4, column : column + 4] = 1
        grey = np.rint(np.clip(0.6 * self.truth + rng.uniform(0, 0.4, self.truth.shape), 0, 1) * 255) / 255
        self.images, self.noise, self.torch = grey.astype(np.float32), noise, torch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> Any:
        image = self.torch.as_tensor(self.images[k])
        if self.noise:
            image = (image + self.torch.randint(0, 9, image.shape) / 255).clamp(0, 1)
        return {"x": image}, self.torch.as_tensor(self.truth[k])


def train(folder: Path, **options: str) -> Any:
    """(module, Fitted)"""
    import torch

    from snncc.comparison.metrics import Metric
    from snncc.trainer import SpikingModule
    from snncc.trainer.fit import Settings, fit
    from snncc.trainer.losses import Objective

    given: dict[str, Any] = {
        "kill": 0, "epochs": 3, "batch": 8, "size": 24, "code": "rate", "schedule": "plateau", "noise": 0, "seed": 0,
        "loss": "bce-dice", "stop": 0,
    }  # fmt: skip
    given |= {key: type(given[key])(value) for key, value in options.items()}
    seen, loss = 0, Objective.of(given["loss"], ["synops:0.2"])

    def watched(trace: Any, target: Any) -> Any:
        nonlocal seen
        seen += torch.is_grad_enabled()
        if seen == given["kill"] > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(trace, target)

    settings = Settings(
        epochs=given["epochs"], batch=given["batch"], schedule=given["schedule"], patience=0, seed=given["seed"],
        stop=given["stop"], rates={"weights": 0.02, "biases": 0.02, "thresholds": 0.01},
    )  # fmt: skip
    module = SpikingModule(network(given["code"]))
    data = Images(given["size"], noise=bool(given["noise"]))
    return module, fit(module, data, Images(6, 1), watched, Metric("dice", 0.5), folder, settings)


def main() -> None:
    import torch

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    module, found = train(folder, **dict(text.split("=") for text in sys.argv[2:]))
    if os.environ.get("RANK", "0") == "0":
        torch.save(module.state_dict(), folder / "weights.pt")
        for epoch in found.history:
            print(epoch.row())


if __name__ == "__main__":
    main()
