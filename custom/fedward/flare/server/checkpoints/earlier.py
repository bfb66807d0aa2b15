"""Read what earlier processes of a job left at the server, and decide whether a new process goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedward.errors import FederationError
from fedward.flare.server.checkpoints.checkpoint import Checkpoint, load
from fedward.metrics.events import ENDS, EVENTS_FILE, EventLog

MOST_ATTEMPTS = 3
"""Times in a row that a job is resumed without one more whole round."""
BY_PERSON, ABORTED = "resume.json", "aborted.json"
"""Files of the server's parent: in the checkpoint folder, before a person has a job resumed; in the run folder, before
the job's process is told to stop."""
STOPPED = "the server was stopped"
_LARGEST, _LONGEST_NAME = 4096, 200
By = Literal["server process", "server", "person"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Record of one job's earlier processes, from what they left on the disk.

    Attributes:
        by: what made this process go on: a new process of a running server, a new server, or a person.
        events: their events, without those in ``unwritten``.
        unwritten: events of the last whole round that did not reach the log.
        checkpoint: state after the last whole round; None: no admission was completed.
        damaged: newer generations that are not whole.
    """

    by: By = "server"
    events: Sequence[Mapping[str, Any]] = ()
    checkpoint: Checkpoint | None = None
    damaged: Sequence[str] = field(default=())

    @property
    def exists(self) -> bool:
        """True if an earlier process began the job."""
        return self.checkpoint is not None or any(event["event"] == "started" for event in self.events)

    @property
    def unwritten(self) -> list[Mapping[str, Any]]:
        made = () if self.checkpoint is None else self.checkpoint.events
        return [event for event in made if event not in self.events]

    @property
    def end(self) -> Mapping[str, Any] | None:
        """Event that ended the job; None if it did not end, or a person had it resumed since."""
        last = None if self.by == "person" else self._turn
        return last if last is not None and last["event"] in ENDS else None

    @property
    def told(self) -> bool:
        """True if the server's parent wrote ``resumed`` when it took a person's request up, for this process."""
        last = self._turn if self.by == "person" else None
        return last is not None and last["event"] == "resumed" and last.get("by") == "person"

    @property
    def _turn(self) -> Mapping[str, Any] | None:
        kinds = ENDS | {"resumed"}
        return next((event for event in reversed(self.events) if event["event"] in kinds), None)

    @property
    def attempt(self) -> int:
        """Number of this attempt since the last whole round, from 1; a person's begins again with 1."""
        count = 1
        for event in reversed(self.events) if self.by != "person" else ():
            if event["event"] == "round":
                break
            if event["event"] == "resumed":
                count += 1
                if event.get("by") == "person":
                    break
        return count

    def require_resumable(self, resume: Literal["auto", "never"], *, where: str) -> None:
        """Refuse to go on.

        Raises:
            FederationError: the job is never resumed, or was resumed ``MOST_ATTEMPTS`` times for nothing.
        """
        if resume == "never" and self.by != "person":
            raise FederationError(
                'the job\'s process at the server ended early, and the job has resume = "never"',
                where=where,
                remedy='submit the job again, or set resume = "auto" in [federation]',
            )
        if self.attempt > MOST_ATTEMPTS:
            raise FederationError(
                f"the job was resumed {MOST_ATTEMPTS} times without one more whole round",
                where=where,
                remedy="look in the server's log for what ends its process, then resume or submit the job again",
            )


def read_earlier(folder: Path, run: Path, *, events: EventLog, job: str, job_id: str) -> Earlier:
    """Read what earlier processes left, and bring the run folder's log up to it.

    Args:
        folder: checkpoint folder of the job; created if missing.
        run: run folder of the job.
        events: log of the job, whose files are in the two.
        job: ``job_hash`` of the job.
        job_id: FLARE's id of the run.

    Raises:
        FederationError: as in ``checkpoint.load``, or the log is damaged.
        OSError: the disk does not accept it; it may be called again.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    by: By = "server process" if (run / EVENTS_FILE).exists() else "server"
    if (folder / BY_PERSON).exists():
        by = "person"
    known = events.restore()
    found, damaged = load(folder, job=job, job_id=job_id)
    return Earlier(by=by, events=known, checkpoint=found, damaged=damaged)


def aborted(run: Path) -> dict[str, str]:
    """Return by whom and why the job was aborted; the server's parent writes it before it tells the process to stop."""
    try:
        with (run / ABORTED).open("rb") as file:
            content = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        content = None
    by = content.get("by") if isinstance(content, dict) else None
    name = " ".join(by.split())[:_LONGEST_NAME] if isinstance(by, str) else ""
    return {"by": name, "reason": ""} if name else {"by": STOPPED, "reason": ""}
