"""Remove from compressed frames all data that is not the picture. Pure; no pixel is decoded.

JPEG, JPEG-LS and JPEG 2000 code streams are chains of marked segments (ISO/IEC 10918-1 B.1, 14495-1 C.1, 15444-1 A).
Comments and application segments hold free text, Exif and thumbnails; after the end marker anything may follow.
"""

from __future__ import annotations

from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, RLELossless

_JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
_END, _COMMENT, _START_OF_SCAN = 0xD9, 0xFE, 0xDA
_COMMENT_2000, _START_OF_TILE = 0x64, 0x90
_APPLICATION = range(0xE0, 0xF0)
_NEEDED = (b"JFIF\0", b"Adobe", b"SPIFF")
"""Application segments that state the colour coding."""


def without_comments(header: Dataset, syntax: UID) -> bytes:
    """Return the encapsulated pixel data of ``header`` without comments, application segments and trailing bytes.

    Raises:
        ValueError: a transfer syntax in which the location of text is unknown, or a damaged code stream.
    """
    data: bytes = header.PixelData
    if syntax == RLELossless:
        return data
    if syntax not in _JPEG | _JPEG_2000:
        raise ValueError("transfer syntax not known")
    frames = generate_frames(data, number_of_frames=int(header.get("NumberOfFrames") or 1))
    return encapsulate([_stripped(frame, wavelet=syntax in _JPEG_2000) for frame in frames])


def _stripped(frame: bytes, *, wavelet: bool) -> bytes:
    start, body = (b"\xff\x4f", _START_OF_TILE) if wavelet else (b"\xff\xd8", _START_OF_SCAN)
    end = frame.rfind(bytes((0xFF, _END)))
    end = len(frame) - 2 if end < 0 else end  # the decoder judges a truncated frame
    if not frame.startswith(start):
        raise ValueError("no code stream")
    kept, at = [start], 2
    while at + 4 <= end:
        if frame[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = frame[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        if marker == body:
            break
        after = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if not _may_hold_text(marker, frame[at + 4 : after], wavelet=wavelet):
            kept.append(frame[at:after])
        at = after
    return b"".join([*kept, frame[at : end + 2]])


def _may_hold_text(marker: int, content: bytes, *, wavelet: bool) -> bool:
    if wavelet:
        return marker == _COMMENT_2000
    return marker == _COMMENT or (marker in _APPLICATION and not content.startswith(_NEEDED))
