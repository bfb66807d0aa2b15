"""Compare the sites: flag those where the model is worse than at the others, and list possible causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fedward.reporting.data.event_lookup import Event, final_answers, of_kind
from fedward.reporting.data.score import Score
from fedward.validation.comparison.diagnosis import diagnose
from fedward.validation.comparison.sites import SiteValue, compare_sites

CAUSES = {
    "population-shift": "other patients",
    "few-patients": "too few patients",
    "covariate-shift": "other images",
    "label-noise": "wrong labels",
}
"""Cause in a diagnosis -> its name as shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCause:
    """One possible cause.

    Attributes:
        cause: name of the cause, as in ``CAUSES``.
        strength: 0 to 1; 0 if there is no evidence, or the hospital withholds it.
        evidence: one phrase for each piece of evidence.
        remedy: action to try.
    """

    cause: Literal["population-shift", "few-patients", "covariate-shift", "label-noise"]
    strength: float
    evidence: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSite:
    """One site compared with the others; see ``fedward.validation.comparison.sites``.

    Attributes:
        flagged: True if it is worse than the others by more than their spread and its interval explain.
        others_mean, others_sd, limit: values of the other sites, or None if none are compared.
        others: number of the other sites.
        why: reason, in a phrase.
        causes: all four causes of a flagged site, the strongest first.
    """

    flagged: bool
    others_mean: float | None
    others_sd: float | None
    limit: float | None
    others: int
    why: str
    causes: tuple[ShownCause, ...] = ()


def standings_of(scores: Mapping[str, Score], events: Sequence[Event]) -> dict[str, ComparedSite]:
    """Compare each site with the others, at the time of the last final validation, so that a report can be repeated.

    Args:
        scores: site -> its final score in the job's measure.
        events: events of the server.
    """
    finals = final_answers(events)
    now = max((event["at"] for event in finals.values()), default=events[-1]["at"])
    values = [
        SiteValue(
            site=site,
            value=score.value,
            low=score.low,
            high=score.high,
            reported_at=finals[site]["at"] if site in finals else float("-inf"),
        )
        for site, score in scores.items()
    ]
    profiles = {site: event["metrics"].get("profile") or {} for site, event in finals.items()}
    supports = {event["site"]: event.get("support") or {} for event in of_kind(events, "admitted")}
    return {
        site: ComparedSite(
            flagged=one.flagged,
            others_mean=one.others_mean,
            others_sd=one.others_sd,
            limit=one.limit,
            others=one.others,
            why=one.why,
            causes=_causes(site, profiles, supports) if one.flagged else (),
        )
        for site, one in compare_sites(values, now=now).items()
    }


def _causes(
    site: str, profiles: Mapping[str, Mapping[str, object]], supports: Mapping[str, Mapping[str, object]]
) -> tuple[ShownCause, ...]:
    return tuple(
        ShownCause(cause=one.cause, strength=one.strength, evidence=tuple(one.evidence), remedy=one.remedy)
        for one in diagnose(site, profiles, supports)
    )
