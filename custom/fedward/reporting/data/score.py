"""Define a number with its support, as every part of a report uses it.

None means "not measured". A score that is withheld because it covers too few patients has ``suppressed`` set and is
shown as "insufficient support". Neither is ever shown as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedward.settings import JobSpec
from fedward.validation.scores import LEAST_OF_EACH

OTHERS = {
    "classification": {
        "average_precision": "average precision",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "ece": "calibration error (ECE)",
    },
    "segmentation": {
        "hd95_mm": "95 % Hausdorff distance (mm)",
        "false_positive_rate": "share of patients without a structure in whom one is marked",
        "false_positive_ml": "volume marked in them (ml)",
    },
}
"""Further measures: name in a site's answer -> name as shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with its support.

    Attributes:
        value: the number, or None if it was not measured or is withheld.
        low, high: ends of its 95 % interval, or None.
        n: number of patients it was measured on.
        images: number of these patients' images; None for a part, such as a label or a subgroup, for which no hospital
            reports it.
        positives: number of the ``n`` patients with the finding in an image; None for a segmentation.
        suppressed: True if withheld because it covers too few patients.
        why: reason why there is no value; "" if there is one.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    images: int | None = None
    positives: int | None = None
    suppressed: bool = False
    why: str = ""


NOT_MEASURED = Score()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of a line over the rounds, with the ends of its 95 % interval; None if there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def score_of(job: JobSpec, scores: Mapping[str, Any]) -> Score:
    """Return the job's measure from the scores that a site sent."""
    measure = job.measure
    value = scores.get(measure)
    return Score(
        value=value,
        low=scores.get(f"{measure}_low"),
        high=scores.get(f"{measure}_high"),
        n=_patients(scores, measure),
        images=scores.get("images"),
        positives=scores.get("positives"),
        suppressed=value is None and bool(scores.get("suppressed")),
        why=_why(value, scores),
    )


def others_of(job: JobSpec, scores: Mapping[str, Any]) -> dict[str, Score]:
    """Return the further measures from the scores that a site sent, by name as shown."""
    return {
        shown: Score(
            value=scores.get(name),
            low=scores.get(f"{name}_low"),
            high=scores.get(f"{name}_high"),
            n=_patients(scores, name),
            images=scores.get("images"),
            suppressed=scores.get(name) is None and bool(scores.get("suppressed")),
        )
        for name, shown in OTHERS[job.job.task].items()
    }


def _patients(scores: Mapping[str, Any], measure: str) -> Any:
    """Return the patients of a measure: all, except for a measure that some patients do not have."""
    own = {"dice": "dice_patients", "hd95_mm": "hd95_patients"}.get(measure, "patients")
    return scores.get(own, scores.get("patients"))


def _why(value: float | None, scores: Mapping[str, Any]) -> str:
    if value is not None:
        return ""
    if scores.get("suppressed"):
        return "too few patients, with the finding or without, for the site's policy"
    labels = scores.get("labels") or {}
    if any(_too_rare(one) for one in labels.values()):
        return f"no mean over labels: fewer than {LEAST_OF_EACH} patients have one of them, or lack it"
    return "the site's validation images or its policy do not allow it"


def _too_rare(label: Mapping[str, Any]) -> bool:
    patients, positives = label.get("patients"), label.get("positives")
    if patients is None or positives is None:
        return False
    return bool(min(positives, patients - positives) < LEAST_OF_EACH)
