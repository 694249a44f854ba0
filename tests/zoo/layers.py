"""The parts that the zoo's networks are made of, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[[int, int, int], nn.Module]  # (channels in, channels out, dimensions)


def of(kind: str, nd: int) -> Any:
    """The class nn.{kind}{nd}d."""
    return getattr(nn, f"{kind}{nd}d")


def norm(kind: str, channels: int, nd: int) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: of("BatchNorm", nd)(channels),
        "instance": lambda: of("InstanceNorm", nd)(channels, affine=True),
        "group": lambda: nn.GroupNorm(2, channels),
        "none": nn.Identity,
    }
    return kinds[kind]()


def conv(
    cin: int, cout: int, nd: int = 2, kernel: int = 3, *, kind: str = "batch", act: Callable[[], nn.Module] = nn.ReLU,
    **options: Any,
) -> nn.Module:
    """Conv of one size out, norm, activation."""
    options.setdefault("padding", options.get("dilation", 1) * (kernel // 2))
    return nn.Sequential(of("Conv", nd)(cin, cout, kernel, **options), norm(kind, cout, nd), act())


def double(cin: int, cout: int, nd: int, **options: Any) -> nn.Module:
    """Two of them, as in a U-Net."""
    return nn.Sequential(conv(cin, cout, nd, **options), conv(cout, cout, nd, **options))


leaky = partial(nn.LeakyReLU, 0.01)
plain: Layer = partial(double, kind="none")


class Residual(nn.Module):
    """relu(f(x) + shortcut(x)); the shortcut is a 1x1 projection where shapes differ."""

    def __init__(self, cin: int, cout: int, nd: int = 2, stride: int = 1, groups: int = 1, narrow: int = 0) -> None:
        super().__init__()
        if narrow:
            self.body = nn.Sequential(
                conv(cin, narrow, nd, 1),
                conv(narrow, narrow, nd, stride=stride, groups=groups),
                conv(narrow, cout, nd, 1, act=nn.Identity),
            )
        else:
            self.body = nn.Sequential(conv(cin, cout, nd, stride=stride), conv(cout, cout, nd, act=nn.Identity))
        same = stride == 1 and cin == cout
        self.shortcut = nn.Identity() if same else conv(cin, cout, nd, 1, stride=stride, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Up(nn.Module):
    """Twice the size, half the channels; `skip` gives the size where the kind asks for one."""

    def __init__(self, kind: str, cin: int, cout: int, nd: int) -> None:
        super().__init__()
        self.kind, self.linear = kind, ("linear", "bilinear", "trilinear")[nd - 1]
        if kind.startswith("transposed"):
            kernel = int(kind[-1])
            self.map = of("ConvTranspose", nd)(cin, cout, kernel, 2, (kernel - 1) // 2, kernel % 2)
        elif kind == "shuffle":
            self.map = nn.Sequential(nn.Conv2d(cin, 4 * cout, 1), nn.PixelShuffle(2))
        else:
            self.map = of("Conv", nd)(cin, cout, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.kind == "nearest":
            x = F.interpolate(x, scale_factor=2)
        elif self.kind == "nearest-size":
            x = F.interpolate(x, size=skip.shape[2:])
        elif self.kind == "linear":
            x = F.interpolate(x, scale_factor=2, mode=self.linear, align_corners=False)
        elif self.kind == "linear-corners":
            x = F.interpolate(x, scale_factor=2, mode=self.linear, align_corners=True)
        elif self.kind == "linear-size":
            x = F.interpolate(x, size=skip.shape[2:], mode=self.linear, align_corners=False)
        return self.map(x)


class Gate(nn.Module):
    """Additive attention of Attention U-Net: the skip times sigmoid(psi(relu(a(skip) + b(gate))))."""

    def __init__(self, channels: int, nd: int) -> None:
        super().__init__()
        self.skip, self.gate = of("Conv", nd)(channels, channels, 1), of("Conv", nd)(channels, channels, 1)
        self.psi = of("Conv", nd)(channels, 1, 1)

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.psi(F.relu(self.skip(skip) + self.gate(gate))))


class UNet(nn.Module):
    """An encoder of `depth` levels below the first, skips, a decoder, a 1x1 head.

    Args:
        layer: the block of each level.
        down: "max", "average", "stride", or what makes the layer from its channels.
        up: see Up; "act" after it if `up_act`.
        merge: how skip and decoder meet: "concat", "mean", "add", "gate" (attention, then concat) or "none".
        crop: odd sizes: the decoder is padded to the skip's size (milesial).
        deep: an output of each decoder level (deep supervision).
        end: what follows the head.
    """

    def __init__(
        self, nd: int = 2, *, inputs: int = 1, outputs: int = 2, width: int = 6, depth: int = 2, layer: Layer = double,
        down: str | Callable[[int], nn.Module] = "max", up: str = "transposed-2", up_act: bool = False,
        merge: str = "concat", crop: bool = False, deep: bool = False, end: nn.Module | None = None, bias: bool = True,
    ) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(depth + 1)]
        self.merge, self.crop, self.deep = merge, crop, deep
        self.first = layer(inputs, width, nd)
        smaller = {
            "max": lambda w: of("MaxPool", nd)(2),
            "average": lambda w: of("AvgPool", nd)(2),
            "stride": lambda w: conv(w, w, nd, 2, stride=2, padding=0),
        }[down] if isinstance(down, str) else down  # fmt: skip
        self.down = nn.ModuleList(smaller(w) for w in widths[:-1])
        self.encoder = nn.ModuleList(layer(w, 2 * w, nd) for w in widths[:-1])
        self.up = nn.ModuleList(Up(up, 2 * w, w, nd) for w in widths[:-1])
        self.act = nn.ModuleList(nn.ReLU() if up_act else nn.Identity() for _ in widths[:-1])
        self.gate = nn.ModuleList(Gate(w, nd) for w in widths[:-1]) if merge == "gate" else None
        both = 2 if merge in ("concat", "gate") else 1
        self.decoder = nn.ModuleList(layer(both * w, w, nd) for w in widths[:-1])
        self.heads = nn.ModuleList(of("Conv", nd)(w, outputs, 1) for w in (widths[:-1] if deep else widths[:1]))
        self.end = end or nn.Identity()
        if not bias:
            for part in self.modules():
                if hasattr(part, "bias"):
                    part.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        skips = [self.first(x)]
        for down, layer in zip(self.down, self.encoder, strict=True):
            skips.append(layer(down(skips[-1])))
        x, found = skips.pop(), []
        for level in reversed(range(len(skips))):
            skip = skips[level]
            x = self.act[level](self.up[level](x, skip))
            if self.crop:
                extra = [skip.shape[axis] - x.shape[axis] for axis in (-1, -2)]
                x = F.pad(x, [n for e in extra for n in (e // 2, e - e // 2)])
            x = self.decoder[level](self._merged(level, skip, x))
            if level < len(self.heads):
                found.append(self.end(self.heads[level](x)))
        return tuple(reversed(found)) if self.deep else found[-1]

    def _merged(self, level: int, skip: Tensor, x: Tensor) -> Tensor:
        if self.gate is not None:
            skip = self.gate[level](skip, x)
        if self.merge == "mean":
            return (skip + x) / 2
        if self.merge == "add":
            return skip + x
        return torch.cat([skip, x], 1)


def prepared(module: nn.Module, samples: list[tuple[Tensor, ...]], seed: int = 0) -> nn.Module:
    """The module in eval mode with weights under which ReLUs fire: He's, and normalisation that has seen `samples`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, spread: float) -> None:
        tensor.data = torch.randn(tensor.shape, generator=generator) * spread

    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase | nn.GroupNorm)]
    for part in module.modules():
        if isinstance(part, nn.modules.conv._ConvNd | nn.Linear):
            fan = part.weight[0].numel()
            if isinstance(part, nn.modules.conv._ConvTransposeNd):
                fan = part.weight.shape[0] * part.weight[0, 0].numel() // 2 ** (part.weight.ndim - 2)
            normal(part.weight, (2 / fan) ** 0.5)
            if part.bias is not None:
                normal(part.bias, 0.1)
    for part in norms:
        if part.weight is not None:
            part.weight.data = 0.7 + 0.6 * torch.rand(part.weight.shape, generator=generator)
            normal(part.bias, 0.2)
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = None  # the mean of all batches seen
    module.train()
    with torch.no_grad(), torch.random.fork_rng():
        module(*(torch.cat(parts) for parts in zip(*samples, strict=True)))
    for part in norms:
        part.momentum = 0.1
    return module.eval()
