"""Refuse a run of a job whose sums, beside those of another run of it, would show one hospital's update.

Without noise, a hospital's update follows from the job, the round and the model that it starts from, not from the run.
So the difference between two runs' sums is the updates of the hospitals that are in only one of them. Therefore a
hospital opens sums of one set of hospitals in all runs of a job (one hash): for the models of a round, for score
histograms and for cohort statistics. By induction over the rounds, its update of a round is then the same in every run,
and ``flare.secagg_context.enough`` bounds what follows from all sums that are opened to the server.

That is not enough: the hospitals that help to open a sum need not be those in it, and in another run others may help,
so that no honest hospital sees both sums. So whatever a hospital knows of the sums, it sends in runs with one roster
only: with the same hospitals, two sums that differ have an honest hospital that was asked to help for both
(``encryption.masks.graphs.threshold``). Groups follow from the roster, and are then the same too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fedward.errors import GateError
from fedward.privacy.ledger.runs import COMPARE, FINAL, LEAVE, MODEL, ROSTER, SUM, UNMASK, Run

_OTHER_HOSPITALS = "other hospitals were summed in another run of this job; submit it with another job.seed"
_OTHER_ROSTER = "other hospitals take part in another run of this job; submit it with another job.seed"
_COMPARED = "models of this round were compared in another run of this job; submit it with another job.seed"
_ANOTHER_SEED = "with another seed it is another job: hospitals start from other weights, and train in another order"


def require_same_hospitals(run: Run, others: Iterable[Run], kind: str, words: Mapping[str, Any]) -> None:
    """Refuse a fact that does not fit the other runs of the job.

    A roster must have the hospitals of every model's sum that was opened. With others, the run would be refused only
    after training, unless the same hospitals failed in the same rounds. It must also be the roster of each other run in
    which anything of this hospital that is summed has left. This is required again before an update leaves, and before
    the counts of the final model do, since the other run may go on.

    Args:
        run: the run in which the fact is to be written.
        others: the other runs of its job.
        kind: of the fact; all but a sum, a request to open one or to compare models, a roster, an update that leaves
            and a final model pass.
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
    if kind in (ROSTER, LEAVE, FINAL) and roster is not None:
        for other in others:
            if other.roster is not None and set(other.roster) != set(roster) and other.has_sent:
                raise GateError(_OTHER_ROSTER, where=f"run {other.job_id}", remedy=_ANOTHER_SEED)
