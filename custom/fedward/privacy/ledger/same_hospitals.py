"""Refuse a run of a job whose sums, beside those of another run of it, would show one hospital's update.

Without noise, a hospital's update follows from the job, the round and the model that it starts from, not from the run.
So the difference between two runs' sums is the updates of the hospitals that are in only one of them. Therefore a
hospital opens sums of one set of hospitals in all runs of a job (one hash): for the models of a round, for score
histograms and for cohort statistics. By induction over the rounds, its update of a round is then the same in every run,
and ``flare.secagg_context.enough`` bounds what follows from all sums that are opened to the server.

The hospitals that help to open a sum need not be those in it, and another run may have other hospitals that help. So
where a hospital does not know which were summed with its own update, or sums are of groups, which follow from the
roster, it takes part only in runs with the same roster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fedward.errors import GateError
from fedward.privacy.ledger.runs import COMPARE, LEAVE, MODEL, ROSTER, SUM, UNMASK, Run

_OTHER_HOSPITALS = "other hospitals were summed in another run of this job; submit it with another job.seed"
_OTHER_ROSTER = "other hospitals take part in another run of this job; submit it with another job.seed"
_COMPARED = "models of this round were compared in another run of this job; submit it with another job.seed"
_ANOTHER_SEED = "with another seed it is another job: hospitals start from other weights, and train in another order"


def require_same_hospitals(run: Run, others: Iterable[Run], kind: str, words: Mapping[str, Any]) -> None:
    """Refuse a fact that does not fit the other runs of the job.

    A roster must have the hospitals of every model's sum that was opened. With others, the run would be refused only
    after training, unless the same hospitals failed in the same rounds. It must also be the roster of a run of which
    the hospital knows no more (``Run.tells_by_roster``). This is required again before an update leaves, since the
    other run may go on.

    Args:
        run: the run in which the fact is to be written.
        others: the other runs of its job.
        kind: of the fact; all but a sum, a request to open one or to compare models, a roster, and an update that
            leaves pass.
        words: fields of the fact.

    Raises:
        GateError: the hospitals differ, another run's entry does not name the hospitals of its sum, or the round's
            models were compared in another run.
    """
    others, roster = list(others), words["roster"] if kind == ROSTER else run.roster
    if kind == COMPARE:  # without noise they are the same models, and every comparison tells more of them
        for other in others:
            if any(known == COMPARE and about[1] == words["round"] for known, *about in other.facts):
                raise GateError(_COMPARED, where=f"run {other.job_id}", remedy=_ANOTHER_SEED)
    if kind in (SUM, UNMASK, ROSTER):
        purpose, number = (MODEL, None) if kind == ROSTER else (words["purpose"], words["round"])
        sites = sorted(words["roster"] if kind == ROSTER else words["sites"])
        for other in others:
            if any(summed != sites for summed in other.summed(purpose, number)):
                raise GateError(_OTHER_HOSPITALS, where=f"run {other.job_id}", remedy=_ANOTHER_SEED)
    if kind in (ROSTER, LEAVE) and roster is not None:
        for other in others:
            if other.roster is not None and set(other.roster) != set(roster) and other.tells_by_roster:
                raise GateError(_OTHER_ROSTER, where=f"run {other.job_id}", remedy=_ANOTHER_SEED)
