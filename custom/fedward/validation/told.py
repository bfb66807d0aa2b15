"""Which of its own counts a hospital tells, read off what its rules let out, and what it may tell of all hospitals'.

A count is told wherever it is told: patients of the validation as support, beside the scores or in the profile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.selection import Support
from fedward.privacy.untold import ANY, Own, Untold
from fedward.settings import JobSpec
from fedward.validation.pooled import names_of, people_of

Told = Mapping[str, Any]


def told_of_scores(job: JobSpec, counts: NDArray[np.int64], told: Told) -> Own:
    """A hospital's validation patients, as its score histogram counts them.

    Args:
        job: a classification.
        counts: ``pooled.score_histogram``.
        told: what the hospital's rules let out: "scores", "support", "profile", "curves".
    """
    found, told_ones = people_of(job, counts), _told_in_validation(job, told)
    positives = {ANY: found.any_yes} | {name: int(table[1].sum()) for name, table in found.by_tenth.items()}
    curves = _table(told, "curves")
    return Own(
        patients=None if _tells_validation_patients(told) else found.patients,
        positives={name: (found.patients, count) for name, count in positives.items() if name not in told_ones},
        by_tenth=found.by_tenth,
        edges={
            name: [edge for edge, cell in _table(curves, name, "reliability").items() if _is_count(cell, "patients")]
            for name in found.by_tenth
        },
    )


def told_of_cohort(job: JobSpec, support: Support, told: Told) -> tuple[Own, Own]:
    """A hospital's patients of training and those of validation, as its cohort statistics count them together.

    Patients who were drawn in a round may be all patients of training, or fewer. So where these are told, and the
    number of all is not, the hospital hides something of which nothing may be counted on.

    Args:
        told: what the hospital's rules let out: "support", "scores", "profile", and "patients" of the training.
    """
    trained, seen = _table(told, "support"), _told_in_validation(job, told)
    known = {name for name in names_of(job) if _is_count(_table(trained, "train_positives"), name)}
    drawn = 0 if _is_count(told, "patients") else support.train_patients
    training = Own(
        patients=None if _is_count(trained, "train_patients") else drawn,
        positives=_but(support.train_positives, support.train_patients, known),
    )
    validation = Own(
        patients=None if _tells_validation_patients(told) else support.validation_patients,
        positives=_but(support.validation_positives, support.validation_patients, seen),
    )
    return training, validation


def _but(positives: Mapping[str, int], patients: int, told: Collection[str]) -> dict[str, tuple[int, int]]:
    return {name: (patients, count) for name, count in positives.items() if name not in told}


def without_untold(found: Told, hidden: Untold) -> dict[str, Any]:
    """Pooled scores without what would tell one hospital's own counts.

    Args:
        found: as ``pooled.pooled_scores`` gives them.
        hidden: what the same hospitals hide.

    Returns:
        The same, null where it may not be told; ``release`` takes out what rests on it, and what would follow.
    """
    whole = hidden.hides_patients()
    curves = {name: dict(told) for name, told in found["curves"].items()}
    for name, told in curves.items():
        if "reliability" in told:
            told["reliability"] = hidden.table(name, told["reliability"])
    labels = {name: _blank(part, whole or hidden.hides(name)) for name, part in found.get("labels", {}).items()}
    only = None if labels else next(iter(curves))
    top = _blank(found, whole or hidden.hides(ANY if only is None else only))
    top |= {name: None if whole else found[name] for name in ("patients", "images")}
    return {**top, "curves": curves, **({"labels": labels} if labels else {})}


def _tells_validation_patients(told: Told) -> bool:
    places = (("support", "validation_patients"), ("scores", "patients"), ("profile", "patients"))
    return any(_is_count(_table(told, group), name) for group, name in places)


def _told_in_validation(job: JobSpec, told: Told) -> set[str]:
    """Labels, and ANY, whose patients with yes are told."""
    scores = _table(told, "scores")
    found = {ANY} if _is_count(scores, "positives") else set()
    for name in names_of(job):
        one = _is_count(scores, "positives") and len(names_of(job)) == 1
        tables = (_table(told, "support", "validation_positives"), _table(told, "profile", "positives"))
        inner = _is_count(_table(scores, "labels", name), "positives")
        if one or inner or any(_is_count(table, name) for table in tables):
            found.add(name)
    return found


def _table(content: Told, *path: str) -> Told:
    """The table at a path; an empty one where there is none."""
    for name in path:
        inner = content.get(name)
        if not isinstance(inner, Mapping):
            return {}
        content = inner
    return content


def _is_count(content: object, name: str) -> bool:
    return isinstance(content, Mapping) and type(content.get(name)) is int


def _blank(found: Told, hides: bool) -> dict[str, Any]:
    """Scores of one label, all null if its patients with yes may not be told."""
    return {name: None if hides and name != "patients" else value for name, value in found.items()}
