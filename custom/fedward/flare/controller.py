"""The server's side of a job: ask every site, wait for those who can answer, average, go round again.

FLARE's own FedAvg samples exactly ``min_clients`` sites a round and fails the job when one of them fails. Here every
admitted site is asked every round; a round counts when ``min_sites`` have answered; who is missing is written down with
the reason and is asked again next round.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.controller_spec import Task as FlareTask
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.aggregation.best import better, candidate
from fedward.errors import FederationError, FedwardError
from fedward.flare import app
from fedward.flare.ending import Ending
from fedward.flare.exchange import Exchange
from fedward.flare.persistor import ModelStore
from fedward.flare.protocol import Model, Reply, Sum, Task, question, refusal, to_reply
from fedward.metrics.events import EVENTS_FILE, EventLog
from fedward.settings import JobSpec

POLL_S = 0.05
PERSISTOR = "persistor"
Take = Callable[[str, Reply], None]
"""Given a site and its answer; raises where the answer cannot count."""


@dataclass(slots=True)
class _Answers:
    """What came back for one task, filled by FLARE's threads."""

    replies: dict[str, Reply] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    enough_since: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> set[str]:
        return set(self.replies) | set(self.refusals)


class FederatedRounds(Controller):  # type: ignore[misc]
    """Admission, rounds, a last validation, and the comparison with each site alone."""

    def __init__(self) -> None:
        super().__init__(task_check_period=POLL_S)

    def start_controller(self, fl_ctx: FLContext) -> None:
        self._job: JobSpec = app.job_spec(fl_ctx)
        self._events = EventLog(app.run_folder(fl_ctx) / EVENTS_FILE)
        store = fl_ctx.get_engine().get_component(PERSISTOR)
        if not isinstance(store, ModelStore):
            raise FederationError(
                "job has no model store", value=PERSISTOR, remedy="export it with `fedward job export`"
            )
        store.open(fl_ctx)
        self._store = store

    def stop_controller(self, fl_ctx: FLContext) -> None:
        self.cancel_all_tasks()

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer that came after its round was closed: it counts nowhere, and is written down."""
        self._events.append("dropped", site=client.name, round=None, reason=f"{task_name} answered after it was closed")

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        try:
            self._run(abort_signal, fl_ctx)
        except FedwardError as error:
            self._events.append("failed", reason=str(error))
            fl_ctx.set_prop(FLContextKey.FATAL_SYSTEM_ERROR, True, private=True, sticky=True)
            self.system_panic(str(error), fl_ctx)
        except Exception as error:
            self._events.append("failed", reason=f"{type(error).__name__} at the server; see its log")
            raise

    def _run(self, abort: Signal, context: FLContext) -> None:
        job, invited = self._job, sorted(client.name for client in context.get_engine().get_clients())
        self._events.append("started", job=job.job.name, rounds=job.federation.rounds, sites=invited)
        # the sites load their libraries while they admit; so does the server, beside them
        with ThreadPoolExecutor(max_workers=1) as beside:
            initial = beside.submit(self._store.load_weights, job)
            answers = self._ask(Task.ADMIT, None, invited, abort, context, need=0)
            exchange = Exchange(job, job_id=context.get_job_id(), initial=initial.result())
        sites = self._admitted(invited, answers, exchange, abort)
        if abort.triggered:
            return

        def ask(task: Task, carried: Model | Sum | Sequence[Sum] | None, whom: list[str]) -> dict[str, Reply]:
            answers = self._ask(task, carried, whom, abort, context, need=0)
            for site, reason in sorted(answers.refusals.items()) if task in _UNLOGGED else ():
                self._events.append("dropped", site=site, round=None, reason=reason)
            return answers.replies

        ending = Ending(job, exchange, self._events, self._store, ask=ask)
        ending.admitted({site: answers.replies[site] for site in sites})
        model, best = exchange.initial, None
        for number in range(job.federation.rounds):
            if abort.triggered:
                return
            made, answers = self._round(number, model, exchange, sites, abort, context)
            best = better(best, candidate(model, self._values(answers.replies), after=number))
            model = made
            self._store.keep(model)
        replies = ending.validated(model, sites)
        if job.federation.select == "best" and not abort.triggered:
            best = better(best, candidate(model, self._values(replies), after=job.federation.rounds))
            self._events.append("selected", round=best.after, score=best.score)
            if best.model is not model:
                model, replies = best.model, ending.validated(best.model, sites)
        if not abort.triggered:
            ending.open(model, replies)
        if job.federation.local_only:
            ask(Task.ALONE, None, sites)
        if not abort.triggered:
            self._events.append("finished", rounds=job.federation.rounds)

    def _admitted(self, invited: list[str], answers: _Answers, exchange: Exchange, abort: Signal) -> list[str]:
        """Who takes part: the sites that admit the job and, where it is encrypted, hold the key that most hold."""
        if abort.triggered:
            return []
        odd = {} if self._job.encryption is None else exchange.agree_on_key(answers.replies)
        admitted = sorted(set(answers.replies) - set(odd))
        for site in admitted:
            self._events.append("admitted", site=site, **answers.replies[site].metrics)
        for site in sorted(set(invited) - set(admitted)):
            reason = odd.get(site) or answers.refusals.get(site, "no answer in time")
            self._events.append("declined", site=site, reason=reason)
        need = self._job.federation.min_sites
        if len(admitted) < need:
            raise FederationError(
                f"{len(admitted)} of {len(invited)} sites take part where min_sites is {need}",
                where=self._job.job.name,
                remedy="look at each site's reason above",
            )
        if exchange.facts is not None:
            self._events.append("encrypted", **exchange.facts)
        return admitted

    def _values(self, replies: Mapping[str, Reply]) -> list[float | None]:
        """The job's measure of the model that the sites were just sent, at each."""
        measure = "auc" if self._job.job.task == "classification" else "dice"
        return [reply.metrics.get("scores", {}).get(measure) for reply in replies.values()]

    def _round(
        self, number: int, model: Model, exchange: Exchange, sites: list[str], abort: Signal, context: FLContext
    ) -> tuple[Model, _Answers]:
        """Send the model out, take in what the sites make of it; the model after the round."""
        start, need, taken = time.monotonic(), self._job.federation.min_sites, exchange.round(model)
        answers = self._ask(Task.ROUND, model, sites, abort, context, need=need, number=number, take=taken.take)
        taken.stop()
        if abort.triggered:
            return model, answers
        for site in sorted(set(sites) - set(taken.sites)):
            reason = answers.refusals.get(site, "no answer in time")
            self._events.append("dropped", site=site, round=number, reason=reason)
        if len(taken.sites) < need:
            raise FederationError(
                f"round {number} has {len(taken.sites)} updates where min_sites is {need}",
                where=self._job.job.name,
                remedy="look at the sites' reasons and submit the job again",
            )
        for site, values in sorted(taken.clipped.items()):
            self._events.append("clipped", round=number, site=site, values=values)
        made = taken.close()
        self._events.append("round", round=number, sites=taken.sites, wall_s=round(time.monotonic() - start, 3))
        return made, answers

    def _ask(
        self,
        task: Task,
        carried: Model | Sum | Sequence[Sum] | None,
        sites: list[str],
        abort: Signal,
        context: FLContext,
        *,
        need: int,
        number: int = -1,
        take: Take | None = None,
    ) -> _Answers:
        """Send one task to every site; wait for all, or ``grace_s`` after ``need`` have answered, or the time-out.

        ``take`` is given each answer as it comes; of what it took, metrics alone are kept.
        """
        answers = _Answers()

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            self._receive(client_task, answers, task, need=need, number=number, take=take)

        flare_task = FlareTask(
            name=task.value,
            data=question(carried, round_number=number, wait_s=POLL_S),
            result_received_cb=received,
        )
        self.broadcast(flare_task, context, targets=list(sites), min_responses=len(sites))
        limits, start = self._job.federation, time.monotonic()
        while not abort.triggered and not set(sites) <= answers.answered | self._lost(sites):
            now = time.monotonic()
            enough = answers.enough_since
            if now - start > limits.round_timeout_s or (enough is not None and now - enough > limits.grace_s):
                break
            time.sleep(POLL_S)
        self.cancel_task(flare_task)
        return answers

    def _receive(
        self, client_task: ClientTask, answers: _Answers, task: Task, *, need: int, number: int, take: Take | None
    ) -> None:
        site, result = client_task.client.name, client_task.result
        client_task.result = None
        reason = refusal(result)
        try:
            reply = to_reply(result) if reason is None else None
            metrics = {} if reply is None else _plain(reply.metrics)
            if reply is not None and take is not None:
                take(site, reply)
                reply = Reply(metrics=metrics)
        except FedwardError as error:
            reply, reason = None, str(error)
        except (ValueError, TypeError) as error:
            reply, reason = None, f"answer cannot be read: {error}"
        with answers.lock:
            if reply is None:
                answers.refusals[site] = str(reason)
            else:
                answers.replies[site] = reply
                if answers.enough_since is None and 0 < need <= len(answers.replies):
                    answers.enough_since = time.monotonic()
        if reply is not None and task not in _UNLOGGED:
            self._events.append("answered", site=site, task=task.name.lower(), round=number, metrics=metrics)

    def _lost(self, sites: list[str]) -> set[str]:
        """Sites that FLARE has given up: no heartbeat for its grace period."""
        return {site for site in sites if self.get_client_disconnect_time(site) is not None}


_UNLOGGED = frozenset({Task.ADMIT, Task.CONFIRM, Task.POOL, Task.OPEN})
"""Tasks whose answers have events of their own."""


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(metrics), allow_nan=False))
    return plain
