"""Run the rounds of a job at the server: ask every site, wait for those that can answer, average, repeat.

FLARE's own FedAvg samples exactly ``min_clients`` sites a round and fails the job when one of them fails. Here every
admitted site is asked in every round. A round counts when the sites that answered meet the job's ``Coverage``; only
then does the grace period of the others begin. A missing site is recorded with the reason and asked again in the next
round. A round that does not count ends the job as failed: a job without its required hospitals is no success.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.aggregation.best import better, candidate
from fedward.aggregation.coverage import Coverage, judge
from fedward.errors import FederationError, FedwardError
from fedward.flare import job_context
from fedward.flare.audit_trail.job_trail import JobTrail
from fedward.flare.protocol import Model, Reply, Task
from fedward.flare.server.broadcast import POLL_S, Answers, Broadcaster
from fedward.flare.server.finalization import Finalization
from fedward.flare.server.participation import NO_ANSWER, participation, patients_of, patients_together
from fedward.flare.server.persistor import ModelStore
from fedward.flare.server.rounds import JobRounds, Round
from fedward.metrics.events import EVENTS_FILE, EventLog
from fedward.metrics.record import Recorder
from fedward.privacy.disclosure.metric_registry import GROUPS
from fedward.privacy.policy.canonical_job import PERSISTOR
from fedward.settings import JobSpec

NOT_CONNECTED = "was not connected when the job began"
ABORTED = "aborted by a person, or the server was stopped"
ADMISSION = frozenset({"support", "privacy", *GROUPS["cohort"]})
"""Metrics of a site that its admission event holds."""


class FederatedRounds(Controller):  # type: ignore[misc]
    """FLARE controller of admission, rounds, a last validation, and the comparison with each site trained alone."""

    def __init__(self) -> None:
        super().__init__(task_check_period=POLL_S)
        self._late: Counter[str] = Counter()

    def start_controller(self, fl_ctx: FLContext) -> None:
        self._job: JobSpec = job_context.job_spec(fl_ctx)
        self._coverage = Coverage.of(self._job)
        self._recorder = Recorder(job_context.store_path(fl_ctx), fl_ctx.get_job_id(), log=self.logger.warning)
        self._events = EventLog(job_context.run_folder(fl_ctx) / EVENTS_FILE, also=JobTrail(self._recorder, fl_ctx))
        self._broadcaster = Broadcaster(self, self._job, self._events)
        store = fl_ctx.get_engine().get_component(PERSISTOR)
        if not isinstance(store, ModelStore):
            raise FederationError(
                "job has no model store", value=PERSISTOR, remedy="export it with `fedward job export JOB`"
            )
        store.open(fl_ctx)
        self._store = store

    def stop_controller(self, fl_ctx: FLContext) -> None:
        self.cancel_all_tasks()
        self._recorder.close()

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Record an answer that came after its round was closed; it does not count.

        A site can answer each task of the job late, and once; any further answer is not recorded.
        """
        self._late[client.name] += 1
        if self._late[client.name] <= self._job.federation.rounds + len(Task):
            name = task_name if task_name in [task.value for task in Task] else "a task of another name"
            self._events.append("dropped", site=client.name, round=None, reason=f"{name} answered after it was closed")

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        try:
            self._run(abort_signal, fl_ctx)
            if abort_signal.triggered:
                self._events.append("failed", reason=ABORTED)
        except FedwardError as error:
            self._events.append("failed", reason=str(error))
            fl_ctx.set_prop(FLContextKey.FATAL_SYSTEM_ERROR, True, private=True, sticky=True)
            self.system_panic(str(error), fl_ctx)
        except Exception as error:
            self._events.append("failed", reason=f"{type(error).__name__} at the server; see its log")
            raise

    def _run(self, abort: Signal, context: FLContext) -> None:
        job, invited = self._job, sorted(client.name for client in context.get_engine().get_clients())
        self._started(invited)
        # the sites load their libraries during admission; the server loads its own at the same time
        with ThreadPoolExecutor(max_workers=1) as beside:
            initial = beside.submit(self._store.load_weights, job)
            answers = self._broadcaster.ask(Task.ADMIT, None, invited, abort=abort, context=context)
            rounds = JobRounds(job, job_id=context.get_job_id(), initial=initial.result())
        sites = self._admitted(invited, answers, rounds, abort)
        if abort.triggered:
            return

        ask = partial(self._broadcaster.replies, abort=abort, context=context)
        finalization = Finalization(job, rounds, self._events, self._store, sites=sites, ask=ask)
        self._broadcaster.roster = rounds.roster
        model, best = rounds.initial, None
        for number in range(job.federation.rounds):
            if abort.triggered:
                return
            made, answers = self._round(number, model, rounds, sites, abort, context)
            best = better(best, candidate(model, self._values(answers.replies), after=number))
            model = made
            self._store.keep(model)
        if job.federation.select == "best":
            scores = self._values(finalization.scored(model))
            if abort.triggered:
                return
            best = better(best, candidate(model, scores, after=job.federation.rounds))
            self._events.append("selected", round=best.after, score=best.score)
            model = best.model
        replies = finalization.validated(model)
        if not abort.triggered:
            finalization.open(model, replies)
            self._require_validated(replies)
        if job.federation.local_baseline:
            ask(Task.ALONE, None, sites)
        if not abort.triggered:
            self._events.append("finished", rounds=job.federation.rounds)

    def _started(self, invited: list[str]) -> None:
        job = self._job
        self._events.append(
            "started",
            job=job.job.name,
            task=job.job.task,
            rounds=job.federation.rounds,
            sites=invited,
            coverage=self._coverage.plain(),
            threshold=None if job.acceptance is None else job.acceptance.threshold,
        )

    def _admitted(self, invited: list[str], answers: Answers, rounds: JobRounds, abort: Signal) -> list[str]:
        """Return the sites that take part: they admit the job and, if it is encrypted, have the key of most sites."""
        if abort.triggered:
            return []
        mismatched, keyless = self._without_key(answers, rounds)
        admitted = sorted(set(answers.replies) - set(mismatched))
        why = dict.fromkeys(self._coverage.missing(invited), NOT_CONNECTED)
        for site in admitted:
            reported = {name: value for name, value in answers.replies[site].metrics.items() if name in ADMISSION}
            self._events.append("admitted", site=site, **reported)
        for site in sorted(set(invited) - set(admitted)):
            why[site] = mismatched.get(site) or answers.refusals.get(site, NO_ANSWER)
            self._events.append("declined", site=site, reason=why[site])
        if keyless is not None:
            raise keyless
        # a site reports its number of training patients with its updates
        reason = judge(dict.fromkeys(admitted), replace(self._coverage, min_patients=None), why=why)
        if reason is not None:
            raise self._uncovered(f"of {len(invited)} connected sites too few take part: {reason}", None)
        if rounds.facts is not None:
            self._events.append("encrypted", **rounds.facts)
        return admitted

    def _without_key(self, answers: Answers, rounds: JobRounds) -> tuple[dict[str, str], FederationError | None]:
        """Return sites without the key of most sites, with the reason; and an error where there is no such key."""
        if self._job.encryption is None:
            return {}, None
        try:
            return rounds.agree_on_key(answers.replies), None
        except FederationError as error:
            return dict.fromkeys(answers.replies, error.what), error

    def _require_validated(self, replies: Mapping[str, Reply]) -> None:
        """Require that each hospital of ``must_include`` has validated the final model too, on its own patients.

        Checked after the model is saved and, where required, opened: the work is not lost, but the job is no success.
        """
        if missing := self._coverage.missing(replies):
            names = ", ".join(missing)
            raise self._uncovered(f"the final model was not validated at {names}, which must_include names", None)

    def _uncovered(self, reason: str, number: int | None) -> FederationError:
        self._events.append("uncovered", round=number, reason=reason)
        return FederationError(
            reason,
            where=self._job.job.name,
            remedy="look at the hospitals' reasons and submit the job again, or ask for less in [federation]",
        )

    def _values(self, replies: Mapping[str, Reply]) -> list[float | None]:
        """Return the job's measure at each site, for the model that the sites just received."""
        return [reply.metrics.get("scores", {}).get(self._job.measure) for reply in replies.values()]

    def _round(
        self, number: int, model: Model, rounds: JobRounds, sites: list[str], abort: Signal, context: FLContext
    ) -> tuple[Model, Answers]:
        """Send the model to the sites, collect their answers, and return the model after the round."""
        start, taken = time.monotonic(), rounds.round(model)
        answers = self._broadcaster.ask(
            Task.ROUND,
            model,
            sites,
            abort=abort,
            context=context,
            enough=lambda replies: judge(_patients(replies, replies), self._coverage) is None,
            number=number,
            take=taken.take,
        )
        taken.stop()
        if abort.triggered:
            return model, answers
        why = {site: answers.refusals.get(site, NO_ANSWER) for site in set(sites) - set(taken.sites)}
        for site in sorted(why):
            self._events.append("dropped", site=site, round=number, reason=why[site])
        if (reason := judge(_patients(taken.sites, answers.replies), self._coverage, why=why)) is not None:
            raise self._uncovered(f"round {number} does not count: {reason}", number)
        for site, values in sorted(taken.clipped.items()):
            self._events.append("clipped", round=number, site=site, values=values)
        made = taken.close()
        for site, reason in sorted(taken.suspects.items()):
            self._events.append("suspect", site=site, round=number, reason=reason)
        self._complete(number, taken, sites, answers, wall_s=time.monotonic() - start)
        return made, answers

    def _complete(self, number: int, taken: Round, sites: list[str], answers: Answers, *, wall_s: float) -> None:
        patients = _patients(taken.sites, answers.replies)
        ledger = participation(sites, patients, refused=answers.refusals, parts=answers.parts)
        self._events.append(
            "round",
            round=number,
            sites=taken.sites,
            wall_s=round(wall_s, 3),
            stages={"wait_s": round(max(wall_s - taken.add_s, 0.0), 3), "add_s": round(taken.add_s, 3)},
            patients=patients_together(ledger),
            participation=ledger,
        )


def _patients(sites: Collection[str], replies: Mapping[str, Reply]) -> dict[str, int | None]:
    """Return the training patients that each site reports; ``replies`` may lack an answer that has just arrived."""
    found = ((site, replies.get(site)) for site in list(sites))
    return {site: None if reply is None else patients_of(reply.metrics) for site, reply in found}
