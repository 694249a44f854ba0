"""Pictures of the five data sets, with the fixed splits of ../shared/data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from examples.kit.paths import data_root
from examples.spiking_unet.settings import Settings
from examples.spiking_unet.tasks import IGNORED, Array, Picture, Task, patches
from snncc.errors import DataError

STRETCH = (0.5, 99.5)  # percentiles of a retina that become 0 and 1
VOID = 11


def pictures(task: Task, split: str, settings: Settings) -> list[Picture]:
    """All of `train`, `val` or `test`. Noise of val and test is drawn from the seed, the sigma and the picture's place;
    train pictures of denoising are clean.

    Raises:
        DataError: the data set is not there.
    """
    folder = data_root() / task.data.replace("cbsd68", "bsd").replace("bsd68", "bsd")
    if not folder.is_dir():
        remedy = "set SNNCC_SHARED to the folder above data"
        raise DataError("the data set is not there", file=str(folder), remedy=remedy)
    if task.denoises:
        clean = list(_clean(task, split, settings))
        return [_noisy(name, x, task, split, [settings.seed, task.sigma, k]) for k, (name, x) in enumerate(clean)]
    names = json.loads((folder / "split.json").read_text())[split]
    read = {"drive": _drive, "em": _em, "camseq01": _camseq}[task.data]
    return [read(folder, str(name), settings) for name in names]


def pixels(path: Path, mode: str) -> Array:
    """uint8 [H, W] or [H, W, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert(mode) if mode else image)


def _drive(folder: Path, name: str, settings: Settings) -> Picture:
    """Grey, stretched inside the field of view; outside of it 0, and nothing counts."""
    part = folder / ("training" if name.endswith("training") else "test")
    grey = pixels(part / "images" / f"{name}.tif", "L").astype(np.float64)
    view = pixels(part / "mask" / f"{name}_mask.gif", "L") > 0
    low, high = np.percentile(grey[view], STRETCH)
    image = np.rint(np.clip((grey - low) / (high - low), 0, 1) * 255) / 255 * view
    vessels = pixels(part / "1st_manual" / f"{name[:2]}_manual1.gif", "L") > 0
    return Picture(name, image[None].astype(np.float32), np.where(view, vessels, IGNORED).astype(np.int64))


def _em(folder: Path, name: str, settings: Settings) -> Picture:
    """Class 1 is the membrane: dark in the image, 0 in the label."""
    image = pixels(folder / "train" / "image" / f"{name}.png", "L")
    label = pixels(folder / "train" / "label" / f"{name}.png", "L")
    return Picture(name, (image[None] / np.float32(255)).astype(np.float32), (label < 128).astype(np.int64))


def _camseq(folder: Path, name: str, settings: Settings) -> Picture:
    """Shrunk: means of the image, every other label."""
    by = settings.shrink
    image = pixels(folder / "images" / f"{name}.png", "RGB").astype(np.float64)
    height, width = (n // by for n in image.shape[:2])
    means = image[: height * by, : width * by].reshape(height, by, width, by, 3).mean((1, 3))
    label = pixels(folder / "labels" / f"{name}.png", "")[::by, ::by].astype(np.int64)
    unit = np.rint(means).transpose(2, 0, 1) / 255
    return Picture(name, unit.astype(np.float32), np.where(label == VOID, IGNORED, label))


def _clean(task: Task, split: str, settings: Settings) -> Iterator[tuple[str, Array]]:
    """(name, [C, H, W] in 0..1). There is no colour training set: CamSeq01's frames stand in for train and val."""
    if task.inputs == 3 and split != "test":
        folder = data_root() / "camseq01"
        names = json.loads((folder / "split.json").read_text())[split]
        files = [folder / "images" / f"{name}.png" for name in names]
    else:
        folder = data_root() / "bsd"
        key = {"train": "train400_train", "val": "train400_val", "test": f"test_{task.data}"}[split]
        names = json.loads((folder / "split.json").read_text())[key]
        files = [folder / (task.data if split == "test" else "train400") / f"{name}.png" for name in names]
    for file in files:
        image = pixels(file, "RGB" if task.inputs == 3 else "L").reshape(*_size(file), task.inputs)
        yield file.stem, (image.transpose(2, 0, 1) / np.float32(255)).astype(np.float32)


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.height, image.width


def _noisy(name: str, clean: Array, task: Task, split: str, seed: list[int]) -> Picture:
    if split == "train":
        return Picture(name, clean, clean)
    noise = np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    return Picture(name, clean + noise * np.float32(task.sigma / 255), clean)


class Crops:
    """Random crops of training pictures, mirrored, square ones also turned, with fresh noise.

    Numbers are drawn from torch's generator, which both training loops seed by epoch.
    """

    def __init__(self, task: Task, size: tuple[int, int], settings: Settings):
        self.task, self.size = task, size
        whole = task.data == "camseq01"  # frames are padded once, and seen whole
        found = pictures(task, "train", settings)
        self.pictures = [Picture(p.name, *patches(p, task)[0]) for p in found] if whole else found
        self.turns = size[0] == size[1]

    def draw(self) -> tuple[Tensor, Tensor]:
        """Image [C, h, w] and target."""
        picture = self.pictures[int(torch.randint(len(self.pictures), ()))]
        h, w = self.size
        y, x = (int(torch.randint(n - m + 1, ())) for n, m in zip(picture.image.shape[1:], (h, w), strict=True))
        image, target = (
            torch.as_tensor(part[..., y : y + h, x : x + w]) for part in (picture.image, picture.target)
        )
        turn, mirror = int(torch.randint(4, ())) if self.turns else 0, bool(torch.randint(2, ()))
        image, target = (torch.rot90(t.flip(-1) if mirror else t, turn, (-2, -1)) for t in (image, target))
        if self.task.denoises:
            image = image + torch.randn(image.shape) * (self.task.sigma / 255)
        return image.contiguous(), target.contiguous()

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        images, targets = zip(*(self.draw() for _ in range(count)), strict=True)
        return torch.stack(images), torch.stack(targets)
