"""Add up each patient's events from the ledger's entries, and compute the largest ε of a patient.

Patients are grouped by the charges that used them, over all cohorts and jobs; a group's history is the counted steps of
those charges. ε is computed once for each history that no other contains, because more events never lower it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fedward.errors import JobError, LedgerError
from fedward.privacy import accountant
from fedward.privacy.accountant import Event
from fedward.privacy.ledger.charges import Charge, Unprotected
from fedward.privacy.ledger.hash_chain import ChainEntry
from fedward.privacy.ledger.runs import RUN

History = tuple[tuple[float, float, int], ...] | None
"""Sampling rate, noise multiplier and steps of each different mechanism; None: used without protection."""


@dataclass(frozen=True, slots=True)
class MaxSpend:
    """Largest ε among patients, and number of patients at it."""

    epsilon: float
    patients: int


class LedgerState:
    """The ledger's entries, added up in order.

    Attributes:
        jobs: by id, in the order of their entries.
        begun: hash of a begin entry -> its job's id.
        released: hash of a begin entry -> the entry that releases its digest.
        closing: job's id -> the entry that closed it, while it is closed.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Charge | Unprotected] = {}
        self.begun: dict[str, str] = {}
        self.released: dict[str, ChainEntry] = {}
        self.closing: dict[str, ChainEntry] = {}

    def take(self, entry: ChainEntry) -> None:
        """Add one entry; entries of ``fedward.privacy.ledger.runs`` cost no patient anything and are skipped.

        Raises:
            LedgerError: this Fedward does not know its kind or its content.
        """
        if entry.kind.startswith(RUN):
            return
        try:
            self._takers[entry.kind](self, entry, entry.body)
        except (LookupError, TypeError, ValueError, AttributeError, JobError):
            what = f"entry {entry.number} cannot be understood"
            raise LedgerError(what, value=entry.kind, remedy="update Fedward to the version that wrote it") from None

    def charge(self, job_id: str) -> Charge | None:
        job = self.jobs.get(job_id)
        return job if isinstance(job, Charge) else None

    def histories(
        self, patients: Collection[str], members: Mapping[str, frozenset[str]], *, extra: Event | None = None
    ) -> Counter[History]:
        """Count patients by their history, as if ``extra`` had happened to all of ``patients``."""
        jobs: dict[str, list[Charge | Unprotected]] = {}
        for job in self.jobs.values():
            jobs.setdefault(job.patients, []).append(job)
        found: Counter[History] = Counter()
        for group, touched in _partition(frozenset(patients), {named: members[named] for named in jobs}):
            history = _merged([job for named in touched for job in jobs[named]], extra)
            found[history] += len(group)
        return found

    def _create(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        if entry.number != 1:
            raise ValueError("not the first entry")

    def _charge(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        event = Event(
            unit=body["unit"],
            sampling_rate=body["sampling_rate"],
            noise_multiplier=body["noise_multiplier"],
            steps=body["steps"],
        )
        self.jobs[body["job_id"]] = Charge(
            **{name: body[name] for name in ("job_id", "job", "cohort", "rounds", "cap", "delta", "patients")},
            event=event,
            allowance=body.get("allowance", 0),  # older entries have none: nothing beyond their plan
            absent_noise=body.get("absent_noise"),  # only where the noise was for the sum
            at=entry.at,
            number=entry.number,
        )

    def _unprotected(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        names = ("job_id", "job", "cohort", "patients")
        self.jobs[body["job_id"]] = Unprotected(
            **{name: body[name] for name in names}, at=entry.at, number=entry.number
        )

    def _begin(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        charge = self._open(body["job_id"])
        self.jobs[charge.job_id] = replace(charge, begun_steps=charge.begun_steps + body["steps"])
        self.begun[entry.hash] = charge.job_id

    def _release(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        if body["begun"] not in self.begun:
            raise ValueError("no such round")
        self.released[body["begun"]] = entry

    def _close(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        charge = self._open(body["job_id"])
        self.jobs[charge.job_id] = replace(charge, closed=True, refunded_steps=body["refunded_steps"])
        self.closing[charge.job_id] = entry

    def _reopen(self, entry: ChainEntry, body: Mapping[str, Any]) -> None:
        charge = self.charge(body["job_id"])
        if charge is None or not charge.closed or body["steps"] != charge.unbegun_steps:
            raise ValueError("no closed charge with so many steps that never began")
        again = replace(charge, closed=False, refunded_steps=0, reopened=charge.reopened + 1)
        self.jobs[charge.job_id] = again
        del self.closing[charge.job_id]

    def _open(self, job_id: str) -> Charge:
        charge = self.charge(job_id)
        if charge is None or charge.closed:
            raise ValueError("no open charge")
        return charge

    _takers: Mapping[str, Callable[[LedgerState, ChainEntry, Mapping[str, Any]], None]] = {
        "create": _create,
        "charge": _charge,
        "unprotected": _unprotected,
        "begin": _begin,
        "release": _release,
        "close": _close,
        "reopen": _reopen,
    }


def course(
    entries: Iterable[ChainEntry],
    members: Mapping[str, frozenset[str]],
    patients: Collection[str],
    *,
    delta: float,
) -> list[tuple[str, float]]:
    """Return time and largest ε after each entry that changed the counted steps of one of ``patients``."""
    books, points = LedgerState(), []
    before: Counter[History] = Counter()
    for entry in entries:
        books.take(entry)
        if entry.kind in ("release", "create") or entry.kind.startswith(RUN):
            continue
        now = books.histories(patients, members)
        if now != before:
            points.append((entry.at, worst(now, delta=delta).epsilon))
        before = now
    return points


def worst(histories: Mapping[History, int], *, delta: float) -> MaxSpend:
    """Return the largest ε, ∞ for unprotected patients; 0 of 0 where there is no patient. A NaN counts as ∞."""
    if None in histories:
        return MaxSpend(math.inf, histories[None])
    values: dict[float, int] = {}
    for history in _maximal(h for h in histories if h is not None):
        value = accountant.epsilon([_event(*mechanism) for mechanism in history], delta=delta) if history else 0.0
        value = math.inf if math.isnan(value) else value
        values[value] = values.get(value, 0) + histories[history]
    return MaxSpend(max(values), values[max(values)]) if values else MaxSpend(0.0, 0)


def _partition(
    patients: frozenset[str], sets: Mapping[str, frozenset[str]]
) -> list[tuple[frozenset[str], tuple[str, ...]]]:
    """Group the patients that are in exactly the same of ``sets``."""
    groups: list[tuple[frozenset[str], tuple[str, ...]]] = [(patients, ())] if patients else []
    for name, members in sets.items():
        split = [(group & members, (*names, name)) for group, names in groups]
        split += [(group - members, names) for group, names in groups]
        groups = [(group, names) for group, names in split if group]
    return groups


def _merged(jobs: Iterable[Charge | Unprotected], extra: Event | None) -> History:
    steps: Counter[tuple[float, float]] = Counter()
    events = [] if extra is None else [extra]
    for job in jobs:
        if isinstance(job, Unprotected):
            return None
        events.append(job.counted)
    for event in events:
        if event.steps:
            steps[event.sampling_rate, event.noise_multiplier] += event.steps
    return tuple(sorted((*mechanism, count) for mechanism, count in steps.items()))


def _maximal(histories: Iterable[tuple[tuple[float, float, int], ...]]) -> list[tuple[tuple[float, float, int], ...]]:
    """Drop histories that another contains, mechanism by mechanism."""
    counts = {history: {(rate, noise): steps for rate, noise, steps in history} for history in histories}
    return [
        history
        for history, mine in counts.items()
        if not any(
            other is not mine and all(other.get(mechanism, 0) >= steps for mechanism, steps in mine.items())
            for other in counts.values()
        )
    ]


def _event(rate: float, noise: float, steps: int) -> Event:
    return Event(unit="patient", sampling_rate=rate, noise_multiplier=noise, steps=steps)
