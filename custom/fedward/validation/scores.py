"""Score a model at a site, with its counts of patients and images. A value that cannot be computed is None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedward.validation.bootstrap import Interval, patient_intervals
from fedward.validation.calibration import ece
from fedward.validation.operating_point import OperatingPoint, cross_fitted_calls, drawn_shares, point_of
from fedward.validation.ranking import auroc, average_precision, drawn_areas

LEAST_OF_EACH = 5
"""Smallest number of patients with yes, and without, that each label needs for a mean over labels."""

Drawn = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """Scores of one yes-or-no label.

    Attributes:
        auc, auc_low, auc_high: area under the ROC curve and its 95 % interval over patients.
        average_precision: 0 to 1.
        sensitivity, specificity, each with low and high: at a threshold chosen on other patients of the hospital for
            95 % specificity, and the 95 % intervals over patients; see ``fedward.validation.operating_point``.
        ece: expected calibration error, 0 to 1; see ``fedward.validation.calibration``.
        patients, positives: number of patients whose images were scored, and of those with yes in an image.
    """

    auc: float | None
    auc_low: float | None
    auc_high: float | None
    average_precision: float | None
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    ece: float | None
    patients: int
    positives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationScores(LabelScores):
    """Scores of a classification model at one site.

    With several labels or classes ``labels`` has each, and the values are plain means over all of them. If a label has
    fewer than LEAST_OF_EACH patients with yes, or without, or has no value, there is no mean. A mean over fewer labels
    could not be compared with another hospital's, and a mean with a label of two positives would depend on those two.
    ``positives`` counts patients with any yes (multiclass: with an image of any class but the first).
    """

    images: int
    loss: float | None
    labels: dict[str, LabelScores] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the scores as JSON-ready data; ``labels`` is there only if it has more than one."""
        return _plain(self, "labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureScores:
    """Scores of one structure.

    Attributes:
        dice, dice_low, dice_high: mean over the patients who have the structure, each one's images as one volume, and
            its 95 % interval over patients.
        hd95_mm, hd95_mm_low, hd95_mm_high: the same for the 95 % Hausdorff distance, over the images where truth and
            prediction have the structure and the header gives a pixel spacing.
        patients: number of patients with the structure in an image.
        hd95_patients: number of patients with the structure in an image with a distance.
    """

    dice: float | None
    dice_low: float | None
    dice_high: float | None
    hd95_mm: float | None
    hd95_mm_low: float | None
    hd95_mm_high: float | None
    patients: int
    hd95_patients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationScores:
    """Scores of a segmentation model at one site, on the network's grid: means over the structures of each patient.

    Attributes:
        patients, images: number that was scored.
        false_positive_rate: of the patients without any structure, the share in whom the model marks one.
        false_positive_ml: mean volume that it marks in them, in millilitres; None for images of two dimensions.
        dice_patients, hd95_patients: number of patients with an image that has a Dice, or a distance, of any structure.
    """

    dice: float | None
    dice_low: float | None
    dice_high: float | None
    hd95_mm: float | None
    hd95_mm_low: float | None
    hd95_mm_high: float | None
    patients: int
    images: int
    dice_patients: int
    hd95_patients: int
    loss: float | None
    false_positive_rate: float | None = None
    false_positive_ml: float | None = None
    structures: dict[str, StructureScores] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the scores as JSON-ready data; ``structures`` is there only if it has more than one."""
        return _plain(self, "structures")


Scores = ClassificationScores | SegmentationScores


def score_labels(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    names: Sequence[str],
    patients: Sequence[str],
    loss: float | None = None,
) -> ClassificationScores:
    """Score yes-or-no labels.

    Args:
        labels: 0 and 1, (n, labels).
        scores: (n, labels), higher for yes.
        names: of the labels.
        patients: patient of each of the n images.
        loss: mean loss, None or not finite if there is none.
    """
    measured = [_Measured(labels[:, i], scores[:, i], patients) for i in range(len(names))]
    drawn = patient_intervals(_together(measured), patients)
    found = {
        name: one.scores(patients, drawn[3 * i : 3 * i + 3])
        for i, (name, one) in enumerate(zip(names, measured, strict=True))
    }
    headline = next(iter(found.values())) if len(found) == 1 else _mean(found, labels, patients, drawn[-3:])
    return ClassificationScores(
        **asdict(headline),
        images=len(labels),
        loss=finite(loss),
        labels=found,
    )


def score_classes(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    names: Sequence[str],
    patients: Sequence[str],
    loss: float | None = None,
) -> ClassificationScores:
    """Score one label of several classes, each class against the rest.

    Args:
        labels: index of the class, (n,).
        scores: (n, classes).
        names: of the classes, in order.
        patients, loss: as in ``score_labels``.
    """
    one_hot = (np.asarray(labels)[:, np.newaxis] == np.arange(len(names))).astype(np.int64)
    found = score_labels(one_hot, scores, names=names, patients=patients, loss=loss)
    values = {name: getattr(found, name) for name in ClassificationScores.__dataclass_fields__}
    return ClassificationScores(**{**values, "positives": people(patients, np.asarray(labels) != 0)})


def people(patients: Sequence[str], chosen: ArrayLike) -> int:
    """Count the different patients of the chosen images, (n,)."""
    return len({patient for patient, one in zip(patients, np.asarray(chosen), strict=True) if one})


def finite(value: float | None) -> float | None:
    """Return the value, or None if it is absent or not finite."""
    return None if value is None or not np.isfinite(value) else float(value)


class _Measured:
    """Decisions for one label, and its resampled area, sensitivity and specificity."""

    def __init__(self, labels: NDArray[np.int64], scores: NDArray[np.float64], patients: Sequence[str]) -> None:
        self._labels, self._scores = labels, scores
        self._areas = drawn_areas(labels, scores)
        self._called = cross_fitted_calls(labels, scores, patients)

    def drawn(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the three values of each draw, (draws, n) -> (draws, 3), NaN where there is none."""
        found = np.full((len(counts), 3), np.nan)
        if self._areas is not None:
            found[:, 0] = self._areas(counts)
        if self._called is not None:
            found[:, 1:] = drawn_shares(self._labels.astype(bool), self._called)(counts)
        return found

    def scores(self, patients: Sequence[str], drawn: Sequence[Interval | None]) -> LabelScores:
        low, high = (drawn and drawn[0]) or (None, None)
        point = OperatingPoint()
        if self._called is not None:
            point = point_of(self._labels.astype(bool), self._called, patients, drawn[1:])
        return LabelScores(
            auc=auroc(self._labels, self._scores),
            auc_low=low,
            auc_high=high,
            average_precision=average_precision(self._labels, self._scores),
            **asdict(point),
            ece=ece(self._labels, self._scores),
            patients=len(set(patients)),
            positives=people(patients, self._labels == 1),
        )


def _together(measured: Sequence[_Measured]) -> Drawn:
    """Return a function that resamples all labels, (draws, n) -> (draws, 3 (labels + 1)), their means last."""

    def drawn(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        each = [one.drawn(counts) for one in measured]
        return np.concatenate([*each, np.mean(each, axis=0)], axis=1)

    return drawn


def _mean(
    each: dict[str, LabelScores],
    labels: NDArray[np.int64],
    patients: Sequence[str],
    drawn: Sequence[Interval | None],
) -> LabelScores:
    """Return the means over all labels; None if one of them is too rare or has no value."""
    enough = all(min(one.positives, one.patients - one.positives) >= LEAST_OF_EACH for one in each.values())

    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in each.values()]
        return float(np.mean(values)) if enough and None not in values else None

    found: dict[str, float | None] = {}
    for number, name in enumerate(("auc", "sensitivity", "specificity")):
        found[name] = mean(name)
        interval = drawn[number] if drawn and found[name] is not None else None
        found[f"{name}_low"], found[f"{name}_high"] = interval or (None, None)
    return LabelScores(
        **found,
        average_precision=mean("average_precision"),
        ece=mean("ece"),
        patients=len(set(patients)),
        positives=people(patients, np.any(labels == 1, axis=1)),
    )


def _plain(scores: ClassificationScores | SegmentationScores, detail: str) -> dict[str, Any]:
    content = asdict(scores)
    if len(content[detail]) < 2:
        del content[detail]
    return content
