"""Who took part: what every site did in every round, and whether that is enough for the job to have succeeded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedward.reporting.data.event_lookup import Event, last_of, of_kind
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRound:
    """One site in one round; None where nobody says.

    Attributes:
        outcome: whether its update counted.
        reason: why it did not.
        trained: whether the site says that it trained.
        patients: training patients its update rests on.
        seconds: from the server's question to the site's answer.
        sent_bytes, received_bytes: payload that the server sent to the site and received from it.
    """

    outcome: Literal["accepted", "dropped"]
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
        number: from 0.
        counted: the model went on with it.
        patients: over the sites whose update counted, as far as they say.
        sites: every site that was asked -> its part.
    """

    number: int
    counted: bool
    patients: int | None = None
    sites: Mapping[str, SiteRound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What a site brought to the model, in units of the job's measure, as the mean over all sites.

    Attributes:
        leave_one_out: what the model loses without it; less than 0 where it does better without.
        shapley: its share of what all sites together gained over an untrained model.
    """

    leave_one_out: float
    shapley: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """Whether a site took part, and in which rounds.

    Attributes:
        site: its id.
        declined: why it took no part at all, or None.
        rounds: rounds its update counted in, from 0.
        missed: round, from 0, -> why its update is missing.
        patients: training patients it last used; None where it does not say.
        seconds: over all rounds, from question to answer.
        sent_bytes, received_bytes: payload to the site and from it, over all rounds.
        suspect: round, from 0, -> why no local training explains its update.
        contribution: what it brought; None where that was not measured.
    """

    site: str
    declined: str | None = None
    rounds: tuple[int, ...] = ()
    missed: Mapping[int, str] = field(default_factory=dict)
    patients: int | None = None
    seconds: float | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    suspect: Mapping[int, str] = field(default_factory=dict)
    contribution: Contribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the job asked of its sites, and whether it was met.

    Attributes:
        min_sites: fewest sites whose updates make a round count.
        must_include: sites without which no round counts.
        min_patients: fewest training patients over a round's sites, or None.
        success: the job went through, and every round counted.
        verdict: the same in words, with the reason where it did not.
    """

    min_sites: int
    must_include: tuple[str, ...] = ()
    min_patients: int | None = None
    success: bool
    verdict: str


SUCCESS = "success: every round counted"
ABSENT = "was not connected to the server"


def ledger_of(events: Sequence[Event]) -> tuple[RoundLedger, ...]:
    """What every site did in every round; a last round that did not count is there too."""
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
        site: _told(reported[site])
        if site in reported
        else _pieced(site in counted, missed.get(site), answers.get(site))
        for site in sorted(sites)
    }
    patients = None if event is None else event.get("patients")
    return RoundLedger(number=number, counted=event is not None, patients=patients, sites=parts)


def _told(one: Mapping[str, Any]) -> SiteRound:
    return SiteRound(
        outcome="accepted" if one["outcome"] == "accepted" else "dropped",
        **{name: one.get(name) for name in SiteRound.__dataclass_fields__ if name != "outcome"},
    )


def _pieced(accepted: bool, reason: str | None, answer: Event | None) -> SiteRound:
    """A part from the answer alone: events from before the server wrote down who took part."""
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
    """One site over all rounds: one that was invited, or that should have been."""
    declined = next(of_kind(events, "declined", site=site), None)
    invited = next(of_kind(events, "started"), {}).get("sites", (site,))
    why = ABSENT if site not in invited else None if declined is None else declined["reason"]
    parts = {one.number: one.sites[site] for one in ledger if site in one.sites}
    accepted = {number: part for number, part in parts.items() if part.outcome == "accepted"}
    message = [part.patients for part in accepted.values() if part.patients is not None]
    return Participation(
        site=site,
        declined=why,
        rounds=tuple(accepted),
        missed={number: part.reason or "no reason given" for number, part in parts.items() if number not in accepted},
        patients=message[-1] if message else None,
        seconds=None if (seconds := _sum(part.seconds for part in parts.values())) is None else round(seconds, 3),
        sent_bytes=_bytes(part.sent_bytes for part in parts.values()),
        received_bytes=_bytes(part.received_bytes for part in parts.values()),
        suspect={event["round"]: event["reason"] for event in of_kind(events, "suspect", site=site)},
    )


def coverage_of(job: JobSpec, events: Sequence[Event]) -> Coverage:
    """The policy as the server was given it, and the verdict; an end that events do not tell is no success."""
    started, limits = next(of_kind(events, "started"), {}), job.federation
    asked = started.get("coverage") or {}
    success, verdict = _verdict(events, limits.rounds)
    return Coverage(
        min_sites=asked.get("min_sites", limits.min_sites),
        must_include=tuple(asked.get("must_include", limits.must_include)),
        min_patients=asked.get("min_patients", limits.min_patients),
        success=success,
        verdict=verdict,
    )


def _verdict(events: Sequence[Event], asked: int) -> tuple[bool, str]:
    counted = sum(1 for _ in of_kind(events, "round"))
    uncovered, failed = last_of(events, "uncovered"), last_of(events, "failed")
    if uncovered is not None:
        return False, f"failed: {_counted_from_one(uncovered)}"
    if failed is not None:
        return False, f"failed after {counted} of {asked} rounds: {failed['reason']}"
    if last_of(events, "finished") is None or counted < asked:
        return False, f"unfinished: {counted} of {asked} rounds counted"
    return True, SUCCESS


def _counted_from_one(uncovered: Event) -> str:
    """Why the policy was not met; a reader's rounds count from 1."""
    number, reason = uncovered.get("round"), str(uncovered["reason"])
    if number is None:
        return reason
    return f"round {number + 1} did not count: {reason.removeprefix(f'round {number} does not count: ')}"


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _bytes(values: Iterable[int | None]) -> int | None:
    total = _sum(values)
    return None if total is None else int(total)
