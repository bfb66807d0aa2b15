"""Decide for whom a task still waits: every site has one grace in all, and not one in each task.

A site wastes the seconds in which a task waits for nobody but sites like it. It has ``grace_s`` to waste over the whole
job; an answer that counts gives its grace back. Of the sites without an answer a task awaits, by the first rule that
applies:

1. nobody, once the task is ``timeout_s`` old, or has the quorum that it needs;
2. everybody, while the answers are not enough; a task that needs every site does not await those that FLARE has lost,
   unless they are required;
3. nobody that FLARE has lost, or that took two tasks in a row and answered neither in time (until it answers one, or
   is forgiven), or once the task is ``deadline_s`` old;
4. a site that took the task after its grace was used up: its process is back; where nobody is needed, for its usual
   time;
5. a site with grace left.

A new process loads its libraries during its first task, so being late in that one counts for nothing, ``MOST_RETURNS``
times in a job; a site that takes one task more often gains no time by it. So a site that is gone for good costs a job
one grace. A site that is not awaited is asked all the same, and its answer counts while the task is open. With a grace
of 0 nobody is awaited once there are enough answers.

This module knows neither FLARE nor a clock: every method is given the time, in seconds that never go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

NO_ANSWER = "no answer in time"
SLOW = 2.0
"""Factor on the slowest time that counted, for a task's deadline."""
MOST_MISSED = 2
"""Tasks in a row that a site may take and not answer in time; after them no task waits for it."""
MOST_RETURNS = 3
"""Times that a job forgives a site the first late task of a new process."""
Need = Literal["all", "enough", "quorum", "nobody"]
"""Answers that a task needs: of every site; as many as are enough; the same, and then no more, so that no site is late;
none, so that grace counts from its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A job's limits.

    Attributes:
        timeout_s: seconds after which a task waits for nobody.
        grace_s: seconds that a site may waste before an answer of it counts.
        required: sites that the job must include.
        patient: a site that took a task is awaited until ``timeout_s``, whatever its grace.
    """

    timeout_s: float
    grace_s: float
    required: frozenset[str] = frozenset()
    patient: bool = False


@dataclass(slots=True)
class _Record:
    """Record of one site: the seconds left of its grace, and the tasks in a row that it took and missed.

    Attributes:
        returns: times that the first task of a new process was late, and did not count as missed.
    """

    left_s: float
    missed: int = 0
    returns: int = 0


class Patience:
    """Records of one job's sites: the grace that each has left."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._records: dict[str, _Record] = {}

    def record(self, site: str) -> _Record:
        """Return a site's record; that of a new site has the whole grace."""
        return self._records.setdefault(site, _Record(self.limits.grace_s))

    def left_s(self, site: str) -> float:
        """Return the seconds that a site may still waste, as of the last closed task."""
        return self.record(site).left_s

    def forgive(self, site: str) -> None:
        """Forget the tasks that a site missed: it was late, but its time would have fitted a deadline."""
        self.record(site).missed = 0

    def wait(
        self,
        sites: Iterable[str],
        *,
        now: float,
        need: Need,
        deadline_s: float | None = None,
        usual_s: Mapping[str, float] | None = None,
    ) -> Wait:
        """Begin to wait for the answers to one task.

        Args:
            need: answers that the task needs.
            deadline_s: seconds after which nobody is awaited once there are enough answers; None: ``timeout_s``.
            usual_s: where nobody is needed: seconds that a site may work on the task before its grace counts.
        """
        limits = self.limits
        bound = limits.timeout_s if deadline_s is None or limits.patient else min(deadline_s, limits.timeout_s)
        return Wait(self, tuple(sites), start=now, need=need, deadline_s=bound, usual_s=usual_s or {})


@dataclass(slots=True)
class _Part:
    """One site's part in a task: when it last took it, seconds until it first did, and its answer."""

    took_at: float | None = None
    untaken_s: float = 0.0
    back: bool = False
    fresh: bool = False
    """Its process is new: it loads its libraries during this task, and may be late once."""
    returns: int = 0
    """Times that it took the task as a new process."""
    answered: bool = False


@dataclass(slots=True)
class Wait:
    """One task's wait; the caller tells it what happens."""

    patience: Patience
    sites: tuple[str, ...]
    start: float
    need: Need
    deadline_s: float
    usual_s: Mapping[str, float]
    _enough_at: float | None = None
    _parts: dict[str, _Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parts = {site: _Part() for site in self.sites}
        if self.need == "nobody":
            self._enough_at = self.start

    def took(self, site: str, *, now: float, new_process: bool = False) -> None:
        """Note that a site took the task.

        Args:
            new_process: the site took a task before and never finished it: that was another process.
        """
        part = self._parts[site]
        record = self.patience.record(site)
        part.fresh = new_process and record.returns + part.returns < MOST_RETURNS
        part.returns += part.fresh
        if part.took_at is None:
            part.untaken_s = now - self.start
        elif not part.fresh:
            return
        if self.patience.limits.grace_s > 0 and self._left_s(site, now) <= 0:
            part.back, record.left_s = True, 0.0
        part.took_at = now

    def answered(self, site: str, *, now: float, counts: bool) -> None:
        """Note a site's answer. One that counts gives the site its grace back; any answer shows that it is not slow."""
        part, record = self._parts[site], self.patience.record(site)
        record.left_s = self.patience.limits.grace_s if counts else max(self._left_s(site, now), 0.0)
        record.missed, part.answered = 0, True

    def enough(self, *, now: float) -> None:
        """Note that the answers are enough; only the first call counts.

        Without an earlier deadline, the task's own answers set one: ``SLOW`` times the seconds until they were enough,
        and the grace. It bounds rule 4 only: by rule 5 a site is awaited no longer.
        """
        limits = self.patience.limits
        if self.need in ("enough", "quorum") and self._enough_at is None:
            self._enough_at = now
            if self.need == "enough" and self.deadline_s >= limits.timeout_s and not limits.patient:
                self.deadline_s = min(SLOW * (now - self.start) + limits.grace_s, limits.timeout_s)

    def awaited(self, *, now: float, lost: Callable[[str], bool]) -> set[str]:
        """Return the sites for which the task waits.

        Args:
            lost: function of a site: True if FLARE hears nothing from it. It is a hint: rules 2 and 3 use it.
        """
        limits, elapsed = self.patience.limits, now - self.start
        waiting = {site for site, part in self._parts.items() if not part.answered}
        if elapsed > limits.timeout_s:
            return set()
        if self._enough_at is None:
            return {
                site
                for site in waiting
                if self.need in ("enough", "quorum") or site in limits.required or not lost(site)
            }
        if self.need == "quorum" or elapsed > self.deadline_s:
            return set()
        return {site for site in waiting if self._has_grace(site, now) and not lost(site)}

    def close(self, *, now: float) -> dict[str, str]:
        """End the wait: charge the wasted seconds, and return the reason why each missing site has no answer."""
        reasons = {}
        for site, part in self._parts.items():
            if part.answered:
                continue
            reasons[site] = self._reason(site, now)
            if self.need not in ("all", "quorum"):
                record = self.patience.record(site)
                record.left_s = max(self._left_s(site, now), 0.0)
                record.missed += part.took_at is not None and not part.fresh
                record.returns += part.returns
        return reasons

    def has_answer(self, site: str) -> bool:
        """True if the site has answered the task."""
        return self._parts[site].answered

    def is_back(self, site: str) -> bool:
        """True if the site took the task after its grace was used up."""
        return self._parts[site].back

    def taken(self) -> set[str]:
        """Return the sites that took the task and have not answered it, without those whose process is new."""
        open_parts = ((site, part) for site, part in self._parts.items() if not part.answered)
        return {site for site, part in open_parts if part.took_at is not None and not part.fresh}

    def _has_grace(self, site: str, now: float) -> bool:
        part, limits = self._parts[site], self.patience.limits
        if self.patience.record(site).missed >= MOST_MISSED:
            return False
        if part.back and self.need == "nobody":
            return now - (part.took_at or self.start) <= self.usual_s.get(site, self.deadline_s)
        return part.back or (limits.patient and part.took_at is not None) or self._left_s(site, now) > 0

    def _left_s(self, site: str, now: float) -> float:
        """Return what a site has left now; a site that is back wastes nothing more, for the deadline bounds it."""
        left, part = self.patience.record(site).left_s, self._parts[site]
        if self._enough_at is None or part.back:
            return left
        if self.need == "nobody" and part.took_at is not None:
            return left - part.untaken_s - max(0.0, now - part.took_at - self.usual_s.get(site, self.deadline_s))
        return left - (now - self._enough_at)

    def _reason(self, site: str, now: float) -> str:
        limits, record = self.patience.limits, self.patience.record(site)
        if site in limits.required and now - self.start > limits.timeout_s:
            return f"{NO_ANSWER}: must_include names it, and round_timeout_s, {limits.timeout_s:g} s, is over"
        if record.missed >= MOST_MISSED:
            return f"{NO_ANSWER}: not waited for, since it was late {record.missed} times in a row"
        if record.left_s <= 0 and limits.grace_s > 0 and not self._parts[site].back:
            return f"{NO_ANSWER}: not waited for, since its grace_s is used up"
        return NO_ANSWER
