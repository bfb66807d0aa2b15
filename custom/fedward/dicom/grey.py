"""The grey-scale steps that a header asks for, in the standard's order (PS3.4 N.2): what they are, and what they give.

Stored values -> modality LUT or rescale -> VOI LUT or window -> MONOCHROME1 inverted. Padding takes no step: it is
background (PS3.3 C.7.5.1.1.2). The steps are applied to whole images and, to judge them, to an even sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from fedward.dicom.bits import bits_of
from fedward.dicom.colour import check_polarity
from fedward.dicom.header import is_little_endian, is_stated, item, items, named, numbers, text
from fedward.dicom.lut import Table, read_table
from fedward.errors import StudyError

PROJECTION = frozenset({"CR", "DX", "MG", "IO", "PX"})
_NOT_FOR_DISPLAY = frozenset(
    {"1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2", "1.2.840.10008.5.1.4.1.1.12.3"}
)
"""XA, XRF and XA biplane: their modality LUT leads back to X-ray intensity (PS3.3 C.8.7.1.1.2, PS3.4 N.2.1.2)."""
_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
_PADDING = (
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
)


@dataclass(frozen=True, slots=True)
class Rescale:
    """Slope and intercept, one of each for every frame, or one for all."""

    slope: NDArray[np.float32]
    intercept: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Window of PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str

    def part(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map values to 0 to 1."""
        centre, width = self.centre, self.width
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - np.float32(centre)) / np.float32(width), -80, 80)
            part: NDArray[np.float32] = 1 / (1 + np.exp(exponent))
            return part
        if self.function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        scaled = (values - np.float32(centre)) / np.float32(width) + np.float32(0.5)
        clipped: NDArray[np.float32] = np.clip(scaled, 0, 1)
        return clipped


@dataclass(frozen=True, slots=True)
class Steps:
    """Grey-scale steps of one image.

    Attributes:
        padding: least and greatest stored value that is padding, or None.
        modality: modality LUT or rescale, or None.
        voi: VOI LUT or window, or None.
        faulty: True where the header has a window that cannot be applied.
        inverted: True for MONOCHROME1.
        low, high: least and greatest value that the modality step can give.
    """

    padding: tuple[float, float] | None
    modality: Table | Rescale | None
    voi: Table | Window | None
    faulty: bool
    inverted: bool
    low: float
    high: float

    def without_voi(self) -> Steps:
        """Return the steps without VOI LUT and window."""
        return replace(self, voi=None)

    def range(self) -> tuple[float, float]:
        """Return the least and greatest value that the steps can give."""
        return (0.0, self.voi.greatest) if isinstance(self.voi, Table) else (self.low, self.high)

    def apply(self, stored: NDArray[Any], frames: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Return grey values, float32, in the shape of ``stored``; NaN for padding and for what is not finite.

        Args:
            stored: ``(rows, columns)``, ``(frames, rows, columns)``, or any of an image's pixels in one axis.
            frames: the frame of each pixel, for pixels in one axis.
        """
        values = self._modality(stored, frames)
        low, high = self.range()
        if isinstance(self.voi, Table):
            values = self.voi.look_up(values)
        elif self.voi is not None:
            values = self.voi.part(values) * np.float32(high - low) + np.float32(low)
        if self.inverted:
            values = np.float32(low + high) - values
        if self.padding is not None:
            values = np.where((stored >= self.padding[0]) & (stored <= self.padding[1]), np.float32(np.nan), values)
        if stored.dtype.kind == "f":
            values = np.where(np.isfinite(stored) & np.isfinite(values), values, np.float32(np.nan))
        return values

    def _modality(self, stored: NDArray[np.generic], frames: NDArray[np.intp] | None) -> NDArray[np.float32]:
        if isinstance(self.modality, Table):
            return self.modality.look_up(stored)
        values = stored.astype(np.float32)
        if self.modality is None:
            return values
        slope, intercept = self.modality.slope, self.modality.intercept
        if len(slope) > 1:
            each = frames if frames is not None else np.arange(stored.shape[0])[:, None, None]
            slope, intercept = slope[each], intercept[each]
        return values * slope + intercept


def steps_of(header: Dataset, *, low: float, high: float, frames: int) -> Steps:
    """Read the grey-scale steps of a grey image.

    Args:
        header: the image's data set.
        low, high: least and greatest value that the stored format can hold.
        frames: number of frames.

    Raises:
        StudyError: "undecodable" for a step that is malformed or contradicts another element.
    """
    kind = text(header, "PhotometricInterpretation")
    check_polarity(header, kind)
    modality: Table | Rescale | None = None
    if text(header, "SOPClassUID") not in _NOT_FOR_DISPLAY:
        modality, low, high = _modality(header, low, high, frames)
    voi: Table | Window | None = None
    faulty = False
    if text(header, "Modality").upper() in PROJECTION:
        if (table := item(header, "VOILUTSequence")) is not None:
            voi = read_table(table, signed=low < 0, little=is_little_endian(header))
        else:
            voi, faulty = _window(header)
    return Steps(padding_of(header), modality, voi, faulty, kind == "MONOCHROME1", low, high)


def padding_of(header: Dataset) -> tuple[float, float] | None:
    """Return the closed range of stored values that are padding; a limit without a value is no padding."""
    for first, limit in _PADDING:
        if not is_stated(header, first):
            continue
        found = numbers(header, first), numbers(header, limit)
        if len(found[0]) != 1 or (len(found[1]) != 1 and is_stated(header, limit)):
            raise StudyError("undecodable", f"{named(first)} or its range limit is not one number")
        ends = found[0] + found[1]
        if first == "PixelPaddingValue" and "PixelData" in header:
            bits = bits_of(header)
            ends = tuple(float(bits.wrap(int(one))) for one in ends)
        return min(ends), max(ends)
    return None


def _modality(header: Dataset, low: float, high: float, frames: int) -> tuple[Table | Rescale | None, float, float]:
    """Return the modality step, None where it changes nothing, and the least and greatest value that it can give."""
    if (table := item(header, "ModalityLUTSequence")) is not None:
        found = read_table(table, signed=low < 0, little=is_little_endian(header))
        return found, 0.0, found.greatest
    shared = item(header, "SharedFunctionalGroupsSequence")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    pairs = [_rescale(header, group, shared) for group in groups[:frames]]
    if len(pairs) < frames:
        pairs += [_rescale(header, None, shared)] * (frames - len(pairs))
    if all(pair == (1, 0) for pair in pairs):
        return None, low, high
    slope, intercept = np.array(pairs if len(set(pairs)) > 1 else pairs[:1], dtype=np.float64).T
    ends = np.stack([slope * low + intercept, slope * high + intercept])
    return Rescale(slope.astype(np.float32), intercept.astype(np.float32)), float(ends.min()), float(ends.max())


def _rescale(header: Dataset, group: Dataset | None, shared: Dataset | None) -> tuple[float, float]:
    """Return slope and intercept of a frame; 1 and 0 where the header has none, and 1 for a slope of 0."""
    holder = header
    for one in (group, shared):
        step = None if one is None else item(one, "PixelValueTransformationSequence")
        if step is not None:
            holder = step
            break
    found = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        several = numbers(holder, keyword)
        if not several and is_stated(holder, keyword):
            raise StudyError("undecodable", f"{named(keyword)} is not a number")
        found.append(several[0] if several else 0.0)
    return found[0] or 1.0, found[1]


def _window(header: Dataset) -> tuple[Window | None, bool]:
    """Return the first window, None where there is none; and True if the header has one that cannot be applied."""
    if not (is_stated(header, "WindowCenter") or is_stated(header, "WindowWidth")):
        return None, False
    centre, width = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    function = text(header, "VOILUTFunction").upper() or "LINEAR"
    narrow = 1.0 if function == "LINEAR" else 0.0  # a linear window of 1 leaves black and white
    if not centre or not width or width[0] <= narrow or function not in _FUNCTIONS:
        return None, True
    return Window(centre[0], width[0], function), False
