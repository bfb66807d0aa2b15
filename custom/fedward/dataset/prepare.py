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
class Fit:
    """Way of an image, and of its mask, to the network's size.

    Attributes:
        size: the network's, in pixels.
        crop_border, keep_shape: as in ``[data]`` of a job.
    """

    size: tuple[int, ...]
    crop_border: bool = True
    keep_shape: bool = False

    def place(self, pixels: NDArray[np.float32], spacing_mm: tuple[float, ...] | None) -> tuple[Box, Padding]:
        """Return what of an image stays, and what is added around it."""
        box = content_box(pixels) if self.crop_border else tuple(slice(0, side) for side in pixels.shape)
        shape = tuple(side.stop - side.start for side in box)
        return box, padding(shape, self.size, spacing_mm) if self.keep_shape else ((0, 0),) * len(shape)

    def image(self, pixels: NDArray[np.float32], box: Box, added: Padding) -> torch.Tensor:
        """Return an image at the network's size, float32 (1, *size)."""
        content = pixels[box]
        content = np.pad(content, added, constant_values=content.min())
        return torch.from_numpy(resize_image(content, self.size)[np.newaxis])

    def mask(self, mask: NDArray[np.uint8], box: Box, added: Padding) -> torch.Tensor:
        """Return a mask at the network's size, uint8 (1, *size)."""
        return torch.from_numpy(resize_mask(np.pad(mask[box], added), self.size)[np.newaxis])

    def back(self, mask: NDArray[np.uint8], shape: tuple[int, ...], box: Box, added: Padding) -> NDArray[np.uint8]:
        """Return a mask of the network's size, on the grid of the image of ``shape`` that it is of; 0 where the border
        was cut."""
        inside = fitted_shape(box, added)
        large = resize_mask(mask, inside)
        kept = tuple(slice(before, side - after) for side, (before, after) in zip(inside, added, strict=True))
        whole = np.zeros(shape, np.uint8)
        whole[box] = large[kept]
        return whole

    def __call__(self, item: Mapping[Any, Any]) -> dict[Any, Any]:
        """Prepare ``image``, grey values (*shape), of an item that may have a ``spacing_mm``, as a MONAI transform."""
        pixels, spacing = np.asarray(item["image"], dtype=np.float32), item.get("spacing_mm")
        return {**item, "image": self.image(pixels, *self.place(pixels, spacing))}


@dataclass(frozen=True, slots=True)
class Standardise:
    """Transform of an item's ``image`` to mean 0 and standard deviation 1; see ``standardise``."""

    clip_percentiles: tuple[float, float]

    def __call__(self, item: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**item, "image": standardise(item["image"], self.clip_percentiles)}
