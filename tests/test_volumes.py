"""Volumes go in and come back in their own space."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from snncc.cli.preprocess import Preprocess
from snncc.cli.volumes import Volume, is_image, labels_of, read_volume, tile_starts
from snncc.errors import DataError, FormatError, OptionError
from snncc.graph import Array

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hippocampus"
RNG = np.random.default_rng(0)
nib: Any = nibabel


def oblique(codes: str, zooms: tuple[float, ...]) -> Array:
    """An affine whose axes point roughly along `codes`, turned by a few degrees and shifted."""
    turn = np.deg2rad(7)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    axes = np.zeros((3, 3))
    for column, code in enumerate(codes):
        row = "RLAPSI".index(code) // 2
        axes[row, column] = 1 if code in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axes @ np.diag(zooms)
    affine[:3, 3] = (-11.5, 20.25, 7)
    return affine


def save(path: Path, data: Array, codes: str = "RAS", zooms: tuple[float, ...] = (1.0, 0.7, 2.5)) -> Any:
    image = nib.Nifti1Image(data, oblique(codes, zooms))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return nib.load(path)


def through_identity(volume: Volume) -> Array:
    """What a network that gives back its input would give."""
    whole = volume.assembler()
    samples = list(volume.samples())
    assert len(samples) == volume.count
    for sample in samples:
        assert is_image(sample.shape, volume.target)
        whole.add(sample)
    return whole.result()


NETWORKS = [((1, 1, 12, 12, 12), None), ((1, 1, 12, 13), 0), ((1, 1, 13, 12), 2)]
LARGE = [((13, 8, 20), (8, 8, 8)), ((40, 3, 9), (8, 8, 8)), ((9, 9, 9), (8, 8, 8))]


@pytest.mark.parametrize("codes", ["RAS", "LAS", "RPI", "SLP", "PIR"])
@pytest.mark.parametrize("size", [(9, 7, 5), (8, 12, 6)])
@pytest.mark.parametrize(("shape", "axis"), NETWORKS)
def test_round_trip(tmp_path: Path, codes: str, size: tuple[int, ...], shape: Any, axis: int | None) -> None:
    data = RNG.random(size).astype(np.float32)
    image = save(tmp_path / "in.nii.gz", data, codes)
    volume = read_volume(tmp_path / "in.nii.gz", shape, Preprocess("RAS", None, axis))
    volume.write(tmp_path / "out.nii.gz", through_identity(volume), labels=False)
    back = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), data)
    np.testing.assert_array_equal(back.affine, image.affine)
    assert back.header.get_zooms() == image.header.get_zooms()
    assert nib.aff2axcodes(back.affine) == nib.aff2axcodes(image.affine) == tuple(codes)
    assert back.header.get_xyzt_units() == image.header.get_xyzt_units()


@pytest.mark.parametrize(("size", "target"), LARGE)
def test_a_large_volume_is_tiled(tmp_path: Path, size: tuple[int, ...], target: tuple[int, ...]) -> None:
    data = RNG.random(size).astype(np.float32)
    save(tmp_path / "in.nii", data, "LPS")
    volume = read_volume(tmp_path / "in.nii", (1, 1, *target), Preprocess("RAS"))
    assert volume.count > 1
    np.testing.assert_allclose(volume.restored(through_identity(volume)), data, rtol=1e-6)


def test_labels_null_means_values() -> None:
    assert not Preprocess.of({"labels": None}).labels
    assert Preprocess.of({}).labels and Preprocess.of({"labels": {"threshold": 0.5}}).labels


def test_overlaps_are_averaged() -> None:
    volume = Volume(Path("x"), np.zeros((1, 1, 10), np.float32), (8,))
    whole = volume.assembler()
    for value in (0.0, 1.0):
        whole.add(np.full((1, 1, 8), value, np.float32))
    np.testing.assert_array_equal(whole.result()[0, 0], [0, 0, *[0.5] * 6, 1, 1])
    first = volume.assembler()
    for number in (3, 4):
        first.add(np.full((1, 1, 8), number, np.int64))
    np.testing.assert_array_equal(first.result()[0, 0], [*[3] * 8, 4, 4])


@pytest.mark.parametrize("size", range(1, 60))
def test_tiles_cover_and_overlap(size: int) -> None:
    starts = tile_starts(size, 16)
    seen = {i for start in starts for i in range(start, start + 16)}
    assert seen >= set(range(size))
    if size > 16:
        assert starts[0] == 0 and starts[-1] == size - 16
        assert all(b - a <= 12 for a, b in pairwise(starts))
    else:
        assert starts == (-((16 - size) // 2),)


@pytest.mark.parametrize("dims", [2, 3])
def test_same_preprocessing_as_in_training(dims: int) -> None:
    spec = importlib.util.spec_from_file_location("hippocampus_data", EXAMPLE / "data.py")
    assert spec is not None and spec.loader is not None
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    expected, _ = data.load_case("hippocampus_036", dims, EXAMPLE / "volumes")
    shape = (1, 1, 48, 64) if dims == 2 else (1, 1, 48, 64, 48)
    preprocess = Preprocess("RAS", (0.5, 99.5), 2 if dims == 2 else None, 0.5)
    volume = read_volume(EXAMPLE / "volumes/imagesTr/hippocampus_036.nii.gz", shape, preprocess)
    np.testing.assert_array_equal(np.concatenate(list(volume.samples())), expected)


def test_channels_of_a_4d_volume(tmp_path: Path) -> None:
    data = RNG.random((6, 5, 4, 2)).astype(np.float32)
    save(tmp_path / "in.nii", data, "LAS")
    volume = read_volume(tmp_path / "in.nii", (1, 2, 8, 8, 8), Preprocess("RAS"))
    np.testing.assert_array_equal(volume.restored(through_identity(volume)), data)
    with pytest.raises(DataError, match="2 channels"):
        read_volume(tmp_path / "in.nii", (1, 1, 8, 8, 8), Preprocess())


def test_png(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (9, 21), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    volume = read_volume(tmp_path / "in.png", (1, 1, 16, 16), Preprocess())
    volume.write(tmp_path / "out.png", through_identity(volume), labels=False)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), pixels)
    mask = labels_of(through_identity(volume), 0.5)
    assert mask is not None
    volume.write(tmp_path / "mask.png", mask, labels=True)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), np.where(pixels > 127, 255, 0))


def test_a_png_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 21), np.uint8)).save(tmp_path / "in.png")
    volume = read_volume(tmp_path / "in.png", (1, 1, 16, 32), Preprocess())
    with pytest.raises(OptionError, match="cannot hold 5 channels"):
        volume.write(tmp_path / "out.png", np.zeros((1, 5, 9, 21), np.float32), labels=False)
    with pytest.raises(OptionError, match="from 0 to 300"):
        volume.write(tmp_path / "out.png", np.arange(301, dtype=np.int16)[None, None, None], labels=True)
    assert not (tmp_path / "out.png").exists()


def test_truth_values_are_labels(tmp_path: Path) -> None:
    mask = RNG.random((8, 7, 3)) > 0.5
    save(tmp_path / "in.nii", mask.astype(np.uint8))
    volume = read_volume(tmp_path / "in.nii", (1, 1, 8, 8), Preprocess())
    whole = volume.assembler()
    for sample in volume.samples():
        whole.add(sample > 0.5)
    found = labels_of(whole.result(), None)
    assert found is not None
    for values, labels in ((found, True), (whole.result(), False)):
        volume.write(tmp_path / "out.nii", values, labels)
        np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").get_fdata(), mask)


def test_labels() -> None:
    values = np.array([[[0.2, 0.9], [0.7, 0.8]]], np.float32)  # [1, 2, 2]
    assert labels_of(values, None) is not None
    np.testing.assert_array_equal(labels_of(values, None), [[[1, 0]]])
    np.testing.assert_array_equal(labels_of(values[:, :1], 0.5), [[[0, 1]]])
    assert labels_of(values[:, :1], None) is None


@pytest.mark.parametrize("content", [b"", b"not a volume", b"\x1f\x8b\x08\x00cut"])
def test_damaged_volumes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.nii.gz").write_bytes(content)
    with pytest.raises(FormatError):
        read_volume(tmp_path / "in.nii.gz", (1, 1, 8, 8), Preprocess())


def test_truncated_and_nan_volumes(tmp_path: Path) -> None:
    save(tmp_path / "in.nii", np.ones((8, 8, 8), np.float32))
    (tmp_path / "cut.nii").write_bytes((tmp_path / "in.nii").read_bytes()[:900])
    with pytest.raises(FormatError):
        read_volume(tmp_path / "cut.nii", (1, 1, 8, 8), Preprocess())
    save(tmp_path / "nan.nii", np.full((8, 8, 8), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        read_volume(tmp_path / "nan.nii", (1, 1, 8, 8), Preprocess())


@pytest.mark.parametrize(
    "entries",
    [
        {"orientation": "RAA"},
        {"orientation": 3},
        {"slice_axis": 3},
        {"intensity": {"percentiles": [5]}},
        {"intensity": {"percentiles": [9, 5]}},
        {"colour": 1},
        {"version": 2},
        {"labels": {"threshold": "x"}},
    ],
)
def test_unknown_preprocessing(entries: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="preprocessing"):
        Preprocess.of(entries)
