"""The teacher: a classic U-Net with average pooling."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

LEVELS = 5


def unit(conv: nn.Module, outputs: int, norm: bool) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()] if norm else [conv, nn.ReLU()]


def double(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    """Two 3x3 convolutions with bias, each with a ReLU."""
    convs = (nn.Conv2d(count, outputs, 3, padding=1) for count in (inputs, outputs))
    return nn.Sequential(*(layer for conv in convs for layer in unit(conv, outputs, norm)))


def up(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    """Twice as large: transposed convolution with a ReLU."""
    grow = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(*unit(grow, outputs, norm))


class UNet(nn.Module):
    """[N, inputs, H, W] to [N, outputs, H, W]; H and W are multiples of 16 (Li et al., 2024: channels = 64).

    Channels double from level to level. A ReLU stands behind each pooling, where it changes nothing: the paper has a
    spiking neuron there. Head: 1x1 for classes, 3x3 for images, without a residual connection.

    Args:
        norm: batch normalisation, which the compiler folds into the convolutions: what runs is the paper's network, but
            it learns in minutes. Without it the network starts as the identity, which is for denoising.
    """

    def __init__(self, inputs: int, outputs: int, channels: int, head: int, norm: bool):
        super().__init__()
        widths = [channels << k for k in range(LEVELS)]
        self.pool = nn.Sequential(nn.AvgPool2d(2), nn.ReLU())
        self.down = nn.ModuleList(double(a, b, norm) for a, b in zip([inputs, *widths], widths, strict=False))
        widths = widths[::-1]
        self.ups = nn.ModuleList(up(a, b, norm) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(double(2 * b, b, norm) for b in widths[1:])
        self.head = nn.Conv2d(channels, outputs, head, padding=head // 2)
        self.apply(_start)
        if not norm:
            self._pass_on(outputs)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for down in self.down:
            x = down(self.pool(x) if skips else x)
            skips.append(x)
        for grow, merge, skip in zip(self.ups, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, grow(x)], 1))
        return self.head(x)

    @torch.no_grad()
    def _pass_on(self, colours: int) -> None:
        """The first channels of the outermost level carry the image to the output."""
        for part in (self.down[0], self.merge[-1], self.head):
            for conv in part.modules():
                if isinstance(conv, nn.Conv2d):
                    conv.weight[:colours] = 0
                    for c in range(colours):
                        conv.weight[c, c, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1


def _start(module: nn.Module) -> None:
    """He's weights, no biases: torch's own start lets values die out on the way through 23 layers."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        reads = module.in_channels * module.weight[0, 0].numel() / module.stride[0] ** (2 * module.transposed)
        nn.init.normal_(module.weight, std=(2 / reads) ** 0.5)
        nn.init.zeros_(module.bias)
