"""An append-only log of a job's events: one JSON object a line, readable while it grows.

Every event has ``event`` (its kind) and ``at`` (seconds since the epoch). The kinds are in ``KINDS``; their fields are
what the writer gives, JSON-ready. No event carries a weight, a pixel or a patient's identifier.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EVENTS_FILE = "events.jsonl"
KINDS = {
    "started": "the job began: job, sites",
    "admitted": "a site takes part: site, support",
    "declined": "a site takes no part: site, reason",
    "dropped": "a site's answer to a round is missing: site, round, reason",
    "answered": "a site answered a task: site, task, round, metrics",
    "round": "a round is complete: round, sites, wall_s",
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
    """Appends events to ``path``; a line appears whole or not at all.

    Raises:
        ValueError: a kind that is not in ``KINDS``, or a value that JSON cannot hold (NaN and infinity among them).
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: str, **fields: Any) -> None:
        if event not in KINDS:
            raise ValueError(f"unknown kind of event {event!r}")
        line = json.dumps({"event": event, "at": round(time.time(), 3), **fields}, allow_nan=False) + "\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


class EventReader:
    """Reads what was appended to ``path`` since the last call; a file that is not there yet has no events."""

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
