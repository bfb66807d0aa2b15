"""Rank images by their Dice and choose those with the worst, median and best outlines, for the hospital only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANKS = ("worst", "median", "best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined:
    """Validation image with its two masks.

    Attributes:
        rank: one of ``RANKS``.
        dice: its mean Dice over the structures.
        image: grey values, (H, W) or (D, H, W).
        truth, predicted: structure numbers, 0 for background, of the same shape.
    """

    rank: str
    dice: float
    image: NDArray[Any]
    truth: NDArray[Any]
    predicted: NDArray[Any]


def ranked(dices: NDArray[np.float64]) -> dict[str, int]:
    """Return rank -> position of the image with that rank by mean Dice.

    Args:
        dices: of each image and structure, (n, structures); NaN where an image lacks a structure.

    Returns:
        Three entries, or fewer if fewer images have a Dice; no image twice.
    """
    means = [(float(row[np.isfinite(row)].mean()), place) for place, row in enumerate(dices) if np.isfinite(row).any()]
    order = [place for _, place in sorted(means)]
    if not order:
        return {}
    places = {"worst": order[0], "best": order[-1], "median": order[len(order) // 2]}
    kept: dict[str, int] = {}
    for rank in ("worst", "best", "median"):
        if places[rank] not in kept.values():
            kept[rank] = places[rank]
    return {rank: kept[rank] for rank in RANKS if rank in kept}
