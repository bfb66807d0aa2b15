"""DICOM SEG as highdicom writes it -> the label map, frame by frame where it belongs; highdicom is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from fedward.dicom.header import parse, text
from fedward.dicom.masks import Slices, label_values, place_frames, read_segmentation
from fedward.dicom.placement import SAME, Grid, Planes
from fedward.dicom.segmentation import FramePlace, Segmentation, read_places, read_segments
from fedward.errors import StudyError
from tests.support.images.dicom_files import as_bytes, image, segmentation, series
from tests.support.images.seg_files import Frame, item, seg

SHAPE = (5, 8, 6)
A = "1.2.3"


def blobs(seed: int, empty: tuple[int, ...] = ()) -> np.ndarray:
    mask = np.random.default_rng(seed).random(SHAPE) < 0.4
    mask[list(empty)] = False
    return mask


def slices_of(sources: list[Dataset]) -> Slices:
    first = sources[0]
    return Slices(
        tuple((str(one.SOPInstanceUID), None) for one in sources),
        Planes(
            tuple(tuple(float(axis) for axis in one.ImagePositionPatient) for one in sources),
            tuple(float(one) for one in first.ImageOrientationPatient),
            tuple(float(one) for one in first.PixelSpacing),
            (first.Rows, first.Columns),
        ),
        str(first.FrameOfReferenceUID),
    )


def placed(data: bytes, image: Slices) -> dict[int, tuple[int, Grid]]:
    header = parse(data)
    found = read_segments(header)
    places, orientation, spacing = read_places(header, found)
    mask = Planes(tuple(place.position_mm for place in places), orientation, spacing, found.shape)
    return place_frames(places, mask, image, frame_of_reference=text(header, "FrameOfReferenceUID"))


def read(data: bytes, sources: list[Dataset], structures: list[str]) -> np.ndarray | None:
    return read_segmentation(data, SHAPE, placed(data, slices_of(sources)), structures)


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
    found = placed(data, slices_of(sources[:3]))
    assert sorted(slice_ for slice_, _ in found.values()) == [0, 1, 2]


def test_positions_decide_and_not_the_names_of_the_sources() -> None:
    sources, mask = series(5), blobs(3)
    made = segmentation(sources, {"Liver": mask})
    named = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in made.PerFrameFunctionalGroupsSequence]
    uids = [one.ReferencedSOPInstanceUID for one in named]
    for one, uid in zip(named, reversed(uids), strict=True):
        one.ReferencedSOPInstanceUID = uid
    np.testing.assert_array_equal(read(as_bytes(made), sources, ["Liver"]), mask)


def of(instance: str, *frames: int, position: tuple[float, ...] = ()) -> FramePlace:
    return FramePlace(tuple((instance, frame) for frame in frames or (None,)), position)


FLAT = Planes(((), (), ()), (), (), (4, 6))


def test_frames_of_a_multi_frame_image_without_positions_are_placed_by_number() -> None:
    frames = (of("a", 3), of("a", 1), of("b", 1), FramePlace((), ()))
    image = Slices((("a", 1), ("a", 2), ("a", 3)), FLAT, "")
    mask = Planes(((), (), (), ()), (), (), (4, 6))
    assert place_frames(frames, mask, image, frame_of_reference="") == {0: (2, SAME), 1: (0, SAME)}
    with pytest.raises(StudyError, match="several slices"):
        place_frames((of("a"),), Planes(((),), (), (), (4, 6)), image, frame_of_reference="")


TIMES = Slices(
    (("a", 1), ("a", 2)), Planes(((0.0, 0.0, 5.0),) * 2, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0), (4, 6)), "f"
)


def test_where_slices_lie_at_one_place_the_name_decides() -> None:
    mask = Planes(TIMES.planes.positions_mm[:1], TIMES.planes.orientation, (1.0, 1.0), (4, 6))
    frame = of("a", 2, position=(0.0, 0.0, 5.0))
    assert place_frames((frame,), mask, TIMES, frame_of_reference="f") == {0: (1, SAME)}
    for both in (of("a", position=(0.0, 0.0, 5.0)), of("a", 1, 2, position=(0.0, 0.0, 5.0))):
        with pytest.raises(StudyError, match="several slices"):
            place_frames((both,), mask, TIMES, frame_of_reference="f")
    with pytest.raises(StudyError, match="another frame of reference"):
        place_frames((frame,), mask, TIMES, frame_of_reference="other")
    with pytest.raises(StudyError, match="states none"):
        place_frames((frame,), Planes(((),), (), (), (4, 6)), TIMES, frame_of_reference="f")


@pytest.mark.parametrize(
    ("position", "orientation", "grid"),
    [
        ((0, 0, 0), (1, 0, 0, 0, 1, 0), SAME),
        ((0, 15.0, 0), (1, 0, 0, 0, -1, 0), (-1, 0, 15, 0, 1, 0)),
        ((0, 15.0, 0), (1, 0, 0, 0, 1, 0), None),
        ((0, 0, 3.0), (1, 0, 0, 0, 1, 0), None),
        ((0, 0, 0), (1, 0, 0, 0, 0, 1), None),
        (None, (1, 0, 0, 0, 1, 0), None),
    ],
)
def test_the_mask_of_a_radiograph_may_state_a_place_relative_to_the_origin(
    position: tuple[float, ...] | None, orientation: tuple[float, ...], grid: Grid | None
) -> None:
    image = Slices(((A, None),), Planes(((),), (), (), (16, 12)), "")
    frame = Frame(1, np.ones((16, 12)), position, A)
    data = as_bytes(seg([frame], {1: "Lung"}, orientation=orientation, spacing_mm=(1, 1)))
    if grid is None:
        with pytest.raises(StudyError) as refusal:
            placed(data, image)
        assert refusal.value.reason == "mask-misfit"
    else:
        assert placed(data, image) == {0: (0, grid)}


def test_segments_of_one_label_are_one_structure() -> None:
    sources, first, second = series(5), blobs(1), blobs(2)
    made = segmentation(sources, {"Nodule": first, "other": second})
    made.SegmentSequence[1].SegmentLabel = " NODULE "
    np.testing.assert_array_equal(read(as_bytes(made), sources, ["Nodule"]), first | second)
    np.testing.assert_array_equal(read(as_bytes(made), sources, ["other", "nodule"]), 2 * (first | second))


def test_a_label_map_in_colours_holds_segment_numbers_all_the_same() -> None:
    values = np.array([[0, 1, 2], [3, 1, 2]])
    made = seg([Frame(None, values, source=A)], {1: "Liver", 2: "Spleen", 3: "liver"}, kind="LABELMAP")
    made.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(made, f"{colour}PaletteColorLookupTableData", bytes([0, 90, 180, 255]))
    found = read_segmentation(as_bytes(made), (2, 3), {0: (0, SAME)}, ["Spleen", "Liver"])
    np.testing.assert_array_equal(found, np.array([0, 2, 1, 2])[values])


def test_the_background_of_a_label_map_is_its_padding_value_too() -> None:
    values = np.array([[9, 1], [2, 9]])
    made = seg([Frame(None, values, source=A)], {1: "Liver", 2: "Spleen"}, kind="LABELMAP")
    made.PixelPaddingValue = 9
    found = read_segmentation(as_bytes(made), (2, 2), {0: (0, SAME)}, ["Spleen", "Liver"])
    np.testing.assert_array_equal(found, [[0, 2], [1, 0]])


def binary(**change: Any) -> Dataset:
    made = seg([Frame(1, np.eye(4), source=A), Frame(2, np.eye(4), source=A)], {1: "Liver", 2: "Spleen"})
    for keyword, value in change.items():
        setattr(made, keyword, value)
    return made


def fractional(**change: Any) -> Dataset:
    made = seg([Frame(1, np.full((4, 4), 200), source=A)], {1: "Liver"}, kind="FRACTIONAL")
    for keyword, value in change.items():
        setattr(made, keyword, value)
    return made


def unnamed(made: Dataset) -> Dataset:
    del made.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence
    return made


def undescribed(made: Dataset) -> Dataset:
    made.PerFrameFunctionalGroupsSequence = made.PerFrameFunctionalGroupsSequence[:1]
    return made


def not_kept(made: Dataset) -> Dataset:
    source = made.PerFrameFunctionalGroupsSequence[1].DerivationImageSequence[0].SourceImageSequence[0]
    source.SpatialLocationsPreserved = "NO"
    return made


@pytest.mark.parametrize(
    ("reason", "says", "made"),
    [
        ("undecodable", "not described", binary(SegmentSequence=[item(SegmentNumber=1, SegmentLabel="Liver")])),
        ("undecodable", "two of one number", binary(SegmentSequence=[item(SegmentNumber=1, SegmentLabel="A")] * 2)),
        ("undecodable", "without number or label", binary(SegmentSequence=[item(SegmentNumber=1)])),
        ("undecodable", "not described", unnamed(binary())),
        ("undecodable", "SegmentationType", binary(SegmentationType="")),
        ("undecodable", "SegmentationType", binary(SegmentationType="SURFACE")),
        ("mask-misfit", "2 frames, 1 of them described", undescribed(binary())),
        ("truncated", "of pixel data", binary(NumberOfFrames=4)),
        ("mask-misfit", "not kept", not_kept(binary())),
        ("undecodable", "up to 200, of at most 100", fractional(MaximumFractionalValue=100)),
        ("undecodable", "FRACTIONAL segmentation of at most 0", fractional(MaximumFractionalValue=None)),
        ("undecodable", "more than two values", fractional(SegmentationType="BINARY", PixelData=bytes(range(16)))),
        (
            "undecodable",
            "does not describe",
            seg([Frame(None, np.full((2, 2), 7), source=A)], {1: "Liver"}, kind="LABELMAP"),
        ),
    ],
)
def test_a_segmentation_that_contradicts_itself_is_refused(reason: str, says: str, made: Dataset) -> None:
    header = parse(as_bytes(made))
    with pytest.raises(StudyError, match=says) as refusal:
        read_places(header, read_segments(header))
    assert refusal.value.reason == reason


@pytest.mark.parametrize("keyword", ["PlaneOrientationSequence", "PixelMeasuresSequence"])
def test_frames_of_several_grids_are_no_mask(keyword: str) -> None:
    frames = [Frame(1, np.eye(4), (0, 0, 0)), Frame(1, np.eye(4), (0, 0, 1))]
    made = seg(frames, {1: "Liver"}, orientation=(1, 0, 0, 0, 1, 0), spacing_mm=(1, 1))
    own = item(ImageOrientationPatient=[0, 1, 0, 1, 0, 0], PixelSpacing=[1, 2])
    setattr(made.PerFrameFunctionalGroupsSequence[1], keyword, [own])
    header = parse(as_bytes(made))
    with pytest.raises(StudyError, match="frames of different"):
        read_places(header, read_segments(header))


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
    assert read(data, sources, ["Kidney"]) is None


@pytest.mark.parametrize(
    ("shape", "frames"),
    [((5, 6, 8), {0: (0, SAME)}), ((4, 8, 6), {4: (4, SAME)}), (SHAPE, {5: (0, SAME)}), (SHAPE, {0: (-1, SAME)})],
)
def test_a_mask_that_does_not_fit_is_refused(shape: tuple[int, ...], frames: dict[int, tuple[int, Grid]]) -> None:
    data = as_bytes(segmentation(series(5), {"Liver": np.ones(SHAPE, dtype=bool)}))
    with pytest.raises(StudyError) as refusal:
        read_segmentation(data, shape, frames, ["Liver"])
    assert refusal.value.reason == "mask-misfit"


def test_only_the_frames_of_the_image_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = as_bytes(segmentation(series(5), {"Liver": np.ones(SHAPE, dtype=bool)})), []
    real = Segmentation.marks
    monkeypatch.setattr(Segmentation, "marks", lambda self, frames: real(self, read.extend(frames) or frames))
    found = read_segmentation(data, (8, 6), {3: (0, SAME)}, ["Liver"])
    assert (read, found is not None and bool(found.all())) == ([3], True)


def test_highdicom_cannot_read_back_a_radiographs_mask_and_fedward_can() -> None:
    """``masks`` therefore reads with pydicom. When this fails, highdicom can read them: note that in ``masks``."""
    mask = np.eye(16, 12, dtype=bool)
    data = as_bytes(segmentation([image(PixelSpacing=[0.5, 0.5])], {"Lung": mask}))
    with pytest.raises(AttributeError, match="Pixel Measures"):
        hd.seg.segread(BytesIO(data))
    np.testing.assert_array_equal(read_segmentation(data, (16, 12), {0: (0, SAME)}, ["Lung"]), mask)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0, 1, 2, 2], (1, 2)),
        ([0, 0], ()),
        ([0, 255], (255,)),
        ([0.0, 0.9999, 2.0003], (1, 2)),
        ([0.0, 0.4], None),
        ([-1, 1], None),
        ([np.nan, 1], None),
        ([np.inf, 1], None),
        (range(2_000), None),
        ([0, 2**24 - 1], (2**24 - 1,)),
        ([0, 2**24], None),
    ],
)
def test_values_of_a_label_map(values: Sequence[float], found: tuple[int, ...] | None) -> None:
    array = np.array(values, dtype=np.float32)
    if found is None:
        with pytest.raises(StudyError) as refusal:
            label_values(array)
        assert refusal.value.reason == "no-label-map"
    else:
        assert label_values(array) == found


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_the_bound_on_pixels_holds_for_a_frame_and_not_for_all(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("fedward.dicom.pixels.MAX_VOXELS", 16)
    number, full = (None, 1) if kind == "LABELMAP" else (1, 1 if kind == "BINARY" else 255)
    frames = [Frame(number, np.eye(3, 5) * full, source=A) for _ in range(9)]
    data = as_bytes(seg(frames, {1: "Liver"}, kind=kind))
    found = read_segmentation(data, (3, 5), {7: (0, SAME)}, ["liver"])
    np.testing.assert_array_equal(found, np.eye(3, 5))
    with pytest.raises(StudyError, match="of at most 16"):
        read_segments(parse(as_bytes(seg([Frame(1, np.eye(5), source=A)], {1: "Liver"}))))
