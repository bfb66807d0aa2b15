"""Read from a job's events how it stands, and when its processes went and came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fedward.ends import JobState, State, missing_sites, not_covered, why_resumed, worded
from fedward.reporting.data.event_lookup import Event, of_kind

_STATES: Mapping[str, State] = {
    "started": "running",
    "resumed": "resuming",
    "answered": "running",
    "round": "running",
    "paused": "paused",
    "unpaused": "running",
    "uncovered": "failed",
    "failed": "failed",
    "aborted": "aborted",
    "finished": "finished",
}
"""Kind of event -> state after it; an answer ends a resumption, and nothing but ``unpaused`` a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """One break of a job, or the return of a site.

    Attributes:
        kind: a process of the server went on from the last whole round, the server paused, or a site came back.
        at: seconds since the epoch.
        after: number of rounds that counted before it; for a return, of rounds before the one that was answered.
        until: end of a pause in seconds since the epoch; None: not a pause, or it did not end.
        site: site that came back.
        reason: reason, as told; None if there is none.
    """

    kind: Literal["resumed", "paused", "returned"]
    at: float
    after: int
    until: float | None = None
    site: str | None = None
    reason: str | None = None


def state_of(events: Sequence[Event], *, asked: int) -> JobState:
    """Return how a job stands after these events, in order.

    A job that tells an end before its rounds are done has not finished.

    Args:
        asked: rounds that the job asks for.
    """
    state, last, uncovered = _walked(events)
    rounds = {event["round"] for event in of_kind(events, "round")}
    done = len(rounds)
    if state == "finished" and done < asked:
        state = "running"
    by, reason = last.get("by"), last.get("reason")
    return JobState(
        state=state,
        rounds_done=done,
        rounds_asked=asked,
        reason={
            "resuming": why_resumed(by),
            "failed": reason if uncovered is None else not_covered(uncovered.get("round"), str(uncovered["reason"])),
            "running": None,
            "finished": None,
        }.get(state, reason),
        by=None if by is None or state != "aborted" else str(by),
        attempt=last.get("attempt") if state == "resuming" else None,
        uncovered=state == "failed" and uncovered is not None,
        missing=missing_sites(last.get("missing"), last_counted=_last_counted(events), rounds=done)
        if state == "finished"
        else (),
    )


def verdict_of(state: JobState) -> str:
    """Return the verdict of a report; a job without an end is unfinished."""
    if state.ended:
        return worded(state)
    if state.state == "running":
        return f"unfinished: {state.rounds_done} of {state.rounds_asked} rounds counted"
    return f"unfinished: {worded(state)}"


def interruptions_of(events: Sequence[Event]) -> tuple[Interruption, ...]:
    """Return each resumption, pause and return of a site, in order."""
    found: list[Interruption] = []
    done: set[Any] = set()
    for event in events:
        kind = event["event"]
        if kind == "round":
            done.add(event["round"])
        elif kind == "resumed":
            found.append(Interruption(kind=kind, at=event["at"], after=len(done), reason=why_resumed(event.get("by"))))
        elif kind == "paused":
            found.append(Interruption(kind=kind, at=event["at"], after=len(done), reason=event.get("reason")))
        elif kind == "returned":
            found.append(Interruption(kind=kind, at=event["at"], after=event["round"], site=event["site"]))
        elif kind == "unpaused":
            found = _unpaused(found, event["at"])
    return tuple(found)


def interruption_words(one: Interruption) -> str:
    """Return one sentence about an interruption, without a full stop; rounds are counted from 1."""
    place = f"after round {one.after}" if one.after else "before the first round"
    why = f": {one.reason}" if one.reason else ""
    if one.kind == "returned":
        return f"{one.site} answered again in round {one.after + 1}"
    if one.kind == "resumed":
        return f"the server was resumed {place}{why}"
    lasted = "and it never went on" if one.until is None else f"for {one.until - one.at:.0f} s"
    return f"the server paused {place}, {lasted}{why}"


def _unpaused(found: list[Interruption], at: float) -> list[Interruption]:
    """Return the interruptions, with the end of the last open pause."""
    for place in reversed(range(len(found))):
        one = found[place]
        if one.kind == "paused" and one.until is None:
            ended = Interruption(kind=one.kind, at=one.at, after=one.after, until=at, reason=one.reason)
            return [*found[:place], ended, *found[place + 1 :]]
    return found


def _walked(events: Sequence[Event]) -> tuple[State, Event, Event | None]:
    """Return the state after the last event, the event that made it, and the unmet coverage behind a failure."""
    state: State = "running"
    last: Event = {}
    uncovered: Event | None = None
    for event in events:
        kind = event["event"]
        new = _STATES.get(kind)
        if new is None or (kind in ("answered", "round") and state in ("paused", "finished", "failed", "aborted")):
            continue
        if kind == "uncovered":
            uncovered = event
        elif kind != "failed":
            uncovered = None
        state, last = new, event
    return state, last, uncovered


def _last_counted(events: Sequence[Event]) -> dict[str, int]:
    return {site: event["round"] for event in of_kind(events, "round") for site in event["sites"]}
