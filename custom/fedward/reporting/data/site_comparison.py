"""Compare the sites: flag those where the model is worse than at the others, and list possible causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from fedward.reporting.data.event_lookup import Event, final_answers, of_kind
from fedward.reporting.data.score import Score
from fedward.validation.comparison.diagnosis import PossibleCause, diagnose
from fedward.validation.comparison.sites import SiteComparison, SiteValue, compare_sites

CAUSES = {
    "population-shift": "other patients",
    "few-patients": "too few patients",
    "covariate-shift": "other images",
    "label-noise": "wrong labels",
}
"""Cause in a diagnosis -> its name as shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSite(SiteComparison):
    """One site compared with the others, with the possible causes if it is flagged.

    Attributes:
        causes: all four causes of a flagged site, the strongest first.
    """

    causes: tuple[PossibleCause, ...] = ()


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
        site: ComparedSite(**asdict(one), causes=diagnose(site, profiles, supports) if one.flagged else ())
        for site, one in compare_sites(values, now=now).items()
    }
