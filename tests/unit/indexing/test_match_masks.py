"""Masks and the images that they belong to: nothing is mirrored, halved, or taken from the wrong file in silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedward.dataset.load import load_mask
from fedward.dataset.manifest import Manifest
from fedward.errors import StudyError
from fedward.indexing.index import index_cohort
from fedward.indexing.quarantine import read_quarantine
from tests.support.images.dicom_files import image, save, save_nifti, segmentation, series, site, uid
from tests.support.images.seg_files import Frame, item, seg

SHAPE = (16, 12)
LUNG, HEART = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
LUNG[2:6, 1:4], HEART[10:14, 5:11] = True, True
AXIAL = (1, 0, 0, 0, 1, 0)


def indexed(root: Path, **cohort: object) -> tuple[Manifest, dict[str, str]]:
    policy = site(root, masks=root / "masks", **cohort)
    made = index_cohort(policy, "chest", workers=0)
    return made, {one.file: one.reason for one in read_quarantine(root / "index")}


def indexed_images(root: Path, **cohort: object) -> tuple[Manifest, dict[str, str]]:
    made = index_cohort(site(root, **cohort), "chest", workers=0)
    return made, {one.file: one.reason for one in read_quarantine(root / "index")}


def ct(stored: np.ndarray | None = None, **tags: object) -> Dataset:
    placed = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    return image(stored, modality="CT", **{**placed, **tags})


def seg_of(source: Dataset, masks: dict[str, np.ndarray], name: object = 0, **geometry: object) -> Dataset:
    given = {"orientation": AXIAL, "spacing_mm": (1, 1), "frame_of_reference": source.FrameOfReferenceUID, **geometry}
    at = given.pop("position_mm", (0, 0, 0))
    frames = [Frame(number, mask, at, source.SOPInstanceUID) for number, mask in enumerate(masks.values(), 1)]
    return seg(frames, dict(enumerate(masks, 1)), name=name, **given)


def test_one_file_an_organ_is_one_mask(tmp_path: Path) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Lung": LUNG}, "lung"), tmp_path / "masks/1.dcm")
    save(seg_of(source, {"Heart": HEART}, "heart"), tmp_path / "masks/2.dcm")
    made, aside = indexed(tmp_path)
    (row,) = made.rows
    assert (aside, row.structures) == ({}, {"lung", "heart"})
    np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["Heart", "Lung"]), HEART + 2 * LUNG)
    np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["lung"]), LUNG)
    for none in (["Liver"], ["Lung", "LUNG "]):
        with pytest.raises(StudyError) as refusal:
            load_mask(row, tmp_path / "masks", none)
        assert refusal.value.reason == "missing-structure"


def test_two_files_that_mark_one_structure_leave_the_image_without_a_mask(tmp_path: Path) -> None:
    sources = [ct(name=n, patient=f"P{n}") for n in range(2)]
    for n, source in enumerate(sources):
        save(source, tmp_path / f"images/{n}.dcm")
        save(seg_of(source, {"Lung": LUNG}, n), tmp_path / f"masks/{n}.dcm")
    save(seg_of(sources[0], {"Heart": HEART, " LUNG": HEART}, "other"), tmp_path / "masks/other.dcm")
    made, aside = indexed(tmp_path)
    assert aside == {"masks/0.dcm": "second-mask", "masks/other.dcm": "second-mask"}
    assert {row.paths[0]: row.mask for row in made.rows} == {"0.dcm": None, "1.dcm": "1.dcm"}
    made, aside = indexed(tmp_path, require=("mask",))
    assert aside["0.dcm"] == "missing-mask"


def test_a_segment_without_a_mark_contradicts_nothing(tmp_path: Path) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Lung": LUNG, "Heart": HEART & False}, "lung"), tmp_path / "masks/1.dcm")
    save(seg_of(source, {"Heart": HEART}, "heart"), tmp_path / "masks/2.dcm")
    made, aside = indexed(tmp_path)
    assert aside == {}
    np.testing.assert_array_equal(load_mask(made.rows[0], tmp_path / "masks", ["Heart", "Lung"]), HEART + 2 * LUNG)


def test_an_image_of_which_one_mask_cannot_be_used_has_none(tmp_path: Path) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Lung": LUNG}, "lung"), tmp_path / "masks/1.dcm")
    save(seg_of(source, {"Heart": HEART}, "heart", position_mm=(0, 0.4, 0)), tmp_path / "masks/2.dcm")
    made, aside = indexed(tmp_path)
    assert aside == {"masks/1.dcm": "incomplete-mask", "masks/2.dcm": "mask-misfit"}
    assert made.rows[0].masks == ()


def test_so_does_an_image_whose_series_has_a_mask_that_cannot_be_decoded(tmp_path: Path) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Lung": LUNG}, "lung"), tmp_path / "masks/1.dcm")
    broken = seg_of(source, {"Heart": HEART}, "heart", series=source.SeriesInstanceUID)
    broken.SegmentationType = "SURFACE"
    save(broken, tmp_path / "masks/2.dcm")
    _, aside = indexed(tmp_path)
    assert aside == {"masks/1.dcm": "incomplete-mask", "masks/2.dcm": "undecodable"}


def test_a_refused_mask_spoils_the_image_that_it_names_and_no_other_of_its_series(tmp_path: Path) -> None:
    sources = series(3)
    for n, source in enumerate(sources):
        save(source, tmp_path / f"images/{n}.dcm")
        one = segmentation([source], {"Liver": np.ones((8, 6), dtype=bool)})
        if n == 1:
            one.SegmentationType = "SURFACE"
        save(one, tmp_path / f"masks/{n}.dcm")
    beside = segmentation([sources[1]], {"Spleen": np.ones((8, 6), dtype=bool)})
    save(beside, tmp_path / "masks/9.dcm")
    found, aside = indexed(tmp_path)
    assert aside == {"masks/1.dcm": "undecodable", "masks/9.dcm": "incomplete-mask"}
    assert sorted(row.mask or "" for row in found.rows) == ["", "0.dcm", "2.dcm"]


def test_a_refused_mask_among_the_images_is_a_mask_all_the_same(tmp_path: Path) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Lung": LUNG}, "lung"), tmp_path / "images/1.dcm")
    broken = seg_of(source, {"Heart": HEART}, "heart")
    broken.SegmentationType = "SURFACE"
    save(broken, tmp_path / "images/2.dcm")
    made = index_cohort(site(tmp_path, masks=tmp_path / "images", max_quarantined_fraction=0.0), "chest", workers=0)
    assert [row.masks for row in made.rows] == [()]
    reasons = {one.file: one.reason for one in read_quarantine(tmp_path / "index")}
    assert reasons == {"1.dcm": "incomplete-mask", "2.dcm": "undecodable"}


@pytest.mark.parametrize("listed", [True, False])
def test_frames_without_a_source_belong_to_the_images_that_the_header_lists(tmp_path: Path, listed: bool) -> None:
    phases = [series(3, name="both"), series(3, name="both")]
    for number, phase in enumerate(phases):
        for n, source in enumerate(phase):
            source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = uid(number, n)
            source.PixelData = bytes(number for _ in range(2)) + source.PixelData[2:]
            save(source, tmp_path / f"images/{number}{n}.dcm")
    frames = [Frame(1, np.ones((8, 6)), one.ImagePositionPatient) for one in phases[0]]
    made = seg(frames, {1: "Liver"}, orientation=AXIAL, spacing_mm=(0.7, 0.8), series=phases[0][0].SeriesInstanceUID)
    if listed:
        instances = [item(ReferencedSOPInstanceUID=one.SOPInstanceUID) for one in phases[0]]
        made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances
    save(made, tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    masked = sorted(row.paths[0] for row in found.rows if row.masks)
    assert (masked, aside) == (["00.dcm", "01.dcm", "02.dcm"], {}) if listed else ([], {"masks/m.dcm": "mask-misfit"})


@pytest.mark.parametrize(
    ("spacing", "mask_spacing", "mask", "used"),
    [
        ({"PixelSpacing": [1, 1]}, (2, 2), np.ones((8, 6)), False),
        ({}, (2, 2), np.ones((8, 6)), False),
        ({"ImagerPixelSpacing": [0.5, 0.5]}, (1, 1), np.ones((8, 6)), False),
        ({"PixelSpacing": [1, 1]}, (1, 1), np.ones((8, 6)), True),
        ({}, (1, 1), np.ones(SHAPE), True),
    ],
)
def test_a_part_of_a_radiograph_is_marked_only_by_pixels_of_its_own_size(
    tmp_path: Path, spacing: dict[str, object], mask_spacing: tuple[float, float], mask: np.ndarray, used: bool
) -> None:
    source = image(**spacing)
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Lung": mask}, spacing_mm=mask_spacing), tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert (bool(found.rows[0].masks), aside) == (used, {} if used else {"masks/m.dcm": "mask-misfit"})


def test_a_frame_that_names_no_image_is_found_in_the_series_that_the_mask_names(tmp_path: Path) -> None:
    sources = series(4)
    for n, source in enumerate(sources):
        save(source, tmp_path / f"images/{n}.dcm")
    mask = np.random.default_rng(2).random((4, 8, 6)) < 0.5
    made = segmentation(sources, {"Liver": mask})
    for group in made.PerFrameFunctionalGroupsSequence[:2]:
        del group.DerivationImageSequence
    save(made, tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert aside == {}
    for row in found.rows:
        np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["liver"]), mask[int(row.paths[0][0])])


@pytest.mark.parametrize("how", ["sources", "derivations", "series"])
def test_a_mask_may_name_an_image_that_is_not_here_first(tmp_path: Path, how: str) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    made = seg_of(source, {"Lung": LUNG}, series=source.SeriesInstanceUID)
    group, other = made.PerFrameFunctionalGroupsSequence[0], item(ReferencedSOPInstanceUID=uid("a PET"))
    if how == "sources":
        group.DerivationImageSequence[0].SourceImageSequence.insert(0, other)
    elif how == "derivations":
        group.DerivationImageSequence.insert(0, item(SourceImageSequence=[other]))
    else:
        del group.DerivationImageSequence
        made.ReferencedSeriesSequence.insert(0, item(SeriesInstanceUID=uid("a PET's series")))
    save(made, tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert (aside, found.rows[0].mask) == ({}, "m.dcm")


def test_a_copy_of_a_mask_is_a_duplicate(tmp_path: Path) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    for name in ("a", "b"):
        save(seg_of(source, {"Lung": LUNG}), tmp_path / f"masks/{name}.dcm")
    made, aside = indexed(tmp_path)
    assert aside == {"masks/b.dcm": "duplicate-instance"}
    assert made.rows[0].mask == "a.dcm"


def test_nifti_masks_of_one_name_are_one_mask_unless_they_share_a_value(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        save_nifti(np.random.default_rng(seed).random((4, 5, 6)), tmp_path / f"images/{name}.nii.gz")
    one, two = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    one[:2], two[3:] = 1, 2
    for name, second in (("a", two), ("b", np.minimum(two, 1))):
        save_nifti(one, tmp_path / f"masks/x/{name}.nii.gz")
        save_nifti(second, tmp_path / f"masks/y/{name}.nii")
    made, aside = indexed(tmp_path)
    assert aside == {"masks/x/b.nii.gz": "second-mask", "masks/y/b.nii": "second-mask"}
    row = next(row for row in made.rows if row.paths == ("a.nii.gz",))
    np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["1", "2"]), (one + two).T)
    assert sum(row.mask is None for row in made.rows) == 1


def test_folders_count_where_file_names_repeat(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    marks = {case: rng.integers(0, 2, (4, 5, 6)).astype(np.uint8) for case in ("case_0", "case_1", "case_2")}
    for case in marks:
        values = np.zeros((4, 5, 6)) if case == "case_1" else rng.random((4, 5, 6))  # case_1 is blank
        save_nifti(values, tmp_path / f"images/{case}/imaging.nii.gz")
        save_nifti(marks[case], tmp_path / f"masks/{case}/imaging.nii.gz")
    save_nifti(marks["case_1"], tmp_path / "masks/case_9/imaging.nii.gz")
    save_nifti(marks["case_1"], tmp_path / "masks/imaging.nii.gz")
    made, aside = indexed(tmp_path)
    assert aside == {
        "case_1/imaging.nii.gz": "blank-image",
        "masks/case_1/imaging.nii.gz": "orphan-mask",
        "masks/case_9/imaging.nii.gz": "orphan-mask",
        "masks/imaging.nii.gz": "mask-misfit",
    }
    for row in made.rows:
        np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["1"]), marks[row.paths[0][:6]].T)


def test_nobody_is_on_both_sides_where_file_names_repeat(tmp_path: Path) -> None:
    for n in range(12):
        for when in ("baseline", "followup"):
            values = np.random.default_rng([n, len(when)]).random((4, 5, 6))
            save_nifti(values, tmp_path / f"images/pat{n}/{when}.nii.gz")
    made, _ = indexed_images(tmp_path)
    assert made.patients() == 12
    sides = {
        row.paths[0].split("/")[0]: {one.split for one in made.rows if one.patient == row.patient} for row in made.rows
    }
    assert all(len(side) == 1 for side in sides.values())


@pytest.mark.parametrize("shift", [0.0, 0.005, 0.2])
def test_a_nifti_mask_lies_by_its_affine(tmp_path: Path, shift: float) -> None:
    affine = np.diag([0.5, 0.6, 2.0, 1.0])
    stored = np.random.default_rng(1).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    flipped = affine @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1.0]])
    flipped[0, 3] += shift
    save_nifti(np.random.default_rng(0).random((4, 5, 6)), tmp_path / "images/a.nii.gz", affine)
    save_nifti(stored[::-1, :, ::-1], tmp_path / "masks/a.nii.gz", flipped)
    made, aside = indexed(tmp_path)
    if shift > 0.05:
        assert aside == {"masks/a.nii.gz": "mask-misfit"}
    else:
        np.testing.assert_array_equal(load_mask(made.rows[0], tmp_path / "masks", ["1", "2"]), stored.T)


@pytest.mark.parametrize("values", [np.array([0, 0.5]), np.array([0, -1]), np.array([0, np.nan])])
def test_a_nifti_mask_of_values_that_are_no_labels_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    save_nifti(np.random.default_rng(0).random((4, 5, 6)), tmp_path / "images/a.nii.gz")
    save_nifti(np.resize(values, (4, 5, 6)).astype(np.float32), tmp_path / "masks/a.nii.gz")
    _, aside = indexed(tmp_path)
    assert aside == {"masks/a.nii.gz": "no-label-map"}


TURNED = {
    "as its image": (SHAPE, AXIAL, (0, 0, 0), lambda mask: mask),
    "rows reversed": (SHAPE, (1, 0, 0, 0, -1, 0), (0, 15, 0), lambda mask: mask[::-1]),
    "columns reversed": (SHAPE, (-1, 0, 0, 0, 1, 0), (11, 0, 0), lambda mask: mask[:, ::-1]),
    "half a turn": (SHAPE, (-1, 0, 0, 0, -1, 0), (11, 15, 0), lambda mask: mask[::-1, ::-1]),
    "exchanged": (SHAPE[::-1], (0, 1, 0, 1, 0, 0), (0, 0, 0), lambda mask: mask.T),
    "a part of it": ((8, 12), AXIAL, (0, 8, 0), lambda mask: mask[8:]),
}


@pytest.mark.parametrize("how", TURNED)
def test_a_mask_lies_by_its_own_orientation(tmp_path: Path, how: str) -> None:
    _, orientation, position, turn = TURNED[how]
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    made = seg_of(source, {"Heart": turn(HEART)}, orientation=orientation, position_mm=position)
    save(made, tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert aside == {}
    np.testing.assert_array_equal(load_mask(found.rows[0], tmp_path / "masks", ["Heart"]), HEART)


@pytest.mark.parametrize(
    "geometry",
    [
        {"position_mm": (0, 0.4, 0)},
        {"position_mm": (0, 0, 1.0)},
        {"position_mm": (0, 3, 0)},
        {"position_mm": None},
        {"orientation": None},
        {"orientation": (1, 0, 0, 0, 0, 1)},
        {"orientation": (1, 0, 0, 0, -1, 0)},
        {"spacing_mm": None},
        {"spacing_mm": (1, 1.2)},
        {"spacing_mm": (2, 2)},
        {"frame_of_reference": uid("elsewhere")},
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused_though_it_names_its_image(
    tmp_path: Path, geometry: dict[str, object]
) -> None:
    source = ct()
    save(source, tmp_path / "images/a.dcm")
    save(seg_of(source, {"Heart": HEART}, **geometry), tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert aside == {"masks/m.dcm": "mask-misfit"}
    assert found.rows[0].masks == ()


def test_a_mask_that_names_two_images_at_one_place_belongs_to_the_one_that_each_frame_names(tmp_path: Path) -> None:
    sources = [ct(name=n) for n in range(2)]
    for n, source in enumerate(sources):
        save(source, tmp_path / f"images/{n}.dcm")
    frames = [Frame(1, mask, (0, 0, 0), one.SOPInstanceUID) for one, mask in zip(sources, (LUNG, HEART), strict=True)]
    made = seg(frames, {1: "Organ"}, orientation=AXIAL, spacing_mm=(1, 1))
    save(made, tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert aside == {}
    for row in found.rows:
        expected = (LUNG, HEART)[int(row.paths[0][0])]
        np.testing.assert_array_equal(load_mask(row, tmp_path / "masks", ["Organ"]), expected)


def enhanced(depth: int) -> Dataset:
    """A multi-frame MR whose frames are stored from top to bottom, and so come in reverse."""
    groups = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0.0, 3.0 * (depth - n)])]) for n in range(depth)
    ]
    plane = item(ImageOrientationPatient=[1.0, 0, 0, 0, 1, 0])
    shared = item(PlaneOrientationSequence=[plane], PixelMeasuresSequence=[item(PixelSpacing=[1, 1])])
    stored = np.random.default_rng(0).integers(0, 4096, (depth, *SHAPE))
    more = {"PerFrameFunctionalGroupsSequence": groups, "SharedFunctionalGroupsSequence": [shared]}
    return image(stored, modality="MR", **more)


@pytest.mark.parametrize("named", [True, False])
def test_a_mask_of_a_multi_frame_volume_lies_by_its_positions(tmp_path: Path, named: bool) -> None:
    source = enhanced(4)
    save(source, tmp_path / "images/a.dcm")
    truth = np.random.default_rng(1).random((4, *SHAPE)) < 0.3
    frames = [
        Frame(1, truth[n][::-1], (0, 15, 3.0 * (n + 1)), source.SOPInstanceUID if named else "") for n in (2, 0, 3, 1)
    ]
    turned = {"orientation": (1, 0, 0, 0, -1, 0), "spacing_mm": (1, 1), "series": source.SeriesInstanceUID}
    save(seg(frames, {1: "Organ"}, **turned), tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert (aside, found.rows[0].shape) == ({}, (4, *SHAPE))
    np.testing.assert_array_equal(load_mask(found.rows[0], tmp_path / "masks", ["organ"]), truth)


@pytest.mark.parametrize(
    ("sequence", "keyword", "value"),
    [("PixelMeasuresSequence", "PixelSpacing", [2, 1]), ("PlaneOrientationSequence", "ImageOrientationPatient", None)],
)
def test_frames_of_several_grids_are_no_volume(tmp_path: Path, sequence: str, keyword: str, value: object) -> None:
    source = enhanced(4)
    own = item(**{keyword: value or [0.0, 1, 0, 1, 0, 0]})
    setattr(source.PerFrameFunctionalGroupsSequence[2], sequence, [own])
    save(source, tmp_path / "images/a.dcm")
    save(ct(), tmp_path / "images/b.dcm")
    _, aside = indexed_images(tmp_path)
    assert aside == {"a.dcm": "mixed-series"}


def test_a_mask_that_names_images_of_two_grids_serves_the_one_that_it_fits(tmp_path: Path) -> None:
    fine, coarse = ct(name="fine"), ct(np.arange(48).reshape(8, 6) * 80, name="coarse", PixelSpacing=[2, 2])
    save(fine, tmp_path / "images/fine.dcm")
    save(coarse, tmp_path / "images/coarse.dcm")
    frames = [Frame(1, LUNG, (0, 0, 0), one.SOPInstanceUID) for one in (coarse, fine)]
    save(seg(frames, {1: "Lung"}, orientation=AXIAL, spacing_mm=(1, 1)), tmp_path / "masks/m.dcm")
    found, aside = indexed(tmp_path)
    assert aside == {}
    assert {row.paths[0]: row.mask for row in found.rows} == {"fine.dcm": "m.dcm", "coarse.dcm": None}


def _series(change: Callable[[Dataset], object]) -> list[Dataset]:
    slices = series(5)
    for one in slices:
        one.RescaleType = "HU"
    change(slices[3])
    return slices


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("pixel spacings", lambda one: setattr(one, "PixelSpacing", [0.35, 0.8])),
        ("pixel spacings", lambda one: delattr(one, "PixelSpacing")),
        ("studies", lambda one: setattr(one, "StudyInstanceUID", uid("another study"))),
        ("patients", lambda one: setattr(one, "PatientID", "P2")),
        ("modalities", lambda one: setattr(one, "Modality", "MR")),
        ("manufacturers", lambda one: setattr(one, "Manufacturer", "ANOTHER")),
        ("frames of reference", lambda one: setattr(one, "FrameOfReferenceUID", uid("another frame"))),
        ("units", lambda one: setattr(one, "RescaleType", "US")),
        ("kinds, kernels", lambda one: setattr(one, "ImageType", ["DERIVED", "PRIMARY", "MPR"])),
        ("kinds, kernels", lambda one: setattr(one, "ConvolutionKernel", "B70f")),
        ("kinds, kernels", lambda one: setattr(one, "EchoTime", 90)),
        ("not parallel", lambda one: setattr(one, "ImageOrientationPatient", [0.0, 1, 0, 1, 0, 0])),
    ],
)
def test_slices_that_differ_in_what_a_series_has_once_are_no_volume(
    tmp_path: Path, what: str, change: Callable[[Dataset], object]
) -> None:
    for n, one in enumerate([*_series(change), *series(3, patient="P9", name="sound")]):
        save(one, tmp_path / f"images/{n}.dcm")
    found = index_cohort(site(tmp_path, volumes=True), "chest", workers=0)
    assert [row.shape for row in found.rows] == [(3, 8, 6)]
    entries = read_quarantine(tmp_path / "index")
    assert [(one.reason, what in one.detail) for one in entries] == [("mixed-series", True)] * 5


def test_a_spacing_that_a_header_rounds_is_the_same(tmp_path: Path) -> None:
    for n, one in enumerate(_series(lambda one: setattr(one, "PixelSpacing", [0.7001, 0.7999]))):
        save(one, tmp_path / f"images/{n}.dcm")
    assert len(index_cohort(site(tmp_path, volumes=True), "chest", workers=0).rows) == 1


@pytest.mark.parametrize(("shift_mm", "flags"), [(0.0, ()), (0.1, ()), (0.5, ("gantry-tilt",))])
def test_a_tilted_gantry_is_flagged(tmp_path: Path, shift_mm: float, flags: Sequence[str]) -> None:
    for n, one in enumerate(series(5)):
        one.ImagePositionPatient = [0.0, round(shift_mm * n, 3), 2.5 * n]
        save(one, tmp_path / f"images/{n}.dcm")
    (row,) = index_cohort(site(tmp_path, volumes=True), "chest", workers=0).rows
    assert row.flags == flags
