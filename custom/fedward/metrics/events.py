"""Write and read an append-only log of a job's events: one JSON object a line, readable while it grows.

Every event has ``event`` (its kind) and ``at`` (seconds since the epoch). ``KINDS`` lists the kinds; the writer chooses
the fields, JSON-ready. No event carries a weight, a pixel or a patient's identifier.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

EVENTS_FILE = "events.jsonl"
KINDS = {
    "started": "the job began: job, task, rounds, sites, coverage, threshold",
    "admitted": "a site takes part: site, support, quarantined (patients), cohort_hash, fedward, privacy, admission",
    "declined": "a site takes no part: site, reason",
    "dropped": "a site's answer to a round is missing, or came late: site, round, reason; late also seconds, steps",
    "answered": "a site answered a task: site, task, round, metrics, seconds, sent_bytes, received_bytes",
    "round": "a round is complete: round, sites, wall_s, stages, patients, participation",
    "uncovered": "the coverage is not met, and the job ends as failed: round (null before and after them), reason",
    "suspect": "no local training explains a site's update, which was used all the same: site, round, reason",
    "encrypted": "what leaves the sites is encrypted: scheme, precision, key",
    "clipped": "values of a site's model were out of range in a round: round, site, values",
    "unopened": "a sum was not opened for want of hospitals that confirm it: purpose, reason",
    "opened": "a hospital opened the final model: site, sha256",
    "selected": "the final model is that of a round, counted from 1; 0 is the initial one: round, score",
    "pooled": "scores over all hospitals together, from an encrypted sum: sites, pooled",
    "cohort": "who the hospitals' patients are together, from an encrypted sum: sites, cohort_statistics",
    "progress": "a site trains, for its own eyes: round, step, steps, loss",
    "alone": "the model that a site trained alone, for its own eyes: scores",
    "finished": "the job is done: rounds",
    "failed": "the job stopped: reason",
}


class EventLog:
    """Log that appends events to ``path``; a line is written whole or not at all. Any thread may use it.

    Args:
        path: path of the log.
        also: called with each event after its line is written, in the same order; it must not raise.

    Raises:
        ValueError: a kind that is not in ``KINDS``, a field named ``event`` or ``at``, or a value that JSON cannot hold
            (such as NaN and infinity).
    """

    def __init__(self, path: Path, *, also: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self._path, self._also, self._lock = path, also, threading.Lock()

    def append(self, event: str, /, **fields: Any) -> None:
        if event not in KINDS:
            raise ValueError(f"unknown kind of event {event!r}")
        if fields.keys() & {"event", "at"}:
            raise ValueError(f"event {event!r} would have its kind or its time from a field")
        with self._lock:
            content = {"event": event, "at": round(time.time(), 3), **fields}
            line = json.dumps(content, allow_nan=False) + "\n"
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
            if self._also is not None:
                self._also(content)


class EventReader:
    """Reader that returns the lines appended to ``path`` since the last call; a missing file has no events."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)
