"""The teachers: networks without biases and normalisation, with average pooling, as their conversion wants them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def _unit(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    """3x3 convolution, ReLU, dropout."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout(dropout)]


def _started(module: nn.Module) -> None:
    """He's random weights: without normalisation the size of activations depends on them alone."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")


class HybridUNet(nn.Module):
    """A 2D U-Net as Yue et al. describe it: average pooling, dropout, no bias, no batch norm, concatenated skips.

    Their channels, depth and kernels are in a picture only: here two 3x3 convolutions a level, and 2x2 transposed
    convolutions followed by ReLU, so that every layer but the head has neurons.

    Args:
        channels: by level, from the top. dropout: chance that an activation is dropped in training.
    """

    def __init__(self, channels: Sequence[int], dropout: float):
        super().__init__()
        self.down, inputs = nn.ModuleList(), 1
        for outputs in channels:
            self.down.append(nn.Sequential(*_unit(inputs, outputs, dropout), *_unit(outputs, outputs, dropout)))
            inputs = outputs
        self.pool = nn.AvgPool2d(2)
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for below, here in pairwise(reversed(channels)):
            self.up.append(nn.Sequential(nn.ConvTranspose2d(below, here, 2, stride=2, bias=False), nn.ReLU()))
            self.join.append(nn.Sequential(*_unit(2 * here, here, dropout), *_unit(here, here, dropout)))
        self.head = nn.Conv2d(channels[0], 1, 1, bias=False)
        _started(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 1, H, W] of images [B, 1, H, W]; the sides divide by 2^(levels - 1)."""
        skips = []
        for level, down in enumerate(self.down):
            image = down(self.pool(image) if level else image)
            skips.append(image)
        skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            image = join(torch.cat([up(image), skips.pop()], 1))
        found: Tensor = self.head(image)
        return found


class Vgg5(nn.Module):
    """VGG-5 of Rathi et al. (2020) for 32x32 images: three convolutions, two average poolings, three dense layers.

    Args:
        channels: of the convolutions (theirs: 64, 128, 128). hidden: of the dense layers (theirs: 4096).
    """

    def __init__(self, channels: Sequence[int], hidden: int, dropout: float):
        super().__init__()
        a, b, c = channels
        self.layers = nn.Sequential(
            *_unit(3, a, 0.0), nn.AvgPool2d(2), *_unit(a, b, dropout), *_unit(b, c, 0.0), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(c * 64, hidden, bias=False), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden, bias=False), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10, bias=False),
        )  # fmt: skip
        _started(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, 10] of images [B, 3, 32, 32]."""
        found: Tensor = self.layers(image)
        return found
