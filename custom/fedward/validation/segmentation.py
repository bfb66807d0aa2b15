"""Overlap and surface distance of masks, by MONAI's metrics, gathered batch by batch."""

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
    """Collects predicted and true masks and gives their scores.

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
        """Take in a batch.

        Args:
            predicted, truth: structure numbers, 0 for background, (B, *size).
            spacing_mm: of each image on this grid, one number an axis, or None: no distance then.
            patients: whose image each is.
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
        """Dice of each image and structure that was added, (n, structures), in order; NaN where there is none."""
        return np.concatenate(self._dice)

    def scores(self) -> SegmentationScores:
        """The scores of all that was added."""
        dices, distances = self.dices, np.concatenate(self._hd95_mm)
        images, apart = (np.array([_mean(row) for row in values]) for values in (dices, distances))
        low, high = mean_interval(images, self._patients) or (None, None)
        near, far = mean_interval(apart, self._patients) or (None, None)
        return SegmentationScores(
            dice=finite(_mean(images)),
            dice_low=low,
            dice_high=high,
            hd95_mm=finite(_mean(apart)),
            hd95_mm_low=near,
            hd95_mm_high=far,
            patients=len(set(self._patients)),
            images=len(images),
            dice_patients=people(self._patients, np.isfinite(images)),
            hd95_patients=people(self._patients, np.isfinite(apart)),
            loss=finite(self._loss / len(images)),
            structures={name: self._structure(dices[:, i], distances[:, i]) for i, name in enumerate(self._structures)},
        )

    def _structure(self, dices: NDArray[np.float64], distances: NDArray[np.float64]) -> StructureScores:
        low, high = mean_interval(dices, self._patients) or (None, None)
        near, far = mean_interval(distances, self._patients) or (None, None)
        return StructureScores(
            dice=finite(_mean(dices)),
            dice_low=low,
            dice_high=high,
            hd95_mm=finite(_mean(distances)),
            hd95_mm_low=near,
            hd95_mm_high=far,
            patients=people(self._patients, np.isfinite(dices)),
            hd95_patients=people(self._patients, np.isfinite(distances)),
        )


def dice(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], *, structures: int) -> NDArray[np.float64]:
    """Dice coefficient of each structure in each image, (B, structures); NaN where the truth lacks the structure."""
    found = compute_dice(_one_hot(predicted, structures), _one_hot(truth, structures), include_background=True)
    values: NDArray[np.float64] = found.double().numpy()
    return values


def hd95_mm(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], spacing_mm: tuple[float, ...] | None, *, structures: int
) -> NDArray[np.float64]:
    """95 % Hausdorff distance of each structure in one image, in mm, (structures,).

    NaN where spacing is unknown, or where the truth or the prediction lacks the structure: there is no surface to
    measure to.
    """
    values = np.full(structures, np.nan)
    if spacing_mm is None:
        return values
    for i in range(structures):
        ours, theirs = predicted == i + 1, truth == i + 1
        if ours.any() and theirs.any():
            pair = [torch.from_numpy(mask)[None, None] for mask in (ours, theirs)]
            with warnings.catch_warnings():
                # MONAI 1.6.1 calls a function of its own with an argument that it has deprecated
                warnings.filterwarnings("ignore", ".*always_return_as_numpy.*", FutureWarning)
                found = compute_hausdorff_distance(
                    *pair, include_background=True, percentile=95, spacing=list(spacing_mm)
                )
            values[i] = float(found)
    return values


def _one_hot(masks: NDArray[np.uint8], structures: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(masks == number) for number in range(1, structures + 1)], dim=1).float()


def _mean(values: NDArray[np.float64]) -> float:
    """The mean of what is finite, NaN when nothing is."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else float("nan")
