"""The tasks: which pictures, what is wanted of them, and how they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.spiking_unet.settings import Settings
from snncc.errors import OptionError

Array = NDArray[Any]
IGNORED = -100  # what torch's cross-entropy leaves out, and so does the score
CAMSEQ = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")


@dataclass(frozen=True)
class Task:
    """
    Args:
        data: drive, em, camseq01, bsd68 or cbsd68. inputs, outputs: channels. patch: (H, W) of the network's input.
        crop: (H, W) that the teacher is trained on. sigma: of the noise, of 255; 0: segmentation.
    """

    name: str
    data: str
    inputs: int
    outputs: int
    patch: tuple[int, int]
    crop: tuple[int, int]
    sigma: int = 0

    @property
    def denoises(self) -> bool:
        return self.sigma > 0

    @property
    def head(self) -> int:
        """Width of the last convolution."""
        return 3 if self.denoises else 1

    @property
    def metric(self) -> str:
        """What the task is judged by."""
        return "psnr" if self.denoises else "miou" if self.outputs > 2 else "f1"


def task_of(name: str, settings: Settings) -> Task:
    """drive, em, camseq01, bsd68-SIGMA or cbsd68-SIGMA. Raises OptionError for another name."""
    data, _, sigma = name.partition("-")
    height, width = -(-360 // settings.shrink // 16) * 16, 480 // settings.shrink
    small, large = (48, 48), (128, 128)
    known = {
        "drive": Task(name, data, 1, 2, small, small), "em": Task(name, data, 1, 2, large, large),
        "camseq01": Task(name, data, 3, len(CAMSEQ), (height, width), (height, width)),
    }  # fmt: skip
    if name in known:
        return known[name]
    if data in ("bsd68", "cbsd68") and sigma.isdigit() and int(sigma):
        colours = 3 if data == "cbsd68" else 1
        return Task(name, data, colours, colours, (160, 160), (80, 80), int(sigma))
    raise OptionError(f"the task {name!r} is unknown", remedy=f"{', '.join(known)}, bsd68-25, cbsd68-25, ...")


@dataclass(frozen=True, eq=False)
class Picture:
    """image: float32 [C, H, W], in 0..1 (with noise also beyond); target: int64 [H, W], IGNORED where nothing counts,
    or the clean image."""

    name: str
    image: Array
    target: Array


def patches(picture: Picture, task: Task, parts: int = 0) -> list[tuple[Array, Array]]:
    """(image [C, h, w], target) of all patches side by side, from the upper left corner; parts: so many of them, evenly
    spread (0: all). Segmentation covers the picture, padded with 0 and IGNORED; denoising takes whole patches only."""
    h, w = task.patch
    image, target = picture.image, picture.target
    if not task.denoises:
        below, right = -image.shape[1] % h, -image.shape[2] % w
        image = np.pad(image, [(0, 0), (0, below), (0, right)])
        target = np.pad(target, [(0, below), (0, right)], constant_values=IGNORED)
    corners = [(y, x) for y in range(0, image.shape[1] - h + 1, h) for x in range(0, image.shape[2] - w + 1, w)]
    if parts:
        corners = [corners[(2 * k + 1) * len(corners) // (2 * parts)] for k in range(parts)]
    cut = [(..., slice(y, y + h), slice(x, x + w)) for y, x in corners]
    return [(np.ascontiguousarray(image[part]), np.ascontiguousarray(target[part])) for part in cut]


def counted(picture: Picture, task: Task, parts: int = 0) -> list[tuple[Array, Array]]:
    """The same without patches of which nothing counts: those beside a retina."""
    return [found for found in patches(picture, task, parts) if task.denoises or (found[1] != IGNORED).any()]
