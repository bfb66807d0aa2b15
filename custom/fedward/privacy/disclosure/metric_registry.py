"""List every metric: group, kind, and the counts it depends on. A metric outside this list never leaves a hospital."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Literal

from fedward.privacy.disclosure.categories import AGES, FALSE_POSITIVE_RATES, INTENSITIES, MAKERS, SEXES

Kind = Literal[
    "score",
    "measure",
    "count",
    "counts",
    "parts",
    "strata",
    "shares",
    "steps",
    "seconds",
    "parameter",
    "epsilon",
    "word",
]
"""score: 0 to 1. measure: finite. count: of patients, with a minimum count, or of images, which depends on a count of
patients. counts: a table of patients by label; a patient may have several. parts: a table of patients, each in one
part. strata: the same, where it may follow that a part is empty. shares: a table of numbers of 0 to 1. steps: counts no
patient. parameter: of the job's mechanism, exact. epsilon: rounded up. word: text of a fixed form."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its kind, the counts that must reach the minimum for it to leave, and the entries of a table."""

    kind: Kind
    rests_on: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


_POOLED = ("auc", "auc_low", "auc_high")
_POINT = tuple(f"{name}{end}" for name in ("sensitivity", "specificity") for end in ("", "_low", "_high"))
_RANKING = (*_POOLED, "average_precision", *_POINT, "ece")
_OVERLAP = ("dice", "dice_low", "dice_high")
_DISTANCE = ("hd95_mm", "hd95_mm_low", "hd95_mm_high")
_COUNT = Metric("count")

GROUPS: Mapping[str, Mapping[str, Metric]] = {
    "scores": {
        **{name: Metric("score", ("patients", "images", "positives")) for name in _RANKING},
        **{name: Metric("score", ("patients", "dice_patients")) for name in _OVERLAP},
        **{name: Metric("measure", ("patients", "dice_patients", "hd95_patients")) for name in _DISTANCE},
        "false_positive_rate": Metric("score", ("patients", "dice_patients")),
        "false_positive_ml": Metric("measure", ("patients", "dice_patients")),
        "loss": Metric("measure", ("patients",)),
        "patients": _COUNT,
        "images": Metric("count", ("patients",)),
        "positives": Metric("count", ("patients", "images")),
        "dice_patients": Metric("count", ("patients",)),
        "hd95_patients": Metric("count", ("patients", "dice_patients")),
    },
    "label": {
        **{name: Metric("score", ("patients", "positives")) for name in _RANKING},
        "patients": _COUNT,
        "positives": Metric("count", ("patients",)),
    },
    "structure": {
        **{name: Metric("score", ("patients",)) for name in _OVERLAP},
        **{name: Metric("measure", ("patients", "hd95_patients")) for name in _DISTANCE},
        "patients": _COUNT,
        "hd95_patients": Metric("count", ("patients",)),
    },
    "subgroups": {},
    "subgroup": {
        **{name: Metric("score", ("patients", "positives")) for name in _POOLED},
        **{name: Metric("score", ("patients",)) for name in _OVERLAP},
        "patients": _COUNT,
        "positives": Metric("count", ("patients",)),
    },
    "curves": {"roc": Metric("shares", (), FALSE_POSITIVE_RATES)},
    "reliability": {
        "patients": _COUNT,
        "positives": Metric("count", ("patients",)),
        "score": Metric("score", ("patients", "positives")),
    },
    "profile": {
        "patients": _COUNT,
        "images": Metric("count", ("patients",)),
        "positives": Metric("counts", ("patients", "images")),
        "sex": Metric("strata", ("patients",), SEXES),
        "age": Metric("strata", ("patients",), AGES),
        "maker": Metric("strata", ("patients",), MAKERS),
        "intensity": Metric("shares", ("patients",), INTENSITIES),
        "spacing_patients": Metric("count", ("patients",)),
        "spacing_mm": Metric("measure", ("patients", "spacing_patients")),
        "label_noise": Metric("score", ("patients", "images", "positives")),
    },
    "pooled": {
        **{name: Metric("score", ("patients", "images", "positives")) for name in _POOLED},
        "patients": _COUNT,
        "images": Metric("count", ("patients",)),
        "positives": Metric("count", ("patients", "images")),
    },
    "pooled_label": {
        **{name: Metric("score", ("patients", "positives")) for name in _POOLED},
        "patients": _COUNT,
        "positives": Metric("count", ("patients",)),
    },
    "cohort_statistics": {
        "patients": _COUNT,
        "images": Metric("count", ("patients",)),
        "age": Metric("parts", ("patients",), AGES),
        "sex": Metric("parts", ("patients",), SEXES),
        "positives": Metric("counts", ("patients", "images")),
        "intensity": Metric("shares", ("patients",), INTENSITIES),
    },
    "support": {
        "train_patients": _COUNT,
        "train_images": Metric("count", ("train_patients",)),
        "validation_patients": _COUNT,
        "validation_images": Metric("count", ("validation_patients",)),
        "left_out": _COUNT,
        "train_positives": Metric("counts", ("train_patients", "train_images")),
        "validation_positives": Metric("counts", ("validation_patients", "validation_images")),
    },
    "work": {
        "patients": _COUNT,
        "images": Metric("count", ("patients",)),
        "steps": Metric("steps"),
        "loss": Metric("measure", ("patients",)),
        "train_s": Metric("seconds"),
        "validate_s": Metric("seconds"),
        "seal_s": Metric("seconds"),
    },
    "cohort": {
        "quarantined": _COUNT,
        "cohort_hash": Metric("word"),
        "fedward": Metric("word"),
        "admission": Metric("word"),
    },
    "privacy": {
        "mechanism": Metric("word"),
        "unit": Metric("word"),
        "epsilon": Metric("epsilon"),
        "spent": Metric("epsilon"),
        "epsilon_cap": Metric("epsilon"),
        "delta": Metric("parameter"),
        "noise_multiplier": Metric("parameter"),
        "sampling_rate": Metric("parameter"),
        "clip_norm_l2": Metric("parameter"),
        "steps": Metric("steps"),
    },
}
"""Group -> metric -> its definition. ``label`` and ``structure`` are entries below ``scores``, ``pooled_label`` below
``pooled``, ``subgroup`` is one value of one dimension below ``subgroups``, ``reliability`` one bin below ``curves``;
``pooled`` and ``cohort_statistics`` are over all hospitals together, from sums that nobody can take apart.

Counts are of patients, except those named images. ``patients`` of a structure are those who have it in an image.
``positives`` are patients with yes in an image, and all other patients have none: every patient is one or the other, so
that patients minus positives is a count too. Patients with no in an image are never fewer than that count.
``false_positive_rate`` and ``false_positive_ml`` are of the patients outside ``dice_patients``, who are none or reach
the minimum (``WITHIN``). ``dice_patients``, ``hd95_patients`` and ``spacing_patients`` have an image that gives the
measure; ``left_out`` and ``quarantined`` have one that takes no part, or was set aside."""

WITHIN: Mapping[str, Mapping[str, str]] = {
    "scores": {"dice_patients": "patients", "hd95_patients": "dice_patients"},
    "structure": {"hd95_patients": "patients"},
    "profile": {"spacing_patients": "patients"},
}
"""Group -> count -> the count of patients that contains it: those outside it are none, or the minimum count."""

FLAT = ("work", "cohort")
"""Groups whose metrics are at the top level; the others are tables of their own name, or below one."""
TABLES: Mapping[str, Mapping[str, str]] = {
    "scores": {"labels": "label", "structures": "structure"},
    "pooled": {"labels": "pooled_label"},
}
"""Group -> tables within it -> the group of their entries."""
SCORES = (*TABLES, *(below for tables in TABLES.values() for below in tables.values()))
"""Groups whose tables mark with ``suppressed`` that a value fell below the minimum count."""
BREAKDOWNS: Mapping[str, str] = {"subgroups": "subgroup", "curves": "reliability"}
"""Groups that divide the images of each label once more -> the group of a part; see
``fedward.privacy.disclosure.subgroups``. They depend on the counts of ``scores``, which come with them."""
ABOVE = {below: group for group, tables in TABLES.items() for below in tables.values()}
ABOVE |= {below: group for group, below in BREAKDOWNS.items()}
"""Group of entries -> the group that they are listed by."""
TOP = tuple(group for group in GROUPS if group not in FLAT and group not in ABOVE)
"""Groups that are tables of their own name."""
DETAILS = (*BREAKDOWNS, "profile")
"""Groups of the last validation alone, about its patients."""
TOGETHER = ("pooled", "cohort_statistics")
"""Groups over all hospitals."""
NAMED = (*TOGETHER, *DETAILS)
"""Groups that a hospital's list must name: "auc" alone is of all its own patients, "pooled" or "pooled.auc" of all
hospitals' patients, "subgroups" of its patients by sex, age and maker."""
SUPPRESSED = "suppressed"

TABLE_KINDS = ("counts", "parts", "strata", "shares")
"""Kinds whose value is a table."""

_HELD = frozenset({("work", "loss"), ("work", "images"), ("work", "train_s")})
_WORDS = re.compile(
    r"[0-9a-f]{16,64}|\d{1,3}(\.\d{1,4}){2}[a-z0-9.+]{0,16}|none|dp-sgd|update-noise|patient"
    r"|any|approved|submitter"
)
_ENTRY = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_LARGEST = 1e9


def listed(asked: Collection[str], group: str, name: str) -> bool:
    """True if a hospital's list has a metric, or one that depends on it.

    Args:
        asked: the list's names.
        group, name: of the metric. Groups of ``BREAKDOWNS`` are listed whole or not at all.
    """
    within = ABOVE.get(group, group)
    if within in asked:
        return True
    if within in BREAKDOWNS:
        return False
    whole = ("patients", "images", "positives", "dice_patients")
    if within == "scores" and name in whole and any(one in asked for one in BREAKDOWNS):
        return True
    names = {name, *(other for other, metric in GROUPS[group].items() if name in metric.rests_on)}
    return any(f"{within}.{one}" in asked or (one in asked and within not in NAMED) for one in names)


def held_back(group: str, name: str, *, private: bool, alone: bool) -> bool:
    """True if a metric is computed from training data without noise, in a job that promises differential privacy.

    The training loss, the number of drawn images and the time of training, which grows with the number of drawn
    patients, are withheld, and every score of the model that a hospital trained
    alone, without noise. Not withheld: scores of the noised model on validation patients, also by subgroup; the profile
    of these patients; the number of patients. Cohort statistics are exact counts, over training patients too, which no
    ε covers, however many hospitals are summed: all are withheld.
    """
    of_a_model = group in SCORES or ABOVE.get(group, group) in DETAILS
    return private and ((group, name) in _HELD or group == "cohort_statistics" or (alone and of_a_model))


def known_name(name: object) -> bool:
    """True if an entry's name has the right form: 1 to 64 characters, printable."""
    return type(name) is str and _ENTRY.fullmatch(name) is not None


def clean(kind: Kind, value: object, *, decimals: int, min_count: int) -> object:
    """Return one value, rounded as it may leave; None: absent, below the minimum count, out of range, of another kind.

    Tables are returned unchanged; ``fedward.privacy.disclosure.release`` checks their entries.
    """
    if kind in TABLE_KINDS:
        return value
    if kind == "word":
        return value if type(value) is str and _WORDS.fullmatch(value) else None
    if kind in ("count", "steps"):
        least = min_count if kind == "count" else 0
        return value if type(value) is int and least <= value <= _LARGEST else None
    if type(value) not in (int, float) or not abs(value) <= _LARGEST:  # type: ignore[arg-type]
        return None
    number = float(value)  # type: ignore[arg-type]
    if (kind == "score" and not 0.0 <= number <= 1.0) or (kind in ("seconds", "epsilon", "parameter") and number < 0.0):
        return None
    if kind == "parameter":
        return number
    if kind == "epsilon":
        return float(Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals), ROUND_CEILING))
    return round(number, decimals) + 0.0
