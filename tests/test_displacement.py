"""A registration's displacement: the field in millimetres, and what it does to images and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import snncc
from snncc.cli import main
from snncc.cli.displacement import nearest, sampled, write
from snncc.cli.preprocess import Preprocess
from snncc.cli.volumes import Volume, read_volume
from snncc.errors import OptionError
from snncc.graph import Array
from tests.onnx_models import model

RNG = np.random.default_rng(0)
SIZE = (8, 9, 10)
SHIFT = np.array([1, 0, -2])
AFFINE = np.array([[1.5, 0, 0.1, -20], [0, 2, 0, 5], [-0.1, 0, 1, 7], [0, 0, 0, 1.0]])
nib: Any = nibabel


def save(path: Path, data: Array, codes: str, affine: Array = AFFINE) -> Path:
    """An image given along RAS, in a file with its axes along `codes`."""
    image = nib.Nifti1Image(data, affine)
    there = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    nib.save(image.as_reoriented(there), path)
    return path


def volume(path: Path) -> Volume:
    return read_volume(path, (1, 1, *SIZE), Preprocess("RAS"))


def along_ras(path: Path) -> Array:
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)


def shifted(image: Array, by: Array = SHIFT) -> Array:
    """image(x + by), with the border's values beyond it."""
    index = [np.clip(np.arange(n) + s, 0, n - 1) for n, s in zip(image.shape, by, strict=True)]
    return image[np.ix_(*index)]


def whole(shift: Array = SHIFT) -> Array:
    return np.broadcast_to(np.asarray(shift, np.float32)[:, None, None, None], (3, *SIZE))


@pytest.mark.parametrize("fixed_axes", ["RAS", "LPI", "SAR"])
@pytest.mark.parametrize("moving_axes", ["RAS", "PIR", "LAS"])
def test_a_known_shift(tmp_path: Path, fixed_axes: str, moving_axes: str) -> None:
    image, labels = RNG.normal(size=SIZE).astype(np.float32), RNG.integers(0, 200, SIZE).astype(np.uint8)
    fixed = save(tmp_path / "fixed.nii.gz", RNG.random(SIZE).astype(np.float32), fixed_axes)
    moving = save(tmp_path / "moving.nii", image, moving_axes)
    marks = save(tmp_path / "marks.nii.gz", labels, moving_axes)
    done = write(tmp_path / "field.nii.gz", whole(), volume(fixed), volume(moving), marks, "RAS")
    assert [path.name for path in done] == ["field.nii.gz", "field_moved.nii.gz", "field_labels.nii.gz"]
    for path, expected in zip(done[1:], (shifted(image), shifted(labels)), strict=True):
        found = nib.load(path)
        np.testing.assert_array_equal(along_ras(path), expected)
        np.testing.assert_array_equal(found.affine, nib.load(fixed).affine)
        assert found.get_data_dtype() == expected.dtype and found.header.get_intent()[0] == "none"
    field = nib.load(done[0])
    assert field.shape == (*nib.load(fixed).shape, 1, 3) and field.header.get_intent()[0] == "vector"
    np.testing.assert_array_equal(field.affine, nib.load(fixed).affine)
    expected_mm = AFFINE[:3, :3] @ SHIFT * [-1, -1, 1]
    np.testing.assert_allclose(field.get_fdata(), np.broadcast_to(expected_mm, field.shape), atol=1e-5)


def test_the_field_is_what_itk_reads(tmp_path: Path) -> None:
    """A point of the fixed image plus its vector (LPS) is the point of the moving image, by the files' affines alone,
    also where the two images lie elsewhere in space."""
    elsewhere = AFFINE @ np.array([[1, 0, 0, 3], [0, 1, 0, -4], [0, 0, 1, 0.5], [0, 0, 0, 1.0]])
    image = RNG.normal(size=SIZE).astype(np.float32)
    fixed = save(tmp_path / "fixed.nii", image, "PIR")
    moving = save(tmp_path / "moving.nii", image, "LSA", elsewhere)
    flow = RNG.normal(size=(3, *SIZE)).astype(np.float32) * 2
    field, moved = write(tmp_path / "u.nii", flow, volume(fixed), volume(moving), None, "RAS")
    vectors = nib.load(field)
    place = np.moveaxis(np.indices(vectors.shape[:3]), 0, -1)
    points = nib.affines.apply_affine(vectors.affine, place) + vectors.get_fdata()[:, :, :, 0] * [-1, -1, 1]
    own = nib.load(moving)
    at = np.moveaxis(nib.affines.apply_affine(np.linalg.inv(own.affine), points), -1, 0)
    np.testing.assert_allclose(nib.load(moved).get_fdata(), sampled(own.get_fdata(), at), atol=1e-4)


def test_volumes_of_two_sizes(tmp_path: Path) -> None:
    """Each is centred in the network's input, and moves there."""
    image = RNG.normal(size=(5, 9, 7)).astype(np.float32)
    fixed = save(tmp_path / "fixed.nii", RNG.random((8, 6, 10)).astype(np.float32), "LAS")
    moving = save(tmp_path / "moving.nii", image, "RSA")
    _, moved = write(tmp_path / "u.nii", whole()[:, :, :6], volume(fixed), volume(moving), None, "RAS")
    inside = np.zeros(SIZE, bool)
    inside[1:6, :, 1:8] = True  # where a moving image of 5, 9, 7 lies in 8, 9, 10
    at = [slice(0, 8), slice(1, 7), slice(0, 10)]
    padded = np.full(SIZE, np.nan, np.float32)
    padded[1:6, :, 1:8] = image
    expected, there = shifted(padded)[tuple(at)], shifted(inside)[tuple(at)]
    assert there.any()
    np.testing.assert_array_equal(along_ras(moved)[there], expected[there])


def test_identity_and_halves() -> None:
    image = RNG.normal(size=SIZE).astype(np.float32)
    at = np.indices(SIZE)
    np.testing.assert_array_equal(sampled(image, at), image)
    np.testing.assert_array_equal(nearest(image, at + 0.4), image)
    half = sampled(image, at + np.array([0.5, 0, 0])[:, None, None, None])
    np.testing.assert_allclose(half[:-1], (image[1:] + image[:-1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(half[-1], image[-1])


def registration(shift: Array) -> onnx.ModelProto:
    """A network whose displacement is the same everywhere."""
    size = ",".join(map(str, SIZE))
    proto = model(
        f"""agraph (float[1,1,{size}] xf, float[1,1,{size}] xm, float[3,1,1,1,1] w, float[3,1,1,1,1] v, float[3] b)
        => (float flow) {{ a = Conv (xf, w, b)  c = Conv (xm, v)  flow = Add (a, c) }}""",
        {"w": np.zeros((3, 1, 1, 1, 1)), "v": np.zeros((3, 1, 1, 1, 1)), "b": shift},
    )
    how = {"orientation": "RAS", "labels": None, "displacement": {"output": "flow", "moving": "xm"}}
    proto.metadata_props.add(key="snncc.preprocess", value=json.dumps(how))
    return proto


@pytest.mark.parametrize("shift", [SHIFT, SHIFT * 0])
def test_run_registers(tmp_path: Path, shift: Array) -> None:
    calibration = [{name: RNG.random((1, 1, *SIZE)).astype(np.float32) for name in ("xf", "xm")}]
    snncc.compile(registration(shift), tmp_path / "m.snn.onnx", calibrate=calibration)
    image, labels = RNG.random(SIZE).astype(np.float32), RNG.integers(0, 9, SIZE).astype(np.int16)
    fixed = save(tmp_path / "a.nii.gz", RNG.random(SIZE).astype(np.float32), "LPS")
    moving, marks = save(tmp_path / "b.nii.gz", image, "IRP"), save(tmp_path / "c.nii.gz", labels, "IRP")
    command = ["run", str(tmp_path / "m.snn.onnx"), f"xf={fixed}", f"xm={moving}", "-o", str(tmp_path / "u.nii.gz")]
    result = CliRunner().invoke(main, [*command, "--moving-labels", str(marks)])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(along_ras(tmp_path / "u_labels.nii.gz"), shifted(labels, shift))
    exact = 0 if not shift.any() else 1e-3
    np.testing.assert_allclose(along_ras(tmp_path / "u_moved.nii.gz"), shifted(image, shift), rtol=0, atol=exact)
    assert nib.load(tmp_path / "u.nii.gz").shape == (*nib.load(fixed).shape, 1, 3)
    (tmp_path / "u_moved.nii.gz").replace(tmp_path / "a_moved.nii.gz")
    several = [f"{name}={path}" for path in (fixed, tmp_path / "a_moved.nii.gz") for name in ("xm", "xf")]
    clash = CliRunner().invoke(main, ["run", str(tmp_path / "m.snn.onnx"), *several, "-o", str(tmp_path / "out")])
    assert clash.exit_code == 2 and "flow (moved) of" in clash.output and not (tmp_path / "out").exists()
    asked = ["--moving-labels", str(marks), "--preprocess", '{"displacement": null}']
    wrong = CliRunner().invoke(main, [*command, *asked])
    assert wrong.exit_code == 2 and "moves no image" in wrong.output
    other = CliRunner().invoke(main, [*command, "--preprocess", '{"displacement": {"output": "y", "moving": "xm"}}'])
    assert other.exit_code == 2 and "outputs are flow" in other.output
    (tmp_path / "d.nii.gz").write_bytes(save(tmp_path / "e.nii.gz", labels[1:], "IRP").read_bytes())
    small = CliRunner().invoke(main, [*command, "--moving-labels", str(tmp_path / "d.nii.gz")])
    assert small.exit_code == 2 and "give the labels of the moving image" in small.output


def test_a_displacement_needs_its_names() -> None:
    with pytest.raises(OptionError, match="preprocessing cannot be"):
        Preprocess.of({"displacement": {"output": "flow"}})
