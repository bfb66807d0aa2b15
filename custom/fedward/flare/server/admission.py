"""Decide which sites take part in a job: those that admit it, and in an encrypted job have the key of most sites."""

from __future__ import annotations

from dataclasses import replace

from fedward.aggregation.coverage import Coverage, judge
from fedward.errors import FederationError
from fedward.flare.server.asking.answers import Answers
from fedward.flare.server.participation import NO_ANSWER
from fedward.flare.server.rounds import JobRounds
from fedward.metrics.events import EventLog
from fedward.privacy.accountant import largest_delta
from fedward.privacy.budget_plan import union_patients
from fedward.privacy.disclosure.metric_registry import GROUPS
from fedward.privacy.sum_noise import MARGIN
from fedward.settings import JobSpec

NOT_CONNECTED = "was not connected when the job began"
ADMISSION = frozenset({"support", "privacy", *GROUPS["cohort"]})
"""Metrics of a site that its admission event holds."""


def begin(job: JobSpec, coverage: Coverage, events: EventLog, invited: list[str]) -> None:
    """Record that the job began."""
    events.append(
        "started",
        job=job.job.name,
        task=job.job.task,
        rounds=job.federation.rounds,
        sites=invited,
        coverage=coverage.plain(),
        threshold=None if job.acceptance is None else job.acceptance.threshold,
    )


def admitted(
    job: JobSpec, coverage: Coverage, events: EventLog, rounds: JobRounds, invited: list[str], answers: Answers
) -> tuple[list[str], dict[str, str], str | None]:
    """Record which sites take part; return them, the others with their reasons, and why the job cannot begin, or None.

    Raises:
        FederationError: no key is common to more than half of the sites.
    """
    mismatched, keyless = _without_key(job, answers, rounds)
    found = sorted(set(answers.replies) - set(mismatched))
    declined = {
        site: mismatched.get(site) or answers.missing.get(site, NO_ANSWER) for site in invited if site not in found
    }
    for site in found:
        reported = {name: value for name, value in answers.replies[site].metrics.items() if name in ADMISSION}
        events.append("admitted", site=site, **reported)
    for site, reason in sorted(declined.items()):
        events.append("declined", site=site, reason=reason)
    if keyless is not None:
        raise keyless
    # a site reports its number of training patients with its updates
    why = dict.fromkeys(coverage.missing(invited), NOT_CONNECTED) | declined
    short = judge(dict.fromkeys(found), replace(coverage, min_patients=None), why=why)
    if short is not None:
        return found, declined, f"of {len(invited)} connected sites too few take part: {short}"
    return found, declined, _too_many(job, answers, found)


def _too_many(job: JobSpec, answers: Answers, sites: list[str]) -> str | None:
    """Return why a job with noise for the sum is not for so many patients; None for any other job.

    δ is held against the patients that the job expects, and each hospital knows its own alone. So the server compares
    the numbers that hospitals report: an honest mistake is found; a lie of hospitals or server is not.
    """
    asked = job.privacy.dp_sgd
    if asked is None or not job.noises_sum:
        return None
    known = [answers.replies[site].metrics.get("support", {}).get("train_patients") for site in sites]
    found, expected = sum(count for count in known if type(count) is int), union_patients(asked)
    if found > MARGIN * expected or (found > expected and asked.delta > largest_delta(found)):
        what = f"hospitals have {found} training patients, and the job is for {expected} (patients_per_step"
        return f"{what} / sampling_rate): raise patients_per_step, and give δ at most {largest_delta(found):.2g}"
    return None


def admitted_again(events: EventLog, rounds: JobRounds, answers: Answers) -> dict[str, str]:
    """Return the sites that cannot be in the job's sums any more, with the reason; record these and the refusals.

    A site that refuses, or does not answer, is asked again in the next round: its process may still know the job.
    """
    strangers = rounds.strangers(answers.replies)
    for site, reason in sorted({**answers.refusals, **strangers}.items()):
        events.append("dropped", site=site, round=None, reason=reason)
    return strangers


def _without_key(job: JobSpec, answers: Answers, rounds: JobRounds) -> tuple[dict[str, str], FederationError | None]:
    """Return sites without the key of most sites, with the reason; and an error where there is no such key."""
    if job.encryption is None:
        return {}, None
    try:
        return rounds.agree_on_key(answers.replies), None
    except FederationError as error:
        return dict.fromkeys(answers.replies, error.what), error
