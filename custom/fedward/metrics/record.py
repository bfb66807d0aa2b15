"""Record a job's events in the server's metrics store. A store that fails gets its rows later and stops no job."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward.errors import StoreError
from fedward.metrics.events import ENDS

if TYPE_CHECKING:
    from fedward.metrics.store import Store

MOST_FAILURES = 3
RETRY_S = 60.0
_AT_ONCE = ENDS | {"paused", "unpaused"}
"""Kinds of events at which the store is tried whatever happened before."""


class Recorder:
    """Writer of one job's events to the store; ``EventLog`` calls it as ``also``. Any thread may use it.

    It never raises. The first fault is logged. Events that the store does not accept wait in memory, in their order.
    After ``MOST_FAILURES`` in a row it tries once in ``RETRY_S``, because each try may wait for a lock, and at each end
    or pause of the job; the job's own ``events.jsonl`` has every event at once.

    Args:
        path: path of the store; created at the first event if missing.
        job_id: FLARE's id of the run.
        log: writes a line to the server's log.
        now: returns monotonic seconds.
    """

    def __init__(
        self, path: Path, job_id: str, *, log: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._job_id, self._log, self._now = path, job_id, log, now
        self._store: Store | None = None
        self._failures, self._tried, self._said, self._lock = 0, 0.0, False, threading.Lock()
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._earlier: Sequence[Mapping[str, Any]] | None = None

    def restore(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Set the events of the job's earlier processes; those that the store lacks are written before the next one."""
        with self._lock:
            self._earlier = list(events)

    def __call__(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            self._waiting.append(event)
            resting = self._failures >= MOST_FAILURES and self._now() - self._tried < RETRY_S
            if not resting or event["event"] in _AT_ONCE:
                self._write()

    def close(self) -> None:
        """Try once more to write what waits, and close the store; a later event opens it again."""
        with self._lock:
            if self._waiting:
                self._write()
            store, self._store = self._store, None
            try:
                if store is not None:
                    store.close()
            except Exception as error:  # noqa: BLE001 - no fault of a store may stop the job
                self._tell(error)

    def _write(self) -> None:
        try:
            store = self._store = self._store or self._opened()
            self._take_up(store)
            while self._waiting:
                self._write_one(store, self._waiting[0])
                self._waiting.popleft()
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - as above
            self._failures += 1
            self._tried = self._now()
            self._tell(error)

    def _opened(self) -> Store:
        from fedward.metrics.store import Store

        return Store.open(self._path, create=True)

    def _take_up(self, store: Store) -> None:
        """Have the events of earlier processes wait that the store lacks; its count is then that of the log."""
        if self._earlier is None:
            return
        taken, lines = store.taken(self._job_id), len(self._earlier)
        if taken > lines:  # an earlier process told the store more than the disk took
            store.set_taken(self._job_id, lines)
        self._waiting.extendleft(reversed(self._earlier[taken:]))
        self._earlier = None

    def _write_one(self, store: Store, event: Mapping[str, Any]) -> None:
        from fedward.metrics.store import EventError

        try:
            store.write(self._job_id, event)
        except EventError as error:
            self._tell(error)
            store.set_taken(self._job_id, store.taken(self._job_id) + 1)

    def _tell(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            what = str(error) if isinstance(error, StoreError) else type(error).__name__
            self._log(f"events are not in the metrics store for now, and the job goes on: {what}")
