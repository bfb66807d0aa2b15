"""Run the rounds of a job at the server: ask every site, wait for those that can answer, average, repeat.

FLARE's own FedAvg samples exactly ``min_clients`` sites a round and fails the job when one of them fails. Here every
admitted site is asked in every round. A round counts when the sites that answered meet the job's ``Coverage``; only
then does the grace period of the others begin. A missing site is recorded with the reason and asked again in the next
round. A round that does not count ends the job as failed: a job without its required hospitals is no success.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward.aggregation.coverage import Coverage, judge
from fedward.errors import FederationError, FedwardError
from fedward.flare import job_context
from fedward.flare.audit_trail.job_trail import JobTrail
from fedward.flare.listener.absence import absence
from fedward.flare.protocol import Model, Reply, Task
from fedward.flare.server.admission import admitted, admitted_again, begin
from fedward.flare.server.asking.answers import Answers
from fedward.flare.server.asking.broadcast import POLL_S, Broadcaster, Carried, Enough, Take, nobody
from fedward.flare.server.asking.held_requests import HeldRequests
from fedward.flare.server.averaging.members import Members
from fedward.flare.server.checkpoints.checkpoint import Checkpoint, save
from fedward.flare.server.checkpoints.earlier import BY_PERSON, aborted, read_earlier
from fedward.flare.server.checkpoints.missed_sums import MissedSums
from fedward.flare.server.clock import Clock
from fedward.flare.server.finalization import Finalization
from fedward.flare.server.key_agreement import make_keys
from fedward.flare.server.pause import AbortedError, Beside, Pause
from fedward.flare.server.persistor import ModelStore
from fedward.flare.server.round_step import RoundStep, uncovered
from fedward.flare.server.rounds import JobRounds
from fedward.metrics.events import EVENTS_FILE, EventLog
from fedward.metrics.record import Recorder
from fedward.privacy.policy.canonical_job import PERSISTOR
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JobSpec
from fedward.weights import Weights, layout_of


class FederatedRounds(Controller):  # type: ignore[misc]
    """FLARE controller of admission, rounds, a last validation, and the comparison with each site trained alone."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(task_check_period=POLL_S)
        self._clock, self.held = clock or Clock(), HeldRequests()
        self._ended = False

    def start_controller(self, fl_ctx: FLContext) -> None:
        self._job: JobSpec = job_context.job_spec(fl_ctx)
        self._coverage = Coverage.of(self._job)
        self._job_id: str = fl_ctx.get_job_id()
        self._run_folder, self._folder = job_context.run_folder(fl_ctx), job_context.checkpoint_folder(fl_ctx)
        self._recorder = Recorder(job_context.store_path(fl_ctx), self._job_id, log=self.logger.warning)
        self._events = EventLog(
            self._folder / EVENTS_FILE,
            copy=self._run_folder / EVENTS_FILE,
            also=JobTrail(self._recorder, fl_ctx),
            keep=True,
        )
        self._missed = MissedSums(self._job, self._folder)
        self._broadcaster = Broadcaster(self, self._job, self._events, clock=self._clock, held=self.held)
        self._broadcaster.absence = partial(absence, job_context.store_path(fl_ctx))
        store = fl_ctx.get_engine().get_component(PERSISTOR)
        if not isinstance(store, ModelStore):
            remedy = "export it with `fedward job export JOB`"
            raise FederationError("job has no model store", value=PERSISTOR, remedy=remedy)
        store.open(fl_ctx)
        self._store = store

    def stop_controller(self, fl_ctx: FLContext) -> None:
        self.held.close()
        self.cancel_all_tasks()
        self._recorder.close()

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Record an answer that came after its task was closed; it does not count."""
        if not self._ended:
            self._broadcaster.late(client.name, task_id=client_task_id, task_name=task_name, result=result)

    def finished_late(self, site: str, task_id: str) -> None:
        """Record that a site finished a closed task, whose answer stays there."""
        if not self._ended:
            self._broadcaster.late(site, task_id=task_id)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        self._abort, self._context = abort_signal, fl_ctx
        self._pause = Pause(self._events, abort=abort_signal, clock=self._clock, log=self.logger.warning)
        self._store.durably, self._broadcaster.hold = self._pause.until, self._pause.settle
        try:
            self._go_on()
        except AbortedError:
            self._end("aborted", **aborted(self._run_folder))
        except FedwardError as error:
            if abort_signal.triggered:
                self._end("aborted", **aborted(self._run_folder))
                return
            self._end("failed", reason=str(error))
            self._panic(str(error))
        except Exception as error:
            self._end("failed", reason=f"{type(error).__name__} at the server; see its log")
            raise

    def _end(self, kind: str, **fields: Any) -> None:
        """Record the job's one end, and wait until it is on the disk, unless the job is aborted meanwhile."""
        if self._ended:
            return
        self._ended = True
        self._events.append(kind, **fields)
        with suppress(AbortedError, FederationError):
            self._pause.until(partial(self._events.flush, durably=True), events=False)

    def _panic(self, reason: str) -> None:
        """Have FLARE end the job as failed."""
        self._context.set_prop(FLContextKey.FATAL_SYSTEM_ERROR, True, private=True, sticky=True)
        self.system_panic(reason, self._context)

    def _go_on(self) -> None:
        """Begin the job, or go on from what its earlier processes left."""
        earlier = self._pause.until(
            lambda: read_earlier(
                self._folder, self._run_folder, events=self._events, job=job_hash(self._job), job_id=self._job_id
            )
        )
        self._recorder.restore(earlier.events)
        for damaged in earlier.damaged:
            self.logger.warning(f"a checkpoint is not whole, an older one is used: {damaged}")
        if earlier.end is not None:
            self._ended = True
            self._store.restore()
            if earlier.end["event"] != "finished":
                self._panic(str(earlier.end.get("reason")))
            return
        if earlier.exists:
            self._events.put(earlier.unwritten)
            earlier.require_resumable(self._job.federation.resume, where=self._job.job.name)
            done = 0 if earlier.checkpoint is None else earlier.checkpoint.model.after
            if not earlier.told:
                self._events.append("resumed", round=done, by=earlier.by, attempt=earlier.attempt)
            self._pause.until(lambda: (self._folder / BY_PERSON).unlink(missing_ok=True))
        initial = Beside(lambda: self._store.load_weights(self._job))
        if earlier.checkpoint is None:
            at, rounds = self._admit(initial, new=not earlier.exists)
        else:
            at, rounds = self._admit_again(earlier.checkpoint, initial)
        self._run(at, rounds)

    def _run(self, at: Checkpoint, rounds: JobRounds) -> None:
        job = self._job
        self._broadcaster.roster, self._broadcaster.masked = rounds.roster, rounds.masked
        step = RoundStep(
            job,
            self._events,
            self._clock,
            coverage=self._coverage,
            collect=self._collect,
            ask=self._ask,
            keep=self._keep_pending,
        )
        while at.model.after < job.federation.rounds:
            at = step.run(at, rounds)
            self._pause.until(partial(self._missed.keep, at.model))
            self._keep(at)
            self._store.keep(at.model)
        finalization = Finalization(
            job, rounds, self._events, self._store, ask=self._ask, coverage=self._coverage, at=at, save=self._keep
        )
        model = finalization.selected()
        replies = finalization.validated(model)
        missing = {**at.left_out, **at.missed, **self._broadcaster.missed[Task.FINAL]}
        finalization.open(model, replies)
        self._require_validated(replies)
        if job.federation.local_baseline:
            self._ask(Task.ALONE, None, list(at.sites), enough=nobody)
        self._pause.settle()
        self._end("finished", rounds=job.federation.rounds, missing=dict(sorted(missing.items())))

    def _collect(
        self,
        task: Task,
        carried: Carried,
        sites: list[str],
        *,
        enough: Enough | None = None,
        number: int = -1,
        take: Take | None = None,
    ) -> Answers:
        """Send a task; nothing is sent, and no answer is used, once the job is aborted."""
        self._pause.settle()
        sent = self._missed.for_sites(carried, sites) if isinstance(carried, Model) else carried
        how: dict[str, Any] = {"enough": enough, "number": number, "take": take}
        answers = self._broadcaster.ask(task, sent, sites, abort=self._abort, context=self._context, **how)
        if isinstance(carried, Model):
            self._missed.answered(carried, answers.replies)
        self._pause.check()
        return answers

    def _ask(self, task: Task, carried: Carried, sites: list[str], **how: Any) -> dict[str, Reply]:
        """Send a task other than a round, and record the refusals; ``how`` as for ``_collect``."""
        return self._broadcaster.replies(task, self._collect(task, carried, sites, **how))

    def _invited(self) -> list[str]:
        return sorted(client.name for client in self._context.get_engine().get_clients())

    def _admit(self, initial: Beside[Weights], *, new: bool) -> tuple[Checkpoint, JobRounds]:
        """Ask every connected site to take part; return the state before the first round."""
        invited = self._invited()
        if new:
            begin(self._job, self._coverage, self._events, invited)
        self._pause.settle()
        answers = self._broadcaster.ask(Task.ADMIT, None, invited, abort=self._abort, context=self._context)
        self._missed.admitted(answers.replies)
        rounds = self._rounds(initial)
        sites, declined, reason = admitted(self._job, self._coverage, self._events, rounds, invited, answers)
        if reason is not None:
            raise uncovered(self._job, self._events, reason, None)
        self._broadcaster.roster, self._broadcaster.masked = rounds.roster, rounds.masked
        partless = make_keys(self._job, rounds, sites, ask=self._ask, events=self._events)
        sites, declined = [site for site in sites if site not in partless], declined | partless
        if rounds.facts is not None:
            self._events.append("encrypted", **rounds.facts)
        at = Checkpoint(
            job=job_hash(self._job),
            job_id=self._job_id,
            sites=tuple(sites),
            left_out=declined,
            key=rounds.key,
            roster=rounds.roster,
            masked=rounds.masked,
            model=rounds.initial,
        )
        self._keep(at)
        return at, rounds

    def _admit_again(self, at: Checkpoint, initial: Beside[Weights]) -> tuple[Checkpoint, JobRounds]:
        """Ask the admitted sites that are connected to admit the job again: their processes may be new.

        None has to answer. A site that comes back to an encrypted job without its record is left out."""
        self._pause.settle()
        here = sorted(set(at.sites) & set(self._invited()))
        policy = replace(self._coverage, min_patients=None)
        enough = partial(_covered, coverage=policy)
        answers = self._broadcaster.ask(Task.ADMIT, None, here, abort=self._abort, context=self._context, enough=enough)
        self._missed.admitted(answers.replies)
        rounds = self._rounds(initial)
        rounds.restore(key=at.key, roster=at.roster, masked=at.masked, step=at.step)
        if at.model.weights is not None and layout_of(at.model.weights) != rounds.layout:
            raise FederationError("checkpoint's model is not of the job's network", where=self._job.job.name)
        self._store.keep(at.model)
        strangers = admitted_again(self._events, rounds, answers)
        sites = tuple(site for site in at.sites if site not in strangers)
        return replace(at, sites=sites, left_out={**at.left_out, **strangers}), rounds

    def _rounds(self, initial: Beside[Weights]) -> JobRounds:
        """Return the job's rounds, once the initial weights are there."""
        members = None
        if self._job.encryption is not None:
            kit = job_context.kit_folder(self._context)
            members = Members.of(kit, run_folder=self._run_folder, checkpoints=self._folder)
        weights = initial.result(self._pause.check)
        return JobRounds(self._job, job_id=self._job_id, initial=weights, members=members)

    def _keep_pending(self, at: Checkpoint) -> None:
        """Have a state on the disk whose events are told with the next one."""
        self._pause.check()
        if self._job.federation.resume == "auto":
            self._pause.until(lambda: save(self._folder, at))

    def _keep(self, at: Checkpoint) -> None:
        """Have a state on the disk before the next step begins; its events follow, once and all of them."""
        self._pause.check()
        self._pause.until(partial(self._events.flush, durably=True))
        if self._job.federation.resume == "auto":
            self._pause.until(lambda: save(self._folder, at))
        self._events.put(at.events)

    def _require_validated(self, replies: Mapping[str, Reply]) -> None:
        """Require that each hospital of ``must_include`` has validated the final model too; the model is saved."""
        if missing := self._coverage.missing(replies):
            names = ", ".join(missing)
            what = f"the final model was not validated at {names}, which must_include names"
            raise uncovered(self._job, self._events, what, None)


def _covered(replies: Mapping[str, Reply], *, coverage: Coverage) -> bool:
    return judge(dict.fromkeys(replies), coverage) is None
