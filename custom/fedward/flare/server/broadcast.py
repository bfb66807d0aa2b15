"""Send one task to many sites; collect answers, refusals and lost sites, with the time and bytes of each answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.controller_spec import Task as FlareTask
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.errors import FedwardError
from fedward.flare.protocol import Model, Reply, Sum, Task, question, refusal, to_reply
from fedward.flare.refusal import one_line
from fedward.flare.server.clock import Clock
from fedward.flare.server.participation import NO_ANSWER, TaskTraffic, payload_bytes
from fedward.metrics.events import EventLog
from fedward.privacy.disclosure.received import received
from fedward.privacy.policy.canonical_job import POLL_S as POLL_S
from fedward.settings import JobSpec

Carried = Model | Sum | Sequence[Sum] | None
Take = Callable[[str, Reply], None]
"""Function of a site and its answer; raises an error where the answer cannot count."""
Enough = Callable[[Mapping[str, Reply]], bool]
"""Function of the answers: True if they are all that a task needs; the other sites then have ``grace_s`` left."""
UNLOGGED = frozenset({Task.ADMIT, Task.CONFIRM, Task.POOL, Task.OPEN})
"""Tasks whose answers are recorded in other events."""
_OF_EVERYONE = frozenset({Task.ADMIT, Task.ROUND, Task.VALIDATE, Task.FINAL})
"""Tasks that wait for the hospitals of ``must_include``, even where FLARE hears nothing from one."""


@dataclass(slots=True)
class Answers:
    """Answers to one task, filled by FLARE's threads."""

    replies: dict[str, Reply] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    parts: dict[str, TaskTraffic] = field(default_factory=dict)
    enough_since: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> set[str]:
        return set(self.replies) | set(self.refusals)

    def part(self, site: str) -> TaskTraffic:
        return self.parts.setdefault(site, TaskTraffic())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    """Task as it is sent, with the object that collects its answers."""

    task: Task
    number: int
    payload: int
    enough: Enough | None
    take: Take | None
    answers: Answers = field(default_factory=Answers)


class Broadcaster:
    """Sender of tasks to the sites of one job.

    Args:
        controller: FLARE's controller, which sends and receives.
        job: job with the time limits.
        events: log of each answer that no other event records.
        clock: clock of the time limits.
    """

    def __init__(self, controller: Controller, job: JobSpec, events: EventLog, *, clock: Clock) -> None:
        self._controller, self._job, self._events, self._clock = controller, job, events, clock
        self.roster: Mapping[str, str] | None = None
        """Roster of an encrypted job, set after admission; it is then sent with every task."""
        self.hold: Callable[[], None] = lambda: None
        """Called before a task is closed; answers that arrive until it returns count."""
        self.missed: dict[Task, dict[str, str]] = {}
        """Task -> sites that did not answer it the last time, or whose answer was refused, with the reason."""

    def ask(
        self,
        task: Task,
        carried: Carried,
        sites: Sequence[str],
        *,
        abort: Signal,
        context: FLContext,
        enough: Enough | None = None,
        number: int = -1,
        take: Take | None = None,
    ) -> Answers:
        """Send one task to every site; wait for all, or ``grace_s`` after there are ``enough``, or the time-out.

        It does not wait for a site that FLARE has lost, unless the task is for every site and the job must include it.
        ``take`` receives each answer when it arrives; of an answer that it took, only the metrics are kept.
        """
        data = question(carried, round_number=number, wait_s=POLL_S, roster=self.roster)
        put = _Put(task=task, number=number, payload=payload_bytes(data), enough=enough, take=take)
        answers = put.answers

        def sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
            with answers.lock:
                answers.part(client_task.client.name).sent(at=self._clock.now(), payload=put.payload)

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            self._receive(client_task, put)

        flare_task = FlareTask(name=task.value, data=data, before_task_sent_cb=sent, result_received_cb=received)
        self._controller.broadcast(flare_task, context, targets=list(sites), min_responses=len(sites))
        limits, start = self._job.federation, self._clock.now()
        while not abort.triggered and not set(sites) <= answers.answered | self._lost(sites, task):
            now, since = self._clock.now(), answers.enough_since
            if now - start > limits.round_timeout_s or (since is not None and now - since > limits.grace_s):
                break
            self._clock.sleep(POLL_S)
        try:
            self.hold()
        finally:
            self._controller.cancel_task(flare_task)
        without = set(sites) - set(answers.replies)
        self.missed[task] = {site: answers.refusals.get(site, NO_ANSWER) for site in sorted(without)}
        return answers

    def replies(
        self, task: Task, carried: Carried, sites: Sequence[str], *, abort: Signal, context: FLContext
    ) -> dict[str, Reply]:
        """Send a task as ``ask`` does; record each refusal that no other event records, and return the replies."""
        answers = self.ask(task, carried, sites, abort=abort, context=context)
        for site, reason in sorted(answers.refusals.items()) if task in UNLOGGED else ():
            self._events.append("dropped", site=site, round=None, reason=reason)
        return answers.replies

    def _receive(self, client_task: ClientTask, put: _Put) -> None:
        """Process one answer. A fault in it affects only its site: an error here would end FLARE's task."""
        site, result, at = client_task.client.name, client_task.result, self._clock.now()
        client_task.result = None
        answers, part = put.answers, TaskTraffic()
        try:
            part.received_bytes, reason = payload_bytes(result), refusal(result)
            reply = self._taken(site, result, put, part) if reason is None else None
        except FedwardError as error:
            reply, reason = None, one_line(str(error))
        except Exception as error:  # noqa: BLE001 - a site may send anything
            reply, reason = None, one_line(f"answer cannot be read: {error}")
        with answers.lock:
            known = answers.part(site)
            known.answered(at=at, payload=part.received_bytes or 0)
            known.trained = part.trained
            if reply is None:
                answers.refusals[site] = str(reason)
            else:
                answers.replies[site] = reply
                if answers.enough_since is None and put.enough is not None and put.enough(answers.replies):
                    answers.enough_since = self._clock.now()
        if reply is not None and put.task not in UNLOGGED:
            reported = {"task": put.task.name.lower(), "round": put.number, "metrics": reply.metrics}
            self._events.append("answered", site=site, **reported, **known.measured())

    def _taken(self, site: str, result: Shareable, put: _Put, part: TaskTraffic) -> Reply:
        """Return a site's reply with only the metrics that have a name; after ``take``, only these are kept."""
        reply = to_reply(result)
        reply = replace(reply, metrics=received(reply.metrics, names=self._job.names))
        if put.take is None:
            return reply
        part.trained = reply.update is not None or bool(reply.sealed)
        put.take(site, reply)
        return Reply(metrics=reply.metrics)

    def _lost(self, sites: Sequence[str], task: Task) -> set[str]:
        """Return the sites that FLARE has lost: no heartbeat for its grace period."""
        awaited = self._job.federation.must_include if task in _OF_EVERYONE else ()
        gone = self._controller.get_client_disconnect_time
        return {site for site in sites if site not in awaited and gone(site) is not None}
