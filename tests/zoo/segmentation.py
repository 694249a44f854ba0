"""Networks of the zoo that give images: segmentation, denoising, registration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.layers import Layer, Residual, UNet, conv, double, leaky, of, plain


class Denoiser(nn.Module):
    """DnCNN: the input minus the noise found in it."""

    def __init__(self, nd: int = 2, width: int = 12, layers: int = 4) -> None:
        super().__init__()
        first, last = conv(1, width, nd, kind="none"), of("Conv", nd)(width, 1, 3, padding=1)
        self.noise = nn.Sequential(first, *(conv(width, width, nd) for _ in range(layers)), last)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


class Registration(nn.Module):
    """VoxelMorph: both images through a U-Net to a displacement; with `warp`, the moving image moved by it."""

    def __init__(self, size: tuple[int, ...], warp: bool = False, act: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        nd = len(size)
        layer = partial(conv, nd=nd, kind="none", act=act)
        self.encoder = nn.ModuleList((layer(2, 8, stride=2), layer(8, 16, stride=2)))
        self.decoder = nn.ModuleList((layer(16, 16), layer(24, 16)))
        self.rest, self.flow = layer(18, 8), of("Conv", nd)(8, nd, 3, padding=1)
        axes = [torch.arange(n, dtype=torch.float32) for n in size]
        self.grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
        self.last = torch.tensor(size, dtype=torch.float32).reshape(1, -1, *(1,) * nd) - 1
        self.warp = warp

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        both = torch.cat([moving, fixed], 1)
        half = self.encoder[0](both)
        x = F.interpolate(self.decoder[0](self.encoder[1](half)), scale_factor=2)
        x = F.interpolate(self.decoder[1](torch.cat([x, half], 1)), scale_factor=2)
        flow: Tensor = self.flow(self.rest(torch.cat([x, both], 1)))
        if not self.warp:
            return flow
        nd = flow.ndim - 2
        place = 2 * (self.grid + flow) / self.last - 1
        place = place.permute(0, *range(2, nd + 2), 1).flip(-1)
        return F.grid_sample(moving, place, align_corners=True), flow


class SpikeReg(nn.Module):
    """The teacher of SpikeReg: strided convolutions, up-convolutions, skips that are concatenated or averaged."""

    def __init__(self, widths: tuple[int, ...] = (4, 8, 16, 32)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.encoder = nn.ModuleList(
            nn.Sequential(conv(i, o, 3, stride=2), conv(o, o, 3)) for i, o in ((2, a), (a, b), (b, c), (c, d))
        )
        self.bottleneck = conv(d, d, 3)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose3d(i, o, 2, 2), nn.BatchNorm3d(o), nn.ReLU())
            for i, o in ((d, c), (c, b), (b, a), (a, a))
        )
        self.refine = nn.ModuleList((conv(2 * c, c, 3), conv(2 * b, b, 3), conv(a, a, 3), conv(a, a, 3)))
        self.head = nn.Conv3d(a, 3, 1)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        skips = [torch.cat([fixed, moving], 1)]
        for layer in self.encoder:
            skips.append(layer(skips[-1]))
        x = self.bottleneck(skips[4])
        for level, (up, refine) in enumerate(zip(self.up, self.refine, strict=True)):
            x = up(x)
            if level < 2:
                x = torch.cat([x, skips[3 - level]], 1)
            elif level == 2:
                x = (x + skips[1]) / 2
            x = refine(x)
        return self.head(x)


class Link(nn.Module):
    """LinkNet: residual encoder, skips that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(layer=Residual, merge="add", up="transposed-3", up_act=True, down="stride")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Nested(nn.Module):
    """U-Net++ of two levels: every skip is dense."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        w = width
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.a0, self.b0, self.c0 = double(1, w, 2), double(w, 2 * w, 2), double(2 * w, 4 * w, 2)
        self.a1, self.b1, self.a2 = double(3 * w, w, 2), double(6 * w, 2 * w, 2), double(4 * w, w, 2)
        self.head = nn.Conv2d(w, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a0(x)
        b = self.b0(self.pool(a))
        c = self.c0(self.pool(b))
        near = self.a1(torch.cat([a, self.up(b)], 1))
        below = self.b1(torch.cat([b, self.up(c)], 1))
        return self.head(self.a2(torch.cat([a, near, self.up(below)], 1)))


class Pyramid(nn.Module):
    """DeepLab: parallel dilated convolutions and, if `pooled`, the image's mean, joined, upsampled at the end."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, 8, stride=2), conv(8, 16))
        self.branches = nn.ModuleList([conv(16, 8, kernel=1), *(conv(16, 8, dilation=d) for d in (2, 3, 5))])
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(16, 8, kernel=1, kind="none")) if pooled else None
        self.join, self.head = conv(40 if pooled else 32, 16, kernel=1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        size, x = x.shape[2:], self.stem(x)
        parts = [branch(x) for branch in self.branches]
        if self.pooled is not None:
            parts.append(F.interpolate(self.pooled(x), size=x.shape[2:], mode="bilinear"))
        return F.interpolate(self.head(self.join(torch.cat(parts, 1))), size=size, mode="bilinear")


class Siamese(nn.Module):
    """Two images through one encoder (shared weights), their difference segmented."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(1, 8), conv(8, 8))
        self.head = nn.Sequential(conv(8, 8), nn.Conv2d(8, 2, 1))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return self.head(self.encoder(before) - self.encoder(after))


def superresolution() -> nn.Module:
    """ESPCN: PixelShuffle as the last step."""
    first = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 12, 3, padding=1), nn.ReLU())
    return nn.Sequential(first, nn.Conv2d(12, 4, 3, padding=1), nn.PixelShuffle(2))


def autoencoder() -> nn.Module:
    """Convolutions to a code and back: Flatten, Linear, Linear, Unflatten, transposed convolutions."""
    down = [conv(1, 8, stride=2), conv(8, 8, stride=2), nn.Flatten(), nn.Linear(128, 24), nn.ReLU()]
    up = [nn.Linear(24, 128), nn.ReLU(), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 8, 2, 2), nn.ReLU()]
    return nn.Sequential(*down, *up, nn.ConvTranspose2d(8, 1, 2, 2), nn.Sigmoid())


def spiking_unet() -> nn.Module:
    """The teacher of Spiking-UNet: average pooling, ConvTranspose k3 s2 p1 with output padding 1 and ReLU."""
    return UNet(layer=plain, down="average", up="transposed-3", up_act=True)


def hippocampus_unet() -> nn.Module:
    """The teacher of Yue et al.: average pooling, dropout, no bias anywhere, a sigmoid at the end."""

    def layer(cin: int, cout: int, nd: int) -> nn.Module:
        return nn.Sequential(plain(cin, cout, nd), nn.Dropout(0.2))

    return UNet(layer=layer, down="average", up="transposed-2", outputs=1, end=nn.Sigmoid(), bias=False)


def nn_unet(nd: int) -> nn.Module:
    """nnU-Net: Conv, InstanceNorm, LeakyReLU 0.01; strided convolutions down."""
    layer: Layer = partial(double, kind="instance", act=leaky)
    return UNet(nd, layer=layer, down=lambda w: conv(w, w, nd, stride=2, kind="instance", act=leaky))


def padded(mode: Any) -> nn.Module:
    """Three convolutions that pad as `mode` says."""
    sizes = ((1, 8), (8, 8))
    parts = [conv(i, o, padding_mode=mode) for i, o in sizes]
    return nn.Sequential(*parts, nn.Conv2d(8, 2, 3, padding=1, padding_mode=mode))


def acting(act: Callable[[], nn.Module]) -> nn.Module:
    """A U-Net with another activation."""
    return UNet(layer=partial(double, act=act))


class Standardised(nn.Module):
    """A U-Net that brings its input to mean 0 and deviation 1 by constants, and may end with labels."""

    def __init__(self, outputs: int = 2, labels: bool = False) -> None:
        super().__init__()
        self.net, self.labels = UNet(outputs=outputs), labels

    def forward(self, x: Tensor) -> Tensor:
        scores = self.net((x - 0.4) / 0.25)
        return scores.argmax(1) if self.labels else scores


class FullyConvolutional(nn.Module):
    """FCN: scores at two scales, the coarse one upsampled by a transposed convolution of kernel 4 and added."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv(1, 8, stride=2), conv(8, 16, stride=2)
        self.score, self.below = nn.Conv2d(8, 3, 1), nn.Conv2d(16, 3, 1)
        self.up, self.last = nn.ConvTranspose2d(3, 3, 4, 2, 1), nn.ConvTranspose2d(3, 3, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        both = self.score(fine) + self.up(self.below(self.coarse(fine)))
        return self.last(both)
