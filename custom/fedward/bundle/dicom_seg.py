"""Make a DICOM SEG of a predicted mask: a binary segment for each structure, of the images that it was made from.

A structure's code is that of DICOM's own context groups where one has its name: CID 7192 (anatomical structures) or
CID 7159 (lesions), both of PS3.16 as pydicom has them. Any other name gets a code of ``origin.SCHEME``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from fedward.bundle.origin import ARTIFICIAL_INTELLIGENCE, Origin, complete, own_code
from fedward.bundle.sources import read_headers
from fedward.dicom.header import refusing
from fedward.structures import structure_key

_SYNONYMS = {"tumor": "neoplasm", "tumour": "neoplasm"}


def segmentation_of(mask: NDArray[np.uint8], *, files: Sequence[Path], origin: Origin) -> Dataset:
    """Return the SEG; frames without a mark are left out, but for a SEG without any.

    Args:
        mask: structure numbers, (rows, columns) or (slices, rows, columns), as ``read_image`` orders the slices.
        files: of the DICOM image.
        origin: model that made the mask; its names are the structures.

    Raises:
        StudyError: "undecodable" or "mask-misfit" where the image's header lacks what a SEG must have.
    """
    headers, slices = read_headers(files)
    planes = np.zeros((len(slices), *mask.shape[-2:]), dtype=np.uint8)
    whole = mask.reshape(-1, *mask.shape[-2:])
    for frame, slice_ in enumerate(slices):
        if slice_ < len(whole):  # of a film in colour only the first frame is used
            planes[frame] = whole[slice_]
    segments = np.stack([planes == number for number in range(1, len(origin.names) + 1)], axis=-1)
    with refusing("mask-misfit", "no DICOM SEG of this image can be made"):
        made: Dataset = hd.seg.Segmentation(
            source_images=[complete(header) for header in headers],
            pixel_array=segments.astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_described(origin),
            **origin.equipment(),
        )
    return made


def codes_of(structure: str) -> tuple[Code, Code]:
    """Return the category (CID 7150) and the type of a structure."""
    key = structure_key(structure)
    key = _SYNONYMS.get(key, key)
    for category, known in _known():
        if key in known:
            return category, known[key]
    return codes.SCT.Tissue, own_code(structure)


@cache
def _known() -> tuple[tuple[Code, dict[str, Code]], ...]:
    groups = (
        (codes.SCT.AnatomicalStructure, codes.cid7192),
        (codes.SCT.MorphologicallyAbnormalStructure, codes.cid7159),
    )
    return tuple(
        (category, {structure_key(one.meaning): one for one in reversed(list(group.concepts.values()))})
        for category, group in groups
    )


def _described(origin: Origin) -> list[hd.seg.SegmentDescription]:
    found = []
    for number, name in enumerate(origin.names, 1):
        category, kind = codes_of(name)
        by = hd.AlgorithmIdentificationSequence(
            name=origin.job[:64], family=ARTIFICIAL_INTELLIGENCE, version=origin.sha256[:64]
        )
        found.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=by,
            )
        )
    return found
