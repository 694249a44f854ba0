"""Good files to be damaged: real exports, small models of every operator, and compiled networks."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import snncc
from tests.onnx_models import feeds, model
from tests.test_ingest import GOOD, TEACHERS

CHECK = ("check", "{file}")
COMPILED = """agraph (float[1,2,8,8] x, float[4,2,3,3] w, float[4,2,2,2] u, float[3,2,1,1] v) => (float y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)  b = Relu (a)  c = MaxPool <kernel_shape=[2,2], strides=[2,2]> (b)
    d = ConvTranspose (c, u)  e = Relu (d)  f = Conv (e, v)  y = Sigmoid (f) }"""


@dataclass(frozen=True)
class Base:
    """A good file, its name, and the commands to try on damaged copies ({file}, {folder} to be filled in)."""

    name: str
    content: bytes
    commands: tuple[tuple[str, ...], ...]
    file: str = "teacher.onnx"


def bases(folder: Path) -> list[Base]:
    """All of them; calibration data are put into `folder`."""
    found = []
    for path in TEACHERS:
        found.append(Base(path.stem, path.read_bytes(), (CHECK,)))
    protos = {name: model(text, weights) for name, (text, weights, _) in GOOD.items()}
    protos |= dict(torch_exports())
    for number, (name, proto) in enumerate(protos.items()):
        proto.ir_version = max(proto.ir_version, 4)  # from 4 on, a weight need not be an input too
        data = []
        for key, value in feeds(proto).items():
            np.save(folder / f"{number}-{key}.npy", np.abs(value))
            data += ["--calibrate", f"{key}={{folder}}/{number}-{key}.npy"]
        compile_ = ("compile", "{file}", "-o", "{folder}/out.snn.onnx", "-T", "4", *data)
        found.append(Base(name, proto.SerializeToString(), (CHECK, CHECK, compile_)))
    network = folder / "good.snn.onnx"
    snncc.compile(model(COMPILED), network, calibrate=np.ones((1, 2, 8, 8), np.float32))
    np.save(folder / "x.npy", np.ones((2, 8, 8), np.float32))
    run = ("run", "{file}", "{folder}/x.npy", "-o", "{folder}/y.npy", "--engine", "reference")
    found.append(Base("compiled", network.read_bytes(), (("inspect", "{file}"), run), "model.snn.onnx"))
    return found


def torch_exports() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Small networks from both exporters of torch; none without torch."""
    if importlib.util.find_spec("torch") is None:
        return
    torch: Any = importlib.import_module("torch")
    nn = torch.nn

    class UNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)
            self.up, self.last = nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(8, 2, 1)

        def forward(self, x: Any) -> Any:
            a = torch.relu(self.n(self.a(x)))
            b = torch.relu(self.b(nn.functional.max_pool2d(a, 2)))
            return torch.softmax(self.last(torch.cat([a, self.up(b)], 1)), 1)

    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    torch.manual_seed(0)
    for name, net in (("unet", UNet()), ("classifier", pooled)):
        for new in (False, True) if importlib.util.find_spec("onnxscript") else (False,):
            file = io.BytesIO()
            example = torch.ones(1, 1, 8, 8)
            torch.onnx.export(net.eval(), (example,), file, dynamo=new, opset_version=20 if new else 13, verbose=False)
            yield f"{name} {'dynamo' if new else 'torchscript'}", onnx.load_from_string(file.getvalue())
