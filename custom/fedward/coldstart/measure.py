"""Measure a model on a hospital's own labelled patients, with its support; below the minimum count no number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.images import Images
from fedward.dataset.selection import Example, having
from fedward.privacy.disclosure.release import release
from fedward.privacy.disclosure.rule import Rule
from fedward.settings import Disclosure, JobSpec
from fedward.training.learner import Learner
from fedward.training.scores.details import by_name, by_structure
from fedward.training.scores.scoring import masks_of, predictions_of, scores_of
from fedward.validation.acceptance import supported
from fedward.validation.bootstrap import Interval
from fedward.validation.comparison.paired_difference import Change, auc_change, dice_change
from fedward.validation.operating_point import at_threshold
from fedward.validation.overlap import patient_dices, row_means
from fedward.validation.predictions import Predictions
from fedward.validation.segmentation import MaskScorer
from fedward.validation.subgroups import label_subgroups, structure_subgroups
from fedward.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Predictions of a model on some examples, image by image; they stay at the hospital.

    Attributes:
        examples: examples, in order.
        found: predictions of a classification, or the mask scorer of a segmentation.
    """

    examples: tuple[Example, ...]
    found: Predictions | MaskScorer

    @property
    def patients(self) -> list[str]:
        """Patient of each image."""
        return [example.row.patient for example in self.examples]

    @property
    def dices(self) -> NDArray[np.float64]:
        """Mean Dice of each patient over the structures, NaN for one without any; segmentation only."""
        if not isinstance(self.found, MaskScorer):
            raise TypeError("predictions of a classification have no Dice")
        return row_means(patient_dices(self.found.overlaps, self.patients))


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Counts behind a result. ``positives`` are patients with the finding in an image and ``negatives`` all others, for
    the label with the smallest such count; both None for a segmentation."""

    patients: int
    images: int
    positives: int | None
    negatives: int | None

    def reaches(self, floor: int) -> bool:
        """True if every count reaches the floor."""
        return all(number is None or number >= floor for number in (self.patients, self.positives, self.negatives))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of a model at this hospital.

    Attributes:
        support: counts behind it.
        value, interval: AUC or Dice and its 95 % interval over patients; None if below the floor or not available.
        sd: standard deviation of Dice between images; None for a classification.
        disclosed: JSON-ready scores, subgroups and operating point, without numbers below the hospital's floor.
    """

    support: Support
    value: float | None
    interval: Interval | None
    sd: float | None
    disclosed: Mapping[str, Any]


def run(job: JobSpec, learner: Learner, weights: Weights, examples: Sequence[Example], images: Images) -> Cases:
    """Compute the model's predictions for each image.

    Args:
        job, learner, weights: the model.
        examples: examples to predict.
        images: images of these examples, prepared without random transforms.

    Raises:
        CohortError: an image can no longer be read.
    """
    task = masks_of if job.job.task == "segmentation" else predictions_of
    return Cases(examples=tuple(examples), found=task(job, learner, weights, images))


def support_of(job: JobSpec, examples: Sequence[Example]) -> Support:
    """Count patients, images, and patients with and without the rarest finding (smallest of either count)."""
    patients = len({example.row.patient for example in examples})
    kinds = kinds_of(job, examples)
    positives, negatives = min(kinds.values(), key=min) if kinds else (None, None)
    return Support(patients=patients, images=len(examples), positives=positives, negatives=negatives)


def kinds_of(job: JobSpec, examples: Sequence[Example]) -> dict[str, tuple[int, int]]:
    """Return label or class -> patients with it in an image, and all others; empty for a segmentation."""
    everyone = len({example.row.patient for example in examples})
    with_it = {name: len({example.row.patient for example in those}) for name, those in having(job, examples).items()}
    return {name: (count, everyone - count) for name, count in with_it.items()}


def result_of(job: JobSpec, cases: Cases, *, floor: int, operating_point: float | None = None) -> Result:
    """Return the scores of some cases, as far as the hospital's floor allows.

    Args:
        job: job whose labels or structures count.
        cases: from ``run``.
        floor: minimum count of patients, and of patients of each kind, behind a number.
        operating_point: threshold on the scores that comes from elsewhere.
    """
    support, patients = support_of(job, cases.examples), cases.patients
    if isinstance(cases.found, MaskScorer):
        scores, sd = cases.found.scores().plain(), float(np.nanstd(cases.dices))
        rows = [example.row for example in cases.examples]
        groups = structure_subgroups(by_structure(job, cases.found.overlaps), rows)
    else:
        scores, sd = scores_of(job, cases.found).plain(), None
        groups = label_subgroups(*by_name(job, cases.found), [example.row for example in cases.examples])
    few = {name for name, kinds in kinds_of(job, cases.examples).items() if min(kinds) < floor}
    if support.patients < floor or (few and "labels" not in scores):
        return Result(support=support, value=None, interval=None, sd=None, disclosed={})
    disclosed = _disclosed(job, {"scores": _without(scores, few), "subgroups": groups}, few=few, floor=floor)
    if few:
        return Result(support=support, value=None, interval=None, sd=None, disclosed=disclosed)
    value, low, high = (scores[f"{job.measure}{end}"] for end in ("", "_low", "_high"))
    interval = None if low is None or high is None else (low, high)
    if value is not None and interval is not None and support.positives is not None and support.negatives is not None:
        interval = supported(value, interval, positive_patients=support.positives, negative_patients=support.negatives)
    if operating_point is not None and isinstance(cases.found, Predictions):
        disclosed["operating_point"] = _at(job, cases.found, patients, operating_point)
    return Result(support=support, value=value, interval=interval, sd=sd, disclosed=disclosed)


def change_of(job: JobSpec, before: Cases, after: Cases) -> Change:
    """Return after less before, on the same examples."""
    if isinstance(before.found, Predictions) and isinstance(after.found, Predictions):
        truth, old = by_name(job, before.found)
        new = by_name(job, after.found)[1]
        columns = (np.stack([table[name] for name in truth], axis=1) for table in (truth, old, new))
        labels, one, other = columns
        return auc_change(labels, one, other, before.patients)
    return dice_change(before.dices, after.dices)


def _without(scores: Mapping[str, Any], few: Set[str]) -> dict[str, Any]:
    """Remove the numbers of labels that too few patients have, and then the numbers over all labels."""
    if not few:
        return dict(scores)
    labels = {name: dict.fromkeys(label) if name in few else label for name, label in scores.get("labels", {}).items()}
    return {**dict.fromkeys(scores), "labels": labels, "images": scores["images"], "patients": scores["patients"]}


def _disclosed(job: JobSpec, metrics: Mapping[str, Any], *, few: Set[str], floor: int) -> dict[str, Any]:
    """Apply the same floor and the same removal of derivable numbers as the hospital's egress gate."""
    disclosure = Disclosure(metrics=("scores", "subgroups"), decimals=3, min_count=floor)
    groups = {name: table for name, table in metrics["subgroups"].items() if name not in few}
    return release({**metrics, "subgroups": groups}, Rule.of(job, disclosure, private=False)).metrics


def _at(job: JobSpec, found: Predictions, patients: Sequence[str], threshold: float) -> dict[str, Any]:
    labels, scores = by_name(job, found)
    return {
        "threshold": threshold,
        "labels": {
            name: asdict(at_threshold(labels[name], scores[name], patients, threshold=threshold)) for name in labels
        },
    }
