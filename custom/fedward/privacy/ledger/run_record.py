"""Keep a hospital's record of runs: each step is durable before it counts, beside the entries of the ledger.

Each method of ``Record`` that writes returns once its entry is on the disk, or raises. So a caller that writes first
and acts afterwards never acts on an entry that a kill can take back. A known run is a **continuation** if all of these
conditions hold, and is refused otherwise:

* its job has the hash that the run began with;
* the run has not ended here;
* a repeated step is equal: the same hospitals with the same nonces, the same sum of a round, the same final model;
* an update is of a round above the highest round whose update left, or of that round, from the same model. Each update
  that leaves again is counted, and a run has few of them (``fedward.privacy.budget_plan.repeated_rounds``).

Another run of a job, under another id, is a run like any other, with one more condition: its sums are of the same
hospitals (``same_hospitals``).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from fedward.errors import LedgerError
from fedward.privacy.ledger.chain_store import ChainFile
from fedward.privacy.ledger.hash_chain import ChainEntry
from fedward.privacy.ledger.runs import (
    BEGIN,
    COHORT,
    COMPARE,
    CONFIRM,
    END,
    FINAL,
    LEAVE,
    OPEN,
    ROSTER,
    SUM,
    UNMASK,
    VALIDATE,
    FinalModel,
    Run,
    Runs,
)
from fedward.privacy.ledger.same_hospitals import require_same_hospitals
from fedward.privacy.ledger.site_file import LedgerFile

NONCE_BYTES = 16
_HASH = re.compile(r"[0-9a-f]{64}")


class Record(LedgerFile):
    """The record of one site.

    Every method that writes raises ``LedgerError`` where the file cannot be read, written or verified. It raises
    ``GateError`` where the run is unknown or has ended, another fact is in the place of this one, or another run of the
    same job summed other hospitals, or may have.
    """

    def __init__(self, chain: ChainFile, *, site: str) -> None:
        super().__init__(chain, site=site)
        self._runs = Runs()

    def find(self, job_id: str) -> Run | None:
        """Return the current run, or None where none began under this id."""
        with self._look():
            return self._runs.find(job_id)

    def runs(self) -> tuple[Run, ...]:
        """Return all runs, in the order in which they began."""
        with self._look():
            return self._runs.all()

    def begin(self, job_id: str, *, job: str) -> Run:
        """Begin a run with a fresh nonce, or return the known run with its own nonce.

        Args:
            job_id: FLARE's id of the run.
            job: hash of the job's settings.

        Raises:
            GateError: the run is known and this is no continuation of it.
        """
        if not job_id or not _HASH.fullmatch(job):
            raise LedgerError("a run has an id, and its job a hash of 64 hexadecimal digits", where=self.path)
        with self._turn() as turn:
            run = self._runs.find(job_id)
            if run is None:
                turn.append(BEGIN, {"job_id": job_id, "job": job, "nonce": secrets.token_hex(NONCE_BYTES)})
            else:
                run.require(job=job)
        return self.require(job_id)

    def require(self, job_id: str) -> Run:
        """Return the current run.

        Raises:
            LedgerError: none began under this id.
        """
        with self._look():
            return self._known(job_id)

    def take_roster(self, job_id: str, roster: Mapping[str, str]) -> None:
        """Record the hospitals that take part, hospital -> nonce, for the whole run."""
        self._write(job_id, ROSTER, roster=dict(roster))

    def take_cohort(self, job_id: str, content_hash: str) -> None:
        """Record the cohort's index that a run uses; with another one an answer that comes again would tell of it.

        Raises:
            PatientsError: the run began with another index.
        """
        self._write(job_id, COHORT, cohort=content_hash)

    def unmask_sum(
        self, job_id: str, *, purpose: str, round_number: int, request: str, messages: str, sites: Collection[str]
    ) -> None:
        """Record a request to open a masked sum, before this hospital helps: the only one of its purpose and round."""
        about = {"purpose": purpose, "round": round_number, "request": request, "messages": messages}
        self._write(job_id, UNMASK, **about, sites=sorted(sites))

    def compare(self, job_id: str, *, step: str, round_number: int, upload: str, request: str) -> None:
        """Record a request to compare models of a round, before it is answered.

        It is the only one of its step for one upload.

        Args:
            job_id: FLARE's id of the run.
            step: kind of the request.
            round_number: the round.
            upload: nonce of this hospital's message among those that are compared; empty: none is.
            request: identity of the request.

        Raises:
            RepeatError: the hospital answered another one.
            GateError: the hospital answered one in another run of this job.
        """
        self._write(job_id, COMPARE, step=step, round=round_number, upload=upload, request=request)

    def open_sum(self, job_id: str, *, purpose: str, round_number: int, sum: str, sites: Collection[str]) -> None:
        """Record a sum that was verified, before it is used: the only one of its purpose and round."""
        self._write(job_id, SUM, purpose=purpose, round=round_number, sum=sum, sites=sorted(sites))

    def confirm_sum(self, job_id: str, *, purpose: str, round_number: int, sum: str) -> None:
        """Record a sum that this hospital is about to confirm."""
        self._write(job_id, CONFIRM, purpose=purpose, round=round_number, sum=sum)

    def leave(self, job_id: str, *, round_number: int, model: str, repeats: int) -> int:
        """Record that a round's update is about to leave; afterwards none of an earlier round leaves.

        The update of the same round may leave again from the same model; each time is an entry, and counts.

        Args:
            job_id: FLARE's id of the run.
            round_number: round of the update.
            model: identity of the model that the update answers.
            repeats: number of updates of the run that may leave a second time.

        Returns:
            Number of the entry in the ledger's file.

        Raises:
            RepeatError: the run has had all of its repeats.
        """
        with self._turn() as turn:
            run = self._known(job_id)
            run.require(job=run.job)
            run.require_round(round_number, model=model, most=repeats)
            require_same_hospitals(run, self._runs.others(run), LEAVE, {})
            entry = turn.append(LEAVE, {"job_id": job_id, "round": round_number, "model": model})
        return entry.number

    def validate(self, job_id: str, model: FinalModel) -> None:
        """Record the one model that is validated before the final one is chosen; no update leaves afterwards."""
        self._write(job_id, VALIDATE, round=model.after, model=model.model)

    def finish(self, job_id: str, model: FinalModel) -> None:
        """Record the one final model, before this hospital confirms it."""
        self._write(job_id, FINAL, round=model.after, model=model.model)

    def reveal(self, job_id: str, model: FinalModel) -> None:
        """Record that the final model is about to be opened to the server."""
        self._write(job_id, OPEN, round=model.after, model=model.model)

    def end(self, job_id: str) -> None:
        """End a run: nothing continues it. A run that never began, or has ended, stays unchanged."""
        with self._turn() as turn:
            run = self._runs.find(job_id)
            if run is not None and not run.ended:
                turn.append(END, {"job_id": job_id})

    def _write(self, job_id: str, kind: str, **words: Any) -> None:
        with self._look():
            if self._known(job_id).stands(kind, words):
                return
        with self._turn() as turn:
            run = self._known(job_id)
            if not run.stands(kind, words):
                require_same_hospitals(run, self._runs.others(run), kind, words)
                turn.append(kind, {"job_id": job_id, **words})

    def _known(self, job_id: str) -> Run:
        run = self._runs.find(job_id)
        if run is None:
            remedy = "submit the job again"
            raise LedgerError("no such run was begun here", where=self.path, value=job_id, remedy=remedy)
        return run

    def _take(self, entry: ChainEntry) -> None:
        self._runs.take(entry)
