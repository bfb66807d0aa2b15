"""Collect each site's part in every round, and judge if the job met its coverage policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedward.ends import SUCCESS as SUCCESS
from fedward.ends import Missing, State
from fedward.metrics.values import LEFT_OUT, Outcome, outcome_of
from fedward.reporting.data.ending import state_of, verdict_of
from fedward.reporting.data.event_lookup import Event, of_kind
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRound:
    """One site in one round; None if not reported.

    Attributes:
        outcome: whether its update counted; "left out": nothing is wrong with it, and the aggregation chose others.
        reason: reason why it did not count.
        trained: True if the site reports that it trained.
        patients: training patients behind its update.
        seconds: time from the server's request to the site's answer.
        sent_bytes, received_bytes: payload that the server sent to the site and received from it.
    """

    outcome: Outcome
    reason: str | None = None
    trained: bool | None = None
    patients: int | None = None
    seconds: float | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLedger:
    """One round.

    Attributes:
        number: number of the round, from 0.
        counted: True if the round changed the model.
        patients: training patients over the sites whose update counted, as far as reported.
        sites: every site that got a request -> its part.
    """

    number: int
    counted: bool
    patients: int | None = None
    sites: Mapping[str, SiteRound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """Contribution of a site to the model, in units of the job's measure, as the mean over all sites.

    Attributes:
        leave_one_out: loss of the model without the site; less than 0 if the model is better without it.
        shapley: share of the site in the gain of all sites together over an untrained model.
    """

    leave_one_out: float
    shapley: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """Participation of a site, over all rounds.

    Attributes:
        site: id of the site.
        declined: reason why it took no part at all, or None.
        rounds: rounds in which its update counted, from 0.
        left_out: rounds in which nothing is wrong with its update, and others were chosen.
        missed: round, from 0, -> reason why its update is missing.
        patients: training patients that it last used; None if not reported.
        seconds: time over all rounds, from request to answer.
        sent_bytes, received_bytes: payload to the site and from it, over all rounds.
        suspect: round, from 0, -> reason why no local training explains its update.
        contribution: contribution to the model; None if not measured.
    """

    site: str
    declined: str | None = None
    rounds: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    missed: Mapping[int, str] = field(default_factory=dict)
    patients: int | None = None
    seconds: float | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    suspect: Mapping[int, str] = field(default_factory=dict)
    contribution: Contribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Coverage policy of the job, and the verdict.

    Attributes:
        min_sites: smallest number of sites whose updates make a round count.
        must_include: sites without which no round counts.
        min_patients: smallest number of training patients over a round's sites, or None.
        success: True if the job finished and every round counted.
        state: how the job stands: finished, aborted, failed, or without an end running, resuming or paused.
        missing: sites whose last answer is missing, of a job that finished.
        verdict: verdict as text: why the job did not succeed, or which sites were missing at its end.
    """

    min_sites: int
    must_include: tuple[str, ...] = ()
    min_patients: int | None = None
    success: bool
    state: State = "finished"
    missing: tuple[Missing, ...] = ()
    verdict: str


ABSENT = "was not connected to the server"


def ledger_of(events: Sequence[Event]) -> tuple[RoundLedger, ...]:
    """Return every site's part in every round, including a last round that did not count."""
    rounds = {event["round"]: event for event in of_kind(events, "round")}
    missed: dict[int, dict[str, str]] = {}
    for event in of_kind(events, "dropped"):
        if event["round"] is not None and event["round"] >= 0:
            missed.setdefault(event["round"], {})[event["site"]] = event["reason"]
    answers: dict[int, dict[str, Event]] = {}
    for event in of_kind(events, "answered", task="round"):
        answers.setdefault(event["round"], {})[event["site"]] = event
    failed = {event["round"] for event in of_kind(events, "uncovered") if event.get("round") is not None} | set(missed)
    return tuple(
        _round(number, rounds.get(number), missed.get(number, {}), answers.get(number, {}))
        for number in sorted(set(rounds) | failed)
    )


def _round(number: int, event: Event | None, missed: Mapping[str, str], answers: Mapping[str, Event]) -> RoundLedger:
    reported = {} if event is None else event.get("participation") or {}
    sites = set(reported) | set(missed) | set(answers) | set(() if event is None else event["sites"])
    counted = () if event is None else event["sites"]
    parts = {
        site: _site_round(reported[site])
        if site in reported
        else _pieced(site in counted, missed.get(site), answers.get(site))
        for site in sorted(sites)
    }
    patients = None if event is None else event.get("patients")
    return RoundLedger(number=number, counted=event is not None, patients=patients, sites=parts)


def _site_round(one: Mapping[str, Any]) -> SiteRound:
    return SiteRound(
        outcome=outcome_of(one["outcome"]),
        **{name: one.get(name) for name in SiteRound.__dataclass_fields__ if name != "outcome"},
    )


def _pieced(accepted: bool, reason: str | None, answer: Event | None) -> SiteRound:
    """Derive a part from the answer alone, for older events in which the server did not record participation."""
    if not accepted and reason is None:
        reason = "the round did not count"
    return SiteRound(
        outcome="accepted" if accepted else "dropped",
        reason=None if accepted else reason,
        trained=True if accepted or answer is not None else None,
        patients=None if answer is None else answer["metrics"].get("patients"),
        **{name: None if answer is None else answer.get(name) for name in ("seconds", "sent_bytes", "received_bytes")},
    )


def participation_of(site: str, events: Sequence[Event], ledger: Sequence[RoundLedger]) -> Participation:
    """Return one site's participation over all rounds; the site was invited, or should have been."""
    declined = next(of_kind(events, "declined", site=site), None)
    invited = next(of_kind(events, "started"), {}).get("sites", (site,))
    why = ABSENT if site not in invited else None if declined is None else declined["reason"]
    parts = {one.number: one.sites[site] for one in ledger if site in one.sites}
    accepted = {number: part for number, part in parts.items() if part.outcome == "accepted"}
    left_out = {number: part for number, part in parts.items() if part.outcome == LEFT_OUT}
    missed = {number: part.reason or "no reason given" for number, part in parts.items() if part.outcome == "dropped"}
    counts = [part.patients for part in (*left_out.values(), *accepted.values()) if part.patients is not None]
    return Participation(
        site=site,
        declined=why,
        rounds=tuple(accepted),
        left_out=tuple(left_out),
        missed=missed,
        patients=counts[-1] if counts else None,
        seconds=None if (seconds := _sum(part.seconds for part in parts.values())) is None else round(seconds, 3),
        sent_bytes=_bytes(part.sent_bytes for part in parts.values()),
        received_bytes=_bytes(part.received_bytes for part in parts.values()),
        suspect={event["round"]: event["reason"] for event in of_kind(events, "suspect", site=site)},
    )


def coverage_of(job: JobSpec, events: Sequence[Event]) -> Coverage:
    """Return the policy that the server received, and the verdict; without an event for the end it is no success."""
    started, limits = next(of_kind(events, "started"), {}), job.federation
    asked, state = started.get("coverage") or {}, state_of(events, asked=limits.rounds)
    return Coverage(
        min_sites=asked.get("min_sites", limits.min_sites),
        must_include=tuple(asked.get("must_include", limits.must_include)),
        min_patients=asked.get("min_patients", limits.min_patients),
        success=state.state == "finished",
        state=state.state,
        missing=state.missing,
        verdict=verdict_of(state),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _bytes(values: Iterable[int | None]) -> int | None:
    total = _sum(values)
    return None if total is None else int(total)
