"""Compute overlap and surface distance of masks with MONAI's metrics, batch by batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from numpy.typing import NDArray

from fedward.validation.bootstrap import mean_interval
from fedward.validation.scores import SegmentationScores, StructureScores, finite, people


class MaskScorer:
    """Scorer of predicted masks against true masks, added batch by batch.

    Args:
        structures: names, in the order of the masks' numbers 1, 2, ….
    """

    def __init__(self, structures: Sequence[str]) -> None:
        self._structures = tuple(structures)
        self._dice: list[NDArray[np.float64]] = []
        self._hd95_mm: list[NDArray[np.float64]] = []
        self._patients: list[str] = []
        self._loss = 0.0

    def add(
        self,
        predicted: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        *,
        spacing_mm: Sequence[tuple[float, ...] | None],
        patients: Sequence[str],
        loss: float = 0.0,
    ) -> None:
        """Add a batch.

        Args:
            predicted, truth: structure numbers, 0 for background, (B, *size).
            spacing_mm: of each image on this grid, one number an axis; or None, and the image has no distance.
            patients: patient of each image.
            loss: sum of the images' losses.
        """
        count = len(self._structures)
        self._dice.append(dice(predicted, truth, structures=count))
        self._hd95_mm.append(
            np.stack([hd95_mm(p, t, s, structures=count) for p, t, s in zip(predicted, truth, spacing_mm, strict=True)])
        )
        self._patients += patients
        self._loss += loss

    @property
    def dices(self) -> NDArray[np.float64]:
        """Dice of each added image and structure, (n, structures), in order; NaN where there is none."""
        return np.concatenate(self._dice)

    def scores(self) -> SegmentationScores:
        """Compute the scores of all added images."""
        dices, distances = self.dices, np.concatenate(self._hd95_mm)
        images, apart = (np.array([_mean(row) for row in values]) for values in (dices, distances))
        return SegmentationScores(
            **self._means(images, apart),
            patients=len(set(self._patients)),
            images=len(images),
            dice_patients=people(self._patients, np.isfinite(images)),
            hd95_patients=people(self._patients, np.isfinite(apart)),
            loss=finite(self._loss / len(images)),
            structures={name: self._structure(dices[:, i], distances[:, i]) for i, name in enumerate(self._structures)},
        )

    def _means(self, dices: NDArray[np.float64], distances: NDArray[np.float64]) -> dict[str, float | None]:
        """Compute both means with their intervals over patients; None where no value is known."""
        low, high = mean_interval(dices, self._patients) or (None, None)
        near, far = mean_interval(distances, self._patients) or (None, None)
        ends = {"dice_low": low, "dice_high": high, "hd95_mm_low": near, "hd95_mm_high": far}
        return {"dice": finite(_mean(dices)), "hd95_mm": finite(_mean(distances)), **ends}

    def _structure(self, dices: NDArray[np.float64], distances: NDArray[np.float64]) -> StructureScores:
        return StructureScores(
            **self._means(dices, distances),
            patients=people(self._patients, np.isfinite(dices)),
            hd95_patients=people(self._patients, np.isfinite(distances)),
        )


def dice(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], *, structures: int) -> NDArray[np.float64]:
    """Compute the Dice of each structure in each image, (B, structures); NaN where the truth lacks the structure."""
    found = compute_dice(_one_hot(predicted, structures), _one_hot(truth, structures), include_background=True)
    values: NDArray[np.float64] = found.double().numpy()
    return values


def hd95_mm(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], spacing_mm: tuple[float, ...] | None, *, structures: int
) -> NDArray[np.float64]:
    """Compute the 95 % Hausdorff distance of each structure in one image, in mm, (structures,).

    NaN if the spacing is unknown, or if the truth or the prediction lacks the structure and so has no surface.
    """
    values = np.full(structures, np.nan)
    if spacing_mm is None:
        return values
    for i in range(structures):
        ours, theirs = predicted == i + 1, truth == i + 1
        if ours.any() and theirs.any():
            pair = [torch.from_numpy(mask)[None, None] for mask in (ours, theirs)]
            with warnings.catch_warnings():
                # MONAI 1.6.1 calls one of its functions with an argument that it has deprecated
                warnings.filterwarnings("ignore", ".*always_return_as_numpy.*", FutureWarning)
                found = compute_hausdorff_distance(
                    *pair, include_background=True, percentile=95, spacing=list(spacing_mm)
                )
            values[i] = float(found)
    return values


def _one_hot(masks: NDArray[np.uint8], structures: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(masks == number) for number in range(1, structures + 1)], dim=1).float()


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the finite values, NaN if there is none."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else float("nan")
