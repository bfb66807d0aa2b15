"""Finish a job after its last round: the final validation, the sums that hospitals open together, the final model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedward.aggregation.best import better, candidate
from fedward.aggregation.coverage import Coverage, judge
from fedward.encryption.message import is_digest
from fedward.encryption.sums import sites_in
from fedward.errors import FederationError, FedwardError, GateError
from fedward.flare.protocol import COUNTED, MODEL, Model, Reply, Sum, Task
from fedward.flare.refusal import one_line
from fedward.flare.secagg_context import OPENED, enough
from fedward.flare.server.asking.broadcast import nobody
from fedward.flare.server.checkpoints.checkpoint import Checkpoint, Summed
from fedward.flare.server.masked_sums import AskFor, take_masks_off
from fedward.flare.server.participation import scores_of
from fedward.flare.server.persistor import ModelStore
from fedward.flare.server.rounds import JobRounds
from fedward.flare.server.tally import Tally
from fedward.metrics.events import EventLog, make_event
from fedward.privacy.outgoing import check_tensors
from fedward.settings import JobSpec
from fedward.weights import Weights, digest

_EVENTS = {"scores": "pooled", "cohort": "cohort"}
"""Purpose of a sum of counts -> event that reports it."""


class Finalization:
    """Steps that follow the rounds of one job.

    Args:
        ask: function that sends a task to sites and returns their answers.
        coverage: conditions for a round to count; the model is scored at as many sites, if that many answer.
        at: state after the last round; what an earlier process finished is not done again.
        save: saves a state before the next step.
    """

    def __init__(
        self,
        job: JobSpec,
        rounds: JobRounds,
        events: EventLog,
        store: ModelStore,
        *,
        ask: AskFor,
        coverage: Coverage,
        at: Checkpoint,
        save: Callable[[Checkpoint], None],
    ) -> None:
        self._job, self._rounds, self._events, self._store, self._ask = job, rounds, events, store, ask
        self._sites, self._coverage = list(at.sites), replace(coverage, min_patients=None)
        self._at, self._save = at, save

    def selected(self) -> Model:
        """Return the final model: that of the last round or, where the job selects, the one with the best scores.

        The choice is saved: hospitals take one final model only.
        """
        last, rounds = self._at.model, self._job.federation.rounds
        if self._job.federation.select != "best":
            return last
        if not self._at.selected or self._at.best is None:
            replies = self._ask(Task.VALIDATE, last, self._sites, enough=self._covered)
            best = better(self._at.best, candidate(last, scores_of(replies, self._job.measure), after=rounds))
            chosen = make_event("selected", round=best.after, score=best.score)
            self._keep(best=best, selected=True, events=(chosen,))
            return best.model
        return self._at.best.model

    def validated(self, model: Model) -> dict[str, Reply]:
        """Collect every site's scores of the final model, and its confirmation that it is final; once per job."""
        if model.weights is not None:
            self._store.finish(model.weights)
        summed = () if model.sealed is None else sites_in(model.sealed)

        def confirmed(replies: Mapping[str, Reply]) -> bool:
            return self._covered(replies) and (not summed or enough(replies, summed))

        return self._ask(Task.FINAL, model, self._sites, enough=confirmed)

    def _covered(self, replies: Mapping[str, Reply]) -> bool:
        return judge(dict.fromkeys(replies), self._coverage) is None

    def open(self, model: Model, replies: dict[str, Reply]) -> None:
        """Have hospitals open the final model and then the figures over all hospitals, in an encrypted job.

        The model comes first: if a hospital's histogram spoils its sum, the figures are lost, but not the model.

        Raises:
            FederationError: most hospitals do not report one model as final, or none of them opens it.
        """
        if self._job.encryption is None:
            return
        if self._at.opened:
            self._store.restore()
        elif self._job.encryption.open_final:
            self._open(model, replies)
            self._keep(opened=True)
        if self._at.sums is None:  # hospitals open one sum of a kind, so another process sends the same
            self._keep(sums=self._summed(model, replies), pending=())
        if self._at.sums:
            self._pool(self._at.sums)

    def _keep(self, **changes: Any) -> None:
        self._at = replace(self._at, **({"events": ()} | changes))
        self._save(self._at)

    def _summed(self, model: Model, replies: dict[str, Reply]) -> tuple[Summed, ...]:
        """Return the sums of the hospitals' counts, each with the hospitals in it."""
        asked = (self._rounds.tally("scores", final=model), self._rounds.tally("cohort"))
        tallies = [tally for tally in asked if tally is not None]
        if not self._at.pending:
            tallies = self._of_equal_sites(tallies, replies)
        sums = {purpose: one for tally in tallies for purpose, one in tally.sums.items()}
        for masked in self._at.pending:
            sums[masked.purpose].restore(masked)
        if not self._at.pending:
            pending = tuple(one for purpose, each in sums.items() if (one := each.masked(purpose)) is not None)
            if pending:  # hospitals help for these messages only
                self._keep(pending=pending)
        shut = take_masks_off(sums, self._sites, ask=self._ask, events=self._events)
        for purpose, why in sorted(shut.items()):
            self._events.append("unopened", purpose=purpose, reason=why)
        totals = []
        for tally in (one for one in tallies if not shut.keys() & one.sums):
            try:
                totals.append((tuple(tally.sites), tally.close()))
            except FedwardError as error:  # a hospital spoilt this sum; the model is not lost
                self._events.append("unopened", purpose=tally.purpose, reason=one_line(str(error)))
        return tuple((sites, total) for sites, total in totals if total is not None)

    def _of_equal_sites(self, tallies: Sequence[Tally], replies: Mapping[str, Reply]) -> list[Tally]:
        """Add the hospitals' counts, and return the sums that are of the same hospitals.

        Two sums over partly the same patients, one of which lacks a hospital, would tell its counts: hospitals help to
        open one set only.
        """
        due = [tally.purpose for tally in tallies]
        whole = {site: reply for site, reply in replies.items() if all(one in (reply.sealed or {}) for one in due)}
        kept = list[Tally]()
        for tally in tallies:
            self._take(tally, whole)
            if not kept or tally.sites == kept[0].sites:
                kept.append(tally)
                continue
            reason = f"it would be of other sites than the sum of {kept[0].purpose}"
            self._events.append("unopened", purpose=tally.purpose, reason=reason)
        return kept

    def _take(self, tally: Tally, replies: dict[str, Reply]) -> None:
        for site, reason in tally.take(replies).items():
            self._events.append("dropped", site=site, round=None, reason=reason)

    def _pool(self, sums: Sequence[Summed]) -> None:
        """Have all hospitals confirm each sum, then ask one after the other until one reports its content."""

        def confirmed(replies: Mapping[str, Reply]) -> bool:
            return all(enough(replies, sites) for sites, _ in sums)

        words = self._ask(Task.CONFIRM, [total for _, total in sums], self._sites, enough=confirmed)
        for sites, total in sums:
            found = self._confirmed(total.purpose, total.sealed, sites, words)
            if found is not None:
                self._tell(replace(total, confirmed=found), sites)

    def _tell(self, total: Sum, sites: Sequence[str]) -> None:
        table = COUNTED[total.purpose]
        for site in sites:
            reply = self._ask(Task.POOL, total, [site], enough=nobody).get(site)
            if reply is not None and (found := reply.metrics.get(table)):
                self._events.append(_EVENTS[total.purpose], sites=list(sites), **{table: found})
                return

    def _confirmed(self, purpose: str, sealed: bytes, summed: Collection[str], words: dict[str, Reply]) -> bytes | None:
        """Return the hospitals' confirmation that they opened a sum; None where too few confirmed it."""
        confirmation = self._rounds.confirmation(purpose, sealed)
        self._take(confirmation, words)
        total = confirmation.close()
        if total is None or not enough(confirmation.sites, summed):
            reason = f"only {', '.join(confirmation.sites) or 'nobody'} confirmed the sum of {len(summed)} sites"
            self._events.append("unopened", purpose=purpose, reason=reason)
            return None
        return total.sealed

    def _open(self, model: Model, replies: dict[str, Reply]) -> None:
        if model.sealed is None:
            self._store.finish(self._rounds.initial_weights)
            return
        digests = {
            site: reported for site, reply in replies.items() if (reported := _reported_digest(reply)) is not None
        }
        agreed, backers = Counter(digests.values()).most_common(1)[0] if digests else (None, 0)
        if agreed is None or backers * 2 <= len(digests):
            raise FederationError("hospitals do not agree on what the final model is", where=self._job.job.name)
        confirmed = self._confirmed(MODEL, model.sealed, sites_in(model.sealed), replies)
        asked = replace(model, confirmed=confirmed)
        for site in sorted(site for site in digests if digests[site] == agreed) if confirmed is not None else ():
            answer = self._ask(Task.OPEN, asked, [site], enough=nobody).get(site)
            try:
                weights = self._checked(None if answer is None else answer.model, agreed)
            except GateError as error:
                self._events.append("dropped", site=site, round=None, reason=one_line(str(error)))
                continue
            self._store.finish(weights)
            self._events.append("opened", site=site, sha256=agreed)
            return
        raise FederationError(
            "no hospital opened the final model", where=self._job.job.name, remedy="look at the sites' logs"
        )

    def _checked(self, weights: object, agreed: str) -> Weights:
        if weights is None:
            raise GateError("the final model was not opened")
        model = check_tensors(weights, self._rounds.layout)
        if digest(model) != agreed:
            raise GateError("opened another model than most hospitals have")
        return model


def _reported_digest(reply: Reply) -> str | None:
    reported = (reply.sealed or {}).get(OPENED)
    return reported if type(reported) is str and is_digest(reported) else None
