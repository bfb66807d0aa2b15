"""Write and read an append-only log of a job's events: one JSON object a line, readable while it grows.

Every event has ``event`` (its kind) and ``at`` (seconds since the epoch). ``KINDS`` lists the kinds; the writer chooses
the fields, JSON-ready. No event carries a weight, a pixel or a patient's identifier.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedward.errors import FedwardError
from fedward.files import sync, write_atomic

EVENTS_FILE = "events.jsonl"
KINDS = {
    "started": "the job began: job, task, rounds, sites, coverage, threshold",
    "admitted": "a site takes part: site, support, quarantined (patients), cohort_hash, fedward, privacy, admission",
    "declined": "a site takes no part: site, reason",
    "dropped": "a site's answer to a round is missing, or came late: site, round, reason; late also seconds, steps",
    "answered": "a site answered a task: site, task, round, metrics, seconds, sent_bytes, received_bytes",
    "round": "a round is complete: round, sites, wall_s, stages, patients, participation",
    "uncovered": "the coverage is not met, and the job ends as failed: round (null before and after them), reason",
    "suspect": "no training explains a site's update, used all the same, or its shares are false: site, round, reason",
    "encrypted": "what leaves the sites is encrypted: scheme, precision, key, of a masked job its bound and maker",
    "clipped": "values of a site's model were out of range in a round: round, site, values",
    "unopened": "a sum was not opened for want of hospitals that confirm it: purpose, reason",
    "opened": "a hospital opened the final model: site, sha256",
    "selected": "the final model is that of a round, counted from 1; 0 is the initial one: round, score",
    "pooled": "scores over all hospitals together, from an encrypted sum: sites, pooled",
    "cohort": "who the hospitals' patients are together, from an encrypted sum: sites, cohort_statistics",
    "progress": "a site trains, for its own eyes: round, step, steps, loss, and with noise for the sum seconds",
    "alone": "the model that a site trained alone, for its own eyes: scores",
    "resumed": "the job goes on from the last whole round, in a new process: round (whole rounds), by, attempt",
    "paused": "the server cannot go on for the moment: reason",
    "unpaused": "the server goes on",
    "returned": "a site that did not answer in an earlier round answers again: site, round",
    "finished": "the job is done: rounds, missing (site: reason, where its last answer did not count)",
    "aborted": "the job was stopped by a person or with the server: by, reason",
    "failed": "the job stopped: reason",
}
ENDS = frozenset({"finished", "aborted", "failed"})
"""Kinds that end a job; a job has one of them, and ``resumed`` after it only if a person takes the job up again."""


class EventLog:
    """Log that appends events to ``path``; a line is written whole or not at all. Any thread may use it.

    Args:
        path: path of the log.
        also: called with each event, in the order of the log; it must not raise.
        copy: second file with the same lines, for readers; ``path`` decides where they differ.
        keep: True to keep the lines that the disk does not accept in memory: ``append`` then does not raise
            ``OSError``, ``behind`` is the reason, and each later call writes them first.

    Raises:
        ValueError: a kind that is not in ``KINDS``, a field named ``event`` or ``at``, or a value that JSON cannot hold
            (such as NaN and infinity).
        OSError: the disk does not accept a line, where they are not kept; the log is then as it was.
    """

    def __init__(
        self,
        path: Path,
        *,
        also: Callable[[Mapping[str, Any]], None] | None = None,
        copy: Path | None = None,
        keep: bool = False,
    ) -> None:
        self._path, self._also, self._copy, self._keep = path, also, copy, keep
        self._lines, self._lock = list[bytes](), threading.Lock()
        self.behind: str | None = None
        """Reason why lines wait in memory; None: every line is in the file."""

    def append(self, event: str, /, **fields: Any) -> None:
        self.put([make_event(event, **fields)])

    def put(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events that ``make_event`` made, in this order and with no other event between them."""
        lines = [(json.dumps(content, allow_nan=False) + "\n").encode() for content in events]
        with self._lock:
            self._lines += lines
            try:
                self._write()
            except OSError as error:
                if not self._keep:
                    self._lines.clear()
                    raise
                self.behind = _reason(error)
            if self._also is not None:
                for content in events:
                    self._also(content)

    def flush(self, *, durably: bool = False) -> None:
        """Write the lines that wait; ``durably`` also syncs the file.

        Raises:
            OSError: the disk still does not accept them; they are kept.
        """
        with self._lock:
            try:
                self._write()
                if durably and self._path.exists():
                    sync(self._path)
            except OSError as error:
                self.behind = _reason(error)
                raise

    def restore(self) -> list[dict[str, Any]]:
        """Return the events of an earlier process; drop a last line that was not written whole, and renew the copy.

        Raises:
            FedwardError: a line is no event.
            OSError: a file cannot be read or written.
        """
        with self._lock:
            try:
                content = self._path.read_bytes()
            except FileNotFoundError:
                return []
            whole = content[: content.rfind(b"\n") + 1]
            events = [_event(line, at, self._path) for at, line in enumerate(whole.splitlines(), start=1)]
            if whole != content:
                os.truncate(self._path, len(whole))
            if self._copy is not None:
                write_atomic(self._copy, whole)
            return events

    def _write(self) -> None:
        if self._lines:
            append_whole(self._path, b"".join(self._lines))
            self._lines.clear()
        if self._copy is not None and self._path.exists():
            _catch_up(self._copy, self._path)
        self.behind = None


def make_event(event: str, /, **fields: Any) -> dict[str, Any]:
    """Return the content of an event of this moment; errors as in ``EventLog``."""
    if event not in KINDS:
        raise ValueError(f"unknown kind of event {event!r}")
    if fields.keys() & {"event", "at"}:
        raise ValueError(f"event {event!r} would have its kind or its time from a field")
    return {"event": event, "at": round(time.time(), 3), **fields}


def append_whole(path: Path, content: bytes) -> None:
    """Append to a file, whole or not at all.

    Raises:
        OSError: the disk does not accept it; the file is as it was.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(handle).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(handle, rest) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def _catch_up(copy: Path, original: Path) -> None:
    has = copy.stat().st_size if copy.exists() else 0
    with original.open("rb") as file:
        file.seek(has)
        if new := file.read():
            append_whole(copy, new)


def _event(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("event"), str):
        raise FedwardError(
            "a line of the job's log is no event",
            where=path,
            value=f"line {number}",
            remedy="restore the file from a backup, or submit the job again",
        )
    return content


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


class EventReader:
    """Reader that returns the lines appended to ``path`` since the last call; a missing file has no events.

    Raises:
        FedwardError: a line is no event.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._lines = path, 0, 0

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
            self._lines += 1
            yield _event(line, self._lines, self._path)
