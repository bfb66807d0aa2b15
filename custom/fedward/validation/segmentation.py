"""Compute overlap and surface distance of masks, batch by batch: Dice of patients, and what is marked in healthy ones.

The Dice of a patient is that of all of the patient's images as one volume, so that what is marked on slices without the
structure counts against it. A patient without a structure has no Dice of it, and counts in ``false_positive_rate``.
For patients with one image it is MONAI's ``compute_dice`` of the image, with its convention that an image without the
structure has none. Surface distances are MONAI's, of each image.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray

from fedward.validation.bootstrap import mean_interval
from fedward.validation.overlap import PREDICTED, TRUE, by_patient, dices_of, overlaps, patient_dices, row_means
from fedward.validation.scores import SegmentationScores, StructureScores, finite, people


class MaskScorer:
    """Scorer of predicted masks against true masks, added batch by batch.

    Args:
        structures: names, in the order of the masks' numbers 1, 2, ….
    """

    def __init__(self, structures: Sequence[str]) -> None:
        self._structures = tuple(structures)
        self._overlaps: list[NDArray[np.int64]] = []
        self._pixel_mm: list[float] = []
        self._volumes = False
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
        count, self._volumes = len(self._structures), truth.ndim == 4
        self._overlaps.append(overlaps(predicted, truth, structures=count))
        self._pixel_mm += [float("nan") if spacing is None else float(np.prod(spacing)) for spacing in spacing_mm]
        self._hd95_mm.append(
            np.stack([hd95_mm(p, t, s, structures=count) for p, t, s in zip(predicted, truth, spacing_mm, strict=True)])
        )
        self._patients += patients
        self._loss += loss

    @property
    def overlaps(self) -> NDArray[np.int64]:
        """Counts of each added image and structure, (n, structures, 3), in order; see ``overlaps``."""
        return np.concatenate(self._overlaps)

    @property
    def image_dices(self) -> NDArray[np.float64]:
        """Dice of each added image and structure by itself, (n, structures); NaN where there is none."""
        return dices_of(self.overlaps)

    def scores(self) -> SegmentationScores:
        """Compute the scores of all added images."""
        counts, distances = self.overlaps, np.concatenate(self._hd95_mm)
        dices, apart = row_means(patient_dices(counts, self._patients)), row_means(distances)
        return SegmentationScores(
            **self._means(dices, apart),
            **self._in_healthy(counts),
            patients=len(set(self._patients)),
            images=len(counts),
            dice_patients=int(np.isfinite(dices).sum()),
            hd95_patients=people(self._patients, np.isfinite(apart)),
            loss=finite(self._loss / len(counts)),
            structures={name: self._structure(counts, distances, i) for i, name in enumerate(self._structures)},
        )

    def _means(self, dices: NDArray[np.float64], distances: NDArray[np.float64]) -> dict[str, float | None]:
        """Compute both means with their intervals over patients; None where no value is known.

        Args:
            dices: of each patient.
            distances: of each image.
        """
        low, high = mean_interval(dices, range(len(dices))) or (None, None)
        near, far = mean_interval(distances, self._patients) or (None, None)
        ends = {"dice_low": low, "dice_high": high, "hd95_mm_low": near, "hd95_mm_high": far}
        return {"dice": finite(_mean(dices)), "hd95_mm": finite(_mean(distances)), **ends}

    def _structure(self, counts: NDArray[np.int64], distances: NDArray[np.float64], number: int) -> StructureScores:
        dices = patient_dices(counts[:, [number]], self._patients)[:, 0]
        return StructureScores(
            **self._means(dices, distances[:, number]),
            patients=int(np.isfinite(dices).sum()),
            hd95_patients=people(self._patients, np.isfinite(distances[:, number])),
        )

    def _in_healthy(self, counts: NDArray[np.int64]) -> dict[str, float | None]:
        """Compute, of the patients without any structure, the share that has one marked, and the mean marked volume."""
        whole = by_patient(counts.sum(axis=1), self._patients)
        healthy = whole[:, TRUE] == 0
        marked = counts[:, :, PREDICTED].sum(axis=1) * np.array(self._pixel_mm)
        millilitres = by_patient(marked[:, np.newaxis], self._patients)[healthy, 0] / 1000.0
        return {
            "false_positive_rate": finite(_mean((whole[healthy, PREDICTED] > 0).astype(np.float64))),
            "false_positive_ml": finite(_mean(millilitres)) if self._volumes else None,
        }


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


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the finite values, NaN if there is none."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else float("nan")
