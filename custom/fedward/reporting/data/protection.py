"""Derive from a job's events what protected each site's patients, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from fedward.privacy.sum_words import sum_words
from fedward.reporting.data.event_lookup import Event, last_of, of_kind
from fedward.reporting.data.report import SitePrivacy
from fedward.settings import JobSpec


def site_privacy(admitted: Event, events: Sequence[Event], site: str) -> SitePrivacy | None:
    """Return the privacy cost from the site's final answer, or without one, the cost charged at admission."""
    final = [event["metrics"] for event in of_kind(events, "answered", site=site, task="final")]
    facts = (final[-1] if final else admitted).get("privacy") or {}
    if facts.get("mechanism", "none") == "none":
        return None
    return SitePrivacy(
        mechanism=facts["mechanism"],
        epsilon=facts.get("epsilon"),
        delta=facts.get("delta"),
        spent=facts.get("spent"),
        cap=facts.get("epsilon_cap"),
        noise_multiplier=facts.get("noise_multiplier"),
        sampling_rate=facts.get("sampling_rate"),
        steps=facts.get("steps"),
        steps_counted=_steps_counted(events, site),
        planned=not final,
    )


def _steps_counted(events: Sequence[Event], site: str) -> int | None:
    """Return the steps behind a site's updates that counted; None if an answer of these has no number of steps."""
    answers = {event["round"]: event["metrics"] for event in of_kind(events, "answered", site=site, task="round")}
    counted = {event["round"] for event in of_kind(events, "round") if site in event["sites"]}
    steps = [answers.get(number, {}).get("steps") for number in counted]
    return None if any(type(one) is not int for one in steps) else sum(steps)


def noise_of(job: JobSpec, events: Sequence[Event]) -> tuple[str, ...]:
    """Return the sentences on a noise for the sum; none where the sites come to no agreement, or have noise each."""
    agreed = last_of(events, "encrypted")
    if not job.noises_sum or agreed is None or agreed.get("hospitals") is None:
        return ()
    known = (event["privacy"].get("noise_multiplier") for event in of_kind(events, "admitted") if "privacy" in event)
    multiplier = next((value for value in known if value is not None), None)
    return sum_words(job, sites=int(agreed["hospitals"]), noise_multiplier=multiplier)
