"""What a hospital did in each run of a job, as its entries tell it: begun, opened, confirmed, left, ended.

A fact is written once. The same words again find it standing and write nothing; other words in its place are refused,
and so is everything after the run's end. Nothing here reads or writes a file: ``fedward.privacy.ledger.run_record``
does.

Runs of one job, which is a hash, are held against each other too (``Runs.require_same_hospitals``): of a sum's kind a
hospital opens one set of hospitals, in whatever run.

========== ============================================== ===============================================
fact       about                                          says
========== ============================================== ===============================================
begin      the run                                        hash of the job, nonce of this hospital
roster     the run                                        nonce of each hospital that takes part
sum        a purpose and a round                          identity of the sum opened, whose sums it adds up
confirm    a purpose and a round                          identity of the sum confirmed
leave      the run; only ever a higher round              round whose update left
validate   the run                                        model that was validated before one was chosen
final      the run                                        round and identity of the one final model
open       the run                                        final model that was opened to the server
end        the run                                        nothing
========== ============================================== ===============================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fedward.errors import GateError, LedgerError
from fedward.privacy.ledger.hash_chain import ChainEntry

RUN = "run-"
"""How the kinds of these entries begin; all others in the file are the privacy ledger's."""
BEGIN, ROSTER, SUM, CONFIRM, LEAVE = (RUN + word for word in ("begin", "roster", "sum", "confirm", "leave"))
VALIDATE, FINAL, OPEN, END = (RUN + word for word in ("validate", "final", "open", "end"))
_ABOUT: Mapping[str, tuple[str, ...]] = {
    ROSTER: (),
    SUM: ("purpose", "round"),
    CONFIRM: ("purpose", "round"),
    VALIDATE: (),
    FINAL: (),
    OPEN: (),
}
"""Fact -> which words of it say what it is about."""
_OTHER: Mapping[str, str] = {
    ROSTER: "hospitals of this job, or their nonces, are not those of its first task",
    SUM: "another sum of this round was opened before",
    CONFIRM: "another sum of this kind was confirmed before",
    VALIDATE: "another model of this job was validated before",
    FINAL: "another final model of this job was confirmed before",
    OPEN: "another model of this job was opened before",
}
_AGAIN = "submit the job again: it gets an id of its own"
_MODEL = "model"
_OTHER_HOSPITALS = "other hospitals were summed in another run of this job; submit it with another job.seed"
_ANOTHER_SEED = "with another seed it is another job: hospitals start from other weights, and train in another order"

Subject = tuple[object, ...]


class FinalModel(NamedTuple):
    """The one final model of a run: how many rounds made it, and its identity (of its sum, or digest of its values)."""

    after: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job at this hospital.

    Attributes:
        job_id: FLARE's id of the run.
        job: hash of the job's settings.
        nonce: 32 hexadecimal digits that this hospital drew when the run began.
        facts: kind and what it is about -> what was written.
        left: highest round whose update left; -1: none.
        ended: whether the run has ended here.
    """

    job_id: str
    job: str
    nonce: str
    facts: Mapping[Subject, Mapping[str, Any]] = field(default_factory=dict)
    left: int = -1
    ended: bool = False

    def require(self, *, job: str) -> None:
        """Refuse what is no continuation: the same job, under the same id, which has not ended here.

        Raises:
            GateError: it is another job, or the run has ended.
        """
        if self.job != job:
            raise GateError("another job was begun here under this id", remedy=_AGAIN)
        if self.ended:
            raise GateError("this run of the job has ended here", remedy=_AGAIN)

    def stands(self, kind: str, words: Mapping[str, Any]) -> bool:
        """Whether a fact stands already, word for word; False where it is still to be written.

        Raises:
            GateError: another stands in its place, or the run is past it.
        """
        self.require(job=self.job)
        if kind == END:
            return False
        if kind == LEAVE:
            return self._leaves(words["round"])
        found = self.facts.get(_subject(kind, words))
        if found is not None:
            if dict(found) != dict(words):
                raise GateError(_OTHER[kind], remedy=_AGAIN)
            return True
        if kind == VALIDATE and self.final is not None:
            raise GateError("a final model of this job was confirmed before", remedy=_AGAIN)
        if kind == OPEN and self.final != FinalModel(words["round"], words["model"]):
            raise GateError("model is not the final one that this hospital confirmed", remedy=_AGAIN)
        return False

    def opened(self, purpose: str, round_number: int) -> Mapping[str, Any] | None:
        """What was written of a sum that was opened here: ``sum``, its identity, and ``sites``; None: it was not."""
        return self.facts.get((SUM, purpose, round_number))

    def summed(self, purpose: str, round_number: int | None) -> list[Any]:
        """Whose sums of a purpose were opened here; of a model's in this round, or in any where it is None.

        Counts are of one kind whatever their round is: the patients whom they count are the same. A sum that does not
        say its hospitals stands for None, which is the same as no set of hospitals.
        """
        return [
            None if "sites" not in words else sorted(words["sites"])
            for (kind, *about), words in self.facts.items()
            if kind == SUM and about[0] == purpose and (purpose != _MODEL or round_number in (None, about[1]))
        ]

    def fact(self, kind: str) -> Mapping[str, Any] | None:
        """What was written of the run itself; None: nothing."""
        return self.facts.get((kind,))

    @property
    def final(self) -> FinalModel | None:
        found = self.fact(FINAL)
        return None if found is None else FinalModel(found["round"], found["model"])

    @property
    def roster(self) -> Mapping[str, str] | None:
        """Hospital -> nonce, of all that take part; None until a task of an encrypted job has said it."""
        found = self.fact(ROSTER)
        return None if found is None else dict(found["roster"])

    def _leaves(self, round_number: int) -> bool:
        if self.fact(VALIDATE) is not None or self.final is not None:
            raise GateError("update of a round after the last validation began", remedy=_AGAIN)
        if round_number <= self.left:
            raise GateError("an update of this round, or of a later one, left before", remedy=_AGAIN)
        return False


class Runs:
    """All runs, added up from the entries in order."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def find(self, job_id: str) -> Run | None:
        return self._runs.get(job_id)

    def all(self) -> tuple[Run, ...]:
        """In the order in which they began."""
        return tuple(self._runs.values())

    def require_same_hospitals(self, run: Run, kind: str, words: Mapping[str, Any]) -> None:
        """Refuse a sum of other hospitals than another run of the same job summed, and a roster that leads to one.

        Without noise a hospital's update follows from the job, the round and the model that it starts from, and not
        from the run: of two runs' sums, the difference is what those send who are in one alone. So of the models of a
        round, of score histograms and of cohort statistics this hospital opens sums of one set of hospitals, in all
        runs of a job. By induction over the rounds, what it sends in a round is then the same in every run, and
        ``flare.sealing.enough`` bounds what follows from all sums that are opened to the server.

        A roster has to be the hospitals of every model's sum that was opened: with others the run would come to its
        refusal once it has trained, unless the same hospitals failed in the same rounds.

        Args:
            run: the run in which the fact is to be written.
            kind: of the fact; all but a sum and a roster pass.
            words: of the fact.

        Raises:
            GateError: the hospitals are others, or another run's entry does not say whose sum it was.
        """
        if kind not in (SUM, ROSTER):
            return
        purpose, number = (_MODEL, None) if kind == ROSTER else (words["purpose"], words["round"])
        sites = sorted(words["roster"] if kind == ROSTER else words["sites"])
        for other in self._runs.values():
            if other.job != run.job or other.job_id == run.job_id:
                continue
            if any(summed != sites for summed in other.summed(purpose, number)):
                raise GateError(_OTHER_HOSPITALS, where=f"run {other.job_id}", remedy=_ANOTHER_SEED)

    def take(self, entry: ChainEntry) -> None:
        """Add one entry; those of the privacy ledger are passed over.

        Raises:
            LedgerError: it says something that cannot be, or that this Fedward does not know.
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
            return replace(run, left=int(words["round"]))
        if kind == END:
            return replace(run, ended=True)
        return replace(run, facts={**run.facts, _subject(kind, words): words})


def _begun(job_id: str, words: Mapping[str, Any]) -> Run:
    return Run(job_id=job_id, job=words["job"], nonce=words["nonce"])


def _subject(kind: str, words: Mapping[str, Any]) -> Subject:
    return (kind, *(words[name] for name in _ABOUT[kind]))
