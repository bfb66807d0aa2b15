"""What a model reached at a site, with what stands behind the number. A value that cannot be had is None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.validation.ranking import (
    auroc,
    auroc_interval,
    average_precision,
    mean_auroc_interval,
    sensitivity_at_specificity,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """One yes-or-no question.

    Attributes:
        auc, auc_low, auc_high: area under the ROC curve and its 95 % interval over patients.
        average_precision, sensitivity_at_95_specificity: 0 to 1.
        n, positives: images, and how many of them are yes.
    """

    auc: float | None
    auc_low: float | None
    auc_high: float | None
    average_precision: float | None
    sensitivity_at_95_specificity: float | None
    n: int
    positives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationScores(LabelScores):
    """A classification model at one site.

    With several labels or classes the values are plain means over those that have one, ``positives`` counts images
    with any yes (multiclass: images of any class but the first), and ``labels`` holds each.
    """

    patients: int
    loss: float | None
    labels: dict[str, LabelScores] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same as JSON-ready data; ``labels`` is there only with more than one."""
        return _plain(self, "labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureScores:
    """One structure.

    Attributes:
        dice, dice_low, dice_high: mean over the images that have the structure, and its 95 % interval over patients.
        hd95_mm: mean 95 % Hausdorff distance over the ``hd95_n`` images where truth and prediction have the structure
            and the header gives a pixel spacing.
        n: images that have the structure.
    """

    dice: float | None
    dice_low: float | None
    dice_high: float | None
    hd95_mm: float | None
    hd95_n: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationScores:
    """A segmentation model at one site, on the network's grid: means over the structures of each image."""

    dice: float | None
    dice_low: float | None
    dice_high: float | None
    hd95_mm: float | None
    n: int
    patients: int
    loss: float | None
    structures: dict[str, StructureScores] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same as JSON-ready data; ``structures`` is there only with more than one."""
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
        patients: whose image each of the n is.
        loss: mean loss, None or not finite when there is none.
    """
    each = {name: _label(labels[:, i], scores[:, i], patients) for i, name in enumerate(names)}
    headline = next(iter(each.values())) if len(each) == 1 else _mean(each, labels, scores, patients)
    return ClassificationScores(
        **asdict(headline),
        patients=len(set(patients)),
        loss=finite(loss),
        labels=each,
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
        patients, loss: as ``score_labels``.
    """
    one_hot = (np.asarray(labels)[:, np.newaxis] == np.arange(len(names))).astype(np.int64)
    found = score_labels(one_hot, scores, names=names, patients=patients, loss=loss)
    values = {name: getattr(found, name) for name in ClassificationScores.__dataclass_fields__}
    return ClassificationScores(**{**values, "positives": int(np.count_nonzero(labels))})


def finite(value: float | None) -> float | None:
    """The value, or None where it is absent or not finite."""
    return None if value is None or not np.isfinite(value) else float(value)


def _label(labels: NDArray[np.int64], scores: NDArray[np.float64], patients: Sequence[str]) -> LabelScores:
    low, high = auroc_interval(labels, scores, patients) or (None, None)
    return LabelScores(
        auc=auroc(labels, scores),
        auc_low=low,
        auc_high=high,
        average_precision=average_precision(labels, scores),
        sensitivity_at_95_specificity=sensitivity_at_specificity(labels, scores),
        n=len(labels),
        positives=int(np.sum(labels)),
    )


def _mean(
    each: dict[str, LabelScores], labels: NDArray[np.int64], scores: NDArray[np.float64], patients: Sequence[str]
) -> LabelScores:
    def mean(name: str) -> float | None:
        values = [value for one in each.values() if (value := getattr(one, name)) is not None]
        return float(np.mean(values)) if values else None

    low, high = mean_auroc_interval(labels, scores, patients) or (None, None)
    return LabelScores(
        auc=mean("auc"),
        auc_low=low,
        auc_high=high,
        average_precision=mean("average_precision"),
        sensitivity_at_95_specificity=mean("sensitivity_at_95_specificity"),
        n=len(labels),
        positives=int(np.count_nonzero(labels.any(axis=1))),
    )


def _plain(scores: ClassificationScores | SegmentationScores, detail: str) -> dict[str, Any]:
    content = asdict(scores)
    if len(content[detail]) < 2:
        del content[detail]
    return content
