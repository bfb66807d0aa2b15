"""Enforce the order in which a server may send a job's tasks to one hospital; its gate refuses every other order.

Each task has a position, and rounds only ascend. Gaps are allowed: a hospital that was not asked, or did not answer,
continues with the next task. A process of the server or of a hospital may die at any moment, and FLARE may send a task
again; so a task may repeat. This module decides which tasks a hospital accepts; the record
(``fedward.privacy.ledger.run_record``) decides on their content.

====================== =========================== ==========================================================
position               task                        accepted again
====================== =========================== ==========================================================
0                      admit                       at any time: it carries nothing, and changes no position
0                      key                         at any time in a masked job, with the same key as answer; no position
0                      unmask                      at any time in a masked job; the record has one request of each sum
1, round's number      round                       the last one, from the same model, a few times in a run
2                      validate                    with the same model, before or after the final one; where
                                                   ``select = "best"``
3                      final                       with the same model
4                      open                        with the same model, in an encrypted job
5                      confirm                     with the same sums, in an encrypted job
6, purpose             pool                        with the same sum, in an encrypted job: scores, then cohort
7                      alone                       it carries nothing
====================== =========================== ==========================================================

From validation on, a task before the last one is accepted too: a server that died in the middle of the finalization
begins it again, and may ask another hospital to open the model. No round is accepted after the finalization has begun.
A restarted process continues from its record.

A repeat gives a server nothing that it could not have before:

1. It carries what the task carried before. The record refuses another model of a round whose update left, another sum
   of a round, another validated or final model, and other sums of counts.
2. An answer without noise follows from the job, the task and its model, the hospital's images, and what the hospital
   kept of its own before that round (``fedward.training.kept_state``). So the repeated answer is the same, to the bit
   on one machine's CPU. FLARE's own filters draw anew; they are not differential privacy, with or without a repeat.
3. Where noise is added, an update that is made again is another release for the same patients. The ledger charges it
   before it is made, as it charges any round, up to the job's own ceiling, which the hospital was shown at its
   approval. At most ``repeated_rounds`` updates leave a second time in a run, and each is on disk before it leaves.
4. In an encrypted job each message has a fresh nonce, so two messages never share a key stream. A sum names each
   hospital once, and a hospital opens one sum of a round. So at most one of a hospital's messages of a round is in
   any sum that a given hospital opens, and a sum with the one message is as good as a sum with the other. A server can
   put one message into several sums without any repeat; what it may see opened is bound by the hospitals' confirmations
   (``fedward.flare.secagg_context.enough``), which repeat for the same sum only.
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
AT_ANY_TIME = frozenset({Task.KEY, Task.UNMASK})
"""Tasks of a masked job that change no position."""

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
        if task in AT_ANY_TIME and not job.is_masked:
            raise GateError(f"task {task} in a job that is not masked")
        position = _position(task, number=number, job=job, purpose=purpose)
        if self.last is None:
            if task is not Task.ADMIT:
                raise GateError(f"task {task} comes before this hospital was asked to admit the job")
            return TaskOrder(position)
        if task is Task.ROUND and position < self.last:
            raise GateError(f"task {task} comes out of the job's order")
        return TaskOrder(max(position, self.last))


_RECORDED: Mapping[Task, str] = {Task.VALIDATE: VALIDATE, Task.OPEN: OPEN}
"""Task -> kind under which the record holds it; ``resumed`` treats round, final and confirm separately."""


def _position(task: Task, *, number: int, job: JobSpec, purpose: str) -> Position:
    if task in _ENCRYPTED and job.encryption is None:
        raise GateError(f"task {task} in a job that is not encrypted")
    if task is Task.VALIDATE and job.federation.select != "best":
        raise GateError(f"task {task} in a job that does not choose its best round")
    if task is Task.UNMASK and -1 <= number < job.federation.rounds:
        return 0, 0
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
    return 0 if task in AT_ANY_TIME else ORDER.index(task), 0
