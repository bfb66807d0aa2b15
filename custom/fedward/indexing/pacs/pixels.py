"""Reduce a received instance's pixel data to the pixels: no trailing bytes, no graphics in unused bits."""

from __future__ import annotations

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.uid import UID

from fedward.dicom.bits import Bits, bits_of, cleared, stored_values
from fedward.dicom.header import text, whole
from fedward.errors import StudyError
from fedward.indexing.pacs.jpeg import without_comments


def pixels_alone(header: Dataset, element: DataElement, syntax: UID) -> DataElement:
    """Return the element with pixels only. Every stored value (PS3.5 8.1.1) is unchanged.

    Raises:
        ValueError: compressed pixels in which the location of text is unknown, or cells in which the location of the
            value is.
    """
    if syntax.is_encapsulated:
        alone = DataElement(element.tag, "OB", without_comments(header, syntax))
        alone.is_undefined_length = True
        return alone
    data: bytes = element.value or b""
    if element.keyword != "PixelData":
        return DataElement(element.tag, element.VR, data)
    try:
        bits = bits_of(header)
        length = _length(header, bits.allocated)
        if 0 < length < len(data):
            data = data[:length] + b"\0" * (length % 2)
        if bits.stored < bits.allocated:
            data = _used_bits(data, bits, little=syntax.is_little_endian)
    except StudyError as fault:
        raise ValueError(fault.detail) from None
    return DataElement(element.tag, element.VR, data)


def _length(header: Dataset, allocated: int) -> int:
    samples = whole(header, "SamplesPerPixel") or 1
    if text(header, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    frames = whole(header, "NumberOfFrames") or 1
    return ((whole(header, "Rows") or 0) * (whole(header, "Columns") or 0) * frames * samples * allocated + 7) // 8


def _used_bits(data: bytes, bits: Bits, *, little: bool) -> bytes:
    """Clear the bits above and below the value (PS3.5 8.1.1): old overlays were stored there."""
    size = bits.allocated // 8
    kind = np.dtype(f"{'<' if little else '>'}{'i' if bits.signed else 'u'}{size}")
    cells = np.frombuffer(data, dtype=kind, count=len(data) // size)
    stored_values(cells, bits)  # refuses cells in which the place of the value is not certain
    return cleared(cells, bits).astype(kind).tobytes() + data[len(cells) * size :]
