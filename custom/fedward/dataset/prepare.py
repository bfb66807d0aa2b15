"""Prepare every image for the network, with functions of arrays.

Hospitals differ in borders, sizes and grey scales, not only in patients. So the constant border is cut, the image is
padded if the job asks for that, resized to the network's size, and at last it gets mean 0 and standard deviation 1. All
of this uses the image alone, so hospitals need not exchange anything about their cohorts. ``[data]`` of the job says
which of it is done; ``fedward.dataset.preparation`` says it to people. This file needs numpy and torch alone: an
exported model brings a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Box = tuple[slice, ...]
Padding = tuple[tuple[int, int], ...]

BORDER_LEVEL = 0.02
"""Share of the grey range above the darkest value within which a pixel counts as border."""
BORDER_SHARE = 0.05
"""Share of pixels above that level up to which a line of the image counts as border."""
BRIGHTEST_PERCENT = 99.5
"""Percentile that ends the grey range, so that single bright pixels do not."""


def content_box(pixels: NDArray[np.float32]) -> Box:
    """Find the smallest box that leaves out dark constant borders on every side.

    Args:
        pixels: float32, any number of axes.

    Returns:
        One slice for each axis; the whole image if no line of an axis is brighter than a border.
    """
    low, high = float(pixels.min()), float(np.percentile(pixels, BRIGHTEST_PERCENT))
    bright = pixels > low + BORDER_LEVEL * (high - low)
    box = []
    for axis in range(pixels.ndim):
        share = bright.mean(axis=tuple(other for other in range(pixels.ndim) if other != axis))
        inside = np.flatnonzero(share > BORDER_SHARE)
        if inside.size == 0:
            return tuple(slice(0, side) for side in pixels.shape)
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def padding(shape: tuple[int, ...], size: tuple[int, ...], spacing_mm: tuple[float, ...] | None) -> Padding:
    """Return the pixels to add before and after each axis, so that an image of ``shape`` keeps its shape in ``size``.

    Args:
        shape, size: pixels along each axis, now and after resizing.
        spacing_mm: pixel spacing along each axis; None: as if all were equal.
    """
    spacing = spacing_mm or (1.0,) * len(shape)
    common = max(pixels * mm / new for pixels, mm, new in zip(shape, spacing, size, strict=True))
    wanted = [max(old, round(new * common / mm)) for old, mm, new in zip(shape, spacing, size, strict=True)]
    added = [new - old for old, new in zip(shape, wanted, strict=True)]
    return tuple((more // 2, more - more // 2) for more in added)


def resize_image(pixels: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize an image to ``size``: bilinear and antialiased in two dimensions, trilinear in three."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
    mode = {2: "bilinear", 3: "trilinear"}[pixels.ndim]
    resized = torch.nn.functional.interpolate(
        batch, size=size, mode=mode, align_corners=False, antialias=pixels.ndim == 2
    )
    array: NDArray[np.float32] = resized[0, 0].numpy()
    return array


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resize a map of structure numbers to ``size``: each pixel gets the number of the nearest one."""
    batch = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None, None]
    array: NDArray[np.uint8] = torch.nn.functional.interpolate(batch, size=size, mode="nearest-exact")[0, 0].numpy()
    return array


def resized_spacing(
    spacing_mm: tuple[float, ...] | None, shape: tuple[int, ...], size: tuple[int, ...]
) -> tuple[float, ...] | None:
    """Return the pixel spacing in mm after an image of ``shape`` was resized to ``size``, one number for each axis."""
    if spacing_mm is None:
        return None
    return tuple(mm * old / new for mm, old, new in zip(spacing_mm, shape, size, strict=True))


def standardise(pixels: Any, clip_percentiles: tuple[float, float]) -> Any:
    """Clip to two percentiles, then scale the image to mean 0 and standard deviation 1; a constant one becomes zeros.

    Args:
        pixels: float32 array or tensor, any shape.
        clip_percentiles: from 0 to 100, the lower one first.

    Returns:
        float32 tensor of the same shape.
    """
    array = np.asarray(pixels, dtype=np.float32)
    low, high = np.percentile(array, clip_percentiles)
    clipped = np.clip(array, low, high)
    spread = float(clipped.std(dtype=np.float64))
    if not spread > 1e-6 * max(1.0, abs(float(low)), abs(float(high))):
        return torch.zeros(array.shape, dtype=torch.float32)
    return torch.from_numpy(((clipped - clipped.mean(dtype=np.float64)) / spread).astype(np.float32))


def fitted_shape(box: Box, added: Padding) -> tuple[int, ...]:
    """Return the shape of an image after its border was cut and its padding added."""
    return tuple(side.stop - side.start + sum(around) for side, around in zip(box, added, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Way of one image, and of its mask, to the grid that the network sees.

    Attributes:
        box: part of the image that stays.
        before: pixels added around it, in the image's own.
        size: its shape after resizing.
        after: pixels added around it then.
    """

    box: Box
    before: Padding
    size: tuple[int, ...]
    after: Padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Way of all images of a job to the grid that the network sees.

    1. The dark constant border is cut, with ``crop_border``.
    2. The image is resized to ``size``; with ``keep_shape`` it is padded to that shape first. With ``patches`` it keeps
       its own size, or is resampled to ``spacing_mm``, and is padded where it is smaller than a patch.

    Attributes:
        size: size of the network's input, in pixels.
        crop_border, keep_shape, spacing_mm: as in ``[data]`` of a job.
        patches: True if the network sees patches of ``size``.
    """

    size: tuple[int, ...]
    crop_border: bool = True
    keep_shape: bool = False
    spacing_mm: tuple[float, ...] | None = None
    patches: bool = False

    def place(self, pixels: NDArray[np.float32], spacing_mm: tuple[float, ...] | None) -> Placed:
        """Return the way of an image.

        Args:
            pixels: grey values (*shape), or (channels, *shape); the border is that of their mean.
            spacing_mm: its own, one number for each axis of ``shape``.

        Raises:
            ValueError: ``Fit.spacing_mm`` is given, and the image's own spacing is unknown.
        """
        grey = pixels if pixels.ndim == len(self.size) else pixels.mean(axis=0)
        box = content_box(grey) if self.crop_border else tuple(slice(0, side) for side in grey.shape)
        shape, none = tuple(side.stop - side.start for side in box), ((0, 0),) * grey.ndim
        if not self.patches:
            before = padding(shape, self.size, spacing_mm) if self.keep_shape else none
            return Placed(box=box, before=before, size=tuple(self.size), after=none)
        size = shape if self.spacing_mm is None else _resampled(shape, spacing_mm, self.spacing_mm)
        missing = [max(0, least - side) for side, least in zip(size, self.size, strict=True)]
        after = tuple((more // 2, more - more // 2) for more in missing)
        return Placed(box=box, before=none, size=size, after=after)

    def image(self, pixels: NDArray[np.float32], placed: Placed) -> torch.Tensor:
        """Return an image on the network's grid, float32 (channels, *size)."""
        channels = pixels[np.newaxis] if pixels.ndim == len(self.size) else pixels
        return torch.from_numpy(np.stack([self._channel(channel[placed.box], placed) for channel in channels]))

    def mask(self, mask: NDArray[np.uint8], placed: Placed) -> torch.Tensor:
        """Return a mask on the network's grid, uint8 (1, *size)."""
        resized = resize_mask(np.pad(mask[placed.box], placed.before), placed.size)
        return torch.from_numpy(np.pad(resized, placed.after)[np.newaxis])

    def back(self, mask: NDArray[np.uint8], shape: tuple[int, ...], placed: Placed) -> NDArray[np.uint8]:
        """Return a mask of the network's grid, on the grid of the image of ``shape`` that it is of; 0 where the border
        was cut."""
        inside = fitted_shape(placed.box, placed.before)
        large = resize_mask(_unpadded(mask, placed.after), inside)
        whole = np.zeros(shape, np.uint8)
        whole[placed.box] = _unpadded(large, placed.before)
        return whole

    def spacing_after(self, spacing_mm: tuple[float, ...] | None, placed: Placed) -> tuple[float, ...] | None:
        """Return the pixel spacing in mm on the network's grid, one number for each axis; None if it is unknown."""
        return resized_spacing(spacing_mm, fitted_shape(placed.box, placed.before), placed.size)

    def __call__(self, item: Mapping[Any, Any]) -> dict[Any, Any]:
        """Prepare ``image``, grey values (*shape) or (channels, *shape), of an item that may have a ``spacing_mm``, as
        a MONAI transform."""
        pixels, spacing = np.asarray(item["image"], dtype=np.float32), item.get("spacing_mm")
        return {**item, "image": self.image(pixels, self.place(pixels, spacing))}

    def _channel(self, content: NDArray[np.float32], placed: Placed) -> NDArray[np.float32]:
        padded = np.pad(content, placed.before, constant_values=content.min())
        resized = padded if padded.shape == placed.size else resize_image(padded, placed.size)
        return np.pad(resized, placed.after, constant_values=resized.min()).astype(np.float32, copy=False)


def _resampled(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...] | None, wanted_mm: tuple[float, ...]
) -> tuple[int, ...]:
    if spacing_mm is None:
        raise ValueError("the image's spacing is unknown, and the model needs it")
    return tuple(max(1, round(n * own / new)) for n, own, new in zip(shape, spacing_mm, wanted_mm, strict=True))


def _unpadded(array: NDArray[np.uint8], added: Padding) -> NDArray[np.uint8]:
    return array[tuple(slice(before, side - after) for side, (before, after) in zip(array.shape, added, strict=True))]


@dataclass(frozen=True, slots=True)
class Standardise:
    """Transform of an item's ``image`` to mean 0 and standard deviation 1; see ``standardise``.

    Attributes:
        clip_percentiles: as in ``[data]`` of a job.
        apart: True if each channel is scaled by itself, as sequences are; colours are scaled together.
    """

    clip_percentiles: tuple[float, float]
    apart: bool = False

    def __call__(self, item: Mapping[Any, Any]) -> dict[Any, Any]:
        image = item["image"]
        if not self.apart:
            return {**item, "image": standardise(image, self.clip_percentiles)}
        return {**item, "image": torch.stack([standardise(channel, self.clip_percentiles) for channel in image])}
