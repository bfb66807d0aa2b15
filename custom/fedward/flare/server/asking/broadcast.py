"""Send one task to many sites; collect answers, refusals and lost sites, with the time and bytes of each answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nvflare.apis.controller_spec import ClientTask, TaskCompletionStatus
from nvflare.apis.controller_spec import Task as FlareTask
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.errors import FedwardError
from fedward.flare.protocol import MaskedRun, Model, Reply, Sum, Task, Unmask, question, refusal, to_reply
from fedward.flare.refusal import one_line
from fedward.flare.server.asking.answers import Answers
from fedward.flare.server.asking.held_requests import HeldRequests
from fedward.flare.server.asking.late_answers import LateAnswers, Taken
from fedward.flare.server.asking.pacing import pace
from fedward.flare.server.asking.stragglers import Stragglers
from fedward.flare.server.asking.waiting import Limits, Need, Patience, Wait
from fedward.flare.server.clock import Clock
from fedward.flare.server.participation import TaskTraffic, payload_bytes, steps_of
from fedward.metrics.events import EventLog
from fedward.privacy.disclosure.received import received
from fedward.privacy.policy.canonical_job import POLL_S as POLL_S
from fedward.settings import JobSpec

Carried = Model | Sum | Sequence[Sum] | Mapping[str, Unmask] | Mapping[str, Model] | None
"""What a task carries: the same for every site, or a request or a model for each of them."""
Take = Callable[[str, Reply], None]
"""Function of a site and its answer; raises an error where the answer cannot count."""
Enough = Callable[[Mapping[str, Reply]], bool]
"""Function of the answers: True if they are all that a task needs; see ``waiting`` for whom it then still awaits."""
UNLOGGED = frozenset({Task.ADMIT, Task.KEY, Task.UNMASK, Task.CONFIRM, Task.POOL, Task.OPEN})
"""Tasks whose answers are recorded in other events."""


def _need(enough: Enough | None) -> Need:
    if enough is None:
        return "all"
    if enough is nobody:
        return "nobody"
    return "quorum" if isinstance(enough, Quorum) else "enough"


def nobody(replies: Mapping[str, Reply]) -> bool:
    """Need no answer: a site is awaited while it works on the task as long as usual, and then for its grace."""
    return True


@dataclass(frozen=True, slots=True)
class Quorum:
    """Need as many answers as this function says are enough, and await nobody after them."""

    enough: Enough

    def __call__(self, replies: Mapping[str, Reply]) -> bool:
        return self.enough(replies)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    """Task as it is sent, with the object that collects its answers and the one that waits for them."""

    task: Task
    number: int
    wait: Wait
    enough: Enough | None
    take: Take | None
    answers: Answers = field(default_factory=Answers)


@dataclass(slots=True, kw_only=True)
class _Sending:
    """Task of FLARE with the same data for some sites."""

    data: Shareable
    sites: list[str]
    task: FlareTask = None


class Broadcaster:
    """Sender of tasks to the sites of one job.

    Args:
        controller: FLARE's controller, which sends and receives.
        job: job with the time limits.
        events: log of each answer that no other event records.
        clock: clock of the time limits.
        held: the sites' requests that wait for a task.
    """

    def __init__(
        self, controller: Controller, job: JobSpec, events: EventLog, *, clock: Clock, held: HeldRequests | None = None
    ) -> None:
        self._controller, self._job, self._events, self._clock = controller, job, events, clock
        self._lock, self._late, self._held = threading.Lock(), LateAnswers(job, events), held or HeldRequests()
        self._news = threading.Event()
        asked = job.federation
        self._patience = Patience(
            Limits(
                timeout_s=asked.round_timeout_s,
                grace_s=asked.grace_s,
                required=frozenset(asked.must_include),
                patient=asked.stragglers == "wait",
            )
        )
        self._stragglers = Stragglers(job)
        self.roster: Mapping[str, str] | None = None
        """Roster of an encrypted job, set after admission; it is then sent with every task."""
        self.masked: MaskedRun | None = None
        """Hospitals and key of a masked job; they are sent to each site until it has answered with them."""
        self._introduced: set[str] = set()
        self.absence: Callable[[str], str] = lambda site: ""
        """Function from a site without an answer to what the server's parent process knows of it: a reason's end."""
        self.hold: Callable[[], None] = lambda: None
        """Called before a task is closed; answers that arrive until it returns count."""
        self.missed: dict[Task, dict[str, str]] = {}
        """Task -> sites whose answer to it did not count the last time, with the reason."""

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
        """Send one task to every site, and wait for the answers as ``waiting`` describes; without ``enough`` for all.

        A round is not sent to the sites that ``stragglers`` cuts. ``take`` receives each answer when it arrives; of an
        answer that it took, only the metrics are kept.
        """
        cut = self._stragglers.cut(sites) if task is Task.ROUND else {}
        asked = [site for site in sites if site not in cut]
        put = _Put(task=task, number=number, wait=self._wait(task, asked, enough), enough=enough, take=take)
        sendings = self._sendings(task, carried, asked, number=number)
        self._send(sendings, put, context)
        begun = self._clock.now()
        while not abort.triggered and self._awaited(put):
            # FLARE drops a task that only lost sites have not answered
            dropped = [one for one in sendings if one.task.completion_status == TaskCompletionStatus.CLIENT_DEAD]
            self._send(dropped, put, context)
            pace(context, since_s=self._clock.now() - begun, grace_s=self._job.federation.grace_s)
            self._clock.wait(self._news, POLL_S)
            self._news.clear()
        try:
            self.hold()
        finally:
            for sending in sendings:
                self._end(sending)
        with self._lock:
            silent = put.wait.close(now=self._clock.now())
            put.answers.silent = cut | {site: reason + self.absence(site) for site, reason in silent.items()}
            if task is Task.ROUND:
                self._stragglers.missed(put.wait.taken())
        self.missed[task] = dict(sorted(put.answers.missing.items()))
        return put.answers

    def replies(self, task: Task, answers: Answers) -> dict[str, Reply]:
        """Return the replies to a task, after each refusal is recorded that no other event records."""
        for site, reason in sorted(answers.refusals.items()) if task in UNLOGGED else ():
            self._events.append("dropped", site=site, round=None, reason=reason)
        return answers.replies

    def late(self, site: str, *, task_id: str, task_name: str = "", result: Shareable | None = None) -> None:
        """Record an answer that came after its task was closed, or was not sent for that; its time is measured."""
        now = self._clock.now()
        late = self._late.record(site, task_id=task_id, task_name=task_name, result=result, now=now)
        if late is not None:
            with self._lock:
                self._stragglers.late(site, seconds=late.seconds, steps=late.steps)
                if self._stragglers.fits(late.seconds):
                    self._patience.forgive(site)

    def _wait(self, task: Task, sites: Sequence[str], enough: Enough | None) -> Wait:
        rounds = self._job.federation.rounds if task is Task.ALONE else 1
        usual = {site: seconds for site in sites if (seconds := self._stragglers.usual_s(site, rounds=rounds))}
        return self._patience.wait(
            sites,
            now=self._clock.now(),
            need=_need(enough),
            deadline_s=self._stragglers.deadline_s if task is not Task.ALONE else None,
            usual_s=usual,
        )

    def _sendings(self, task: Task, carried: Carried, sites: Sequence[str], *, number: int) -> list[_Sending]:
        """Group the sites by what they are sent: FLARE sends one task's data to every site unchanged."""
        fewer = self._stragglers.fewer_steps(sites) if task is Task.ROUND else {}
        found: dict[tuple[int | None, str], _Sending] = {}
        for site in sites:
            steps, own = fewer.get(site), carried[site] if isinstance(carried, Mapping) else carried
            headers = None if self.masked is None or site in self._introduced else self.masked.headers(site)
            group = (steps, site if isinstance(carried, Mapping) or headers else "")
            if group not in found:
                data = question(own, round_number=number, roster=self.roster, steps=steps, headers=headers)
                found[group] = _Sending(data=data, sites=[])
            found[group].sites.append(site)
        return list(found.values())

    def _send(self, sendings: Sequence[_Sending], put: _Put, context: FLContext) -> None:
        """Send a task to the sites of some groups that have not answered it; only then are held requests answered."""
        for sending in sendings:
            self._send_one(sending, put, context)
        if sendings:
            self._held.send()

    def _send_one(self, sending: _Sending, put: _Put, context: FLContext) -> None:
        payload = payload_bytes(sending.data)

        def sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
            site, at = client_task.client.name, self._clock.now()
            new = self._late.took(site, Taken(task_id=client_task.id, task=put.task, number=put.number, at=at))
            with self._lock:
                put.answers.part(site).sent(at=at, payload=payload)
                put.wait.took(site, now=at, new_process=new)

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            self._receive(client_task, put)

        with self._lock:
            sites = [site for site in sending.sites if not put.wait.has_answer(site)]
        if not sites:
            return
        sending.task = FlareTask(
            name=put.task.value, data=sending.data, before_task_sent_cb=sent, result_received_cb=received
        )
        self._controller.broadcast(sending.task, context, targets=sites, min_responses=len(sites))

    def _end(self, sending: _Sending) -> None:
        """Cancel a task, and take from it what it holds: FLARE's tasks refer to themselves, and are freed late."""
        self._controller.cancel_task(sending.task)
        with sending.task.cb_lock:
            sending.task.before_task_sent_cb = sending.task.result_received_cb = sending.task.data = None

    def _awaited(self, put: _Put) -> set[str]:
        gone = self._controller.get_client_disconnect_time
        with self._lock:
            return put.wait.awaited(now=self._clock.now(), lost=lambda site: gone(site) is not None)

    def _receive(self, client_task: ClientTask, put: _Put) -> None:
        """Process one answer. A fault in it affects only its site: an error here would end FLARE's task."""
        site, result, at = client_task.client.name, client_task.result, self._clock.now()
        client_task.result = None
        part = TaskTraffic()
        try:
            part.received_bytes, reason = payload_bytes(result), refusal(result)
            reply = self._taken_reply(site, result, put, part) if reason is None else None
        except FedwardError as error:
            reply, reason = None, one_line(str(error))
        except Exception as error:  # noqa: BLE001 - a site may send anything
            reply, reason = None, one_line(f"answer cannot be read: {error}")
        self._late.answered(site)
        with self._lock:
            known = put.answers.part(site)
            known.answered(at=at, payload=part.received_bytes or 0)
            known.trained, known.steps = part.trained, part.steps
            if reply is None:
                put.answers.refusals[site] = str(reason)
            else:
                put.answers.replies[site] = reply
                if put.task not in (Task.ADMIT, Task.KEY):
                    self._introduced.add(site)
            self._note(site, put, known, counts=reply is not None)
        self._news.set()
        if reply is not None and put.task not in UNLOGGED:
            reported = {"task": put.task.name.lower(), "round": put.number, "metrics": reply.metrics}
            self._events.append("answered", site=site, **reported, **known.measured())

    def _note(self, site: str, put: _Put, part: TaskTraffic, *, counts: bool) -> None:
        """Tell those who wait and those who measure; the caller holds the lock."""
        now = self._clock.now()
        put.wait.answered(site, now=now, counts=counts)
        if counts and put.task is Task.ROUND and part.seconds is not None:
            in_time = not put.wait.is_back(site)
            self._stragglers.counted(site, seconds=part.seconds, steps=part.steps, in_time=in_time)
        if counts and put.enough is not None and put.enough(put.answers.replies):
            put.wait.enough(now=now)

    def _taken_reply(self, site: str, result: Shareable, put: _Put, part: TaskTraffic) -> Reply:
        """Return a site's reply with only the metrics that have a name; after ``take``, only these are kept."""
        reply = to_reply(result)
        reply = replace(reply, metrics=received(reply.metrics, names=self._job.names))
        if put.take is None:
            return reply
        part.trained, part.steps = reply.update is not None or bool(reply.sealed), steps_of(reply.metrics)
        put.take(site, reply)
        return Reply(metrics=reply.metrics)
