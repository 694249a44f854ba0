"""The images that the teachers are trained, calibrated and judged on (numpy and Pillow only, no torch).

Both sets are looked up in `$SNNCC_SHARED/data`, by default in the folder `shared` beside the repository.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from examples.kit.paths import data_root

Array = np.ndarray[Any, np.dtype[Any]]
Split = Literal["train", "val", "test"]

CIFAR10_SPLITS = {"train": ("train", 0, 45_000), "val": ("train", 45_000, 50_000), "test": ("test", 0, 10_000)}
SIGMA = 25 / 255  # of the noise, for pixels in [0, 1]
NOISE_SEEDS = {"train": 1_000_000, "val": 2_000_000, "test": 0}  # the noise of image i is drawn from seed + i
BSD_SHAPE = (321, 481)  # every test image, portraits turned
_BSD = {"train": ("train400_train", "train400"), "val": ("train400_val", "train400"), "test": ("test_bsd68", "bsd68")}


def default_cache() -> Path:
    return Path(tempfile.gettempdir()) / "snncc-conversion"


def cifar10_pixels(split: Split, cache: Path | None = None) -> tuple[Array, Array]:
    """Images uint8 [n, 32, 32, 3] and classes int64 [n] of the JPEG set, decoded once into `cache`."""
    part, first, end = CIFAR10_SPLITS[split]
    source = data_root() / "cifar10" / "cifar10_jpeg_full.npz"
    folder = cache or default_cache()
    decoded = folder / f"cifar10-{part}-{source.stat().st_size}.npy"
    with np.load(source) as file:
        labels = file[f"y_{part}"][first:end].astype(np.int64)
        if not decoded.exists():
            folder.mkdir(parents=True, exist_ok=True)
            jpegs, offsets = file[f"{part}_jpeg"].tobytes(), file[f"{part}_offsets"]
            pixels = [_decode(jpegs[start:stop]) for start, stop in pairwise(offsets)]
            partial = decoded.with_suffix(f".{os.getpid()}.npy")
            np.save(partial, np.stack(pixels))
            partial.replace(decoded)  # another process never sees half a file
    return np.load(decoded, mmap_mode="r")[first:end], labels


def _decode(jpeg: bytes) -> Array:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def cifar10(split: Split, first: int = 0, end: int | None = None, cache: Path | None = None) -> tuple[Array, Array]:
    """Network inputs float32 [n, 3, 32, 32] on the grid k / 255 and classes int64 [n]; images `first` to `end`."""
    pixels, labels = cifar10_pixels(split, cache)
    return np.moveaxis(pixels[first:end], 3, 1).astype(np.float32) / np.float32(255), labels[first:end]


def bsd_pixels(split: Split) -> list[Array]:
    """Grey images, uint8: 180x180 (train, val) or 321x481 and 481x321 (test)."""
    root = data_root() / "bsd"
    key, folder = _BSD[split]
    images = []
    for name in json.loads((root / "split.json").read_text())[key]:
        with Image.open(root / folder / f"{name}.png") as image:
            images.append(np.asarray(image.convert("L")))
    return images


def bsd(split: Split, first: int = 0, end: int | None = None) -> tuple[Array, Array]:
    """Noisy and clean images, float32 [n, 1, 321, 481] with clean pixels in [0, 1]; images `first` to `end`.

    The noise is Gaussian with sigma 25 / 255 and neither clipped nor rounded, as usual for this set. Portraits are
    turned by a transposition. The images of train and val are too small for the network: one sample is a mosaic of
    2 x 3 of them, cut to size; those left over are not used.
    """
    images = bsd_pixels(split)
    if split == "test":
        clean = [image if image.shape == BSD_SHAPE else image.T for image in images]
    else:
        tiles = [images[i : i + 6] for i in range(0, len(images) - 5, 6)]
        clean = [np.block([six[:3], six[3:]])[: BSD_SHAPE[0], : BSD_SHAPE[1]] for six in tiles]
    truth = np.stack(clean)[first:end, None].astype(np.float32) / np.float32(255)
    noise = [_noise(NOISE_SEEDS[split] + i) for i in range(len(clean))[first:end]]
    return truth + np.stack(noise)[:, None], truth


def _noise(seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, SIGMA, BSD_SHAPE).astype(np.float32)


def psnr(noisy: Array, noise: Array, clean: Array) -> list[float]:
    """Of each image in dB; noise: what the network gives, which is subtracted here. All [n, 1, H, W]."""
    error = np.clip(noisy - noise, 0, 1).astype(np.float64) - clean
    return [float(value) for value in -10 * np.log10(np.mean(error**2, axis=(1, 2, 3)))]
