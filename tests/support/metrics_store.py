"""A metrics store with made-up jobs, written as the server writes: for tests, drawings and measurements."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from fedward.metrics.store import SiteSeen, Store

SUPPRESSED, DROPPED, FLAGGED = 2, 1, 0
"""Numbers of the site whose values are too few to show, of the one that misses a round, of the one that does badly."""


def site_name(number: int) -> str:
    return ("north", "river", "small", "coast", "hill")[number] if number < 5 else f"site-{number:03d}"


def job_name(number: int) -> str:
    return f"0000{number:04d}-made-up"


def fill(
    store: Store,
    *,
    sites: int = 3,
    jobs: int = 1,
    rounds: int = 5,
    now: float | None = None,
    finished: bool = True,
    task: str = "classification",
    private: bool = True,
    round_s: float = 60.0,
    first: int = 0,
) -> list[str]:
    """Write whole jobs, one after another, the last event of the last job at ``now``; ids of the jobs.

    Site 0 does worse than the others (with four or more, badly enough to be flagged), site 1 misses round 1, site 2's
    numbers are suppressed; with four or more sites, the last of all declines the first job. ``finished`` False leaves
    the last job running after its last round; ``first`` numbers the jobs from there.
    """
    now = time.time() if now is None else now
    ids = [job_name(first + number) for number in range(jobs)]
    names = [site_name(number) for number in range(sites)]
    for number, job_id in enumerate(ids):
        start = now - (jobs - number) * (rounds + 1) * round_s
        kept = {"job": f"made-up-{first + number}", "task": task, "private": private, "round_s": round_s}
        refuses = names[-1] if number == 0 and sites >= 4 else None
        for event in events(names, rounds=rounds, start=start, refuses=refuses, **kept):
            is_end = event["event"] in ("finished", "pooled") or event.get("task") == "final"
            if finished or number < jobs - 1 or not is_end:
                store.write(job_id, event)
    store.seen(
        SiteSeen(
            site=name, last_seen=now - 3600.0 * (k == 1), connected=k != 1, certificate_until=now + (k + 5) * 86_400
        )
        for k, name in enumerate(names)
    )
    return ids


def events(
    names: list[str],
    *,
    rounds: int,
    start: float,
    job: str = "made-up",
    task: str = "classification",
    private: bool = True,
    round_s: float = 60.0,
    refuses: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The events of one job, in order."""
    present = [name for name in names if name != refuses]
    coverage = {"min_sites": 2, "must_include": [], "min_patients": None}
    yield {
        "event": "started", "at": start, "job": job, "task": task, "rounds": rounds, "sites": names,
        "coverage": coverage, "threshold": 0.8,
    }  # fmt: skip
    for k, name in enumerate(present):
        yield {
            "event": "admitted", "at": start + 1, "site": name, "support": {"train_patients": 80 + k}, "quarantined": 2,
            "cohort_hash": "0" * 64, "fedward": "0.1.0", "privacy": _privacy(private, spent=0.0), "admission": "any",
        }  # fmt: skip
    if refuses is not None:
        yield {"event": "declined", "at": start + 1, "site": refuses, "reason": "job is not approved here"}
    yield {"event": "encrypted", "at": start + 1, "scheme": "ckks", "precision": 1e-6, "key": "0" * 16}
    for number in range(rounds):
        yield from _round(present, number, rounds=rounds, at=start + number * round_s + 2, task=task, round_s=round_s)
    at = start + rounds * round_s + 2
    for k, name in enumerate(present):
        metrics = {
            "scores": scores(k, rounds, rounds, task=task), "validate_s": 1.0,
            "privacy": _privacy(private, spent=2.5 + k / 100),
        }  # fmt: skip
        yield {
            "event": "answered", "at": at + 1, "site": name, "task": "final", "round": -1, "metrics": metrics,
            "seconds": 2.0, "sent_bytes": 1_000_000, "received_bytes": 4_000,
        }  # fmt: skip
    if task == "classification":
        pooled = {
            "auc": 0.861,
            "auc_low": 0.84,
            "auc_high": 0.88,
            "patients": 500,
            "images": 640,
            "positives": 140,
            "suppressed": False,
        }
        yield {"event": "pooled", "at": at + 2, "sites": present, "pooled": pooled}
    yield {"event": "finished", "at": start + (rounds + 1) * round_s, "rounds": rounds}


def scores(k: int, through: int, rounds: int, *, task: str) -> dict[str, Any]:
    """Return the scores that site ``k`` reports of the model after so many rounds."""
    n, positives = 120 + k, 30 + k
    if k == SUPPRESSED:
        measure: dict[str, Any] = dict.fromkeys(("auc", "auc_low", "auc_high", "dice", "dice_low", "dice_high"))
        return {**measure, "patients": n, "images": n + 40, "positives": None, "loss": None, "suppressed": True}
    best = 0.70 if k == FLAGGED else 0.88 + 0.005 * math.sin(k)
    value = round(0.5 + (best - 0.5) * (1 - math.exp(-3.0 * (through + 1) / (rounds + 1))), 4)
    loss = round(1.0 - value, 4)
    if task == "segmentation":
        ends = {"dice": value, "dice_low": round(value - 0.03, 4), "dice_high": round(value + 0.03, 4), "hd95_mm": 7.5}
        return {**ends, "patients": n, "images": n + 40, "dice_patients": n, "loss": loss, "suppressed": False}
    ends = {"auc": value, "auc_low": round(value - 0.03, 4), "auc_high": round(value + 0.03, 4), "ece": 0.04}
    return {**ends, "patients": n, "images": n + 40, "positives": positives, "loss": loss, "suppressed": False}


def _round(
    present: list[str], number: int, *, rounds: int, at: float, task: str, round_s: float
) -> Iterator[dict[str, Any]]:
    part: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(present):
        if k == DROPPED and number == 1:
            why = "no answer in time"
            part[name] = {
                "outcome": "dropped", "reason": why, "trained": False, "patients": None, "seconds": None,
                "sent_bytes": 1_000_000, "received_bytes": None,
            }  # fmt: skip
            yield {"event": "dropped", "at": at + 0.9 * round_s, "site": name, "round": number, "reason": why}
            continue
        seconds, received = round(0.6 * round_s + k % 7, 3), 2_000_000 + k
        metrics = {
            "scores": scores(k, number, rounds, task=task), "loss": round(0.7 / (number + 1) + k / 1000, 4),
            "patients": 80 + k, "images": 160 + k, "steps": 12, "train_s": round(0.4 * round_s, 3), "validate_s": 2.0,
            "seal_s": 1.5,
        }  # fmt: skip
        yield {
            "event": "answered", "at": at + seconds, "site": name, "task": "round", "round": number, "metrics": metrics,
            "seconds": seconds, "sent_bytes": 1_000_000, "received_bytes": received,
        }  # fmt: skip
        part[name] = {
            "outcome": "accepted", "reason": None, "trained": True, "patients": 80 + k, "seconds": seconds,
            "sent_bytes": 1_000_000, "received_bytes": received,
        }  # fmt: skip
    patients = sum(one["patients"] or 0 for one in part.values())
    took = [name for name, one in part.items() if one["outcome"] == "accepted"]
    yield {
        "event": "round", "at": at + 0.95 * round_s, "round": number, "sites": took, "wall_s": 0.95 * round_s,
        "stages": {"wait_s": 0.9 * round_s, "add_s": 0.05 * round_s}, "patients": patients,
        "participation": part,
    }  # fmt: skip


def _privacy(private: bool, *, spent: float) -> dict[str, Any]:
    if not private:
        return {"mechanism": "none"}
    return {
        "mechanism": "dp-sgd", "unit": "patient", "epsilon": 3.0, "delta": 1e-5, "spent": spent, "epsilon_cap": 8.0,
        "noise_multiplier": 1.1, "sampling_rate": 0.1, "steps": 60,
    }  # fmt: skip


STATES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "resuming": (
        [{"event": "resumed", "round": 2, "by": "server process", "attempt": 2}],
        "resuming after round 2 of 6 (attempt 2): the job's process at the server was gone",
    ),
    "paused": (
        [{"event": "paused", "reason": "the server's disk is full"}],
        "paused after round 2 of 6: the server's disk is full",
    ),
    "aborted": (
        [{"event": "aborted", "by": "lead@uni.org", "reason": "stopped from the console"}],
        "aborted by lead@uni.org after 2 of 6 rounds: stopped from the console",
    ),
    "failed": (
        [
            {"event": "uncovered", "round": 2, "reason": "round 2 does not count: 1 of the 2 sites asked for"},
            {"event": "failed", "reason": "made-up: round 2 does not count: 1 of the 2 sites asked for"},
        ],
        "failed: round 3 did not count: 1 of the 2 sites asked for",
    ),
}
"""State -> events that bring a job of six rounds there after its second, and the sentence on it."""
MISSING_WORDS = (
    "success with 1 site missing at the end: every round counted, without river since round 5, no answer in time"
)


def fill_states(store: Store, *, now: float) -> dict[str, str]:
    """Write a job of two sites in each state, and one that finished without a site; state -> id of the job."""
    ids = {}
    for number, (state, (more, _)) in enumerate(STATES.items()):
        ids[state] = f"{number:08d}-{state}"
        head = list(events(["north", "river"], rounds=6, start=now - 600, job=f"job-{state}"))
        second = next(place for place, one in enumerate(head) if one["event"] == "round" and one["round"] == 1)
        _write(store, ids[state], [*head[: second + 1], *({"at": now - 60, **one} for one in more)])
    ids["missing"] = "00000009-missing"
    whole = list(events(["north", "river"], rounds=6, start=now - 900, job="job-missing"))
    _write(store, ids["missing"], [_without(one, now) for one in whole])
    return ids


def _write(store: Store, job_id: str, some: list[dict[str, Any]]) -> None:
    for one in some:
        store.write(job_id, one)


def _without(event: dict[str, Any], now: float) -> dict[str, Any]:
    """The same event of a job that river left after its fourth round."""
    if event["event"] == "round" and event["round"] >= 4:
        part = {**event["participation"], "river": {"outcome": "dropped", "reason": "no answer in time"}}
        return {**event, "participation": part, "sites": ["north"]}
    if event["event"] == "finished":
        return {**event, "missing": {"river": "no answer in time"}}
    return event
