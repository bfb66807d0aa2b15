"""Draw a patch of an image and of its mask, for training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms import RandCropByPosNegLabeld, Randomizable, RandSpatialCropd, Transform


class DrawPatch(Randomizable, Transform):  # type: ignore[misc]
    """Random transform that cuts one patch out of an item's ``image`` and ``mask``.

    MONAI's ``RandCropByPosNegLabeld`` draws it, and ``RandSpatialCropd`` where an image has no structure: there MONAI's
    first would warn, and then do the same.

    Args:
        size: of the patch, in pixels; no image is smaller.
        positive: share of patches whose middle is a pixel of a structure, as near as the image's edges allow.
    """

    def __init__(self, size: Sequence[int], *, positive: float) -> None:
        keys = ("image", "mask")
        self._anywhere = RandSpatialCropd(keys=keys, roi_size=size, random_size=False)
        self._marked = RandCropByPosNegLabeld(
            keys=keys, label_key="mask", spatial_size=size, pos=positive, neg=1.0 - positive, num_samples=1
        )
        self._size, self._positive = tuple(size), positive

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> DrawPatch:
        """Restart the draws."""
        for crop in (self._anywhere, self._marked):
            crop.set_random_state(seed=seed, state=state)
        return self

    def __call__(self, item: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        marked = self._positive > 0.0 and bool(item["mask"].any())
        found: dict[Hashable, Any] = self._marked(item)[0] if marked else self._anywhere(item)
        return found
