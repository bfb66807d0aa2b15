"""Track a hospital's part in each run of a job, from its entries: begun, opened, confirmed, left, ended.

A fact is written once. The same fact again is found and not written; another fact in its place is refused, and so is
every fact after the run's end. One fact counts: that the update of the last round left again, from the same model. This
module reads and writes no file; ``fedward.privacy.ledger.run_record`` does.

Runs of one job are compared with each other too (``same_hospitals``).

========== ============================================== ===============================================
fact       about                                          content
========== ============================================== ===============================================
begin      the run                                        hash of the job, nonce of this hospital
roster     the run                                        nonce of each hospital that takes part
unmask     a purpose and a round                          identity of the request to open a sum, and its hospitals
compare    a step, a round and an upload                  identity of the request to compare models
sum        a purpose and a round                          identity of the opened sum, and its hospitals
confirm    a purpose and a round                          identity of the sum confirmed
leave      the run; a higher round, or the last again     round whose update left, and model that it answered
validate   the run                                        model that was validated before one was chosen
final      the run                                        round and identity of the one final model
open       the run                                        final model that was opened to the server
cohort     the run                                        hash of the cohort's index that it trains and validates on
end        the run                                        nothing
========== ============================================== ===============================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fedward.errors import GateError, LedgerError, PatientsError, RepeatError
from fedward.privacy.ledger.hash_chain import ChainEntry

MODEL = "model"
"""Purpose of sums of models; those of groups begin with it and ``-``."""
RUN = "run-"
"""Prefix of the kinds of these entries; all other entries in the file belong to the privacy ledger."""
BEGIN, ROSTER, SUM, CONFIRM, LEAVE = (RUN + word for word in ("begin", "roster", "sum", "confirm", "leave"))
VALIDATE, FINAL, OPEN, END, COHORT = (RUN + word for word in ("validate", "final", "open", "end", "cohort"))
UNMASK, COMPARE = RUN + "unmask", RUN + "compare"
_ABOUT: Mapping[str, tuple[str, ...]] = {
    ROSTER: (),
    UNMASK: ("purpose", "round"),
    COMPARE: ("step", "round", "upload"),
    SUM: ("purpose", "round"),
    CONFIRM: ("purpose", "round"),
    VALIDATE: (),
    FINAL: (),
    OPEN: (),
    COHORT: (),
}
"""Fact -> fields that identify its subject."""
_OTHER: Mapping[str, str] = {
    ROSTER: "hospitals of this job, or their nonces, are not those of its first task",
    UNMASK: "this hospital helped to open another sum of this round",
    COMPARE: "this hospital compared other models of this round",
    SUM: "another sum of this round was opened before",
    CONFIRM: "another sum of this kind was confirmed before",
    VALIDATE: "another model of this job was validated before",
    FINAL: "another final model of this job was confirmed before",
    OPEN: "another model of this job was opened before",
}
_OTHER_COUNTS = "counts of other hospitals were summed in this run"
_OTHER_COHORT = "the cohort was indexed anew since this run of the job began here"
_AGAIN = "submit the job again: it gets an id of its own"

Subject = tuple[object, ...]


class FinalModel(NamedTuple):
    """The one final model of a run: number of its rounds, and its identity (of its sum, or digest of its values)."""

    after: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job at this hospital.

    Attributes:
        job_id: FLARE's id of the run.
        job: hash of the job's settings.
        nonce: 32 hexadecimal digits that this hospital drew when the run began.
        facts: kind and subject -> fields that were written.
        left: highest round whose update left; -1: none.
        answered: identity of the model that the update of round ``left`` answered; None: none left, or an older entry.
        repeats: number of updates that left for a round whose update had left before.
        ended: True if the run has ended here.
    """

    job_id: str
    job: str
    nonce: str
    facts: Mapping[Subject, Mapping[str, Any]] = field(default_factory=dict)
    left: int = -1
    answered: str | None = None
    repeats: int = 0
    ended: bool = False

    def require(self, *, job: str) -> None:
        """Refuse a run that does not continue: it must be the same job, under the same id, and not have ended here.

        Raises:
            GateError: it is another job, or the run has ended.
        """
        if self.job != job:
            raise GateError("another job was begun here under this id", remedy=_AGAIN)
        if self.ended:
            raise GateError("this run of the job has ended here", remedy=_AGAIN)

    def stands(self, kind: str, words: Mapping[str, Any]) -> bool:
        """True if a fact was written already, with equal fields; False if it is still to be written.

        Raises:
            GateError: another fact is in its place, or the run is past it.
        """
        self.require(job=self.job)
        if kind == END:
            return False
        if kind == LEAVE:
            self.require_round(words["round"], model=words.get("model"))
            return False
        found = self.facts.get(_subject(kind, words))
        if found is not None:
            if dict(found) != dict(words):
                # a hospital may index again: that is no false statement, and ends no run
                if kind == COHORT:
                    raise PatientsError(_OTHER_COHORT, remedy=_AGAIN)
                if kind == COMPARE:  # a server that was killed asks anew: the round is lost, and not the run
                    raise RepeatError(_OTHER[kind], remedy=_AGAIN)
                raise GateError(_OTHER[kind], remedy=_AGAIN)
            return True
        if kind == VALIDATE and self.final is not None:
            raise RepeatError("a final model of this job was confirmed before", remedy=_AGAIN)
        if kind in (SUM, UNMASK):
            other = self.facts.get((UNMASK if kind == SUM else SUM, words["purpose"], words["round"]))
            if other is not None and sorted(other["sites"]) != sorted(words["sites"]):
                raise GateError(_OTHER[kind], remedy=_AGAIN)
            if not _of_models(words["purpose"]) and any(
                one != sorted(words["sites"]) for one in self.summed(words["purpose"], None)
            ):
                raise RepeatError(_OTHER_COUNTS, remedy=_AGAIN)
        if kind == OPEN and self.final != FinalModel(words["round"], words["model"]):
            raise GateError("model is not the final one that this hospital confirmed", remedy=_AGAIN)
        return False

    def opened(self, purpose: str, round_number: int) -> Mapping[str, Any] | None:
        """Return ``sum``, the identity of a sum that was opened here, and its ``sites``; None: it was not opened."""
        return self.facts.get((SUM, purpose, round_number))

    def helped(self, purpose: str, round_number: int) -> Mapping[str, Any] | None:
        """Return ``messages`` and ``sites`` of the sum that this hospital helped to open; None: it helped for none."""
        return self.facts.get((UNMASK, purpose, round_number))

    def summed(self, purpose: str, round_number: int | None) -> list[Any]:
        """Return the hospitals of each sum of a purpose that was opened, or that this hospital helped to open.

        Of a model's sums, those of this round, or of any round where it is None.

        Counts are of one kind whatever their purpose and in every round, because they count the same patients. An entry
        that does not name its hospitals gives None, which equals no set of hospitals.
        """
        return [
            None if "sites" not in words else sorted(words["sites"])
            for (kind, *about), words in self.facts.items()
            if kind in (SUM, UNMASK)
            and (
                about[0] == purpose and round_number in (None, about[1])
                if _of_models(purpose)
                else not _of_models(str(about[0]))
            )
        ]

    @property
    def has_sent(self) -> bool:
        """True if an update, or counts of the final model, of this hospital may have left."""
        return self.left >= 0 or self.final is not None

    def fact(self, kind: str) -> Mapping[str, Any] | None:
        """Return the fields of a fact about the run itself; None: there is none."""
        return self.facts.get((kind,))

    @property
    def final(self) -> FinalModel | None:
        found = self.fact(FINAL)
        return None if found is None else FinalModel(found["round"], found["model"])

    @property
    def roster(self) -> Mapping[str, str] | None:
        """Hospital -> nonce, of all that take part; None until a task of an encrypted job has sent it."""
        found = self.fact(ROSTER)
        return None if found is None else dict(found["roster"])

    def require_round(self, round_number: int, *, model: str | None, most: int | None = None) -> None:
        """Refuse an update that may not leave: of an earlier round, of another model, or after the last validation.

        Args:
            round_number: round of the update.
            model: identity of the model that the update answers.
            most: number of repeats that the run may have; None: not checked.

        Raises:
            RepeatError: the round's update left before, and the run has had all of its repeats.
            GateError: no honest server asks for this update.
        """
        if self.fact(VALIDATE) is not None or self.final is not None:
            raise GateError("update of a round after the last validation began", remedy=_AGAIN)
        if round_number < self.left:
            raise GateError("an update of a later round left before", remedy=_AGAIN)
        if round_number > self.left:
            return
        if model is None or model != self.answered:
            raise GateError("an update of this round left before, for another model", remedy=_AGAIN)
        if most is not None and self.repeats >= most:
            raise RepeatError("the rounds that this run may repeat are used up", value=self.repeats)


class Runs:
    """All runs, built from the entries in order."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def find(self, job_id: str) -> Run | None:
        return self._runs.get(job_id)

    def all(self) -> tuple[Run, ...]:
        """Return the runs in the order in which they began."""
        return tuple(self._runs.values())

    def others(self, run: Run) -> list[Run]:
        """Return the other runs of the same job."""
        return [one for one in self._runs.values() if one.job == run.job and one.job_id != run.job_id]

    def take(self, entry: ChainEntry) -> None:
        """Add one entry; entries of the privacy ledger are skipped.

        Raises:
            LedgerError: its content is impossible, or this Fedward does not know it.
        """
        if not entry.kind.startswith(RUN):
            return
        try:
            words = dict(entry.body)
            job_id = words.pop("job_id")
            self._runs[job_id] = _begun(job_id, words) if entry.kind == BEGIN else self._more(job_id, entry.kind, words)
        except (LookupError, TypeError, ValueError, GateError):
            what = f"entry {entry.number} cannot be understood"
            raise LedgerError(what, value=entry.kind, remedy="update Fedward to the version that wrote it") from None

    def _more(self, job_id: str, kind: str, words: dict[str, Any]) -> Run:
        run = self._runs[job_id]
        if run.stands(kind, words):
            raise ValueError("written twice")
        if kind == LEAVE:
            number, model = int(words["round"]), words.get("model")
            return replace(run, left=number, answered=model, repeats=run.repeats + (number == run.left))
        if kind == END:
            return replace(run, ended=True)
        return replace(run, facts={**run.facts, _subject(kind, words): words})


def _of_models(purpose: str) -> bool:
    """True of sums of models, of all hospitals or of a group (``sum_context.kind_of``)."""
    return purpose.partition("-")[0] == MODEL


def _begun(job_id: str, words: Mapping[str, Any]) -> Run:
    return Run(job_id=job_id, job=words["job"], nonce=words["nonce"])


def _subject(kind: str, words: Mapping[str, Any]) -> Subject:
    return (kind, *(words[name] for name in _ABOUT[kind]))
