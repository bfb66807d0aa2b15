"""Reduce a received instance's pixel data to the pixels: no trailing bytes, no graphics in unused bits."""

from __future__ import annotations

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.uid import UID

from fedward.dicom.header import text, whole
from fedward.indexing.pacs.jpeg import without_comments


def pixels_alone(header: Dataset, element: DataElement, syntax: UID) -> DataElement:
    """Return the element with pixels only. Every stored value (PS3.5 8.1.1) is unchanged.

    Raises:
        ValueError: compressed pixels in which the location of text is unknown.
    """
    if syntax.is_encapsulated:
        alone = DataElement(element.tag, "OB", without_comments(header, syntax))
        alone.is_undefined_length = True
        return alone
    data: bytes = element.value or b""
    allocated, stored = whole(header, "BitsAllocated") or 0, whole(header, "BitsStored") or 0
    length = _length(header, allocated)
    if 0 < length < len(data):
        data = data[:length] + b"\0" * (length % 2)
    if allocated in (8, 16) and 0 < stored < allocated:
        data = _used_bits(data, allocated, stored, whole(header, "HighBit"), header, little=syntax.is_little_endian)
    return DataElement(element.tag, element.VR, data)


def _length(header: Dataset, allocated: int) -> int:
    samples = whole(header, "SamplesPerPixel") or 1
    if text(header, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    frames = whole(header, "NumberOfFrames") or 1
    return ((whole(header, "Rows") or 0) * (whole(header, "Columns") or 0) * frames * samples * allocated + 7) // 8


def _used_bits(data: bytes, allocated: int, stored: int, high: int | None, header: Dataset, *, little: bool) -> bytes:
    """Clear the bits above and below the value (PS3.5 8.1.1): old overlays were stored there."""
    signed = whole(header, "PixelRepresentation") == 1
    size = allocated // 8
    kind = np.dtype(f"{'<' if little else '>'}{'i' if signed else 'u'}{size}")
    values = np.frombuffer(data, dtype=kind, count=len(data) // size)
    high = stored - 1 if high is None or not stored <= high + 1 <= allocated else high
    below = high + 1 - stored
    values = values << (allocated - high - 1) >> (allocated - high - 1)
    values = values >> below << below
    return values.astype(kind).tobytes() + data[len(values) * size :]
