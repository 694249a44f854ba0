"""The teacher: a strided 3D U-Net from a fixed and a moving volume to a displacement, or a velocity, in voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MERGES = ("concat", "concat", "average", "none")  # how each decoder block takes its skip, deepest first


class Conv(nn.Sequential):
    """Conv3d 3^3 - batch-norm - ReLU."""

    def __init__(self, inside: int, outside: int, stride: int = 1):
        super().__init__(nn.Conv3d(inside, outside, 3, stride, 1), nn.BatchNorm3d(outside), nn.ReLU())


class Up(nn.Module):
    """ConvTranspose3d 2^3 with stride 2 - batch-norm - ReLU, then the skip is merged, then `Conv`."""

    def __init__(self, inside: int, outside: int, merge: str):
        super().__init__()
        up = nn.ConvTranspose3d(inside, outside, 2, 2)
        self.up = nn.Sequential(up, nn.BatchNorm3d(outside), nn.ReLU())
        self.merge = merge
        self.conv = Conv(outside * (2 if merge == "concat" else 1), outside)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.up(x)
        if self.merge == "concat" and skip is not None:
            x = torch.cat([x, skip], 1)
        elif self.merge == "average" and skip is not None:
            x = (x + skip) * 0.5
        return self.conv(x)


class Teacher(nn.Module):
    """SpikeReg's network ("PretrainedUNet"): fixed and moving [B, 1, *S] -> flow [B, 3, *S]; S divides by 16.

    flow[:, c] is along array axis c, in voxels: moving(x + flow(x)) looks like fixed(x).

    Args:
        channels: of the four encoder blocks, each at half the size of the one before; the decoder goes back.
        merges: of the four decoder blocks, each concat, average or none; the last, at full size, has no skip.
    """

    def __init__(self, channels: Sequence[int], merges: Sequence[str] = MERGES):
        super().__init__()
        ins, outs = (2, *channels[:-1]), (*channels[-2::-1], channels[0])
        self.encoder = nn.ModuleList(
            nn.Sequential(Conv(i, o, 2), Conv(o, o)) for i, o in zip(ins, channels, strict=True)
        )
        self.bottleneck = Conv(channels[-1], channels[-1])
        self.decoder = nn.ModuleList(
            Up(i, o, merge) for i, o, merge in zip((channels[-1], *outs[:-1]), outs, merges, strict=True)
        )
        self.head = nn.Conv3d(outs[-1], 3, 1)
        nn.init.normal_(self.head.weight, std=1e-3)  # training starts near the identity
        nn.init.zeros_(self.head.bias)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        x, skips = torch.cat([fixed, moving], 1), []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = self.bottleneck(x)
        for block, skip in zip(self.decoder, (*skips[-2::-1], None), strict=True):
            x = block(x, skip)
        return self.head(x)
