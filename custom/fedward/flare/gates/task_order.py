"""Enforce the order in which a server may send a job's tasks to one hospital; its gate refuses every other order.

Each task has a position, and positions only ascend. Gaps are allowed: a hospital that was not asked, or did not answer,
continues with the next task. The record (``fedward.privacy.ledger.run_record``) ensures that a round's *update* leaves
once; this module decides which tasks a hospital accepts.

====================== =========================== ==========================================================
position               task                        accepted
====================== =========================== ==========================================================
0                      admit                       once, and before every other task
1, round's number      round                       once per round, ascending
2                      validate                    once, where ``select = "best"``: the last round's model
3                      final                       once: the one final model
4                      open                        once, in an encrypted job
5                      confirm                     once, in an encrypted job
6, purpose             pool                        once per purpose, in an encrypted job: scores, then cohort
7                      alone                       once
====================== =========================== ==========================================================

A restarted process continues from its record: a task that was begun but not completed may be sent once more, and no
task before it. FLARE itself sends the last task again where its answer was lost in transit. That task is refused too,
since its answer may have been read; but the server did no wrong, and the job continues with the next task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedward.errors import GateError
from fedward.flare.protocol import Task
from fedward.privacy.ledger.runs import CONFIRM, OPEN, VALIDATE, Run
from fedward.settings import JobSpec

ORDER = (Task.ADMIT, Task.ROUND, Task.VALIDATE, Task.FINAL, Task.OPEN, Task.CONFIRM, Task.POOL, Task.ALONE)
POOLED = ("scores", "cohort")
"""Purposes in the order in which their sums are sent."""
_ENCRYPTED = frozenset({Task.OPEN, Task.CONFIRM, Task.POOL})

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """Position of one hospital in one run.

    Attributes:
        last: position of the last accepted task; None: no task yet, and only admission may be accepted.
    """

    last: Position | None = None

    @classmethod
    def resumed(cls, run: Run | None) -> TaskOrder:
        """Return the position from which a process begins, by the record of its run; ``run`` None: it never began."""
        if run is None:
            return cls()
        reached = [(ORDER.index(Task.ADMIT), -1)]
        if run.left >= 0:
            reached.append((ORDER.index(Task.ROUND), run.left))
        reached += [(ORDER.index(task), -1) for task, kind in _RECORDED.items() if run.fact(kind) is not None]
        if run.final is not None:
            reached.append((ORDER.index(Task.FINAL), -1))
        if any(kind == CONFIRM for kind, *_ in run.facts):
            reached.append((ORDER.index(Task.CONFIRM), -1))
        return cls(max(reached))

    def repeats(self, task: Task, *, number: int, job: JobSpec, purpose: str = "") -> bool:
        """True if the task repeats the last one: it must be refused, but the tasks after it need not be.

        Raises:
            GateError: the job has no such task.
        """
        return self.last == _position(task, number=number, job=job, purpose=purpose)

    def after(self, task: Task, *, number: int, job: JobSpec, purpose: str = "") -> TaskOrder:
        """Return the position of the hospital after it has accepted a task.

        Args:
            task: task from the server.
            number: the round's number, for a round; -1 for every other task.
            job: the job.
            purpose: purpose of the sum, for a task that pools.

        Raises:
            GateError: the job has no such task, or it comes out of order.
        """
        position = _position(task, number=number, job=job, purpose=purpose)
        if self.last is None and task is not Task.ADMIT:
            raise GateError(f"task {task} comes before this hospital was asked to admit the job")
        if self.last is not None and position <= self.last:
            raise GateError(f"task {task} comes again, or out of the job's order")
        return TaskOrder(position)


_RECORDED: Mapping[Task, str] = {Task.VALIDATE: VALIDATE, Task.OPEN: OPEN}
"""Task -> kind under which the record holds it; ``resumed`` treats round, final and confirm separately."""


def _position(task: Task, *, number: int, job: JobSpec, purpose: str) -> Position:
    if task in _ENCRYPTED and job.encryption is None:
        raise GateError(f"task {task} in a job that is not encrypted")
    if task is Task.VALIDATE and job.federation.select != "best":
        raise GateError(f"task {task} in a job that does not choose its best round")
    if task is Task.ROUND:
        if not 0 <= number < job.federation.rounds:
            raise GateError("round has no number of this job")
        return ORDER.index(task), number
    if number != -1:
        raise GateError(f"task {task} has a round's number")
    if task is Task.POOL:
        if purpose not in POOLED:
            raise GateError("counts of a purpose that this job does not sum")
        return ORDER.index(task), POOLED.index(purpose)
    return ORDER.index(task), 0
