"""Networks of the zoo that give numbers, and those that no spiking network of this kind can be."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.layers import Residual, conv


def vgg(pool: nn.Module | None = None, last: int = 1, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Two stages, each pooled, adaptive pooling to `last` x `last`, two linear layers. Input 3 x 32 x 32."""
    pool = pool or nn.MaxPool2d(2)
    stages = [conv(3, 8, act=act), pool, conv(8, 16, kind="none", act=act), conv(16, 16, act=act), pool]
    head = [nn.Linear(16 * last * last, 24), act(), nn.Dropout(), nn.Linear(24, 5)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(last), nn.Flatten(), *head)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


def resnet(groups: int = 1, narrow: int = 0, pool: nn.Module | None = None) -> nn.Module:
    """A stem with overlapping max pooling, three blocks, the second strided with a projection."""
    stem = [conv(3, 8, kernel=7, stride=2), pool or nn.MaxPool2d(3, 2, 1)]
    options = {"groups": groups, "narrow": narrow}
    blocks = [Residual(8, 8, **options), Residual(8, 16, stride=2, **options), Residual(16, 16, **options)]
    return nn.Sequential(*stem, *blocks, *head(16))


class Preactivated(nn.Module):
    """ResNet v2: BN and ReLU stand before each convolution, sums are not rectified."""

    def __init__(self, width: int = 10, blocks: int = 3) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, width, 3, 2, 1), nn.Sequential(*self._half(width)[:2], *head(width))
        self.blocks = nn.ModuleList(
            nn.Sequential(*self._half(width), *self._half(width)) for _ in range(blocks)
        )

    @staticmethod
    def _half(width: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class Mean(nn.Module):
    """The spatial mean, as code rather than as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Inverted(nn.Module):
    """MobileNetV2: expand, depthwise, project; the residual sum is not rectified."""

    def __init__(self, cin: int, cout: int, stride: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        wide = 3 * cin
        self.body = nn.Sequential(
            conv(cin, wide, kernel=1, act=act),
            conv(wide, wide, stride=stride, groups=wide, act=act),
            conv(wide, cout, kernel=1, act=nn.Identity),
        )
        self.same = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


def mobilenet(act: Callable[[], nn.Module] = nn.ReLU6) -> nn.Module:
    blocks = [Inverted(8, 8, 1, act), Inverted(8, 16, 2, act), Inverted(16, 16, 1, act)]
    return nn.Sequential(conv(3, 8, stride=2, act=act), *blocks, conv(16, 24, kernel=1, act=act), *head(24))


def mobilenet_v1() -> nn.Module:
    """Depthwise separable convolutions with ReLU."""
    parts = [(8, 16, 1), (16, 16, 2)]
    pairs = [m for i, o, s in parts for m in (conv(i, i, stride=s, groups=i), conv(i, o, kernel=1))]
    return nn.Sequential(conv(3, 8, stride=2), *pairs, *head(16))


class Shuffle(nn.Module):
    """ShuffleNet: grouped 1x1 convolutions with the channels of the groups shuffled between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = conv(3, 12, stride=2), nn.Sequential(*head(12))
        self.narrow, self.wide = conv(12, 12, kernel=1, groups=3), conv(12, 12, kernel=1, groups=3, act=nn.Identity)
        self.depth = conv(12, 12, groups=12, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.narrow(x)
        n, c, h, w = y.shape
        y = y.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.last(F.relu(x + self.wide(self.depth(y))))


class Dense(nn.Module):
    """DenseNet: BN, ReLU, Conv on all that came before, then a transition with average pooling."""

    def __init__(self, growth: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, growth, 3, padding=1, bias=False))
            for c in (8, 8 + growth, 8 + 2 * growth)
        )
        wide = 8 + 3 * growth
        self.transition = nn.Sequential(nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, 12, 1), nn.AvgPool2d(2))
        self.last = nn.Sequential(nn.BatchNorm2d(12), nn.ReLU(), *head(12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.last(self.transition(x))


class Inception(nn.Module):
    """GoogLeNet's block: 1x1, 3x3, 5x5 and pooling side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 12, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True))
        self.one, self.three = conv(12, 6, kernel=1), nn.Sequential(conv(12, 6, kernel=1), conv(6, 8))
        self.five = nn.Sequential(conv(12, 4, kernel=1), conv(4, 6, kernel=5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(12, 6, kernel=1))
        self.last = nn.Sequential(*head(26))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1))


class Fire(nn.Module):
    """SqueezeNet's module."""

    def __init__(self, cin: int, squeezed: int, cout: int) -> None:
        super().__init__()
        self.squeeze = conv(cin, squeezed, kernel=1, kind="none")
        self.small = conv(squeezed, cout // 2, kernel=1, kind="none")
        self.large = conv(squeezed, cout // 2, kind="none")

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.small(x), self.large(x)], 1)


def squeezenet() -> nn.Module:
    maps = [conv(3, 8, stride=2, kind="none"), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 12), Fire(12, 4, 12)]
    last = [nn.Dropout(), conv(12, 5, kernel=1, kind="none"), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*maps, *last)


class Excited(nn.Module):
    """Squeeze and excitation: channels times a sigmoid of their own means."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = conv(3, 8, stride=2), nn.Sequential(conv(8, 8), *head(8))
        squeeze, excite = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU()], [nn.Conv2d(4, 8, 1), nn.Sigmoid()]
        self.gate = nn.Sequential(*squeeze, *excite)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(x * self.gate(x))


class Fused(nn.Module):
    """An image and a vector of numbers, joined before the last layers."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(conv(1, 8, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.numbers = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.last = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        return self.last(torch.cat([self.image(image), self.numbers(numbers)], 1))


def perceptron(act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    parts = [nn.Linear(64, 32), nn.BatchNorm1d(32), act(), nn.Linear(32, 16), act(), nn.Linear(16, 5)]
    return nn.Sequential(nn.Flatten(), *parts, nn.Softmax(1))


def lenet() -> nn.Module:
    """LeNet-5: average pooling, flattened maps into linear layers."""
    maps = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 12, 5), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*maps, nn.Flatten(), nn.Linear(300, 32), nn.ReLU(), nn.Linear(32, 10))


def signal() -> nn.Module:
    """A 1D CNN, as for ECG."""
    parts = [conv(2, 8, 1, 7, stride=2), nn.MaxPool1d(2), conv(8, 16, 1, 5), nn.AvgPool1d(2)]
    return nn.Sequential(*parts, conv(16, 16, 1, dilation=2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4))


class Recurrent(nn.Module):
    """A GRU over time, its last state classified."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.GRU(4, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.cells(x)[0][:, -1])


class Transformer(nn.Module):
    """A small vision transformer: patches, one encoder layer, a linear head."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)
        self.last = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.last(self.layer(tokens).mean(1))


class Points(nn.Module):
    """PointNet: the same layers for each point, then the maximum over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(conv(3, 12, 1, 1), conv(12, 16, 1, 1))
        self.last = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.each(x).amax(2))
