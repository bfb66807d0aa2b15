"""Make the tidy table of a job's scores: one row for each site, round, model, label and measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedward.reporting.data.event_lookup import Event, final_answers, last_of, of_kind
from fedward.reporting.data.score import OTHERS
from fedward.settings import JobSpec

FEDERATED, ALONE = "federated", "alone"
ALL_SITES = "all"
"""Value of ``Row.site`` for all hospitals' patients together, from an encrypted sum."""
_COUNTS = {"dice": "dice_patients", "hd95_mm": "hd95_patients"}
"""Measure -> number of its patients, where that is not the number of all patients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value.

    Attributes:
        site: the hospital, or ``ALL_SITES``.
        round: rounds that made the model; 0 is the initial one. None for a model that a site trained alone.
        model: ``FEDERATED`` or ``ALONE``.
        label: label, class or structure; "" for all of them together.
        measure: name as in ``report.json``, such as ``auc`` or ``dice``, or ``training_loss`` of a round.
        value: the value.
        low, high: ends of its 95 % interval, or None.
        n: number of patients it was measured on; None where the hospital does not release it.
    """

    site: str
    round: int | None
    model: str
    label: str
    measure: str
    value: float
    low: float | None
    high: float | None
    n: int | None


COLUMNS = ("site", "round", "model", "label", "measure", "value", "low", "high", "n")
"""Columns of the table, in order: the attributes of ``Row``."""


def rows_of(job: JobSpec, events: Sequence[Event]) -> tuple[Row, ...]:
    """Return the rows of a job's events, in the order of site, model, round, label and measure.

    A value that a hospital's policy withholds, or that nobody measured, has no row.

    Args:
        job: settings of the job.
        events: events of the server, in order.
    """
    found: list[Row] = []
    for event in of_kind(events, "answered"):
        metrics, site = event["metrics"], event["site"]
        if event["task"] == "round":
            number = event["round"]
            found += score_rows(job, metrics.get("scores"), site=site, number=number)
            found += _row(metrics, "loss", site=site, number=number + 1, name="training_loss")
        elif event["task"] == "alone":
            found += score_rows(job, metrics.get("scores"), site=site, number=None, model=ALONE)
    last = _last_round(events)
    for site, event in final_answers(events).items():
        found += score_rows(job, event["metrics"].get("scores"), site=site, number=last)
    together = last_of(events, "pooled")
    if together is not None and together["sites"]:
        found += score_rows(job, together["pooled"], site=ALL_SITES, number=last)
    return ordered(found)


def score_rows(
    job: JobSpec, scores: Mapping[str, Any] | None, *, site: str, number: int | None, model: str = FEDERATED
) -> list[Row]:
    """Return the rows of one site's scores of one model, in the form of ``Scores.plain`` or of an event.

    Args:
        job: the job.
        scores: the scores; None where there are none.
        site: the site.
        number: rounds that made the model.
        model: the model's name in the table.
    """
    found: list[Row] = []
    for label, part in _parts(scores):
        for name in (job.measure, *OTHERS[job.job.task]):
            found += _row(part, name, site=site, number=number, model=model, label=label)
    return found


def ordered(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows in order, each key once: of two, as of a round that was repeated, the later one counts."""
    last = {(row.site, row.model, row.round, row.label, row.measure): row for row in rows}
    return tuple(last[key] for key in sorted(last, key=lambda key: (*key[:2], -1 if key[2] is None else key[2], key)))


def _parts(scores: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if scores is not None:
        yield "", scores
        yield from (scores.get("labels") or scores.get("structures") or {}).items()


def _row(
    scores: Mapping[str, Any],
    key: str,
    *,
    site: str,
    number: int | None,
    name: str = "",
    model: str = FEDERATED,
    label: str = "",
) -> Iterator[Row]:
    value = scores.get(key)
    if isinstance(value, int | float) and math.isfinite(value):
        low, high = scores.get(f"{key}_low"), scores.get(f"{key}_high")
        count = scores.get(_COUNTS.get(key, "patients"), scores.get("patients"))
        yield Row(
            site=site,
            round=number,
            model=model,
            label=label,
            measure=name or key,
            value=float(value),
            low=low,
            high=high,
            n=count,
        )


def _last_round(events: Sequence[Event]) -> int:
    """Return the number of rounds that made the final model."""
    chosen = last_of(events, "selected")
    return (
        max((event["round"] + 1 for event in of_kind(events, "round")), default=0)
        if chosen is None
        else int(chosen["round"])
    )
