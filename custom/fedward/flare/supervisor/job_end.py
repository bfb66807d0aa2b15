"""Tell one end of a job: read it from the job's events, write it where it is missing, and give FLARE's status to it.

The server's job process writes the end. If it was killed for good, or stopped before it could, the parent process
writes it here, before FLARE archives the run folder. So FLARE's status, the events, the store and the report agree.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import RunStatus

from fedward.ends import WHY_FLARE
from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.flare.audit_trail.notes import note_here
from fedward.flare.supervisor.single_process import CHECKPOINTS
from fedward.metrics.events import EVENTS_FILE, EventLog
from fedward.metrics.record import Recorder
from fedward.metrics.store import STORE_FILE

ABORT_FILE = "aborted.json"
"""File of the run folder with the name of who aborted the job, written before the job's process is told."""
_FAILURE_FILE = "failure.json"
_STATUS: Mapping[str, RunStatus] = {
    "finished": RunStatus.FINISHED_COMPLETED,
    "aborted": RunStatus.FINISHED_ABORTED,
    "failed": RunStatus.FINISHED_EXECUTION_EXCEPTION,
}
"""Kind of the event that ends a job -> FLARE's status."""
_log = logging.getLogger("fedward.supervisor")


def note_abort(run: Path, *, by: str) -> None:
    """Keep who aborts a job, for its process to tell; the first one stands."""
    _note(run / ABORT_FILE, {"by": by, "at": round(time.time(), 3)})


def note_failure(run: Path, reason: str) -> None:
    """Keep why a job that has no process has failed."""
    _note(run / _FAILURE_FILE, {"reason": reason})


def settle(kit: Path, job_id: str, status: RunStatus, *, by: str = "the server") -> RunStatus:
    """Return the end of a job as FLARE's status; write its event first if no process did.

    Args:
        kit: the server's kit, with the job's run folder, its checkpoint and the metrics store.
        status: FLARE's own verdict; it counts only where there is no event.
        by: who aborted it, where its run folder does not say so.
    """
    end = ended(kit, job_id)
    if end is not None:
        return _STATUS[end]
    kind, fields = _missing(kit / job_id, status, by)
    try:
        tell(kit, job_id, kind, **fields)
        note_here(f"job-{kind}", job=job_id, **fields)
    except (OSError, FedwardError) as error:
        _log.error(f"job {job_id}: its end could not be written, {error}")
    return _STATUS[kind]


def tell(kit: Path, job_id: str, kind: str, **fields: Any) -> None:
    """Write one event of a job that has no process: to its log, to the log's copy in a run folder, to the store.

    Raises:
        OSError: the disk does not accept it.
        FedwardError: a line of the log is no event.
    """
    log, run = log_of(kit, job_id), kit / job_id
    recorder = Recorder(kit / STORE_FILE, job_id, log=_log.warning)
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        events = EventLog(log, copy=run / EVENTS_FILE if run.is_dir() else None, also=recorder)
        # a killed process may have left half a line, and events that the store does not have
        recorder.restore(events.restore())
        events.append(kind, **fields)
    finally:
        recorder.close()


def log_of(kit: Path, job_id: str) -> Path:
    """Return the path of a job's log beside its checkpoints; a job that never began has none."""
    return kit / CHECKPOINTS / job_id / EVENTS_FILE


def ended(kit: Path, job_id: str) -> str | None:
    """Return the kind of the event that ended the job; None if none did, or a person had it resumed since."""
    last = None
    with suppress(OSError):
        for line in log_of(kit, job_id).read_bytes().splitlines():
            with suppress(ValueError, LookupError, TypeError):  # the last line of a killed process may be cut
                kind = json.loads(line)["event"]
                last = kind if kind in _STATUS or kind == "resumed" else last
    return last if last in _STATUS else None


def whole_rounds(kit: Path, job_id: str) -> int:
    """Return how many rounds a job's log tells as complete."""
    numbers = [-1]
    with suppress(OSError):
        for line in log_of(kit, job_id).read_bytes().splitlines():
            with suppress(ValueError, LookupError, TypeError):
                event = json.loads(line)
                numbers += [int(event["round"])] if event["event"] == "round" else []
    return max(numbers) + 1


def _missing(run: Path, status: RunStatus, by: str) -> tuple[str, dict[str, Any]]:
    aborted, failed = _noted(run / ABORT_FILE), _noted(run / _FAILURE_FILE)
    if status == RunStatus.FINISHED_ABORTED:
        return "aborted", {"by": str(aborted.get("by", by)), "reason": ""}
    if "reason" in failed:
        return "failed", {"reason": str(failed["reason"])}
    if status == RunStatus.FAILED_TO_RUN:
        return "failed", {"reason": WHY_FLARE[status.value]}
    return "failed", {"reason": f"the server's process ended without a word ({status.value}); see the server's log"}


def _note(path: Path, content: dict[str, Any]) -> None:
    try:
        if path.parent.is_dir() and not path.exists():
            write_atomic(path, json.dumps(content) + "\n")
    except OSError as error:
        _log.warning(f"{path.name} of job {path.parent.name} could not be written: {error.strerror}")


def _noted(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
