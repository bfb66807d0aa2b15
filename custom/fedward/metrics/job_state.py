"""Read from the metrics store how a job stands and what interrupted it, for ``fedward.ends``."""

from __future__ import annotations

import json
import sqlite3
from typing import cast

from fedward.ends import JobState, State, missing_sites, not_covered, why_resumed
from fedward.metrics.queries import Job, Note
from fedward.metrics.values import whole, word

MOST_TURNS = 50
TURNS = ("uncovered", "resumed", "paused", "unpaused", "returned", "aborted")
"""Kinds of events, stored whole, that change how a job stands."""
_SAID_BY: dict[str, tuple[str, ...]] = {
    "running": (),
    "resuming": ("resumed",),
    "paused": ("paused",),
    "finished": (),
    "aborted": ("aborted",),
    "failed": ("uncovered", "resumed"),
}
"""State -> kinds of which the newest says more about it; a failure has its own reason after a resumption."""


def turns(connection: sqlite3.Connection, *, job: int) -> list[Note]:
    """Return the newest fifty events of a job that changed its state, or brought a site back, oldest first."""
    rows = connection.execute(
        "SELECT sites.site, at, kind, body FROM notes LEFT JOIN sites ON sites.key = notes.site "
        "WHERE job = ? AND kind IN (SELECT value FROM json_each(?)) ORDER BY number DESC LIMIT ?",
        (job, json.dumps(TURNS), MOST_TURNS),
    )
    return [Note(site, at, kind, json.loads(body)) for site, at, kind, body in rows][::-1]


def last_counted(connection: sqlite3.Connection, *, job: int) -> dict[str, int]:
    """Return site -> last round, from 0, in which its update counted; only sites that have one."""
    rows = connection.execute(
        "SELECT sites.site, max(round) FROM parts JOIN sites ON sites.key = parts.site "
        "WHERE job = ? AND outcome = 'accepted' GROUP BY sites.site",
        (job,),
    )
    return {site: int(number) for site, number in rows}


def state_of(connection: sqlite3.Connection, job: Job) -> JobState:
    """Return how a job stands, for ``fedward.ends``."""
    kinds = _SAID_BY.get(job.state, ())
    notes = turns(connection, job=job.key) if kinds else []
    last = next((note for note in reversed(notes) if note.kind in kinds), None)
    body = {} if last is None else last.body
    uncovered = last is not None and last.kind == "uncovered"
    reason = {
        "aborted": word(body.get("reason")),
        "resuming": why_resumed(body.get("by")),
        "paused": job.reason,
        "failed": not_covered(whole(body.get("round")), str(word(body.get("reason")))) if uncovered else job.reason,
    }
    return JobState(
        state=cast(State, job.state),
        rounds_done=job.rounds_done,
        rounds_asked=job.rounds_asked,
        reason=reason.get(job.state),
        by=(word(body.get("by")) or job.reason) if job.state == "aborted" else None,
        attempt=whole(body.get("attempt")) if job.state == "resuming" else None,
        uncovered=uncovered,
        missing=missing_sites(job.missing, last_counted=last_counted(connection, job=job.key), rounds=job.rounds_done)
        if job.missing
        else (),
    )
