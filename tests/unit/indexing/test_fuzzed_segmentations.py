"""2,000 drawn DICOM SEG files: each comes back pixel by pixel, or is refused whole with its reason.

The truth is drawn first, in the image's own pixels; a mask file is made from it by turning, cutting and shuffling, with
its geometry stated truly. Half of the files then state something false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedward.dataset.load import load_mask
from fedward.dataset.manifest import Row
from fedward.dicom.geometry import order_slices, place_of
from fedward.indexing.grouping.volume import Volume
from fedward.indexing.match_masks import match_masks
from fedward.indexing.quality import FileFacts, examine
from fedward.indexing.reasons import REASONS
from fedward.settings import CohortPolicy, CohortPrivacy
from tests.support.images.dicom_files import as_bytes, seen, uid
from tests.support.images.seg_files import Frame, seg
from tests.unit.dicom.test_image import ROW

COHORT = CohortPolicy(
    images=Path("/nowhere/images"),
    masks=Path("/nowhere/masks"),
    index=Path("/nowhere/index"),
    max_quarantined_fraction=1.0,
    validation_fraction=0.3,
    privacy=CohortPrivacy(dp="not-required", encryption="not-required"),
)
SHAPE, SPACING_MM, GAP_MM = (7, 5), (0.6, 0.8), 2.0
FRAME = uid("frame of reference")
POOL = ("Liver", "Spleen", " liver", "NODULE", "nodule")
TURNS = [(swap, down, across) for swap in (False, True) for down in (1, -1) for across in (1, -1)]


@dataclass
class Drawn:
    """A mask file and what it truly shows."""

    made: Dataset
    truth: dict[str, np.ndarray]
    volume: Volume


def image(rng: np.random.Generator, depth: int) -> tuple[Volume, np.ndarray]:
    """An image of ``depth`` slices in any direction, and the axes of its rows, columns and slices."""
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    axes[2] = np.cross(axes[0], axes[1])
    axes = np.round(axes, 6)
    facts = [
        FileFacts(
            path=f"{number}.dcm",
            size=0,
            mtime_ns=0,
            role="image",
            series=uid("series"),
            instance=uid("image", number),
            shape=SHAPE,
            positions_mm=(tuple(np.round(axes[2] * GAP_MM * number, 6)),),
            orientation=(*axes[0], *axes[1]),
            in_plane_mm=SPACING_MM,
            frame_of_reference=FRAME,
        )
        for number in range(depth)
    ]
    shape = SHAPE if depth == 1 else (depth, *SHAPE)
    return Volume(tuple(facts), Row(**{**_fields(ROW), "shape": shape, "paths": ("0.dcm",)})), axes


def _fields(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def draw(rng: np.random.Generator) -> Drawn:
    depth = int(rng.integers(1, 5))
    volume, axes = image(rng, depth)
    labels = {number: str(rng.choice(POOL)) for number in range(1, int(rng.integers(2, 5)))}
    kind = str(rng.choice(["BINARY", "FRACTIONAL", "LABELMAP"]))
    marks = {number: rng.random((depth, *SHAPE)) < 0.25 for number in labels}
    if kind == "LABELMAP":
        for number in labels:
            for other in range(1, number):
                marks[number] &= ~marks[other]
    box = (int(rng.integers(0, 3)), int(rng.integers(0, 2)), int(rng.integers(4, 8)), int(rng.integers(3, 6)))
    for mark in marks.values():
        outside = np.ones(SHAPE, dtype=bool)
        outside[box[0] : box[2], box[1] : box[3]] = False
        mark[:, outside] = False
    swap, down, across = TURNS[int(rng.integers(8))]
    naming = str(rng.choice(["right", "series", "wrong"] if depth > 1 else ["right"]))
    frames = []
    for slice_ in range(depth):
        first = (box[0] if down > 0 else box[2] - 1, box[1] if across > 0 else box[3] - 1)
        position = axes[2] * GAP_MM * slice_ + axes[1] * SPACING_MM[0] * first[0] + axes[0] * SPACING_MM[1] * first[1]
        named = slice_ if naming == "right" else int(rng.integers(depth))
        source = "" if naming == "series" else volume.findings[named].instance
        cut = {number: mark[slice_, box[0] : box[2], box[1] : box[3]] for number, mark in marks.items()}
        stored = {number: _turn(mark[::down, ::across], swap) for number, mark in cut.items()}
        if kind == "LABELMAP":
            values = sum(number * mark.astype(int) for number, mark in stored.items())
            frames.append(Frame(None, values, position, source))
            continue
        for number, mark in stored.items():
            levels = np.where(mark, rng.integers(50, 101, mark.shape), rng.integers(0, 50, mark.shape))
            frames.append(Frame(number, levels if kind == "FRACTIONAL" else mark, position, source))
    directions = (axes[0] * across, axes[1] * down)
    made = seg(
        [frames[index] for index in rng.permutation(len(frames))],
        labels,
        kind=kind,
        orientation=(*directions[1], *directions[0]) if swap else (*directions[0], *directions[1]),
        spacing_mm=SPACING_MM[::-1] if swap else SPACING_MM,
        frame_of_reference=FRAME,
        series=uid("series"),
        greatest=100,
        name=rng.integers(2**60),
    )
    truth: dict[str, np.ndarray] = {}
    for number, label in labels.items():
        key = label.strip().casefold()
        truth[key] = truth.get(key, np.zeros((depth, *SHAPE), dtype=bool)) | marks[number]
    return Drawn(made, truth, volume)


def _turn(mark: np.ndarray, swap: bool) -> np.ndarray:
    return mark.T if swap else mark


def _move(rows: float, columns: float, normal: float) -> Callable[[Dataset, np.random.Generator], None]:
    """Move one frame by parts of a pixel along its rows and columns, or along the normal by parts of a gap."""

    def harm(made: Dataset, rng: np.random.Generator) -> None:
        shared = made.SharedFunctionalGroupsSequence[0]
        axes = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
        spacing = [float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing]
        step = axes[1] * rows * spacing[0] + axes[0] * columns * spacing[1]
        step = step + np.cross(axes[0], axes[1]) * normal * GAP_MM
        plane = _any_group(made, rng).PlanePositionSequence[0]
        plane.ImagePositionPatient = [round(float(mm), 6) for mm in np.add(plane.ImagePositionPatient, step)]

    return harm


def _any_group(made: Dataset, rng: np.random.Generator) -> Dataset:
    groups = made.PerFrameFunctionalGroupsSequence
    return groups[int(rng.integers(len(groups)))]


def _tilt(made: Dataset, rng: np.random.Generator) -> None:
    plane = made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    axes = np.reshape(plane.ImageOrientationPatient, (2, 3)).astype(float)
    tilted = np.cos(0.3) * axes[1] + np.sin(0.3) * np.cross(axes[0], axes[1])
    plane.ImageOrientationPatient = [round(float(one), 6) for one in (*axes[0], *tilted)]


def _stretch(made: Dataset, rng: np.random.Generator) -> None:
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [1.6 * float(mm) for mm in measures.PixelSpacing]


def _unknown_segment(made: Dataset, rng: np.random.Generator) -> None:
    made.SegmentSequence = made.SegmentSequence[1:] or [Dataset()]


HARMS: dict[str, Callable[[Dataset, np.random.Generator], object]] = {
    "between rows": _move(0.5, 0, 0),
    "between columns": _move(0, 0.3, 0),
    "between slices": _move(0, 0, 0.5),
    "beyond the image": _move(0, 9, 0),
    "beyond the volume": _move(0, 0, 11),
    "tilted": _tilt,
    "stretched": _stretch,
    "no position": lambda made, rng: delattr(_any_group(made, rng), "PlanePositionSequence"),
    "no orientation": lambda made, rng: delattr(made.SharedFunctionalGroupsSequence[0], "PlaneOrientationSequence"),
    "no spacing": lambda made, rng: delattr(made.SharedFunctionalGroupsSequence[0], "PixelMeasuresSequence"),
    "another frame of reference": lambda made, rng: setattr(made, "FrameOfReferenceUID", uid("another")),
    "a group missing": lambda made, rng: made.PerFrameFunctionalGroupsSequence.pop(),
    "a frame missing": lambda made, rng: setattr(made, "PixelData", made.PixelData[: len(made.PixelData) // 4 * 2]),
    "a segment undescribed": _unknown_segment,
    "no kind": lambda made, rng: delattr(made, "SegmentationType"),
    "not a segmentation": lambda made, rng: setattr(made, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
}


def matched(drawn: Drawn, data: bytes, folder: Path) -> tuple[Row, list[tuple[str, str]]]:
    """The image's row, and the masks set aside with their reasons."""
    (folder / "m.dcm").write_bytes(data)
    found = examine(seen("m.dcm", "mask"), folder, COHORT)
    if found.reason:
        return drawn.volume.row, [(found.path, found.reason)]
    (row,), aside = match_masks([drawn.volume], [found], drawn.volume.findings, rules={})
    return row, [(one.file, one.reason) for one in aside]


@pytest.mark.parametrize("part", range(8))
def test_a_true_file_comes_back_and_a_false_one_is_refused(tmp_path: Path, part: int) -> None:
    for number in range(250):
        rng = np.random.default_rng([part, number])
        drawn = draw(rng)
        harm = str(rng.choice(list(HARMS))) if number % 2 else ""
        if harm:
            before = as_bytes(drawn.made)
            HARMS[harm](drawn.made, rng)
            assert as_bytes(drawn.made) != before, harm
        row, aside = matched(drawn, as_bytes(drawn.made), tmp_path)
        if harm:
            assert not row.masks, (harm, part, number)
            assert [(file, reason in REASONS) for file, reason in aside] == [("m.dcm", True)], (harm, part, number)
            continue
        assert aside == [], (part, number, aside)
        names = sorted(drawn.truth)
        expected = np.zeros((len(drawn.volume.findings), *SHAPE), dtype=np.uint8)
        for value, name in enumerate(names, 1):
            expected[drawn.truth[name]] = value
        np.testing.assert_array_equal(load_mask(row, tmp_path, names), expected.reshape(row.shape), str((part, number)))
        assert row.structures == {name for name in names if drawn.truth[name].any()}


@pytest.mark.parametrize("part", range(4))
def test_flipped_bytes_end_in_a_mask_or_in_a_reason(tmp_path: Path, part: int) -> None:
    for number in range(125):
        rng = np.random.default_rng([part, number, 1])
        drawn = draw(rng)
        data = bytearray(as_bytes(drawn.made))
        for at in rng.integers(132, len(data), int(rng.integers(1, 6))):
            data[at] = int(rng.integers(256))
        row, aside = matched(drawn, bytes(data), tmp_path)
        assert bool(row.masks) != bool(aside)
        assert all(reason in REASONS for _, reason in aside)
        if row.masks:
            found = load_mask(row, tmp_path, sorted(row.structures) or ["liver"])
            assert found.shape == row.shape


def test_the_drawn_images_are_sound() -> None:
    """The order that the index itself would find, so that the truth above is in the image's own order."""
    volume, _ = image(np.random.default_rng(0), 4)
    made = [Dataset() for _ in volume.findings]
    for one, facts in zip(made, volume.findings, strict=True):
        one.ImagePositionPatient = [float(mm) for mm in facts.positions_mm[0]]
        one.ImageOrientationPatient = [float(value) for value in facts.orientation]
    assert order_slices([place_of(one) for one in made]) == ((0, 1, 2, 3), pytest.approx(GAP_MM, rel=1e-4))
