"""A manifest row -> pixels: series in order, frames in order, NIfTI in one orientation, image and mask alike."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedward.dataset.load import load_image, load_mask
from fedward.dataset.manifest import MaskFile, Row
from fedward.dicom.image import dicom_image
from fedward.errors import StudyError
from tests.support.images.dicom_files import as_bytes, image, pattern, save, save_nifti, series

ROW = Row(
    image="a",
    patient="b",
    study="c",
    split="train",
    format="dicom",
    paths=(),
    shape=(16, 12),
    spacing_mm=None,
    labels={},
    masks=(),
    modality="",
    manufacturer="",
    sex="",
    age_decade=None,
    flags=(),
    sha256="",
)


def row(*paths: str, **known: Any) -> Row:
    return replace(ROW, paths=paths, **known)


def nifti_mask(path: Path) -> tuple[MaskFile, ...]:
    known = {"frames": (), "slices": (), "grids": (), "structures": {}}
    return (MaskFile(path=path.name, format="nifti", sha256=sha256(path.read_bytes()).hexdigest(), **known),)


def test_one_image(tmp_path: Path) -> None:
    save(image(PixelSpacing=[0.5, 0.25]), tmp_path / "a.dcm")
    found = load_image(row("a.dcm"), tmp_path)
    np.testing.assert_array_equal(found.pixels, pattern())
    assert found.spacing_mm == (0.5, 0.25)
    assert found.pixels.dtype == np.float32


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
def test_a_series_is_stacked_by_position_whatever_the_order_of_files(tmp_path: Path, order: list[int]) -> None:
    slices = series(5, orientation=(0, 1, 0, 0, 0, -1), RescaleSlope=2, RescaleIntercept=-1024)
    names = [save(slices[index], tmp_path / f"{index}.dcm").name for index in order]
    found = load_image(row(*names, format="dicom-series"), tmp_path)
    assert found.pixels.shape == (5, 8, 6)
    assert found.spacing_mm == pytest.approx((2.5, 0.7, 0.8))
    for index in range(5):
        expected = 2.0 * (pattern((("s", index)), (8, 6), bits=6) + 100 * index) - 1024
        np.testing.assert_array_equal(found.pixels[index], expected)


def test_each_slice_keeps_its_own_rescale(tmp_path: Path) -> None:
    slices = series(3)
    for index, one in enumerate(slices):
        one.RescaleSlope, one.RescaleIntercept = index + 1, 0
    names = [save(one, tmp_path / f"{index}.dcm").name for index, one in enumerate(slices)]
    found = load_image(row(*names, format="dicom-series"), tmp_path)
    np.testing.assert_array_equal(found.pixels[2], 3.0 * (pattern((("s", 2)), (8, 6), bits=6) + 200))


def test_slices_of_different_shapes_are_refused(tmp_path: Path) -> None:
    slices = series(2)
    slices[1].Rows, slices[1].Columns = 6, 8
    names = [save(one, tmp_path / f"{index}.dcm").name for index, one in enumerate(slices)]
    with pytest.raises(StudyError) as refusal:
        load_image(row(*names, format="dicom-series"), tmp_path)
    assert refusal.value.reason == "mixed-series"


def enhanced(order: list[int]) -> Dataset:
    """An enhanced multi-frame image whose frame k lies at 3 x order[k] mm and holds the value 10 x order[k]."""
    frames = np.stack([np.full((4, 5), 10 * at) + np.arange(20).reshape(4, 5) % 7 for at in order])
    made = image(frames, modality="MR")
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.9], 3
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for at in order:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 3.0 * at]
        group.PlanePositionSequence = [position]
        made.PerFrameFunctionalGroupsSequence.append(group)
    return made


def test_frames_are_ordered_by_position() -> None:
    found = dicom_image(as_bytes(enhanced([2, 0, 3, 1])))
    assert found.pixels.min(axis=(1, 2)).tolist() == [0, 10, 20, 30]
    assert found.spacing_mm == pytest.approx((3.0, 0.7, 0.9))


def test_frames_at_one_place_stay_as_stored() -> None:
    found = dicom_image(as_bytes(enhanced([1, 0, 1])))
    assert found.pixels.min(axis=(1, 2)).tolist() == [10, 0, 10]
    assert found.spacing_mm is None


def test_rescale_of_a_frame_stands_in_its_functional_group() -> None:
    made = enhanced([0, 1])
    for slope, group in zip((2, 5), made.PerFrameFunctionalGroupsSequence, strict=True):
        step = Dataset()
        step.RescaleSlope, step.RescaleIntercept, step.RescaleType = slope, 1, "US"
        group.PixelValueTransformationSequence = [step]
    assert dicom_image(as_bytes(made)).pixels.min(axis=(1, 2)).tolist() == [1, 51]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_nifti_in_any_orientation_is_the_same_volume(
    tmp_path: Path, axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    canonical = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([0.5, 0.6, 2.0, 1.0]))
    turn = [[axes.index(axis), -1 if axis in flips else 1] for axis in range(3)]
    nibabel.save(canonical.as_reoriented(np.array(turn)), tmp_path / "a.nii.gz")
    found = load_image(row("a.nii.gz", format="nifti"), tmp_path)
    np.testing.assert_array_equal(found.pixels, np.arange(60).reshape(3, 4, 5).transpose(2, 1, 0))
    assert found.spacing_mm == pytest.approx((2.0, 0.6, 0.5))
    assert found.pixels.flags.c_contiguous


def test_nifti_slope_is_applied_and_nan_becomes_the_least(tmp_path: Path) -> None:
    values = np.array([[[1.0, 2.0], [np.nan, 4.0]], [[5.0, 6.0], [7.0, -2.0]]], dtype=np.float32)
    save_nifti(values, tmp_path / "a.nii")
    found = load_image(row("a.nii", format="nifti"), tmp_path).pixels
    assert found.min() == -2
    assert found[0, 1, 0] == -2
    assert found[0, 0, 0] == 1


def test_image_and_nifti_mask_have_one_order_of_axes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    flipped = np.diag([-0.5, 0.6, -2.0, 1.0])
    save_nifti(values.astype(np.int16) * 100, tmp_path / "a.nii.gz", flipped)
    save_nifti(values, tmp_path / "m.nii.gz", flipped)
    known = row("a.nii.gz", format="nifti", shape=(6, 5, 4), masks=nifti_mask(tmp_path / "m.nii.gz"))
    pixels, mask = load_image(known, tmp_path).pixels, load_mask(known, tmp_path, ["1", "2"])
    np.testing.assert_array_equal(pixels, mask * 100.0)
    np.testing.assert_array_equal(load_mask(known, tmp_path, ["2"]), mask == 2)


@pytest.mark.parametrize(
    ("structures", "shape", "reason"), [(["Lung"], (6, 5, 4), "missing-structure"), (["1"], (5, 6, 4), "mask-misfit")]
)
def test_a_nifti_mask_that_cannot_serve(
    tmp_path: Path, structures: list[str], shape: tuple[int, ...], reason: str
) -> None:
    save_nifti(np.ones((4, 5, 6), dtype=np.uint8), tmp_path / "m.nii.gz")
    with pytest.raises(StudyError) as refusal:
        load_mask(row(shape=shape, masks=nifti_mask(tmp_path / "m.nii.gz")), tmp_path, structures)
    assert refusal.value.reason == reason


def test_a_mask_that_changed_since_the_index_is_refused(tmp_path: Path) -> None:
    save_nifti(np.ones((4, 5, 6), dtype=np.uint8), tmp_path / "m.nii.gz")
    known = row(shape=(6, 5, 4), masks=nifti_mask(tmp_path / "m.nii.gz"))
    save_nifti(np.zeros((4, 5, 6), dtype=np.uint8), tmp_path / "m.nii.gz")
    with pytest.raises(StudyError) as refusal:
        load_mask(known, tmp_path, ["1"])
    assert refusal.value.reason == "changed"


def test_no_mask_and_no_file(tmp_path: Path) -> None:
    for reason, attempt in (
        ("missing-mask", lambda: load_mask(row("a"), tmp_path, ["1"])),
        ("unreadable", lambda: load_image(row("absent.dcm"), tmp_path)),
        ("unreadable", lambda: load_image(row("."), tmp_path)),
    ):
        with pytest.raises(StudyError) as refusal:
            attempt()
        assert refusal.value.reason == reason
