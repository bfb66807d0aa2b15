"""Turn colour pixels into luminance, and state which photometric interpretations can be read (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import HTJ2K, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000Lossless

from fedward.dicom.header import is_little_endian, is_stated, named, required, syntax_of, text
from fedward.dicom.lut import read_table
from fedward.errors import StudyError

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
_SAMPLES = dict.fromkeys((*GREY, PALETTE), 1) | dict.fromkeys(
    ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"), 3
)
_JPEG_2000 = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as in DICOM's own YBR_FULL
_POLARITY = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}


def photometric(header: Dataset) -> str:
    """Return the photometric interpretation, if it can be read and fits SamplesPerPixel.

    YBR_PARTIAL_420, YBR_PARTIAL_422, HSV, ARGB and CMYK are retired and have no reader here. YBR_RCT and YBR_ICT exist
    inside JPEG 2000 only.

    Raises:
        StudyError: "undecodable".
    """
    kind = text(header, "PhotometricInterpretation")
    samples = required(header, "SamplesPerPixel")
    if not kind:
        raise StudyError("undecodable", f"{named('PhotometricInterpretation')} is absent")
    if kind not in _SAMPLES or (kind in ("YBR_RCT", "YBR_ICT") and syntax_of(header) not in _JPEG_2000):
        raise StudyError("undecodable", f"{named('PhotometricInterpretation')} is not one that can be read")
    if samples != _SAMPLES[kind]:
        raise StudyError("undecodable", f"{kind} with {samples} samples for each pixel, not {_SAMPLES[kind]}")
    if kind.startswith("YBR_FULL") and required(header, "BitsStored") != 8:
        raise StudyError("undecodable", f"{kind} with BitsStored {required(header, 'BitsStored')}, not 8")
    if samples == 3 and required(header, "PlanarConfiguration") not in (0, 1):
        raise StudyError("undecodable", f"{named('PlanarConfiguration')} is not 0 or 1")
    return kind


def check_polarity(header: Dataset, kind: str) -> None:
    """Refuse a grey image whose PresentationLUTShape (2050,0020) contradicts its photometric interpretation.

    PS3.3 C.8.11.3 wants IDENTITY with MONOCHROME2 and INVERSE with MONOCHROME1: one inversion, which both elements
    state. Viewers disagree on files in which the two differ, so nothing says whether bright is dense.

    Raises:
        StudyError: "undecodable".
    """
    shape = text(header, "PresentationLUTShape") if is_stated(header, "PresentationLUTShape") else ""
    if shape in _POLARITY and _POLARITY[shape] != kind:
        raise StudyError("undecodable", f"{named('PresentationLUTShape')} {shape} contradicts {kind}")


def luminance(rgb: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the luminance of RGB pixels, colour in the last axis."""
    grey: NDArray[np.float32] = rgb.astype(np.float32) @ _LUMINANCE
    return grey


def through_palette(indices: NDArray[np.generic], header: Dataset) -> tuple[NDArray[np.float32], float]:
    """Return PALETTE COLOR pixels as RGB, colour in the last axis, and the greatest value that they can have.

    Raises:
        StudyError: "undecodable" for a palette that is absent or malformed.
    """
    signed = required(header, "PixelRepresentation") == 1
    tables = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        segmented = not is_stated(header, f"{name}Data") and is_stated(header, f"Segmented{name}Data")
        tables.append(
            read_table(
                header,
                signed=signed,
                little=is_little_endian(header),
                descriptor=f"{name}Descriptor",
                data=f"{'Segmented' if segmented else ''}{name}Data",
            )
        )
    if len({table.bits for table in tables}) > 1:
        raise StudyError("undecodable", f"palettes of {', '.join(str(table.bits) for table in tables)} bits")
    return np.stack([table.look_up(indices) for table in tables], axis=-1), tables[0].greatest
