"""For any order of charges, rounds, closings, reopenings and kills, ε is that of the steps that began or may begin."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import BudgetError, LedgerError
from fedward.privacy.ledger import chain_store
from fedward.privacy.ledger.ledger import Ledger
from tests.support.ledger import FAST, KEY, event, job, people, reopen

RATE, NOISE, DELTA, CAP, ALLOWANCE = 0.1, 2.0, 1e-5, 0.9, 2
JOBS = {"a": (8, frozenset({0, 1, 2})), "b": (6, frozenset({2, 3})), "c": (5, frozenset({3, 4}))}
"""Id -> planned steps and patients: one patient is in two jobs each time."""


@cache
def epsilon(steps: int) -> float:
    """ε of so many steps by Google's library itself, without our accountant."""
    if not steps:
        return 0.0
    one = dp_event.PoissonSampledDpEvent(RATE, dp_event.GaussianDpEvent(NOISE))
    counted = PLDAccountant()
    counted.compose(dp_event.SelfComposedDpEvent(one, steps))
    return float(counted.get_epsilon(DELTA))


@dataclass
class Tally:
    """The steps of a job that began, and whether it is open; kept apart from the ledger."""

    planned: int
    begun: int = 0
    open: bool = True

    @property
    def counted(self) -> int:
        return max(self.planned, self.begun) if self.open else self.begun


class Books:
    """The rules in a dozen lines."""

    def __init__(self) -> None:
        self.jobs: dict[str, Tally] = {}

    def steps(self, patient: int) -> int:
        return sum(one.counted for name, one in self.jobs.items() if patient in JOBS[name][1])

    def fits(self, name: str, more: int) -> bool:
        return all(epsilon(self.steps(patient) + more) <= CAP for patient in JOBS[name][1])

    def act(self, kind: str, name: str, steps: int) -> type[Exception] | None:
        """Return the error that is due, or change the tally."""
        known = self.jobs.get(name)
        if kind == "charge":
            unbegun = JOBS[name][0] if known is None else 0 if known.open else max(0, known.planned - known.begun)
            if unbegun and not self.fits(name, unbegun):
                return BudgetError
            self.jobs[name] = known or Tally(JOBS[name][0])
            self.jobs[name].open = True
            return None
        if known is None:
            return LedgerError if kind == "begin" else None
        if kind == "close":
            known.open = False
            return None
        if not known.open:
            return LedgerError
        if known.begun + steps > known.planned + ALLOWANCE:
            return BudgetError
        beyond = known.begun + steps - known.counted
        if beyond > 0 and not self.fits(name, beyond):
            return BudgetError
        known.begun += steps
        return None


def perform(ledger: Ledger, kind: str, name: str, steps: int) -> None:
    planned, patients = JOBS[name]
    if kind == "charge":
        mechanism = event(planned, noise=NOISE, rate=RATE)
        ledger.charge(**job(name, event=mechanism, patients=people(*patients), cap=CAP, allowance=ALLOWANCE))
    elif kind == "begin":
        ledger.begin(name, round_number=0, steps=steps)
    else:
        ledger.close(name)


class KilledError(BaseException):
    """The process is gone."""


def killed_in(ledger: Ledger, where: str, kind: str, name: str, steps: int, patch: pytest.MonkeyPatch) -> None:
    """Perform an action whose process is killed before its entry is durable, or after it and before the head is."""

    def dead(*args: object, **named: object) -> None:
        raise KilledError

    if where == "before":
        patch.setattr(chain_store.Turn, "append", dead)
    else:
        patch.setattr(chain_store, "write_head", dead)
    perform(ledger, kind, name, steps)


ACTIONS = st.tuples(
    st.sampled_from(["charge", "charge", "begin", "begin", "begin", "close"]),
    st.sampled_from(sorted(JOBS)),
    st.integers(1, 4),
    st.sampled_from(["", "", "", "restart", "before", "after"]),
)


@settings(max_examples=120, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=25))
def test_epsilon_is_of_the_steps_that_began_and_of_those_planned_while_a_job_is_open(actions: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        path, books = Path(folder) / "ledger.db", Books()
        ledger = Ledger.create(path, site="north", key=KEY)
        for kind, name, steps, kill in actions:
            before = ledger.entries()
            if kill in ("before", "after"):
                with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError, LedgerError):
                    killed_in(ledger, kill, kind, name, steps, patch)
                ledger = reopen(path)
                if len(ledger.entries()) > len(before):
                    assert kill == "after" and books.act(kind, name, steps) is None
            else:
                due = books.act(kind, name, steps)
                if due is None:
                    perform(ledger, kind, name, steps)
                else:
                    with pytest.raises(LedgerError) as refused:
                        perform(ledger, kind, name, steps)
                    assert type(refused.value) is due and ledger.entries() == before
                ledger = reopen(path) if kill == "restart" else ledger
            for patient in range(5):
                spent = ledger.spent(people(patient), delta=DELTA)
                assert spent == pytest.approx(epsilon(books.steps(patient)), rel=1e-3) and spent <= CAP
            for charge in ledger.charges():
                mine = books.jobs[charge.job_id]
                assert (charge.begun_steps, charge.closed) == (mine.begun, not mine.open)
                assert charge.begun_steps <= charge.ceiling.steps == mine.planned + ALLOWANCE
                assert charge.closed or not charge.refunded_steps
            assert reopen(path).charges() == ledger.charges()


def test_the_actions_above_do_reopen_and_are_refused() -> None:
    """The property is not empty: one run that reopens a job, and one that the cap forbids."""
    books = Books()
    assert [
        books.act(*act)
        for act in [
            ("charge", "a", 0), ("begin", "a", 3), ("close", "a", 0), ("begin", "a", 1), ("charge", "a", 0),
            ("begin", "a", 4), ("begin", "a", 4), ("begin", "a", 3),
        ]
    ] == [None, None, None, LedgerError, None, None, BudgetError, None]  # fmt: skip
    assert epsilon(8 + ALLOWANCE) < CAP < epsilon(8 + 6), "one job fits, and two of one patient do not"
