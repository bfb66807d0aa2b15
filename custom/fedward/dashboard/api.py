"""Build the content of the pages as JSON-ready data. Pure: takes the store and the time, returns a dictionary.

A value that a site withheld for too few cases is null with ``suppressed`` true; one that was not measured is null with
``suppressed`` false. Times are seconds since the epoch by the server's clock, as is ``now``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from fedward.dashboard.series import every_nth, last_round, rounds_of, series_of
from fedward.ends import ENDS, JobState, worded
from fedward.metrics import queries
from fedward.metrics.job_state import state_of, turns
from fedward.metrics.queries import Job, Note, Seat, Site
from fedward.metrics.store import DAY_S, Store
from fedward.validation.comparison.model_worth import ModelScores, SiteScores, model_worth
from fedward.validation.comparison.sites import RECENT_S, SiteComparison, SiteValue, compare_sites

STALE_AFTER_S = 60.0
"""Seconds without contact until a site is shown as stale: FLARE's clients contact the server every few seconds."""
Json = dict[str, Any]


def federation(store: Store | None, *, now: float) -> Json:
    """Return every site and every job, newest job first; empty lists while there is no store."""
    sites: list[Json] = []
    jobs: list[Json] = []
    if store is not None:
        with store.turn() as connection:
            sites = [_site(site, now) for site in queries.sites(connection)]
            worst = queries.worst(connection)
            jobs = [_job(job, state_of(connection, job), worst.get(job.key)) for job in queries.jobs(connection)]
    return {"now": now, "stale_after_s": STALE_AFTER_S, "sites": sites, "jobs": jobs}


def one_job(store: Store | None, job_id: str, *, now: float) -> Json | None:
    """Return one job, or None if no job has that id."""
    if store is None:
        return None
    with store.turn() as connection:
        job = queries.job(connection, job_id)
        if job is None:
            return None
        (cursor,) = connection.execute("SELECT cursor FROM clock").fetchone()
        seats, state = queries.seats(connection, job=job.key), state_of(connection, job)
        rounds = _over_rounds(connection, job, len(seats))
        return {
            "now": now,
            "cursor": cursor,
            "job": _whole_job(job, state, seats, now),
            "sites": _seats(job, seats, _stale(connection, now), now),
            **rounds,
            "worth": _worth(job, seats, rounds["series"]) if state.ended else [],
            "declined": [{"site": seat.site, "reason": seat.declined} for seat in seats if seat.declined is not None],
            "dropped": [
                {"site": note.site, "round": note.body.get("round"), "reason": note.body.get("reason"), "at": note.at}
                for note in queries.notes(connection, job=job.key, kind="dropped")
            ],
            "pooled": _pooled(job),
            "turns": [_turn(note) for note in turns(connection, job=job.key)],
        }


def one_site(store: Store | None, name: str, *, now: float) -> Json | None:
    """Return one site with its jobs, newest first, or None if no site has that name."""
    if store is None:
        return None
    with store.turn() as connection:
        site = next((one for one in queries.sites(connection) if one.site == name), None)
        seats = {seat.job: seat for seat in queries.seats_of(connection, name) if seat.declined is None}
        jobs = [job for job in queries.jobs(connection) if job.key in seats]
        if site is None:
            return None
        return {
            "now": now,
            "site": _site(site, now),
            "jobs": [_seat_of_a_site(job, state_of(connection, job), seats[job.key]) for job in jobs],
        }


def _site(site: Site, now: float) -> Json:
    until = site.certificate_until
    return {
        "site": site.site,
        "last_seen": site.last_seen,
        "stale": _is_stale(site, now),
        "connected": None if site.connected is None else bool(site.connected),
        "version": site.version,
        "certificate_days": None if until is None else round((until - now) / DAY_S, 1),
    }


def _is_stale(site: Site, now: float) -> bool:
    return site.last_seen is None or now - site.last_seen > STALE_AFTER_S


def _stale(connection: sqlite3.Connection, now: float) -> set[str]:
    return {site.site for site in queries.sites(connection) if _is_stale(site, now)}


def _job(job: Job, state: JobState, worst: tuple[str, float] | None) -> Json:
    return {
        "id": job.id,
        "name": job.name,
        "task": job.task,
        "measure": job.measure,
        **_state(state),
        "rounds_done": job.rounds_done,
        "rounds_asked": job.rounds_asked,
        "started_at": job.started_at,
        "updated_at": job.updated_at,
        "worst": None if worst is None else {"site": worst[0], "value": worst[1]},
    }


def _state(state: JobState) -> Json:
    """Return the state, the sentence that the report and the terminal have too, and what a script may want of it."""
    return {
        "state": state.state,
        "words": worded(state),
        "ended": state.ended,
        "reason": state.reason,
        "missing": [{"site": one.site, "reason": one.reason, "since": one.since} for one in state.missing],
    }


def _turn(note: Note) -> Json:
    """Return a change of a job's state, or the return of a site; rounds from 0."""
    about = {name: note.body.get(name) for name in ("round", "by", "attempt", "reason")}
    return {"kind": note.kind, "at": note.at, "site": note.site, **about}


def _whole_job(job: Job, state: JobState, seats: Sequence[Seat], now: float) -> Json:
    values = [(seat.value, seat.site) for seat in seats if seat.value is not None]
    value, site = min(values, default=(0.0, ""))
    return {
        **_job(job, state, (site, value) if values else None),
        "mechanism": job.mechanism,
        "encryption": job.encryption,
        "coverage": job.coverage,
        "threshold": job.threshold,
        "wall_s": round((job.updated_at if state.ended else now) - job.started_at, 3),
    }


def _seats(job: Job, seats: Sequence[Seat], stale: set[str], now: float) -> list[Json]:
    """Return the sites, worst first, those without a value last; no site of a job that has ended can be stale."""
    present = [seat for seat in seats if seat.declined is None]
    standing = standings(job, present, now=now)
    ordered = sorted(present, key=lambda seat: (seat.value is None, seat.value or 0.0, seat.site))
    return [
        {
            "site": seat.site,
            **_values(seat),
            "stale": job.state not in ENDS and seat.site in stale,
            "flag": _flag(standing[seat.site]),
            "suspect": seat.suspect,
        }
        for seat in ordered
    ]


def _worth(job: Job, seats: Sequence[Seat], series: Json) -> list[Json]:
    """Return the verdicts on the model of a job that ended; models trained elsewhere are in its report alone."""
    sites = [
        SiteScores(
            site=seat.site,
            value=seat.value,
            low=seat.low,
            high=seat.high,
            suppressed=bool(seat.suppressed),
            history=dict(zip(line["round"], line["value"], strict=True)),
        )
        for seat in seats
        if seat.declined is None
        for line in (series.get(seat.site, {"round": [], "value": []}),)
    ]
    scores = ModelScores(measure=job.measure, private=job.mechanism not in (None, "none"), sites=sites)
    return [{"good": one.good, "words": one.words, "advice": one.advice} for one in model_worth(scores)]


def standings(job: Job, seats: Sequence[Seat], *, now: float) -> dict[str, SiteComparison]:
    """Compare each site of a job with the others; for a job that has ended, as at its end.

    A value counts for twice the mean duration of the job's rounds, or for RECENT_S if that is longer.
    """
    end = job.updated_at if job.state in ENDS else now
    each = (job.updated_at - job.started_at) / max(job.rounds_done, 1)
    values = [SiteValue(seat.site, seat.value, seat.low, seat.high, seat.reported_at or 0.0) for seat in seats]
    return compare_sites(values, now=end, recent_s=max(RECENT_S, 2 * each))


def _flag(standing: SiteComparison) -> Json | None:
    if not standing.flagged:
        return None
    return {"others_mean": standing.others_mean, "others_sd": standing.others_sd, "limit": standing.limit}


def _values(seat: Seat) -> Json:
    known = (seat.charged, seat.spent, seat.cap)
    epsilon = {"charged": seat.charged, "spent": seat.spent, "cap": seat.cap, "left": seat.left}
    return {
        "value": seat.value,
        "low": seat.low,
        "high": seat.high,
        "patients": seat.patients,
        "images": seat.images,
        "positives": seat.positives,
        "suppressed": bool(seat.suppressed),
        "reported_at": seat.reported_at,
        "epsilon": None if all(one is None for one in known) else epsilon,
        "accepted": seat.accepted,
        "dropped": seat.dropped,
    }


def _seat_of_a_site(job: Job, state: JobState, seat: Seat) -> Json:
    about = {"id": job.id, "name": job.name, "measure": job.measure, **_state(state)}
    return {**about, **_values(seat), "suspect": seat.suspect}


def _pooled(job: Job) -> Json | None:
    if job.pooled is None:
        return None
    found, measure = job.pooled, job.measure
    ends = {"value": found.get(measure), "low": found.get(f"{measure}_low"), "high": found.get(f"{measure}_high")}
    return {**ends, **{name: found.get(name) for name in ("patients", "images", "positives")}}


def _over_rounds(connection: sqlite3.Connection, job: Job, sites: int) -> Json:
    every, last = every_nth(sites, job.rounds_done), last_round(job)
    points = queries.points(connection, job=job.key, every=every, last=job.rounds_done)
    parts = queries.parts(connection, job=job.key, every=every, last=last)
    by_round = {number: list(some) for number, some in groupby(parts, key=lambda part: part.round)}
    rounds = queries.rounds(connection, job=job.key, every=every, last=last)
    return {"series": series_of(points), "rounds": rounds_of(rounds, by_round)}
