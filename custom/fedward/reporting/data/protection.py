"""Derive from a job's events what protected each site's patients, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedward.privacy.sum_words import sum_words
from fedward.reporting.data.event_lookup import Event, last_of, of_kind
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePrivacy:
    """Privacy cost of a job for a site's training patients, from the site's ledger.

    Attributes:
        mechanism: "dp-sgd" or "update-noise".
        epsilon, delta: cost of this job, for each patient.
        spent: ε of the patient who has spent most, over all jobs ever.
        cap: the hospital's cap, or None.
        noise_multiplier: noise's standard deviation over the clip norm; for a whole update, over twice the clip norm.
        sampling_rate: probability that a patient is in a step.
        steps: number of steps that were charged.
        steps_counted: steps behind the updates that counted; the rest was spent on answers that came too late, or on
            rounds that were made again. None if not reported.
        planned: True if the numbers come from the admission of the job, not from its end; the ledger refunds the cost
            of steps that never began.
    """

    mechanism: str
    epsilon: float | None
    delta: float | None
    spent: float | None = None
    cap: float | None = None
    noise_multiplier: float | None = None
    sampling_rate: float | None = None
    steps: int | None = None
    steps_counted: int | None = None
    planned: bool = False


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
