"""A job at one hospital, as its policy and its ledger see it: agreed, charged before training, proven to the gate.

Nothing is trained for a federation before ``admit`` or, at a site that was restarted, ``Protection.private`` has found
the job's charge in the ledger. What this module hands out is a receipt; the gate believes the ledger, not the receipt.
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
    from fedward.weights import Weights


class Protection:
    """What one job must keep to at one hospital.

    Args:
        job: the job.
        policy: the hospital's.
        job_id: FLARE's id of this run; a run submitted again is another.
        origin: what the site verified of who sends it.

    Raises:
        PolicyError: the job asks for more than the policy gives.
    """

    def __init__(self, job: JobSpec, policy: SitePolicy, *, job_id: str, origin: Origin = UNKNOWN) -> None:
        self._job, self._policy, self._job_id = job, policy, job_id
        self.agreement: Agreement = agree(job, policy, origin=origin)

    @property
    def is_private(self) -> bool:
        """Whether the job is differentially private; then nothing that training data shaped leaves without noise."""
        return self.agreement.mechanism != "none"

    def admit(self, patients: Collection[str]) -> dict[str, Any]:
        """Charge the whole job, or write down that it protects nobody; returns what the server may know.

        A job that was charged before, at a site that was restarted, keeps its charge.

        Args:
            patients: pseudonyms of the training patients.

        Raises:
            LedgerError: no ledger, or one that is damaged.
            BudgetError: a patient's ε would pass the cap.
            PolicyError: the noise that follows from the wanted ε is smaller than the policy's smallest.
        """
        if not self.is_private:
            self._ledger.unprotected(
                job_id=self._job_id, job=self._job.job.name, cohort=self._job.data.cohort, patients=patients
            )
            return {"mechanism": "none"}
        charge = self._ledger.find(self._job_id) or self._charge(patients)
        return self._facts(charge, patients)

    @cached_property
    def private(self) -> Private | None:
        """Sampling rate and noise that the ledger was charged for, or None for a job without DP-SGD.

        Raises:
            LedgerError: the job was never charged.
        """
        if self.agreement.mechanism != "dp-sgd":
            return None
        from fedward.training.trainer import Private

        event = self._standing().event
        return Private(sampling_rate=event.sampling_rate, noise_multiplier=event.noise_multiplier)

    def begin(self, *, round_number: int, steps: int) -> str | None:
        """Write down that a round's steps are about to be taken; returns the entry's hash, None without DP-SGD.

        Raises:
            BudgetError: a round that was taken before, at a site that was restarted, does not fit the cap again.
            LedgerError: the job is closed or was never charged.
        """
        if self.agreement.mechanism != "dp-sgd":
            return None
        return self._ledger.begin(self._job_id, round_number=round_number, steps=steps).hash

    def proof(
        self, begun: str | None, trained: Trained, update: Weights, *, round_number: int
    ) -> dict[str, Any] | None:
        """The receipt that goes with an update to the gate and no further; None without DP-SGD.

        Raises:
            LedgerError: the trainer does not say that it was private.
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
        """What the job has cost so far, for the server."""
        return self._facts(self._standing(), patients) if self.is_private else {"mechanism": "none"}

    def close(self) -> None:
        """Give back what never began; no round can begin afterwards."""
        if self.is_private:
            self._ledger.close(self._job_id)

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
