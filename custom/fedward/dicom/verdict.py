"""Judge the grey values of an image by an even sample: is it blank, and does its window leave anything to see?

The same sample decides at the index and whenever the image is loaded, so both see the same image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.dicom.grey import Steps
from fedward.dicom.lut import Table

_SAMPLE = 16_384
_BLANK_PART = 0.99
_SATURATED_PART = 0.90
_IGNORED = ("window-ignored",)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judgement of an image as a network would see it.

    Attributes:
        blank: True if at least 99 % of the grey values are one value.
        flags: "window-ignored" where the header's window or VOI LUT cannot be applied, or gives at least 99 % of the
            pixels one value which they do not have without it; "window-saturates" for at least 90 %.
    """

    blank: bool
    flags: tuple[str, ...] = ()


def is_blank(values: NDArray[np.generic]) -> bool:
    """True if at least 99 % of the pixels, in an even sample of about 16,384, have one value or are not finite."""
    return _is_one_value(_sample(values)[0], _BLANK_PART)


def chosen(values: NDArray[np.generic], steps: Steps) -> Steps:
    """Return the steps, without a window that leaves nothing to see. Padding does not count as seen."""
    return steps if steps.voi is None else _chosen(*_sample(values), steps)[0]


def verdict(values: NDArray[np.generic], steps: Steps | None) -> Verdict:
    """Judge stored values and their grey-scale steps; None for colour, which has none."""
    pixels, frames = _sample(values)
    if steps is None or _keeps_apart(steps, pixels.dtype):
        return Verdict(_is_one_value(pixels, _BLANK_PART), _IGNORED if steps is not None and steps.faulty else ())
    _, flags, seen = _chosen(pixels, frames, steps)
    own = seen[~np.isnan(seen)]
    return Verdict(not own.size or _is_one_value(np.where(np.isnan(seen), own.min(), seen), _BLANK_PART), flags)


def _chosen(
    pixels: NDArray[np.generic], frames: NDArray[np.intp] | None, steps: Steps
) -> tuple[Steps, tuple[str, ...], NDArray[np.float32]]:
    """Return the steps to take, the flags, and the grey values of the sample; NaN for background."""
    seen = steps.apply(pixels, frames)
    if steps.voi is None:
        return steps, _IGNORED if steps.faulty else (), seen
    if not _is_one_value(seen, _SATURATED_PART):
        return steps, (), seen
    without = steps.without_voi()
    plain = without.apply(pixels, frames)
    if _is_one_value(seen, _BLANK_PART) and not _is_one_value(plain, _BLANK_PART):
        return without, _IGNORED, plain
    return steps, () if _is_one_value(plain, _SATURATED_PART) else ("window-saturates",), seen


def _keeps_apart(steps: Steps, kind: np.dtype[np.generic]) -> bool:
    """True if grey values are equal where stored values are and nowhere else, also in float32."""
    if steps.voi is not None or steps.padding is not None or isinstance(steps.modality, Table):
        return False
    if kind.kind == "f":
        return kind == np.float32 and steps.modality is None
    if steps.modality is not None and len(steps.modality.slope) > 1:
        return False
    unit = 1.0 if steps.modality is None else abs(float(steps.modality.slope[0]))
    return unit > 2 * float(np.spacing(np.float32(max(abs(steps.low), abs(steps.high)))))


def _sample(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.intp] | None]:
    """Return an even sample of the pixels, and the frame of each where there are several."""
    step = max(1, values.size // _SAMPLE)
    step += step % 2 == 0
    frames = np.arange(0, values.size, step) // (values.size // len(values)) if values.ndim == 3 else None
    return np.ascontiguousarray(values.reshape(-1)[::step]), frames


def _is_one_value(values: NDArray[np.generic], part: float) -> bool:
    """True if at least ``part``, of more than a half, of the finite values are one value.

    Each other value differs from two neighbours at most. So many differing neighbours answer no, without a search.
    """
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return True
    if np.count_nonzero(finite[1:] != finite[:-1]) > 2 * (1 - part) * finite.size + 1:
        return False
    middle = np.partition(finite, finite.size // 2)[finite.size // 2]
    return bool(np.count_nonzero(finite == middle) >= part * finite.size)
