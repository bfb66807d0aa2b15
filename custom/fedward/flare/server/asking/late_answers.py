"""Recognise and record answers that come after their task was closed."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from nvflare.apis.shareable import Shareable

from fedward.flare.protocol import Task, to_reply
from fedward.flare.server.participation import steps_of
from fedward.metrics.events import EventLog
from fedward.privacy.disclosure.received import received
from fedward.settings import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Last task that a site took, and the time at which it first did.

    Attributes:
        task_id: FLARE's id of the task at this site.
        number: the round's; -1 for a task of no round.
    """

    task_id: str
    task: Task
    number: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRound:
    """A round's answer that came late: seconds since the site took the task, and the steps that it reports."""

    seconds: float
    steps: int | None


class LateAnswers:
    """Memory of each site's last task, so that a late answer can be told from any other; any thread may use it.

    One task a site is enough: a site that takes a task has answered the one before, or has lost it with its process.
    """

    def __init__(self, job: JobSpec, events: EventLog) -> None:
        self._job, self._events, self._lock = job, events, threading.Lock()
        self._taken: dict[str, Taken] = {}
        self._recorded: Counter[str] = Counter()

    def took(self, site: str, taken: Taken) -> bool:
        """Note a task that a site took; the same task again keeps the time of the first.

        Returns:
            True if the site took a task before and neither answered nor finished it: its process is a new one.
        """
        with self._lock:
            known = self._taken.get(site)
            if known is None or known.task_id != taken.task_id:
                self._taken[site] = taken
            return known is not None

    def answered(self, site: str) -> None:
        """Note that a site answered its task in time."""
        with self._lock:
            self._taken.pop(site, None)

    def record(
        self, site: str, *, task_id: str, task_name: str, result: Shareable | None, now: float
    ) -> LateRound | None:
        """Record an answer to no open task; return its time and steps if it is the site's late answer to a round.

        ``result`` is None for an answer that stays at the site: FLARE's client asks first whether its task is open. A
        site can answer each task of the job late, and once; any further answer is neither recorded nor measured.
        """
        with self._lock:
            known = self._taken.get(site)
            taken = self._taken.pop(site) if known is not None and known.task_id == task_id else None
            if taken is None and result is None:
                return None
            self._recorded[site] += 1
            if self._recorded[site] > self._job.federation.rounds + len(Task):
                return None
        if taken is not None and taken.task is Task.UNMASK:
            return None  # enough others helped: nothing is missing
        task_name = taken.task.value if taken is not None else task_name
        name = task_name if task_name in [task.value for task in Task] else "a task of another name"
        reason = f"late: {name} answered after it was closed"
        if taken is None or taken.task is not Task.ROUND:
            self._events.append("dropped", site=site, round=None, reason=reason)
            return None
        late = LateRound(seconds=round(now - taken.at, 3), steps=self._steps(result))
        self._events.append(
            "dropped", site=site, round=taken.number, reason=reason, seconds=late.seconds, steps=late.steps
        )
        return late

    def _steps(self, result: Shareable | None) -> int | None:
        if result is None:
            return None
        planned = self._job.training.local_steps
        try:
            steps = steps_of(received(to_reply(result).metrics, names=self._job.names))
            return None if steps is None or (planned is not None and steps > planned) else steps
        except Exception:  # noqa: BLE001 - a site may send anything, and a late refusal reports no steps
            return None
