"""Read rows from the metrics store. Each function takes the connection of ``Store.turn``, so that several calls within
one turn see one state.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from fedward.measures import Measure, measure_of

_NEWEST_NOTES = 50


class Job(NamedTuple):
    """Job; ``key`` is the store's own. Times in seconds since the epoch. ``job_state`` has more of its state.

    ``missing``: site -> reason, for a finished job; None for others, and for jobs of an older release.
    """

    key: int
    id: str
    changed: int
    name: str | None
    task: str | None
    state: str
    reason: str | None
    rounds_asked: int | None
    rounds_done: int
    selected: int | None
    started_at: float
    updated_at: float
    threshold: float | None
    coverage: dict[str, Any] | None
    mechanism: str | None
    encryption: str | None
    pooled: dict[str, Any] | None
    missing: dict[str, str] | None = None

    @property
    def measure(self) -> Measure:
        """Measure of the job's task."""
        return measure_of(self.task)


class Site(NamedTuple):
    """Site, with the facts about its connection that the server knows; None means unknown."""

    key: int
    site: str
    last_seen: float | None
    connected: int | None
    certificate_until: float | None
    version: str | None


class Seat(NamedTuple):
    """Site in a job: latest values and counters. ``suppressed``: the value is withheld for too few patients."""

    job: int
    site: str
    declined: str | None
    value: float | None
    low: float | None
    high: float | None
    patients: int | None
    images: int | None
    positives: int | None
    suppressed: int
    hd95_mm: float | None
    training_loss: float | None
    validation_loss: float | None
    reported_at: float | None
    validate_s: float | None
    train_s: float | None
    seal_s: float | None
    rest_s: float | None
    charged: float | None
    spent: float | None
    cap: float | None
    accepted: int
    dropped: int
    suspect: int
    sent_bytes: int
    received_bytes: int

    @property
    def left(self) -> float | None:
        """ε that remains under the hospital's cap, over all its jobs; None if either is unknown."""
        return None if self.cap is None or self.spent is None else max(0.0, self.cap - self.spent)


class Point(NamedTuple):
    """A site's numbers for the model after ``round`` rounds, and its loss in the training that follows."""

    site: str
    round: int
    value: float | None
    low: float | None
    high: float | None
    training_loss: float | None
    validation_loss: float | None


class Round(NamedTuple):
    """Round that counted, from 0, with the server's seconds."""

    job: int
    round: int
    wall_s: float | None
    wait_s: float | None
    add_s: float | None


class SiteRound(NamedTuple):
    """Outcome of a site in a round."""

    round: int
    site: str
    outcome: str | None
    reason: str | None
    validate_s: float | None
    train_s: float | None
    seal_s: float | None
    rest_s: float | None
    patients: int | None
    sent_bytes: int | None
    received_bytes: int | None


class Note(NamedTuple):
    """Rare event, stored whole in ``body``."""

    site: str | None
    at: float
    kind: str
    body: dict[str, Any]


_JOBS = f"SELECT {', '.join(Job._fields)} FROM jobs"
_SEATS = f"""SELECT seats.job, sites.site, {", ".join(f"seats.{name}" for name in Seat._fields[2:])}
    FROM seats JOIN sites ON sites.key = seats.site"""


def jobs(connection: sqlite3.Connection) -> list[Job]:
    """Return every job, newest first."""
    return [_job(row) for row in connection.execute(f"{_JOBS} ORDER BY started_at DESC, key DESC")]


def job(connection: sqlite3.Connection, job_id: str) -> Job | None:
    """Return the job of that id, or None."""
    row = connection.execute(f"{_JOBS} WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else _job(row)


def sites(connection: sqlite3.Connection) -> list[Site]:
    """Return every site that a job invited or that contacted the server, by name."""
    return [Site(*row) for row in connection.execute(f"SELECT {', '.join(Site._fields)} FROM sites ORDER BY site")]


def versions(connection: sqlite3.Connection) -> dict[str, tuple[str, float]]:
    """Return site -> version of Fedward that it was last admitted with, and when that job began."""
    rows = connection.execute(
        "SELECT sites.site, sites.version, max(jobs.started_at) FROM sites JOIN seats ON seats.site = sites.key "
        "JOIN jobs ON jobs.key = seats.job WHERE sites.version IS NOT NULL AND seats.declined IS NULL "
        "GROUP BY sites.key"
    )
    return {site: (version, began) for site, version, began in rows}


def seats(connection: sqlite3.Connection, *, job: int) -> list[Seat]:
    """Return the sites of one job, by name."""
    return [Seat(*row) for row in connection.execute(f"{_SEATS} WHERE seats.job = ? ORDER BY sites.site", (job,))]


def seats_of(connection: sqlite3.Connection, site: str) -> list[Seat]:
    """Return the jobs of one site."""
    return [Seat(*row) for row in connection.execute(f"{_SEATS} WHERE sites.site = ?", (site,))]


def worst(connection: sqlite3.Connection) -> dict[int, tuple[str, float]]:
    """Return job key -> site with the lowest value, for each job that has a value."""
    rows = connection.execute(
        "SELECT seats.job, sites.site, min(seats.value) FROM seats JOIN sites ON sites.key = seats.site "
        "WHERE seats.value IS NOT NULL GROUP BY seats.job"
    )
    return {key: (site, value) for key, site, value in rows}


def points(connection: sqlite3.Connection, *, job: int, every: int = 1, last: int = 0) -> list[Point]:
    """Return the lines of one job by site and round: every ``every``-th round, and ``last``."""
    rows = connection.execute(
        "SELECT sites.site, round, value, low, high, training_loss, validation_loss FROM points "
        "JOIN sites ON sites.key = points.site WHERE job = ? AND (round % ? = 0 OR round = ?) "
        "ORDER BY sites.site, round",
        (job, every, last),
    )
    return [Point(*row) for row in rows]


def rounds(connection: sqlite3.Connection, *, job: int, every: int = 1, last: int = 0) -> list[Round]:
    """Return the rounds of one job, thinned as in ``points``."""
    rows = connection.execute(
        "SELECT job, round, wall_s, wait_s, add_s FROM rounds WHERE job = ? AND (round % ? = 0 OR round = ?) "
        "ORDER BY round",
        (job, every, last),
    )
    return [Round(*row) for row in rows]


def last_rounds(connection: sqlite3.Connection) -> dict[int, Round]:
    """Return job key -> last round."""
    rows = connection.execute("SELECT job, max(round), wall_s, wait_s, add_s FROM rounds GROUP BY job")
    return {row[0]: Round(*row) for row in rows}


def parts(connection: sqlite3.Connection, *, job: int, every: int = 1, last: int = 0) -> list[SiteRound]:
    """Return the outcome of every site in the rounds of one job, thinned as in ``rounds``."""
    rows = connection.execute(
        f"SELECT round, sites.site, {', '.join(SiteRound._fields[2:])} FROM parts JOIN sites ON sites.key = parts.site "
        "WHERE job = ? AND (round % ? = 0 OR round = ?) ORDER BY round, sites.site",
        (job, every, last),
    )
    return [SiteRound(*row) for row in rows]


def notes(connection: sqlite3.Connection, *, job: int, kind: str) -> list[Note]:
    """Return the newest fifty events of a kind, newest first."""
    rows = connection.execute(
        "SELECT sites.site, at, kind, body FROM notes LEFT JOIN sites ON sites.key = notes.site "
        "WHERE job = ? AND kind = ? ORDER BY number DESC LIMIT ?",
        (job, kind, _NEWEST_NOTES),
    )
    return [Note(site, at, kind, json.loads(body)) for site, at, kind, body in rows]


def _job(row: tuple[Any, ...]) -> Job:
    one = Job(*row)
    return one._replace(
        coverage=None if one.coverage is None else json.loads(str(one.coverage)),
        pooled=None if one.pooled is None else json.loads(str(one.pooled)),
        missing=None if one.missing is None else json.loads(str(one.missing)),
    )
