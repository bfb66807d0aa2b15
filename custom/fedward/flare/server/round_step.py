"""Perform one round: send the model, collect the answers, take the masks off their sum, and return the state after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from fedward.aggregation.best import better, candidate
from fedward.aggregation.coverage import Coverage, judge
from fedward.errors import FederationError
from fedward.flare.protocol import Task
from fedward.flare.server.asking.answers import Answers
from fedward.flare.server.asking.broadcast import Carried, Enough, Take
from fedward.flare.server.averaging.round import Round
from fedward.flare.server.checkpoints.checkpoint import Checkpoint
from fedward.flare.server.clock import Clock
from fedward.flare.server.masked_sums import AskFor, take_masks_off
from fedward.flare.server.participation import NO_ANSWER, scores_of
from fedward.flare.server.round_events import patients_by_site, round_events
from fedward.flare.server.rounds import JobRounds
from fedward.metrics.events import EventLog, make_event
from fedward.settings import JobSpec


class Collect(Protocol):
    """Function that sends a task and returns all that came of it; see ``Broadcaster.ask``."""

    def __call__(
        self,
        task: Task,
        carried: Carried,
        sites: list[str],
        *,
        enough: Enough | None = None,
        number: int = -1,
        take: Take | None = None,
    ) -> Answers: ...


class RoundStep:
    """Rounds of one job.

    Args:
        coverage: conditions for a round to count.
        collect: sends a round's task.
        ask: sends a task other than a round.
        keep: saves a state, before the next step begins.
    """

    def __init__(
        self,
        job: JobSpec,
        events: EventLog,
        clock: Clock,
        *,
        coverage: Coverage,
        collect: Collect,
        ask: AskFor,
        keep: Callable[[Checkpoint], None],
    ) -> None:
        self._job, self._events, self._clock, self._coverage = job, events, clock, coverage
        self._collect, self._ask, self._keep = collect, ask, keep

    def run(self, at: Checkpoint, rounds: JobRounds) -> Checkpoint:
        """Return the state after the round that follows ``at``.

        Raises:
            FederationError: the round does not count.
        """
        if at.pending:
            closed = rounds.restored(at.pending, at.model)
            if closed.too_few is None:
                return self._closed(at, rounds, closed, list(at.pending_events))
            at = replace(at, pending=(), pending_events=())  # no hospital was asked to open it: it is collected anew
        number, sites = at.model.after, list(at.sites)
        start, taken = self._clock.now(), rounds.round(at.model)
        answers = self._collect(
            Task.ROUND,
            at.model,
            sites,
            enough=lambda replies: (
                taken.too_few is None and judge(patients_by_site(replies, replies), self._coverage) is None
            ),
            number=number,
            take=taken.take,
        )
        taken.stop()
        sent = patients_by_site(taken.sites, answers.replies)
        if (choosing := rounds.choosing(taken, at.model)) is not None:
            short = choosing.run(sites, ask=self._ask, events=self._events)
            if short is not None:
                raise uncovered(self._job, self._events, f"round {number} does not count: {short}", number)
        answers.leave_out({site: why for site, why in taken.left_out.items() if site not in taken.unchosen})
        absent = sorted(set(sites) - set(taken.sites) - taken.unchosen)
        why = {site: answers.missing.get(site, NO_ANSWER) for site in absent}
        told = [make_event("dropped", site=site, round=number, reason=reason) for site, reason in why.items()]
        counted = patients_by_site(taken.sites, answers.replies)
        covered = counted if choosing is None else sent  # sites that were compared and left out have taken part
        if (reason := judge(covered, self._coverage, why=why)) is not None:
            self._events.put(told)
            raise uncovered(self._job, self._events, f"round {number} does not count: {reason}", number)
        if (short := taken.too_few) is not None:
            self._events.put(told)
            raise uncovered(self._job, self._events, f"round {number} does not count: {short}", number)
        made = None if taken.masked else taken.close()  # closed first: it finds the suspects, and adds
        back = [site for site in taken.sites if at.missed.get(site, "").startswith(NO_ANSWER)]
        told += [make_event("returned", site=site, round=number) for site in back]
        told += round_events(number, taken, sites, answers, wall_s=self._clock.now() - start)
        best = at.best
        if self._job.federation.select == "best":
            best = better(best, candidate(at.model, scores_of(answers.replies, self._job.measure), after=number))
        after = replace(at, best=best, missed=why, events=())
        if made is not None:
            return replace(after, model=made, step=rounds.step, events=tuple(told))
        # hospitals help for these messages only: another process of this job must ask for the same
        self._keep(replace(after, pending=tuple(taken.masked), pending_events=tuple(told)))
        return self._closed(after, rounds, taken, told)

    def _closed(self, at: Checkpoint, rounds: JobRounds, taken: Round, told: list[Any]) -> Checkpoint:
        """Return the state after a round whose masks are still on, once enough hospitals have helped."""
        number, start = at.model.after, self._clock.now()
        *others, last = told
        for short in take_masks_off(
            taken.sums, list(at.sites), ask=self._ask, events=self._events, number=number
        ).values():
            self._events.put(others)
            raise uncovered(self._job, self._events, f"round {number} does not count: {short}", number)
        made = taken.close()
        unmask_s = self._clock.now() - start
        stages = {**last["stages"], "unmask_s": round(unmask_s, 3)}
        whole = {**last, "wall_s": round(last["wall_s"] + unmask_s, 3), "stages": stages}
        return replace(at, model=made, step=rounds.step, pending=(), pending_events=(), events=(*others, whole))


def uncovered(job: JobSpec, events: EventLog, reason: str, number: int | None) -> FederationError:
    """Record that a round, or the final validation, does not count, and return the error that ends the job."""
    events.append("uncovered", round=number, reason=reason)
    remedy = "look at the hospitals' reasons and submit the job again, or ask for less in [federation]"
    return FederationError(reason, where=job.job.name, remedy=remedy)
