"""Apply policy and ledger to a job at one hospital: agree on it, charge it before training, prove it to the gate.

Nothing is trained for a federation before ``admit`` or, at a restarted site, ``Protection.private`` has found the job's
charge in the ledger. The proofs of this module are only receipts: the gate trusts the ledger, not the receipt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fedward.errors import LedgerError
from fedward.flare import job_context
from fedward.privacy.attestation import Proof
from fedward.privacy.ledger.charges import Charge
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.policy.agreement import Agreement, agree, check_noise
from fedward.privacy.policy.approvals import UNKNOWN, Origin
from fedward.settings import JobSpec, SitePolicy
from fedward.weights import digest

if TYPE_CHECKING:
    from fedward.training.trainer import Private, Trained
    from fedward.training.union.union_gradients import UnionGradients


class Protection:
    """Privacy rules that one job must keep at one hospital.

    Args:
        job: the job.
        policy: policy of the hospital.
        job_id: FLARE's id of this run; a run submitted again has another.
        origin: origin of the job, as far as the site verified it.

    Raises:
        PolicyError: the job requests more than the policy allows.
    """

    def __init__(self, job: JobSpec, policy: SitePolicy, *, job_id: str, origin: Origin = UNKNOWN) -> None:
        self._job, self._policy, self._job_id = job, policy, job_id
        self.agreement: Agreement = agree(job, policy, origin=origin)

    @property
    def is_private(self) -> bool:
        """True if the job is differentially private; then nothing derived from training data leaves without noise."""
        return self.agreement.mechanism != "none"

    @property
    def known(self) -> bool:
        """True if the hospital's ledger knows the run already, so that this process continues it."""
        return any(job.job_id == self._job_id for job in self._ledger.jobs())

    @property
    def closed(self) -> bool:
        """True if the ledger holds a charge of the run that was closed: no round begins until it is reopened."""
        charge = self._ledger.find(self._job_id)
        return charge is not None and charge.closed

    def admit(self, patients: Collection[str]) -> dict[str, Any]:
        """Charge the whole job, or record that it protects nobody; return the facts that the server may know.

        At a restarted site, a job that was charged before keeps its charge, or has it reopened where it was closed. The
        patients and all values of the charge are compared first.

        Args:
            patients: pseudonyms of the training patients.

        Raises:
            PatientsError: the job was charged for other patients.
            LedgerError: the ledger is missing or damaged, or the job was charged with other values.
            BudgetError: a patient's ε would exceed the cap.
            PolicyError: the noise that follows from the requested ε is below the policy's minimum.
        """
        self._ledger.require_patients(self._job_id, patients)
        if not self.is_private:
            self._ledger.unprotected(
                job_id=self._job_id, job=self._job.job.name, cohort=self._job.data.cohort, patients=patients
            )
            return {"mechanism": "none"}
        return self._facts(self._charge(patients), patients)

    @cached_property
    def private(self) -> Private | None:
        """Sampling rate and noise that were charged to the ledger, or None for a job without DP-SGD.

        Raises:
            LedgerError: the job was never charged.
        """
        if self.agreement.mechanism != "dp-sgd":
            return None
        from fedward.training.trainer import Private

        event = self._standing().event
        return Private(sampling_rate=event.sampling_rate, noise_multiplier=event.noise_multiplier)

    def begin(self, *, round_number: int, steps: int) -> str | None:
        """Record that a round's steps are about to begin; return the entry's hash, or None without DP-SGD.

        Raises:
            BudgetError: at a restarted site, a round that is repeated does not fit the cap a second time.
            LedgerError: the job is closed or was never charged.
        """
        if self.agreement.mechanism != "dp-sgd":
            return None
        return self._ledger.begin(self._job_id, round_number=round_number, steps=steps).hash

    def proof(
        self, begun: str | None, trained: Trained | UnionGradients, update: Mapping[str, Any], *, round_number: int
    ) -> dict[str, Any] | None:
        """Return the receipt that goes with an update to the gate and no further; None without DP-SGD.

        Raises:
            LedgerError: the trainer does not report private steps.
        """
        if begun is None:
            return None
        done = trained.private
        if done is None:
            raise LedgerError("the trainer has no account of private steps", where=f"round {round_number}")
        return Proof(
            begun=begun,
            job_id=self._job_id,
            round_number=round_number,
            mechanism="dp-sgd",
            steps=done.steps,
            sampling_rate=done.sampling_rate,
            noise_multiplier=done.noise_multiplier,
            clip_norm_l2=done.clip_norm_l2,
            digest=digest(update),
        ).plain()

    def spent(self, patients: Collection[str]) -> dict[str, Any]:
        """Return the privacy cost of the job so far, for the server."""
        return self._facts(self._standing(), patients) if self.is_private else {"mechanism": "none"}

    def _charge(self, patients: Collection[str]) -> Charge:
        from fedward.privacy.budget_plan import plan_site, steps_a_round

        steps = steps_a_round(self._job, patients=len(patients))
        plan = plan_site(self._job, site=self._policy.site, patients=len(patients), steps_a_round=steps)
        check_noise(self.agreement, plan.event.noise_multiplier)
        return self._ledger.charge(
            job_id=self._job_id,
            job=self._job.job.name,
            cohort=self._job.data.cohort,
            event=plan.event,
            rounds=self._job.federation.rounds,
            allowance=plan.allowance,
            patients=patients,
            cap=self._cap,
            delta=self._policy.cohorts[self._job.data.cohort].privacy.delta or plan.delta,
            absent_noise=plan.absent_noise,
        )

    def _facts(self, charge: Charge, patients: Collection[str]) -> dict[str, Any]:
        from fedward.privacy.accountant import epsilon

        facts: Mapping[str, Any] = {
            "mechanism": self.agreement.mechanism,
            "unit": charge.event.unit,
            "epsilon": epsilon([charge.counted], delta=charge.delta),
            "delta": charge.delta,
            "spent": self._ledger.spent(patients, delta=charge.delta),
            "epsilon_cap": charge.cap,
            "noise_multiplier": charge.event.noise_multiplier,
            "sampling_rate": charge.event.sampling_rate,
            "steps": charge.counted.steps,
        }
        return dict(facts)

    def _standing(self) -> Charge:
        charge = self._ledger.find(self._job_id)
        if charge is None:
            raise LedgerError("this run was never charged", where="ledger", remedy="submit the job again")
        return charge

    @property
    def _cap(self) -> float | None:
        return self.agreement.epsilon_cap

    @cached_property
    def _ledger(self) -> Ledger:
        return job_context.open_ledger(self._policy)
