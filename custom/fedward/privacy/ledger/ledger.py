"""Record the use of each patient's images in a hospital's privacy ledger; no restart and no new job forgets it.

The ledger holds events (sampling rate, noise, steps), not ε: two jobs of ε 5 cost 7.4 together, not 10. A job's planned
steps are charged before it trains and count at once. A round is recorded before it begins, and counts from then on,
also if it never ends. Steps that never began are given back when the job is closed; this is safe because a closed job
can begin no round. A continuation of the same job, with the same patients, reopens it: the steps that never began count
again, if they still fit the cap, and the job's own ceiling stays. A patient is a keyed pseudonym, so that jobs on
overlapping cohorts add up for patients who are in both.

Every failure fails closed: if an entry was not made durable, the method raises, and nothing may be trained or sent; if
the process was killed after writing an entry, the entry counts. ``fedward.privacy.ledger.chain_store`` describes which
tampering is found, and which is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from fedward.errors import BudgetError, LedgerError
from fedward.privacy import accountant
from fedward.privacy.accountant import Event
from fedward.privacy.ledger.chain_store import ChainFile, Turn
from fedward.privacy.ledger.charges import Charge, Unprotected, named, other_patients, require_possible
from fedward.privacy.ledger.hash_chain import ChainEntry
from fedward.privacy.ledger.site_file import LedgerFile
from fedward.privacy.ledger.spending import LedgerState, MaxSpend, course, worst

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Ledger(LedgerFile):
    """The ledger of one site."""

    def __init__(self, chain: ChainFile, *, site: str) -> None:
        super().__init__(chain, site=site)
        self._books = LedgerState()

    def charge(
        self,
        *,
        job_id: str,
        job: str,
        cohort: str,
        event: Event,
        rounds: int,
        patients: Collection[str],
        cap: float | None,
        delta: float,
        allowance: int = 0,
        absent_noise: int | None = None,
    ) -> Charge:
        """Charge a job: all its planned steps count from now on. Again with equal values: return the same charge.

        A charge that was closed is reopened by equal values: its steps that never began count again. The job's own
        ceiling is its planned steps and ``allowance`` more, whatever ``cap`` would leave.

        Args:
            job_id: FLARE's id of the run. job: the job's name. cohort: the cohort's name in ``site.toml``.
            event, rounds: the mechanism with all steps that the job plans, and its rounds.
            patients: pseudonyms of all patients whom the job may train on.
            cap: largest ε that any of them may reach, over all jobs ever; None records without a cap.
            delta: δ at which ε is compared with ``cap``.
            allowance: steps beyond those planned that may begin after a restart; they are charged when they begin.
            absent_noise: number of hospitals whose share of the sum's noise ε can do without; None: the noise is this
                hospital's own.

        Raises:
            BudgetError: a patient would pass ``cap``; nothing is recorded.
            PatientsError: the job id has a charge of other patients.
            LedgerError: the job id has another charge, or a value is not possible.
        """
        require_possible(event, rounds=rounds, cap=cap, delta=delta, allowance=allowance)
        body: dict[str, Any] = {
            **named(job_id=job_id, job=job, cohort=cohort),
            "unit": event.unit,
            "sampling_rate": float(event.sampling_rate),
            "noise_multiplier": float(event.noise_multiplier),
            "steps": int(event.steps),
            "rounds": int(rounds),
            "allowance": int(allowance),
            "cap": None if cap is None else float(cap),
            "delta": float(delta),
        }
        if absent_noise is not None:
            body["absent_noise"] = int(absent_noise)
        people = frozenset(patients)
        if cap is not None:
            self._prepare(job_id, people, event, delta=delta)
        with self._turn() as turn:
            if not self._stands("charge", body, people):
                self._afford(people, event, cohort=cohort, cap=cap, delta=delta)
                turn.append("charge", body, patients=people)
            elif self._found(job_id).closed:
                self._reopen(turn, self._found(job_id))
        with self._look():
            return self._found(job_id)

    def require_patients(self, job_id: str, patients: Collection[str]) -> None:
        """Compare patients with those of the job's entry; a job without an entry passes.

        Raises:
            PatientsError: the job's entry has other patients.
        """
        with self._look():
            job = self._books.jobs.get(job_id)
            if job is not None and self._chain.members[job.patients] != frozenset(patients):
                raise other_patients(self.path)

    def begin(self, job_id: str, *, round_number: int, steps: int) -> ChainEntry:
        """Record a round before it begins; it is durable once this returns, and counts even if the round never ends.

        A round that begins again after a restart counts again. Steps beyond those planned are charged here, up to the
        charge's ``allowance``.

        Raises:
            BudgetError: steps beyond those planned would pass the job's own ceiling, or take a patient past the
                charge's cap; nothing is recorded.
            LedgerError: the job is not charged, or closed, or ``steps`` is below 1.
        """
        if steps < 1 or round_number < 0:
            raise LedgerError("a round has a number from 0 and 1 step or more", where=self.path, value=steps)
        with self._turn() as turn:
            charge = self._found(job_id)
            if charge.closed:
                raise LedgerError("job is closed and can begin no round", where=self.path, value=job_id)
            if charge.begun_steps + steps > charge.ceiling.steps:
                what = f"the round would pass the job's own ceiling of {charge.ceiling.steps} steps"
                remedy = "submit the job again: it is charged anew"
                raise BudgetError(what, where=f"cohort {charge.cohort}", remedy=remedy)
            beyond = charge.begun_steps + steps - charge.counted.steps
            if beyond > 0:
                more = replace(charge.event, steps=beyond)
                people = self._chain.members[charge.patients]
                self._afford(people, more, cohort=charge.cohort, cap=charge.cap, delta=charge.delta)
            body = {"job_id": job_id, "round": int(round_number), "steps": int(steps)}
            return turn.append("begin", body)

    def release(self, begun: str, *, digest: str) -> ChainEntry:
        """Bind the one update that a round may send. A second call with the same digest returns the first entry.

        Args:
            begun: hash of the round's begin entry.
            digest: SHA-256 of the update, 64 hexadecimal digits.

        Raises:
            LedgerError: no such round, or another update was released for it.
        """
        if not _DIGEST.fullmatch(digest):
            raise LedgerError("digest is not 64 hexadecimal digits", where=self.path)
        with self._turn() as turn:
            if begun not in self._books.begun:
                raise LedgerError("no round was begun under this hash", where=self.path, value=begun)
            standing = self._books.released.get(begun)
            if standing is None:
                return turn.append("release", {"begun": begun, "digest": digest})
            if standing.body["digest"] != digest:
                raise LedgerError("another update was released for this round", where=self.path, value=begun)
            return standing

    def close(self, job_id: str) -> ChainEntry | None:
        """Close a job and give back the steps that never began; it can begin no round until it is charged again.

        Returns:
            The closing entry, the same for every call, or None where the job was never charged.
        """
        with self._turn() as turn:
            charge = self._books.charge(job_id)
            if charge is None or charge.closed:
                return self._books.closing.get(job_id)
            return turn.append("close", {"job_id": job_id, "refunded_steps": charge.unbegun_steps})

    def unprotected(self, *, job_id: str, job: str, cohort: str, patients: Collection[str]) -> ChainEntry:
        """Record that a job without differential privacy uses these patients: no ε bounds them from now on.

        Raises:
            PatientsError: the job id has an entry of other patients.
            LedgerError: the job id has another entry.
        """
        body, people = named(job_id=job_id, job=job, cohort=cohort), frozenset(patients)
        with self._turn() as turn:
            if self._stands("unprotected", body, people):
                return self._chain.entries[self._books.jobs[job_id].number - 1]
            return turn.append("unprotected", body, patients=people)

    def charges(self) -> list[Charge]:
        """Return all charges, in order."""
        return [job for job in self.jobs() if isinstance(job, Charge)]

    def jobs(self) -> list[Charge | Unprotected]:
        """Return all jobs, including those without differential privacy, in order."""
        with self._look():
            return list(self._books.jobs.values())

    def find(self, job_id: str) -> Charge | None:
        """Return the job's charge, or None."""
        with self._look():
            return self._books.charge(job_id)

    def patients(self, cohort: str) -> frozenset[str]:
        """Return the pseudonyms of all patients that any job used under a cohort's name."""
        with self._look():
            sets = [self._chain.members[job.patients] for job in self._books.jobs.values() if job.cohort == cohort]
            return frozenset().union(*sets)

    def patients_of(self, job_id: str) -> frozenset[str]:
        """Return the pseudonyms of a job's patients; none for a job without an entry."""
        with self._look():
            job = self._books.jobs.get(job_id)
            return frozenset() if job is None else self._chain.members[job.patients]

    def spent(self, patients: Collection[str], *, delta: float) -> float:
        """Compute the largest ε among patients at ``delta``, over every job that ever used them; 0.0 for none."""
        return self.worst(patients, delta=delta).epsilon

    def worst(self, patients: Collection[str], *, delta: float) -> MaxSpend:
        """Compute the same as ``spent``, with the number of patients at it."""
        with self._look():
            histories = self._books.histories(frozenset(patients), self._chain.members)
        return worst(histories, delta=delta)

    def course(self, patients: Collection[str], *, delta: float) -> list[tuple[str, float]]:
        """Return time and ``spent`` after each entry that changed it, in order."""
        with self._look():
            entries, members = list(self._chain.entries), dict(self._chain.members)
        return course(entries, members, patients, delta=delta)

    def alone(self, charge: Charge) -> float:
        """Compute ε of the counted steps of one charge, as if there were no other."""
        return accountant.epsilon([charge.counted], delta=charge.delta)

    def after(self, charge: Charge, *, delta: float) -> float:
        """Compute the largest ε of a charge's patients from it and earlier jobs, with the steps that count today."""
        with self._look():
            books = LedgerState()
            books.jobs = {name: job for name, job in self._books.jobs.items() if job.number <= charge.number}
            histories = books.histories(self._chain.members[charge.patients], self._chain.members)
        return worst(histories, delta=delta).epsilon

    def _prepare(self, job_id: str, patients: frozenset[str], event: Event, *, delta: float) -> None:
        """Compute what a charge will be compared with, which is slow, outside the lock; the accountant caches it."""
        with self._look():
            standing = self._books.charge(job_id)
            steps = event.steps if standing is None else standing.unbegun_steps if standing.closed else 0
            if not steps:
                return
            histories = self._books.histories(patients, self._chain.members, extra=replace(event, steps=steps))
        worst(histories, delta=delta)

    def _take(self, entry: ChainEntry) -> None:
        self._books.take(entry)

    def _found(self, job_id: str) -> Charge:
        charge = self._books.charge(job_id)
        if charge is None:
            raise LedgerError("job is not charged", where=self.path, value=job_id, remedy="charge it before it trains")
        return charge

    def _stands(self, kind: str, body: dict[str, Any], patients: frozenset[str]) -> bool:
        """True if the job's own entry exists already; another entry under its id is refused."""
        job = self._books.jobs.get(str(body["job_id"]))
        if job is None:
            return False
        entry = self._chain.entries[job.number - 1]
        differs = [name for name, value in body.items() if entry.body.get(name) != value]
        if self._chain.members[job.patients] != patients:
            raise other_patients(self.path)
        if entry.kind != kind or differs:
            what = f"job stands in the ledger with other {', '.join(differs) or 'protection'}"
            raise LedgerError(what, where=self.path, value=job.job_id, remedy="run it anew under an id of its own")
        return True

    def _reopen(self, turn: Turn, charge: Charge) -> None:
        """Count the steps that never began again, if every patient can afford them."""
        if charge.unbegun_steps:
            more = replace(charge.event, steps=charge.unbegun_steps)
            people = self._chain.members[charge.patients]
            self._afford(people, more, cohort=charge.cohort, cap=charge.cap, delta=charge.delta)
        turn.append("reopen", {"job_id": charge.job_id, "steps": charge.unbegun_steps})

    def _afford(self, patients: frozenset[str], event: Event, *, cohort: str, cap: float | None, delta: float) -> None:
        if cap is None:
            return
        histories = self._books.histories(patients, self._chain.members, extra=event)
        where = f"cohort {cohort}"
        if None in histories:
            touched = f"{histories[None]} of {len(patients)} patients were in a job without differential privacy"
            raise BudgetError(f"{touched}, and no ε bounds what is known of them", where=where, remedy="leave them out")
        epsilon = worst(histories, delta=delta).epsilon
        if not epsilon <= cap:
            what = f"a patient would come to ε {epsilon:.2f} at δ {delta:g}, over the hospital's cap of {cap:g}"
            raise BudgetError(what, where=where, remedy="ask for more noise or fewer steps")
