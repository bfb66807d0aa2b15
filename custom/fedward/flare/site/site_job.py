"""Answer the tasks of one job at one hospital with the hospital's own cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from nvflare.apis.dxo import DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedward import __version__
from fedward.errors import LedgerError
from fedward.flare import job_context
from fedward.flare.audit_trail import notes
from fedward.flare.gates.egress import require_gates
from fedward.flare.messages import guard
from fedward.flare.protocol import PATIENTS, Reply, Task, content_of, global_weights, to_shareable
from fedward.flare.site.job_privacy import Protection
from fedward.flare.site.own_files import FINAL_FILE, LOCAL_ONLY_FILE, OwnFiles, run_of
from fedward.flare.site.round_answers import RoundAnswers, follow, timed
from fedward.flare.site.settlement import end_process
from fedward.flare.submitter import origin_of
from fedward.privacy.attestation import PROOF
from fedward.privacy.disclosure.metric_registry import DETAILS
from fedward.privacy.disclosure.release import release
from fedward.privacy.disclosure.rule import Rule
from fedward.privacy.policy.approvals import Way, admission
from fedward.privacy.policy.job_hash import job_hash, policy_hash
from fedward.training import libraries

if TYPE_CHECKING:
    from fedward.dataset.manifest import Manifest
    from fedward.settings import JobSpec
    from fedward.training.trainer import Trainer

_WAYS: Mapping[Way, str] = {
    "any": "any",
    "approved_jobs": "approved",
    "approval": "approved",
    "auto_approve": "submitter",
}
"""Kind of the job's admission -> value that may leave in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Resources of a job at this hospital; the ledger holds the job's charge before they exist.

    Attributes:
        trainer: trainer with the noise that was charged.
        manifest: manifest of the cohort.
        patients: pseudonyms of the training patients, who are charged.
        charge: facts of the charge that the server may know: mechanism, ε, δ, noise.
    """

    trainer: Trainer
    manifest: Manifest
    patients: frozenset[str]
    charge: Mapping[str, Any]


class SiteJob:
    """One job at one hospital: its cohort, its trainer, its tasks."""

    def __init__(self, context: FLContext) -> None:
        require_gates(context)
        guard.require_installed()
        self._name: str = context.get_identity_name()
        self._job_id: str = context.get_job_id()
        self._policy = job_context.site_policy(context)
        self._job: JobSpec = job_context.job_spec(context)
        self._own = OwnFiles(job_context.run_folder(context), kept=job_context.checkpoint_folder(context))
        self._run = run_of(self._job_id, job_hash(self._job))
        self._origin = origin_of(self._job, self._policy, context)
        self._protection = Protection(self._job, self._policy, job_id=self._job_id, origin=self._origin)
        self._note = notes.for_job(context)
        self._prepared: Prepared | None = None
        self._rounds = RoundAnswers(self._job, self._protection, self._own, run=self._run, begin=self._begin)
        self._tasks: dict[Task, Callable[[Shareable, Signal], Reply]] = {
            Task.ADMIT: self._admit,
            Task.KEY: self._nothing,
            Task.UNMASK: self._nothing,
            Task.ROUND: self._round,
            Task.VALIDATE: self._validate,
            Task.FINAL: self._final,
            Task.CONFIRM: self._nothing,
            Task.OPEN: self._nothing,
            Task.POOL: self._pool,
            Task.ALONE: self._alone,
        }

    def answer(self, task: Task, data: Shareable, *, abort: Signal) -> Shareable:
        """Answer a task, with only the metrics that the policy releases; the gate refuses all others."""
        reply = self._tasks[task](data, abort)
        allowed = self._released(reply.metrics, alone=task is Task.ALONE)
        answer = to_shareable(Reply(metrics=allowed, update=reply.update, counts=reply.counts))
        if reply.proof is not None:
            answer.set_header(PROOF, dict(reply.proof))
        if reply.patients is not None:
            answer.set_header(PATIENTS, reply.patients)
        return answer

    def _released(self, metrics: Mapping[str, Any], *, alone: bool = False) -> dict[str, Any]:
        """Return the part of the metrics that this hospital's rules release."""
        private = self._protection.is_private
        return release(metrics, Rule.of(self._job, self._policy.disclosure, private=private, alone=alone)).metrics

    def close(self, *, ordinary: bool) -> None:
        """Return the steps that never began to the ledger, and end the run if the job is done here.

        A run that was aborted, or has no final model here yet, is not ended: it can be continued under its id.

        Args:
            ordinary: True if the server ended the run; False if it was aborted.
        """
        if end_process(self._policy, self._job_id, ordinary=ordinary):
            self._own.remove_state()
            self._note("run-ended", name=self._job.job.name)

    def _prepare(self) -> Prepared:
        """Charge the ledger, then make the trainer; the first call does it, later calls return the same.

        A restarted site calls it at its first round; its charge remains and is not made again.

        Raises:
            FedwardError: the cohort cannot be used, or the ledger does not admit the job.
        """
        if self._prepared is not None:
            return self._prepared
        libraries.ready()
        from fedward.dataset.manifest import read_manifest
        from fedward.dataset.selection import select
        from fedward.training.trainer import Trainer

        cohort = self._policy.cohorts[self._job.data.cohort]
        manifest, least = read_manifest(cohort.index), cohort.min_patients
        patients = select(self._job, [manifest], site=self._name, min_patients=least).train_patients
        known = self._protection.known
        charge = self._protection.admit(patients)
        self._note("continued" if known else "admitted", **self._admission(len(patients)))
        private = self._protection.private
        trainer = Trainer(self._job, [manifest], site=self._name, min_patients=least, private=private)
        record = job_context.open_record(self._policy)
        run = record.find(self._job_id)
        if run is not None:  # without one, the gate lets no task in
            record.take_cohort(self._job_id, manifest.content_hash)
        self._own.restore(trainer.kept, run=self._run, left=-1 if run is None else run.left)
        self._prepared = Prepared(trainer=trainer, manifest=manifest, patients=patients, charge=charge)
        return self._prepared

    def _admission(self, patients: int) -> dict[str, str | int]:
        """Return the facts of the job's admission for this hospital's audit log."""
        job, policy = self._job, self._policy
        return {
            "name": job.job.name,
            "hash": job_hash(job),
            "cohort": job.data.cohort,
            "way": admission(job, policy, origin=self._origin),
            "policy": policy_hash(policy),
            "protection": job.privacy.mechanism,
            "patients": patients,
        }

    def _admit(self, data: Shareable, abort: Signal) -> Reply:
        here = self._prepare()
        return Reply(
            metrics={
                "support": here.trainer.support.plain(),
                "quarantined": here.manifest.quarantined_patients,
                "cohort_hash": here.manifest.content_hash,
                "fedward": __version__,
                "privacy": here.charge,
                "admission": _WAYS[admission(self._job, self._policy, origin=self._origin)],
            },
        )

    def _begin(self, number: int, steps: int) -> str | None:
        """Record that a round's steps begin; if the charge was closed meanwhile, the next task admits anew.

        Raises:
            LedgerError, BudgetError: as ``Protection.begin``.
        """
        try:
            return self._protection.begin(round_number=number, steps=steps)
        except LedgerError:
            if self._protection.closed:
                self._prepared = None
            raise

    def _round(self, data: Shareable, abort: Signal) -> Reply:
        return self._rounds.answer(self._prepare().trainer, data, abort=abort)

    def _validate(self, data: Shareable, abort: Signal) -> Reply:
        """Return scores of the last round's model, by which the best one is chosen; keep nothing of the model."""
        weights, trainer = global_weights(data), self._prepare().trainer
        scores, validate_s = timed(lambda: trainer.validate(weights))
        return Reply(metrics={"scores": scores.plain(), "validate_s": round(validate_s, 3)})

    def _final(self, data: Shareable, abort: Signal) -> Reply:
        weights, here = global_weights(data), self._prepare()
        scores, validate_s = timed(lambda: here.trainer.validate(weights))
        details = here.trainer.details(set(DETAILS) & set(self._policy.disclosure.metrics))
        self._own.examples(here.trainer.outlined(weights))
        privacy = self._protection.spent(here.patients)
        if self._job.encryption is not None:
            self._own.model(weights, FINAL_FILE)
        metrics = {"scores": scores.plain(), **details, "validate_s": round(validate_s, 3), "privacy": privacy}
        return Reply(counts=self._counts(metrics, here.trainer), metrics=metrics)

    def _counts(self, metrics: Mapping[str, Any], trainer: Trainer) -> dict[str, NDArray[np.int64]] | None:
        """Return this hospital's part of the job's sums of counts, with marks for the counts that it withholds."""
        if self._job.encryption is None:
            return None
        from fedward.flare.summed_counts import site_counts

        support = trainer.support.plain()
        out = self._released({**metrics, "support": support, "patients": support["train_patients"]})
        private = self._protection.is_private
        return site_counts(self._job, self._policy, trainer, lets_out=out, private=private)

    def _nothing(self, data: Shareable, abort: Signal) -> Reply:
        """Return an empty reply: this hospital's gate adds the content that it verified itself."""
        return Reply()

    def _pool(self, data: Shareable, abort: Signal) -> Reply:
        """Return the metrics of all hospitals together, from the sum that this hospital's gate opened."""
        from fedward.flare.summed_counts import told_of_all

        content, disclosure = content_of(data, DataKind.ANALYTIC), self._policy.disclosure
        private = self._protection.is_private
        of_all = told_of_all(self._job, content["purpose"], content["counts"], disclosure=disclosure, private=private)
        return Reply(metrics=of_all)

    def _alone(self, data: Shareable, abort: Signal) -> Reply:
        """Train alone, without noise. Under differential privacy the scores stay too: they depend on training data."""
        trainer = self._prepare().trainer
        weights, train_s = timed(lambda: trainer.train_alone(on_progress=follow(self._own, None, abort)))
        self._own.model(weights, LOCAL_ONLY_FILE)
        scores, validate_s = timed(lambda: trainer.validate(weights))
        self._own.event("alone", scores=scores.plain())
        seconds = {"train_s": round(train_s, 3), "validate_s": round(validate_s, 3)}
        return Reply(metrics={"scores": scores.plain(), **seconds})
