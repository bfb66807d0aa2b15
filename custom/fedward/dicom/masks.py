"""Read a mask file as the label map that training uses: a DICOM SEG or a NIfTI label map.

A SEG omits slices without marks, may store its frames in any order, and its rows and columns in other directions than
its image. ``place_frames`` finds each frame's slice and grid when the cohort is indexed; the manifest keeps only these
(``MaskFile.placed``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.dicom.geometry import SAME_WITHIN
from fedward.dicom.header import parse, refusing
from fedward.dicom.nifti import parse_nifti
from fedward.dicom.placement import SAME, Grid, Planes, fitting_slices, grid_of, implied, place
from fedward.dicom.segmentation import FramePlace, read_segments
from fedward.errors import StudyError
from fedward.structures import structure_key

WHOLE_WITHIN = 1e-3
"""Largest distance of a label map's value from a whole number: resampling tools leave rounding errors."""
EXACT_BELOW = 2**24
"""Whole numbers below this are exact in float32, in which a file is read."""
_COUNTED = 2**16
MOST_VALUES = 1_000
"""Largest number of different values of a label map; more are a picture and not a mask."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices of one image, in order.

    Attributes:
        names: SOPInstanceUID and frame, from 1, of each slice; None for the frame of a single-frame file.
        planes: their places; unknown for a radiograph, for example.
        frame_of_reference: FrameOfReferenceUID, or "".
    """

    names: tuple[tuple[str, int | None], ...]
    planes: Planes
    frame_of_reference: str


def place_frames(
    frames: Sequence[FramePlace], mask: Planes, image: Slices, *, frame_of_reference: str
) -> dict[int, tuple[int, Grid]]:
    """Return the frames of a SEG that lie on a slice of an image, by number, with the slice and the grid of each.

    Positions decide. A reference to a source image decides only where the image has no positions, or where several
    slices lie at one place (time phases). The mask of an image without positions, such as a radiograph, may state
    positions of its own: the image then counts as lying at the origin (``placement.implied``).

    Args:
        frames: one for each plane of ``mask``.
        mask, image: places of the frames and of the slices.
        frame_of_reference: the SEG's FrameOfReferenceUID, or "".

    Raises:
        StudyError: "mask-misfit" where the two cannot be compared, or a frame fits no pixels of its slice.
    """
    if not image.planes.known:
        return _by_name(frames, mask, image)
    if not mask.known:
        raise StudyError("mask-misfit", "its image has positions, and the mask states none, or no pixel spacing")
    if frame_of_reference and image.frame_of_reference and frame_of_reference != image.frame_of_reference:
        raise StudyError("mask-misfit", "its positions are in another frame of reference than its image's")
    placed = {}
    for index, fitting in fitting_slices(mask, image.planes).items():
        named = [number for number in fitting if _names(frames[index], image.names[number])] if len(fitting) > 1 else ()
        if len(named or fitting) > 1:
            raise StudyError("mask-misfit", "several slices of its image lie at the place of one frame")
        slice_ = (named or fitting)[0]
        placed[index] = (slice_, grid_of(mask, index, image.planes, slice_))
    return placed


def read_segmentation(
    data: bytes, shape: tuple[int, ...], placed: Mapping[int, tuple[int, Grid]], structures: Sequence[str]
) -> NDArray[np.uint8] | None:
    """Read a SEG as a label map: 0 background, i + 1 for ``structures[i]``; where two overlap, the later one wins.

    All segments of one label are one structure. A structure that the SEG does not describe counts as absent.

    Args:
        data: the file.
        shape: shape of the image.
        placed: slice and grid of the frames that lie on the image, from ``place_frames``; only these are decoded.
        structures: segment labels in order; see ``structure_key``.

    Returns:
        The label map, or None if the SEG describes none of the structures.

    Raises:
        StudyError: "mask-misfit", "undecodable", "truncated", "no-pixels".
    """
    header = parse(data)
    with refusing("undecodable", "DICOM SEG"):
        found = read_segments(header)
        keys = [structure_key(structure) for structure in structures]
        number_of = {number: 1 + keys.index(label) for number, label in found.labels.items() if label in keys}
        if not number_of:
            return None
        depth = shape[0] if len(shape) == 3 else 1
        if any(index >= found.count or not 0 <= slice_ < depth for index, (slice_, _) in placed.items()):
            raise StudyError("mask-misfit", "its frames are not those that were indexed")
        wanted = [index for index in placed if not found.numbers or found.numbers[index] in number_of]
        out = np.zeros((depth, *shape[-2:]), dtype=np.uint8)
        for index, segment, there in found.marks(wanted):
            if segment in number_of:
                slice_, grid = placed[index]
                marked = place(there, grid, (shape[-2], shape[-1]))
                out[slice_][marked] = np.maximum(out[slice_][marked], number_of[segment])
        return out.reshape(shape)


def label_values(values: NDArray[np.float32]) -> tuple[int, ...]:
    """Return the values of a label map, without 0, in order.

    Raises:
        StudyError: "no-label-map" for values that are negative or no whole numbers, or too many different ones.
    """
    found: set[int] = set()
    for part in values.reshape(len(values), -1):
        if not np.isfinite(part).all() or np.abs(part - (whole := np.rint(part))).max(initial=0) > WHOLE_WITHIN:
            raise StudyError("no-label-map", "values that are no whole numbers")
        if whole.min(initial=0) < 0:
            raise StudyError("no-label-map", "negative values")
        if (highest := whole.max(initial=0)) >= EXACT_BELOW:
            raise StudyError("no-label-map", f"values from {EXACT_BELOW} up, of which two may be one here")
        here = whole.astype(np.int32)
        found.update((np.flatnonzero(np.bincount(here)) if highest < _COUNTED else np.unique(here)).tolist())
        if len(found) > MOST_VALUES:
            raise StudyError("no-label-map", f"more than {MOST_VALUES} different values")
    return tuple(sorted(found - {0}))


def read_label_map(data: bytes, shape: tuple[int, ...], structures: Sequence[str]) -> NDArray[np.uint8]:
    """Read a NIfTI label map in the image's order: 0 background, i + 1 where its value is ``int(structures[i])``.

    Raises:
        StudyError: "mask-misfit" for another shape, "missing-structure" for a structure that is not a whole number,
            "no-label-map" for values that are none.
    """
    values = parse_nifti(data).values
    if values.shape != shape:
        raise StudyError("mask-misfit", f"mask {values.shape}, image {shape}")
    label_values(values)
    out = np.zeros(shape, dtype=np.uint8)
    for index, structure in enumerate(structures, start=1):
        key = structure_key(structure)
        if not key.isdecimal():
            raise StudyError("missing-structure", f"a NIfTI mask holds whole numbers, not {structure!r}")
        out[np.rint(values) == int(key)] = index
    return out


def _by_name(frames: Sequence[FramePlace], mask: Planes, image: Slices) -> dict[int, tuple[int, Grid]]:
    """Place frames on an image without positions by the sources that each frame names."""
    slices: dict[int, int] = {}
    for index, frame in enumerate(frames):
        named = [number for number, name in enumerate(image.names) if _names(frame, name)]
        if len(named) > 1:
            raise StudyError("mask-misfit", "a frame names several slices of its image")
        if named:
            slices[index] = named[0]
    shape = image.planes.shape
    if not any(mask.positions_mm) and not mask.orientation:
        if mask.shape != shape:
            raise StudyError("mask-misfit", f"mask {mask.shape}, image {shape}")
        return {index: (slice_, SAME) for index, slice_ in slices.items()}
    if not mask.known:
        raise StudyError("mask-misfit", "it states a part of its position, and its image none")
    alike = len(image.planes.spacing_mm) == 2 and np.allclose(
        image.planes.spacing_mm, mask.spacing_mm, rtol=SAME_WITHIN
    )
    if not alike and sorted(mask.shape) != sorted(shape):
        raise StudyError("mask-misfit", "its image has no position, and another pixel size or none")
    flat = implied(mask.spacing_mm, shape)
    if not slices.keys() <= fitting_slices(mask, flat).keys():
        raise StudyError("mask-misfit", "its image has no position, and the mask lies elsewhere than at the origin")
    return {index: (slice_, grid_of(mask, index, flat, 0)) for index, slice_ in slices.items()}


def _names(frame: FramePlace, name: tuple[str, int | None]) -> bool:
    instance, number = name
    return any(
        source == instance and stated in (None, 1 if number is None else number) for source, stated in frame.sources
    )
