"""NIfTI volumes and PNG images: into network inputs, and network outputs back into the space of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from snncc.cli.files import write_arrays
from snncc.cli.preprocess import Preprocess
from snncc.errors import DataError, FormatError, OptionError, SnnccError
from snncc.graph import Array
from snncc.onnx_file import replacing

NIFTI, PNG = (".nii", ".nii.gz"), (".png",)
Window = tuple[slice, ...]
nib: Any = nibabel  # partly typed


def suffix_of(path: Path) -> str:
    """The suffix in lower case; `.nii.gz` is one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def named(path: Path, name: str) -> Path:
    """`path` with _NAME in front of its suffix."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    suffix = suffix_of(path)
    return path.with_name(f"{path.name[: len(path.name) - len(suffix)]}_{safe}{suffix}")


def is_image(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Is an output of this shape an image of the network's input size: [1, C, *target] or [1, *target]?"""
    return len(shape) - len(target) in (1, 2) and shape[-len(target) :] == target and shape[0] == 1


def tile_starts(size: int, target: int) -> tuple[int, ...]:
    """Where tiles of length `target` start on an axis of `size`: one, centred, if it fits (then the start is
    -((target - size) // 2)); otherwise evenly spread, overlapping by a quarter of a tile or more."""
    if size <= target:
        return (-((target - size) // 2),)
    step = max(target - target // 4, 1)
    count = -(-(size - target) // step) + 1
    return tuple(round(i * (size - target) / (count - 1)) for i in range(count))


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume or image as a stack of network inputs.

    Args:
        stack: float32 [N, C, *S]: N slices, or 1; in the teacher's orientation.
        target: spatial shape of the network input.
        image: the NIfTI image it came from; None for a PNG.
        slice_axis: the axis (in the teacher's orientation) that N runs along.
        back: orientation transform to the input's own space.
    """

    path: Path
    stack: Array
    target: tuple[int, ...]
    image: Any = None
    slice_axis: int | None = None
    back: Any = None

    @property
    def grid(self) -> tuple[int, ...]:
        """(N, *S): what two inputs of one network must share."""
        return (self.stack.shape[0], *self.stack.shape[2:])

    @property
    def windows(self) -> list[tuple[Window, Window]]:
        """Per tile: where it lies in the stack, and where that lies in the tile."""
        sizes = self.stack.shape[2:]
        windows: list[tuple[Window, Window]] = []
        for starts in product(*(tile_starts(n, t) for n, t in zip(sizes, self.target, strict=True))):
            ends = [min(s + t, n) for s, t, n in zip(starts, self.target, sizes, strict=True)]
            outer = tuple(slice(max(s, 0), e) for s, e in zip(starts, ends, strict=True))
            inner = tuple(slice(o.start - s, o.stop - s) for o, s in zip(outer, starts, strict=True))
            windows.append((outer, inner))
        return windows

    @property
    def count(self) -> int:
        return len(self.windows) * len(self.stack)

    def samples(self) -> Iterator[Array]:
        """Network inputs [1, C, *target], zero outside the volume; tiles of a slice follow each other."""
        windows = self.windows
        for plane in self.stack:
            for outer, inner in windows:
                sample = np.zeros((1, plane.shape[0], *self.target), np.float32)
                sample[0][(slice(None), *inner)] = plane[(slice(None), *outer)]
                yield sample

    def assembler(self) -> Assembler:
        return Assembler(self)

    def restored(self, values: Array) -> Array:
        """[N, C, *S] -> the input's own axes, channels (if several) behind them."""
        if self.slice_axis is not None:
            values = np.moveaxis(values, 0, 1 + self.slice_axis)
        else:
            values = values[0]
        values = np.moveaxis(values, 0, -1)
        if self.back is not None:
            values = nib.orientations.apply_orientation(values, self.back)
        if self.image is not None and len(self.image.shape) == 2:
            values = values[:, :, 0]
        return values[..., 0] if values.shape[-1] == 1 else values

    def write(self, path: Path, values: Array, labels: bool) -> None:
        """Write [N, C, *S] in the input's own space: NIfTI, PNG or .npy by the suffix of `path`."""
        array = self.restored(values)
        suffix = suffix_of(path)
        if suffix == ".npy":
            write_arrays(path, {"": array})
        elif suffix in NIFTI:
            save_nifti(path, array, self.image)
        else:
            from PIL import Image  # as below: few runs need it

            grey = array * np.uint8(255) if labels and array.max(initial=0) <= 1 else array
            if not labels:
                grey = np.rint(np.clip(array, 0, 1) * 255)
            channels, low, high = grey.shape[2] if grey.ndim > 2 else 1, grey.min(), grey.max()
            if channels > 4 or low < 0 or high > 255:
                what, remedy = f"{channels} channels from {low:g} to {high:g}", "end -o in .npy"
                raise OptionError(f"a PNG cannot hold {what}", file=str(path), remedy=remedy)
            with replacing(path) as temporary:
                Image.fromarray(grey.astype(np.uint8)).save(temporary)

    def check_target(self, path: Path) -> None:
        """Raises OptionError if it cannot be written as the suffix of `path` says."""
        wanted = (*(PNG if self.image is None else NIFTI), ".npy")
        if suffix_of(path) not in wanted:
            raise OptionError("unknown output format", file=str(path), remedy=f"end it in {' or '.join(wanted)}")


class Assembler:
    """Puts network outputs back together: the average of all tiles at a voxel (whole numbers: the first tile's)."""

    def __init__(self, volume: Volume):
        self._volume = volume
        self._windows = volume.windows
        self._sum: Array | None = None
        self._seen: Array | None = None
        self._next = 0

    def add(self, output: Array) -> None:
        """The output of the next sample; truth values become the labels 0 and 1."""
        output = output.reshape(-1, *self._volume.target)
        output = output.astype(np.uint8) if output.dtype == bool else output
        n, k = divmod(self._next, len(self._windows))
        self._next += 1
        stack = self._volume.stack
        if self._sum is None:
            self._sum = np.zeros((stack.shape[0], output.shape[0], *stack.shape[2:]), output.dtype)
            self._seen = np.zeros(self._volume.grid, np.int32)
        assert self._seen is not None
        outer, inner = self._windows[k]
        seen, tile = self._seen[n][outer], output[(slice(None), *inner)]
        if np.issubdtype(output.dtype, np.integer):
            tile = np.where(seen == 0, tile, 0)
        self._sum[n][(slice(None), *outer)] += tile
        seen += 1

    def result(self) -> Array:
        """[N, C, *S]"""
        assert self._sum is not None and self._seen is not None
        if np.issubdtype(self._sum.dtype, np.integer):
            return self._sum
        return np.asarray(self._sum / self._seen[:, None], self._sum.dtype)


def labels_of(values: Array, threshold: float | None) -> Array | None:
    """[N, C, *S] -> uint8 or int16 [N, 1, *S]: argmax of several channels, a threshold of one; None: no labels."""
    if np.issubdtype(values.dtype, np.integer):
        found = values
    elif values.shape[1] > 1:
        found = values.argmax(1)[:, None]
    elif threshold is None:
        return None
    else:
        found = values > threshold
    return found.astype(np.uint8 if found.max(initial=0) < 256 and found.min(initial=0) >= 0 else np.int16)


def turns(image: Any, orientation: str) -> tuple[Any, Any]:
    """Orientation transforms from the image's own axes to these, and back."""
    own = nib.io_orientation(image.affine)
    if np.isnan(own).any():
        raise DataError("its affine names no direction for an axis", remedy="set orientation to null")
    wanted = nib.orientations.axcodes2ornt(tuple(orientation))
    return nib.orientations.ornt_transform(own, wanted), nib.orientations.ornt_transform(wanted, own)


def load_nifti(path: Path) -> Any:
    """Raises FormatError or DataError where it cannot be data of a network."""
    if path.stat().st_size == 0:
        raise FormatError("the file is empty", remedy="copy it again")
    image = nib.load(path)
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(f"voxels of dtype {image.get_data_dtype()}", remedy="convert them to one number each")
    return image


def save_nifti(path: Path, array: Array, like: Any, intent: str = "none") -> None:
    """Voxels on the grid of the image `like`, with its affine; intent: what they are (of NIfTI)."""
    header = like.header.copy()
    header.set_data_dtype(array.dtype)
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent(intent)
    with replacing(path) as temporary:
        nib.save(type(like)(array, like.affine, header), temporary)


def read_volume(path: Path, shape: tuple[int, ...], preprocess: Preprocess) -> Volume:
    """Read and preprocess for a network input of `shape` (1, C, *spatial).

    Raises:
        FormatError: not a readable file of its kind.
        DataError: it does not suit the network.
    """
    try:
        return _read_png(path, shape, preprocess) if suffix_of(path) in PNG else _read_nifti(path, shape, preprocess)
    except SnnccError as error:
        raise error.at(path) from None
    except FileNotFoundError:
        raise FormatError("there is no such file", file=str(path), remedy="check its path") from None
    except Exception as error:  # readers of foreign formats raise anything
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"cannot read it: {text}", file=str(path), remedy="is it complete?") from None


def _read_nifti(path: Path, shape: tuple[int, ...], preprocess: Preprocess) -> Volume:
    image = load_nifti(path)
    data = np.asarray(image.get_fdata(dtype=np.float64))
    _check_finite(data)
    if data.ndim == 2:
        data = data[:, :, None]
    if data.ndim not in (3, 4) or len(shape) not in (4, 5):
        raise DataError(f"{data.ndim} axes for a network with {len(shape) - 2}", remedy="give a volume or a slice")
    data = data if data.ndim == 4 else data[..., None]
    back = None
    if preprocess.orientation is not None:
        there, back = turns(image, preprocess.orientation)
        data = nib.orientations.apply_orientation(data, there)
    channels = np.moveaxis(data, -1, 0)
    _check_channels(len(channels), shape)
    prepared = preprocess.scaled(channels)
    if len(shape) == 5:
        return Volume(path, prepared[None], shape[2:], image, None, back)
    axis = 2 if preprocess.slice_axis is None else preprocess.slice_axis
    return Volume(path, np.moveaxis(prepared, 1 + axis, 0), shape[2:], image, axis, back)


def _read_png(path: Path, shape: tuple[int, ...], preprocess: Preprocess) -> Volume:
    from PIL import Image

    if len(shape) != 4:
        raise DataError(f"an image for a network with {len(shape) - 2} spatial axes", remedy="give a volume")
    with Image.open(path) as image:
        if shape[1] == 3:
            image = image.convert("RGB")  # type: ignore[assignment]
        elif image.mode not in ("L", "I", "I;16", "1"):
            image = image.convert("L")  # type: ignore[assignment]
        full = 65535 if image.mode.startswith("I") else 1 if image.mode == "1" else 255
        pixels = np.asarray(image, np.float64)
    channels = np.moveaxis(pixels if pixels.ndim == 3 else pixels[..., None], -1, 0)
    _check_channels(len(channels), shape)
    if preprocess.percentiles is None:
        channels = channels / full
    return Volume(path, preprocess.scaled(channels)[None], shape[2:])


def _check_finite(data: Array) -> None:
    if not np.isfinite(data).all():
        raise DataError("it holds NaN or infinity", remedy="replace those values")


def _check_channels(found: int, shape: tuple[int, ...]) -> None:
    if found != shape[1]:
        raise DataError(f"{found} channels, the network wants {shape[1]}", remedy="select or convert the channels")
