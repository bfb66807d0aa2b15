"""DICOM SEG as highdicom writes it -> the label map, frame by frame where it belongs; highdicom is the reference."""

from __future__ import annotations

from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from fedward.dicom.header import parse
from fedward.dicom.masks import FramePlace, frame_places, place_frames, read_segmentation
from fedward.errors import StudyError
from tests.support.dicom_files import as_bytes, image, segmentation, series

SHAPE = (5, 8, 6)


def blobs(seed: int, empty: tuple[int, ...] = ()) -> np.ndarray:
    mask = np.random.default_rng(seed).random(SHAPE) < 0.4
    mask[list(empty)] = False
    return mask


def slices_of(sources: list[Dataset]) -> tuple[list[tuple[str, int | None]], list[tuple[float, ...]]]:
    return (
        [(str(one.SOPInstanceUID), None) for one in sources],
        [tuple(float(axis) for axis in one.ImagePositionPatient) for one in sources],
    )


def read(data: bytes, sources: list[Dataset], structures: list[str]) -> np.ndarray:
    placed = place_frames(frame_places(parse(data)), *slices_of(sources))
    return read_segmentation(data, SHAPE, placed, structures)


@settings(max_examples=6, deadline=None)
@given(empty=st.sets(st.integers(0, 4), max_size=4), order=st.permutations(range(5)), seed=st.integers(0, 9))
def test_a_series_mask_is_highdicoms_own(empty: set[int], order: list[int], seed: int) -> None:
    sources = series(5)
    first, second = blobs(seed, tuple(empty)), blobs(seed + 100) & ~blobs(seed, tuple(empty))
    made = segmentation([sources[k] for k in order], {"Liver": first[order], "Spleen": second[order]})
    data = as_bytes(made)
    reference = hd.seg.segread(BytesIO(data)).get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in sources], combine_segments=True
    )
    np.testing.assert_array_equal(read(data, sources, ["LIVER", " spleen "]), reference)
    np.testing.assert_array_equal(read(data, sources, ["Spleen"]), second)


def test_of_overlapping_structures_the_later_shows() -> None:
    sources, first, second = series(5), blobs(1), blobs(2)
    data = as_bytes(segmentation(sources, {"Liver": first, "Tumour": second}))
    found = read(data, sources, ["Liver", "Tumour"])
    np.testing.assert_array_equal(found, np.where(second, 2, first))
    found = read(data, sources, ["Tumour", "Liver"])
    np.testing.assert_array_equal(found, np.where(first, 2, second))


def test_frames_without_a_reference_are_placed_by_position() -> None:
    sources, mask = series(5), blobs(3, (1,))
    made = segmentation(sources, {"Liver": mask})
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    np.testing.assert_array_equal(read(as_bytes(made), sources, ["Liver"]), mask)


def test_a_frame_of_another_image_belongs_to_no_slice() -> None:
    sources = series(5)
    data = as_bytes(segmentation(sources, {"Liver": blobs(4)}))
    instances, positions = slices_of(sources[:3])
    assert sorted(place_frames(frame_places(parse(data)), instances, positions)) == [-1, -1, 0, 1, 2]


def test_frames_of_a_multi_frame_image_are_placed_by_number() -> None:
    frames = (FramePlace("a", 3, ()), FramePlace("a", 1, ()), FramePlace("b", 1, ()), FramePlace("", None, ()))
    assert place_frames(frames, [("a", 1), ("a", 2), ("a", 3)], [(), (), ()]) == (2, 0, -1, -1)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_every_kind_of_segmentation(kind: str) -> None:
    sources, mask = series(5), blobs(5)
    pixels = mask.astype(np.float32) * 0.9 + 0.05 if kind == "FRACTIONAL" else mask
    options = {"segmentation_type": hd.seg.SegmentationTypeValues[kind]}
    if kind == "FRACTIONAL":
        options["fractional_type"] = hd.seg.SegmentationFractionalTypeValues.PROBABILITY
    data = as_bytes(segmentation(sources, {"Liver": pixels}, **options))
    np.testing.assert_array_equal(read(data, sources, ["Liver"]), mask)


def test_a_compressed_mask() -> None:
    sources, mask = series(5), blobs(6)
    made = segmentation(
        sources,
        {"Liver": mask.astype(np.float32)},
        segmentation_type=hd.seg.SegmentationTypeValues.FRACTIONAL,
        transfer_syntax_uid=RLELossless,
    )
    np.testing.assert_array_equal(read(as_bytes(made), sources, ["Liver"]), mask)


def test_a_structure_that_is_not_described_is_absent_unless_none_is() -> None:
    sources, mask = series(5), blobs(7)
    data = as_bytes(segmentation(sources, {"Liver": mask}))
    np.testing.assert_array_equal(read(data, sources, ["Kidney", "Liver"]), mask * 2)
    with pytest.raises(StudyError) as refusal:
        read(data, sources, ["Kidney"])
    assert refusal.value.reason == "missing-structure"


@pytest.mark.parametrize(
    ("shape", "placed"), [((5, 6, 8), range(5)), ((4, 8, 6), range(5)), (SHAPE, range(4)), (SHAPE, ())]
)
def test_a_mask_that_does_not_fit_is_refused(shape: tuple[int, ...], placed: range) -> None:
    data = as_bytes(segmentation(series(5), {"Liver": np.ones(SHAPE, dtype=bool)}))
    with pytest.raises(StudyError) as refusal:
        read_segmentation(data, shape, tuple(placed), ["Liver"])
    assert refusal.value.reason == "mask-misfit"


def test_highdicom_cannot_read_back_a_radiographs_mask_and_fedward_can() -> None:
    """``masks`` therefore reads with pydicom. When this fails, highdicom can read them: note that in ``masks``."""
    mask = np.eye(16, 12, dtype=bool)
    data = as_bytes(segmentation([image(PixelSpacing=[0.5, 0.5])], {"Lung": mask}))
    with pytest.raises(AttributeError, match="Pixel Measures"):
        hd.seg.segread(BytesIO(data))
    np.testing.assert_array_equal(read_segmentation(data, (16, 12), (0,), ["Lung"]), mask)
