"""The teachers as torch modules, and their weights out of the ONNX files.

Each ReLU is a module of its own that is used once, pooling and BatchNorm are modules, and torch.fx can trace them: what
converters of torch networks need. Needs torch; `onnx` only to read an ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray[Any, np.dtype[Any]]
HERE = Path(__file__).parent


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


def vgg(widths: tuple[int | str, ...] = (32, 32, "M", 64, 96, "M", 192, 192, "M", 192)) -> nn.Sequential:
    """Image [n, 3, 32, 32] to 10 logits. widths: channels of the convolutions 3x3, "M": max pooling 2x2."""
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        if isinstance(width, int):
            layers += [*conv_bn(channels, width), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(channels, 10))


class Block(nn.Module):
    """Two convolutions 3x3, and around them the input itself or, where the shape changes, a convolution 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*conv_bn(inputs, outputs, 3, stride), nn.ReLU())
        self.second = nn.Sequential(*conv_bn(outputs, outputs))
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.shortcut is None else self.shortcut(x)
        return self.relu(self.second(self.first(x)) + around)


def resnet20(stem: int = 32, widths: tuple[int, int, int] = (32, 96, 128)) -> nn.Sequential:
    """Image [n, 3, 32, 32] to 10 logits: a convolution and three stages of three blocks, each at half the size."""
    layers: list[nn.Module] = [*conv_bn(3, stem), nn.ReLU()]
    channels = stem
    for width in widths:
        for stride in (2, 1, 1):
            layers.append(Block(channels, width, stride))
            channels = width
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(channels, 10))


def dncnn(width: int = 48, depth: int = 6) -> nn.Sequential:
    """Noisy image [n, 1, H, W] to its noise, H and W odd.

    DnCNN (Zhang et al., 2017) at half the resolution, as in FFDNet (Zhang et al., 2018): the first layer has stride 2,
    and a transposed convolution goes back.
    """
    layers: list[nn.Module] = [*conv_bn(1, width, 5, 2), nn.ReLU()]
    for _ in range(depth):
        layers += [*conv_bn(width, width), nn.ReLU()]
    head = nn.ConvTranspose2d(width, 1, 5, 2, 2)
    nn.init.zeros_(head.weight)  # the first estimate is no noise
    return nn.Sequential(*layers, head)


BUILDERS: Mapping[str, Callable[[], nn.Sequential]] = {"vgg": vgg, "resnet20": resnet20, "dncnn": dncnn}


def onnx_weights(path: Path) -> dict[str, Array]:
    """The initialisers of an ONNX file by name; `np.savez` makes a file of them for an environment without onnx."""
    import onnx
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def load_weights(module: nn.Module, weights: Mapping[str, Array]) -> nn.Module:
    """`module` with `weights` (parameters and statistics of BatchNorm by name), in evaluation mode."""
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    names = [name for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    module.load_state_dict({name: state[name] for name in names}, strict=False)
    return module.eval()


def load_onnx(module: nn.Module, path: Path) -> nn.Module:
    """`module` with the weights of the ONNX file that it was exported to."""
    return load_weights(module, onnx_weights(path))
