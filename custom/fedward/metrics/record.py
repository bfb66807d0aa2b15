"""Record a job's events in the server's metrics store. A store that fails loses its rows and never stops the job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward.errors import StoreError

if TYPE_CHECKING:
    from fedward.metrics.store import Store

MOST_FAILURES = 3


class Recorder:
    """Writer of one job's events to the store; ``EventLog`` calls it as ``also``. Any thread may use it.

    It never raises. The first fault is logged. After ``MOST_FAILURES`` in a row it stops writing, because each write
    may wait for a lock; the job's own ``events.jsonl`` still has every event.

    Args:
        path: path of the store; created at the first event if missing.
        job_id: FLARE's id of the run.
        log: writes a line to the server's log.
    """

    def __init__(self, path: Path, job_id: str, *, log: Callable[[str], None]) -> None:
        self._path, self._job_id, self._log = path, job_id, log
        self._store: Store | None = None
        self._failures, self._said, self._lock = 0, False, threading.Lock()

    def __call__(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            if self._failures >= MOST_FAILURES:
                return
            try:
                if self._store is None:
                    from fedward.metrics.store import Store

                    self._store = Store.open(self._path, create=True)
                self._store.write(self._job_id, event)
                self._failures = 0
            except Exception as error:  # noqa: BLE001 - no fault of a store may stop the job
                self._failures += 1
                self._tell(error)

    def close(self) -> None:
        """Close the store; a later event opens it again."""
        with self._lock:
            store, self._store = self._store, None
            try:
                if store is not None:
                    store.close()
            except Exception as error:  # noqa: BLE001 - as above
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            what = str(error) if isinstance(error, StoreError) else type(error).__name__
            self._log(f"events are not in the metrics store, and the job goes on: {what}")
