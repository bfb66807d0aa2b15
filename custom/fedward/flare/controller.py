"""The server's side of a job: ask every site, wait for those who can answer, average, go round again.

FLARE's own FedAvg samples exactly ``min_clients`` sites a round and fails the job when one of them fails. Here every
admitted site is asked every round; a round counts when ``min_sites`` have answered; who is missing is written down with
the reason and is asked again next round.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
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

from fedward.aggregation.best import Candidate, better, candidate
from fedward.aggregation.fedavg import site_weight, weighted_mean
from fedward.errors import FederationError, FedwardError
from fedward.flare import app
from fedward.flare.persistor import ModelStore
from fedward.flare.protocol import Reply, Task, question, refusal, to_reply
from fedward.metrics.events import EVENTS_FILE, EventLog
from fedward.settings import JobSpec
from fedward.training.weights import Weights, add

POLL_S = 0.05
PERSISTOR = "persistor"


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
        invited = sorted(client.name for client in context.get_engine().get_clients())
        self._events.append("started", job=self._job.job.name, rounds=self._job.federation.rounds, sites=invited)
        # the sites load their libraries while they admit; so does the server, beside them
        with ThreadPoolExecutor(max_workers=1) as beside:
            initial = beside.submit(self._store.load_weights, self._job)
            sites = self._admit(invited, abort, context)
            weights = initial.result()
        best: Candidate | None = None
        for number in range(self._job.federation.rounds):
            if abort.triggered:
                return
            averaged, answers = self._round(number, weights, sites, abort, context)
            best = better(best, candidate(weights, self._values(answers), after=number))
            weights = averaged
            self._store.keep(weights)
        self._store.finish(weights)
        answers = self._ask(Task.FINAL, weights, sites, abort, context, need=0)
        if self._job.federation.select == "best":
            best = better(best, candidate(weights, self._values(answers), after=self._job.federation.rounds))
            self._events.append("selected", round=best.after, score=best.score)
            if best.weights is not weights:
                self._store.finish(best.weights)
                self._ask(Task.FINAL, best.weights, sites, abort, context, need=0)
        if self._job.federation.local_only:
            self._ask(Task.ALONE, None, sites, abort, context, need=0)
        if not abort.triggered:
            self._events.append("finished", rounds=self._job.federation.rounds)

    def _admit(self, invited: list[str], abort: Signal, context: FLContext) -> list[str]:
        answers = self._ask(Task.ADMIT, None, invited, abort, context, need=0)
        for site, reply in sorted(answers.replies.items()):
            self._events.append("admitted", site=site, **reply.metrics)
        for site in invited:
            if site not in answers.replies:
                self._events.append("declined", site=site, reason=answers.refusals.get(site, "no answer in time"))
        admitted, need = sorted(answers.replies), self._job.federation.min_sites
        if len(admitted) < need and not abort.triggered:
            raise FederationError(
                f"{len(admitted)} of {len(invited)} sites take part where min_sites is {need}",
                where=self._job.job.name,
                remedy="look at each site's reason above",
            )
        return admitted

    def _values(self, answers: _Answers) -> list[float | None]:
        """The job's measure of the model that the sites were just sent, at each."""
        measure = "auc" if self._job.job.task == "classification" else "dice"
        return [reply.metrics.get("scores", {}).get(measure) for reply in answers.replies.values()]

    def _round(
        self, number: int, weights: Weights, sites: list[str], abort: Signal, context: FLContext
    ) -> tuple[Weights, _Answers]:
        """One round of FedAvg (McMahan 2017, alg. 1): the model plus the weighted mean of the differences."""
        start, need = time.monotonic(), self._job.federation.min_sites
        answers = self._ask(Task.ROUND, weights, sites, abort, context, need=need, number=number)
        updates = {
            site: (reply.update, weight)
            for site, reply in answers.replies.items()
            if reply.update is not None and (weight := self._weight(reply)) is not None
        }
        for site in sorted(set(sites) - set(updates)):
            reason = answers.refusals.get(site, _UNWEIGHED if site in answers.replies else "no answer in time")
            self._events.append("dropped", site=site, round=number, reason=reason)
        if abort.triggered:
            return weights, answers
        if len(updates) < need:
            raise FederationError(
                f"round {number} has {len(updates)} updates where min_sites is {need}",
                where=self._job.job.name,
                remedy="look at the sites' reasons and submit the job again",
            )
        averaged = add(weights, weighted_mean(updates))
        self._events.append("round", round=number, sites=sorted(updates), wall_s=round(time.monotonic() - start, 3))
        return averaged, answers

    def _weight(self, reply: Reply) -> float | None:
        """What a site counts for, or None where it must count by patients and does not say how many it has."""
        weighting, patients = self._job.federation.weighting, reply.metrics.get("patients")
        if weighting == "patients" and patients is None:
            return None
        return site_weight(weighting, patients=int(patients or 0))

    def _ask(
        self,
        task: Task,
        weights: Weights | None,
        sites: list[str],
        abort: Signal,
        context: FLContext,
        *,
        need: int,
        number: int = -1,
    ) -> _Answers:
        """Send one task to every site; wait for all, or ``grace_s`` after ``need`` have answered, or the time-out."""
        answers = _Answers()

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            self._receive(client_task, answers, task, need=need, number=number)

        flare_task = FlareTask(
            name=task.value,
            data=question(weights, round_number=number, wait_s=POLL_S),
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

    def _receive(self, client_task: ClientTask, answers: _Answers, task: Task, *, need: int, number: int) -> None:
        site, result = client_task.client.name, client_task.result
        reason = refusal(result)
        try:
            reply = to_reply(result) if reason is None else None
        except (ValueError, TypeError) as error:
            reply, reason = None, f"answer cannot be read: {error}"
        with answers.lock:
            if reply is None:
                answers.refusals[site] = str(reason)
            else:
                answers.replies[site] = reply
                if answers.enough_since is None and 0 < need <= len(answers.replies):
                    answers.enough_since = time.monotonic()
        client_task.result = None
        if reply is not None and task is not Task.ADMIT:
            metrics = _plain(reply.metrics)
            self._events.append("answered", site=site, task=task.name.lower(), round=number, metrics=metrics)

    def _lost(self, sites: list[str]) -> set[str]:
        """Sites that FLARE has given up: no heartbeat for its grace period."""
        return {site for site in sites if self.get_client_disconnect_time(site) is not None}


_UNWEIGHED = 'the site does not say how many patients trained; set federation.weighting to "equal"'


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(metrics), allow_nan=False))
    return plain
