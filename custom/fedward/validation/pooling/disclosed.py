"""Find the counts that a hospital withholds, and withhold pooled results that could disclose one hospital's counts.

A hospital discloses its number of validation patients if it does so in any place: as support, with the scores or in the
profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.selection import Support
from fedward.errors import EncryptionError
from fedward.privacy.disclosure.withheld import ANY, Disclosed, Withheld, withheld_counts, withheld_length
from fedward.settings import JobSpec
from fedward.validation.pooling.cohort_statistics import STRATA, pooled_statistics, tables_of
from fedward.validation.pooling.pooled import pooled_scores

Metrics = Mapping[str, Any]
OfAll = tuple[dict[str, Any], int]
"""Metrics of all hospitals, null where they are withheld, and the largest minimum count of the hospitals."""

_OWN = ("scores", "support", "subgroups", "curves", "profile", "patients")
"""Metrics with counts of a hospital's own patients."""


def beside_scores(job: JobSpec, disclosed: Metrics, *, min_count: int) -> NDArray[np.int64]:
    """Return a hospital's marks for its score histogram: the counts of its validation patients that it withholds.

    Args:
        job: a classification.
        disclosed: metrics of _OWN that the hospital's rules disclose; "patients" counts the training patients.
        min_count: the hospital's minimum count.

    Returns:
        int64 (scores_length(job),).
    """
    curves = _table(disclosed, "curves")
    of_validation = Disclosed(
        anything=_lists_own_patients(disclosed),
        patients=_discloses_validation_patients(disclosed),
        positives=_disclosed_in_validation(job, disclosed),
        tables=[name for name in job.scored_names if "reliability" in _table(curves, name)],
    )
    return withheld_counts(job.scored_names, of_validation, min_count=min_count)


def scores_length(job: JobSpec) -> int:
    """Return the length of ``beside_scores``."""
    return withheld_length(job.scored_names)


def scores_of_all(job: JobSpec, own: NDArray[np.int64], beside: NDArray[np.int64], *, min_count: int) -> OfAll:
    """Return pooled scores without values that could disclose one hospital's counts, and the minimum count for them.

    Args:
        own, beside: the sums of ``pooled.score_histogram`` and of ``beside_scores``.

    Returns:
        Metrics as from ``pooled.pooled_scores``.

    Raises:
        EncryptionError: the numbers cannot be sums over hospitals.
    """
    hidden, found = Withheld(job.scored_names, beside, min_count=min_count), pooled_scores(job, own)
    curves = {name: dict(curve) for name, curve in found["curves"].items()}
    for name, curve in curves.items():
        if hidden.hides_table(name) and "reliability" in curve:
            curve["reliability"] = {edge: dict.fromkeys(cell) for edge, cell in curve["reliability"].items()}
    labels = {name: _blank(part, hides=hidden.hides(name)) for name, part in found.get("labels", {}).items()}
    top = _blank(found, hides=hidden.hides(ANY if labels else next(iter(curves))))
    if hidden.hides_patients():
        top |= {"patients": None, "images": None}
    return {**top, "curves": curves, **({"labels": labels} if labels else {})}, hidden.least


def beside_statistics(
    job: JobSpec, own: NDArray[np.int64], support: Support, disclosed: Metrics, *, min_count: int
) -> NDArray[np.int64]:
    """Return a hospital's marks and counts for its cohort statistics.

    Args:
        own: ``cohort_statistics.cohort_statistics``.
        support: the hospital's.
        disclosed, min_count: as for ``beside_scores``.

    Returns:
        int64 (statistics_length(job),): marks of the counts of training and validation patients that it withholds; the
        number of training patients, and of those with yes by label; by age and sex, the patients that its own profile
        does not disclose.
    """
    names, trained, seen = job.scored_names, _table(disclosed, "support"), _disclosed_in_validation(job, disclosed)
    known = {name for name in names if _is_count(_table(trained, "train_positives"), name)}
    of_both = Disclosed(
        anything=_lists_own_patients(disclosed),
        patients=_discloses_validation_patients(disclosed)
        and (_is_count(trained, "train_patients") or _is_count(disclosed, "patients")),
        positives={ANY, *(known & seen)},
    )
    training = [support.train_patients, *(support.train_positives[name] for name in names)]
    counted = tables_of(job, own)
    rest = [
        count - (shown if type(shown := _table(disclosed, "profile", stratum).get(part)) is int else 0)
        for stratum in STRATA
        for part, count in counted[stratum].items()
    ]
    return np.concatenate(
        [withheld_counts(names, of_both, min_count=min_count), np.array([*training, *rest], np.int64)]
    )


def statistics_length(job: JobSpec) -> int:
    """Return the length of ``beside_statistics``."""
    return withheld_length(job.scored_names) + 1 + len(job.scored_names) + sum(map(len, STRATA.values()))


def statistics_of_all(job: JobSpec, own: NDArray[np.int64], beside: NDArray[np.int64], *, min_count: int) -> OfAll:
    """Return cohort statistics without values that could disclose one hospital's counts, and their minimum count.

    Pooled scores cover the validation patients, these statistics the patients of both splits. The counts of one split
    follow from the two, even if hospitals disclose no counts themselves. So each split must reach the minimum count.

    Args:
        own, beside: the sums of ``cohort_statistics.cohort_statistics`` and of ``beside_statistics``.

    Returns:
        Metrics as from ``cohort_statistics.pooled_statistics``.

    Raises:
        EncryptionError: the numbers cannot be sums over hospitals.
    """
    names, counted = job.scored_names, tables_of(job, own)
    if beside.shape != (statistics_length(job),):
        raise _not_of(job)
    marks, training, strata = np.split(beside, np.cumsum([withheld_length(names), 1 + len(names)]))
    hidden = Withheld(names, marks, min_count=min_count)
    trained, with_yes = int(training[0]), dict(zip(names, training[1:].tolist(), strict=True))
    pieces = np.split(strata, np.cumsum([len(parts) for parts in STRATA.values()])[:-1])
    rest = {
        name: dict(zip(parts, piece.tolist(), strict=True))
        for (name, parts), piece in zip(STRATA.items(), pieces, strict=True)
    }
    within = [(rest[name], counted[name]) for name in STRATA]
    within += [(with_yes, counted["positives"]), ({"": trained}, counted["patients"])]
    if any(not 0 <= count <= whole[name] for part, whole in within for name, count in part.items()):
        raise _not_of(job)
    validated = counted["patients"][""] - trained

    def few(name: str) -> bool:
        validation = counted["positives"][name] - with_yes[name]
        sides = (with_yes[name], trained - with_yes[name], validation, validated - validation)
        return bool(min(sides) < hidden.least)

    found = pooled_statistics(
        job,
        own,
        min_count=hidden.least,
        hides={name for name in names if hidden.hides(name) or few(name)},
        hides_patients=hidden.hides_patients() or min(trained, validated) < hidden.least,
        rest=rest,
    )
    return found, hidden.least


def _lists_own_patients(disclosed: Metrics) -> bool:
    """True if its list has a count of its own patients, even a suppressed one: suppression shows that it is small."""
    return any(name in disclosed for name in _OWN)


def _discloses_validation_patients(disclosed: Metrics) -> bool:
    places = (("support", "validation_patients"), ("scores", "patients"), ("profile", "patients"))
    return any(_is_count(_table(disclosed, group), name) for group, name in places)


def _disclosed_in_validation(job: JobSpec, disclosed: Metrics) -> set[str]:
    """Return the labels, and ANY, for which the number of patients with yes is disclosed."""
    scores = _table(disclosed, "scores")
    found = {ANY} if _is_count(scores, "positives") else set()
    for name in job.scored_names:
        one = _is_count(scores, "positives") and len(job.scored_names) == 1
        tables = (_table(disclosed, "support", "validation_positives"), _table(disclosed, "profile", "positives"))
        inner = _is_count(_table(scores, "labels", name), "positives")
        if one or inner or any(_is_count(table, name) for table in tables):
            found.add(name)
    return found


def _table(content: Metrics, *path: str) -> Metrics:
    """Return the table at a path; an empty one if there is none."""
    for name in path:
        inner = content.get(name)
        if not isinstance(inner, Mapping):
            return {}
        content = inner
    return content


def _is_count(content: Metrics, name: str) -> bool:
    return type(content.get(name)) is int


def _blank(found: Metrics, *, hides: bool) -> dict[str, Any]:
    """Return the scores of one label; with ``hides`` all values but the number of patients are null."""
    return {name: None if hides and name != "patients" else value for name, value in found.items()}


def _not_of(job: JobSpec) -> EncryptionError:
    return EncryptionError("what hospitals hide of a sum is not of its hospitals", where=job.job.name)
