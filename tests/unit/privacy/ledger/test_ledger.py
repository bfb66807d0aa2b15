"""The ledger counts what was begun and planned, for each patient, over jobs, restarts and processes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import BudgetError, LedgerError, PatientsError
from fedward.privacy import accountant
from fedward.privacy.ledger.ledger import Ledger
from tests.support.ledger import FAST, KEY, count_steps, event, job, people, reopen

DIGEST = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A new ledger; ε is the number of steps."""
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    return Ledger.create(path, site="north", key=KEY)


def test_planned_steps_count_until_the_job_is_closed_and_begun_steps_for_ever(ledger: Ledger) -> None:
    ledger.charge(**job())
    assert ledger.spent(people(0), delta=1e-5) == 10
    begun = ledger.begin("j1", round_number=0, steps=2)
    assert (begun.kind, begun.body) == ("begin", {"job_id": "j1", "round": 0, "steps": 2})
    assert ledger.spent(people(0), delta=1e-5) == 10
    closed = ledger.close("j1")
    assert closed is not None and closed.body == {"job_id": "j1", "refunded_steps": 8}
    charge = ledger.find("j1")
    assert charge is not None
    assert (charge.begun_steps, charge.refunded_steps, charge.closed, charge.counted.steps) == (2, 8, True, 2)
    assert charge.event == event(10)
    assert ledger.spent(people(0), delta=1e-5) == 2
    assert ledger.spent(people(9), delta=1e-5) == 0


def test_a_closed_job_begins_no_round_and_closing_again_changes_nothing(ledger: Ledger) -> None:
    ledger.charge(**job())
    closed = ledger.close("j1")
    count = len(ledger.entries())
    assert ledger.close("j1") == closed
    with pytest.raises(LedgerError, match="closed and can begin no round"):
        ledger.begin("j1", round_number=0, steps=1)
    assert len(ledger.entries()) == count
    assert ledger.close("never") is None


def test_a_closed_job_that_goes_on_is_charged_again_for_what_never_began(ledger: Ledger, path: Path) -> None:
    ledger.charge(**job(allowance=2))
    ledger.begin("j1", round_number=0, steps=3)
    ledger.close("j1")
    assert ledger.spent(people(0), delta=1e-5) == 3
    again = reopen(path).charge(**job(allowance=2))
    assert (again.closed, again.begun_steps, again.refunded_steps, again.reopened) == (False, 3, 0, 1)
    entry = ledger.entries()[-1]
    assert (entry.kind, entry.body) == ("reopen", {"job_id": "j1", "steps": 7})
    assert ledger.spent(people(0), delta=1e-5) == 10
    assert ledger.charge(**job(allowance=2)) == again, "an open charge is taken up, and nothing is written"
    assert len(ledger.entries()) == 5
    for _ in range(3):
        ledger.begin("j1", round_number=1, steps=3)
    for act in (lambda: None, lambda: ledger.close("j1") and ledger.charge(**job(allowance=2))):
        act()
        with pytest.raises(BudgetError, match="ceiling of 12 steps"):
            ledger.begin("j1", round_number=1, steps=1)
    assert [value for _, value in ledger.course(people(0), delta=1e-5)] == [10, 3, 10, 12]


def test_a_job_is_not_reopened_over_the_cap_and_nothing_is_recorded(ledger: Ledger) -> None:
    ledger.charge(**job("j1"))
    ledger.begin("j1", round_number=0, steps=2)
    ledger.close("j1")
    ledger.charge(**job("j2", event=event(11)))
    count = len(ledger.entries())
    with pytest.raises(BudgetError, match=r"come to ε 21.00"):
        ledger.charge(**job("j1"))
    charge = ledger.find("j1")
    assert charge is not None and charge.closed and len(ledger.entries()) == count
    with pytest.raises(LedgerError, match="closed"):
        ledger.begin("j1", round_number=0, steps=1)
    ledger.close("j2")
    assert not ledger.charge(**job("j1")).closed


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("others", [people(4, 5), people(0, 1, 2), people(0, 1, 2, 3, 4), people(0, 1, 2, 4)])
def test_a_job_comes_again_with_its_own_patients_or_not_at_all(
    ledger: Ledger, others: frozenset[str], closed: bool
) -> None:
    ledger.charge(**job())
    ledger.unprotected(job_id="plain", job="plain", cohort="lung", patients=people(6, 7))
    if closed:
        ledger.close("j1")
    count = len(ledger.entries())
    says = "the cohort's patients are not those that this job was charged for"
    with pytest.raises(PatientsError, match=says) as refused:
        ledger.charge(**job(patients=others, event=event(4)))
    assert not any(patient in str(refused.value) for patient in others)
    with pytest.raises(PatientsError, match=says):
        ledger.require_patients("j1", others)
    with pytest.raises(PatientsError, match=says):
        ledger.unprotected(job_id="plain", job="plain", cohort="lung", patients=people(6))
    ledger.require_patients("j1", sorted(people(0, 1, 2, 3)))
    ledger.require_patients("never charged", others)
    assert len(ledger.entries()) == count


def test_a_reopening_that_cannot_be_is_found(ledger: Ledger, path: Path) -> None:
    ledger.charge(**job())
    with ledger._turn() as turn:
        turn.append("reopen", {"job_id": "j1", "steps": 10})
    with pytest.raises(LedgerError, match="cannot be understood"):
        reopen(path)


def test_a_round_begun_again_counts_again_and_steps_beyond_the_plan_must_fit_the_cap(ledger: Ledger) -> None:
    ledger.charge(**job(cap=12.0, allowance=5))
    for _ in range(6):
        ledger.begin("j1", round_number=3, steps=2)
    assert ledger.spent(people(0), delta=1e-5) == 12
    count = len(ledger.entries())
    with pytest.raises(BudgetError, match=r"come to ε 13.00 at δ 1e-05, over the hospital's cap of 12"):
        ledger.begin("j1", round_number=3, steps=1)
    assert len(ledger.entries()) == count
    closed = ledger.close("j1")
    assert closed is not None and closed.body["refunded_steps"] == 0
    assert ledger.spent(people(0), delta=1e-5) == 12


@pytest.mark.parametrize("allowance", [0, 2, 3])
def test_steps_beyond_the_jobs_own_ceiling_never_begin_whatever_the_cap_has_left(
    ledger: Ledger, path: Path, allowance: int
) -> None:
    """Asked again and again, of one process or of many, a job comes to its ceiling and not to the cohort's cap."""
    ledger.charge(**job(cap=1000.0, allowance=allowance))
    begun = 0
    for ask in range(20):
        book = reopen(path) if ask % 3 == 0 else ledger
        try:
            book.begin("j1", round_number=0, steps=1)
            begun += 1
        except BudgetError as refused:
            assert "job's own ceiling" in refused.what
    assert begun == 10 + allowance == ledger.spent(people(0), delta=1e-5)


def test_without_a_cap_a_job_has_its_ceiling_all_the_same(ledger: Ledger) -> None:
    ledger.charge(**job(cap=None, allowance=1))
    ledger.begin("j1", round_number=0, steps=11)
    with pytest.raises(BudgetError, match="ceiling"):
        ledger.begin("j1", round_number=0, steps=1)


def test_a_charge_of_before_there_was_an_allowance_has_none(ledger: Ledger, path: Path) -> None:
    body = {
        "job_id": "old",
        "job": "tb",
        "cohort": "chest",
        "unit": "patient",
        "sampling_rate": 0.1,
        "noise_multiplier": 1.0,
        "steps": 10,
        "rounds": 5,
        "cap": 20.0,
        "delta": 1e-5,
    }
    with ledger._turn() as turn:
        turn.append("charge", body, patients=people(0))
    old = reopen(path)
    old.begin("old", round_number=0, steps=10)
    with pytest.raises(BudgetError, match="ceiling"):
        old.begin("old", round_number=0, steps=1)


def test_a_restart_finds_the_standing_charge_with_what_was_begun(ledger: Ledger, path: Path) -> None:
    first = ledger.charge(**job())
    ledger.begin("j1", round_number=0, steps=2)
    again = reopen(path).charge(**job(patients=sorted(people(0, 1, 2, 3))))
    assert again == replace(first, begun_steps=2)
    assert len(ledger.entries()) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"job": "other"},
        {"cohort": "other"},
        {"event": event(11)},
        {"event": event(10, noise=2.0)},
        {"event": event(10, rate=0.2)},
        {"rounds": 6},
        {"allowance": 1},
        {"cap": 21.0},
        {"cap": None},
        {"delta": 1e-6},
    ],
)
def test_one_job_id_is_one_charge(ledger: Ledger, changed: dict[str, Any]) -> None:
    ledger.charge(**job())
    with pytest.raises(LedgerError, match="job stands in the ledger with other"):
        ledger.charge(**job(**changed))
    assert len(ledger.entries()) == 2


def test_overlapping_cohorts_add_up_for_those_who_are_in_both(ledger: Ledger) -> None:
    ledger.charge(**job("j1", patients=people(0, 1, 2, 3)))
    ledger.charge(**job("j2", cohort="lung", patients=people(3, 4), event=event(7)))
    assert ledger.spent(people(0, 4), delta=1e-5) == 10
    assert ledger.worst(people(*range(6)), delta=1e-5).epsilon == 17
    assert ledger.worst(people(*range(6)), delta=1e-5).patients == 1
    with pytest.raises(BudgetError, match=r"cohort third.*21.00"):
        ledger.charge(**job("j3", cohort="third", patients=people(3, 9), event=event(4)))
    ledger.charge(**job("j3", cohort="third", patients=people(4, 9), event=event(13)))
    assert ledger.find("j9") is None
    assert [charge.job_id for charge in ledger.charges()] == ["j1", "j2", "j3"]
    assert ledger.patients("lung") == people(3, 4)


def test_without_a_cap_it_is_recorded_and_counts_for_the_next(ledger: Ledger) -> None:
    ledger.charge(**job("j1", cap=None, event=event(1000)))
    assert ledger.spent(people(0), delta=1e-5) == 1000
    with pytest.raises(BudgetError):
        ledger.charge(**job("j2", event=event(1)))


def test_a_job_without_protection_ends_every_capped_job_for_its_patients(ledger: Ledger) -> None:
    ledger.charge(**job("j1", allowance=1))
    entry = ledger.unprotected(job_id="open", job="plain", cohort="chest", patients=people(3))
    assert ledger.unprotected(job_id="open", job="plain", cohort="chest", patients=people(3)) == entry
    assert ledger.worst(people(0, 3), delta=1e-5).epsilon == math.inf
    assert ledger.worst(people(0, 3), delta=1e-5).patients == 1
    assert ledger.spent(people(0), delta=1e-5) == 10
    with pytest.raises(BudgetError, match="1 of 4 patients were in a job without differential privacy"):
        ledger.charge(**job("j2", event=event(1)))
    ledger.begin("j1", round_number=0, steps=10)
    with pytest.raises(BudgetError, match="without differential privacy"):
        ledger.begin("j1", round_number=1, steps=1)
    with pytest.raises(PatientsError):
        ledger.unprotected(job_id="open", job="plain", cohort="chest", patients=people(2))
    with pytest.raises(LedgerError, match="other"):
        ledger.charge(**job("open", patients=people(3)))
    with pytest.raises(LedgerError, match="other"):
        ledger.unprotected(job_id="j1", job="tb", cohort="chest", patients=people(0, 1, 2, 3))
    ledger.charge(**job("j3", cap=None, event=event(1)))


def test_one_update_is_released_for_a_round(ledger: Ledger) -> None:
    ledger.charge(**job())
    begun = ledger.begin("j1", round_number=0, steps=2)
    released = ledger.release(begun.hash, digest=DIGEST)
    assert ledger.release(begun.hash, digest=DIGEST) == released
    assert ledger.entry(begun.hash) == begun and ledger.entry(DIGEST) is None
    with pytest.raises(LedgerError, match="another update was released"):
        ledger.release(begun.hash, digest="cd" * 32)
    for unknown in (DIGEST, released.hash, ledger.entries()[1].hash):
        with pytest.raises(LedgerError, match="no round was begun"):
            ledger.release(unknown, digest=DIGEST)
    with pytest.raises(LedgerError, match="64 hexadecimal digits"):
        ledger.release(begun.hash, digest="AB" * 32)


@pytest.mark.parametrize(
    "changed",
    [
        {"event": event(0)},
        {"rounds": 0},
        {"allowance": -1},
        {"cap": 0.0},
        {"cap": math.nan},
        {"cap": math.inf},
        {"delta": 0.0},
        {"delta": math.nan},
        {"patients": []},
        {"patients": "0123456789abcdef"},
        {"patients": ["John Doe"]},
        {"patients": [""]},
        {"job_id": ""},
    ],
)
def test_what_cannot_be_is_not_recorded(ledger: Ledger, changed: dict[str, Any]) -> None:
    with pytest.raises(LedgerError) as refused:
        ledger.charge(**job(**changed))
    assert "John" not in str(refused.value)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("bad", [{"round_number": 0, "steps": 0}, {"round_number": -1, "steps": 1}])
def test_a_round_has_a_number_and_steps(ledger: Ledger, bad: dict[str, int]) -> None:
    ledger.charge(**job())
    with pytest.raises(LedgerError, match="1 step or more"):
        ledger.begin("j1", **bad)
    with pytest.raises(LedgerError, match="not charged"):
        ledger.begin("j2", round_number=0, steps=1)


@pytest.mark.parametrize("epsilon", [math.nan, math.inf])
def test_an_epsilon_that_is_no_number_fails_closed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, epsilon: float
) -> None:
    monkeypatch.setattr(accountant, "epsilon", lambda events, *, delta: epsilon)
    with pytest.raises(BudgetError):
        ledger.charge(**job())
    assert len(ledger.entries()) == 1
    ledger.charge(**job(cap=None))
    assert ledger.spent(people(0), delta=1e-5) == math.inf


def test_an_accountant_that_raises_leaves_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(events: object, *, delta: float) -> float:
        raise FloatingPointError

    monkeypatch.setattr(accountant, "epsilon", broken)
    with pytest.raises(FloatingPointError):
        ledger.charge(**job())
    assert len(ledger.entries()) == 1
    ledger.charge(**job(cap=None))


def test_the_real_accountant_composes_three_equal_jobs(path: Path) -> None:
    ledger = Ledger.create(path, site="north", key=KEY)
    one = accountant.epsilon([event(20, noise=3.0)], delta=1e-5)
    for number in range(3):
        ledger.charge(**job(f"j{number}", event=event(20, noise=3.0), cap=100.0))
    spent = ledger.spent(people(0), delta=1e-5)
    assert spent == accountant.epsilon([event(60, noise=3.0)], delta=1e-5)
    assert one < spent < 3 * one
    with pytest.raises(BudgetError):
        ledger.charge(**job("j3", event=event(20, noise=3.0), cap=spent))
    ledger.close("j0")
    ledger.charge(**job("j3", event=event(20, noise=3.0), cap=spent))
    ledger.charge(**job("none", event=event(1, noise=0.0), cap=None, patients=people(3)))
    assert ledger.spent(people(0, 3), delta=1e-5) == math.inf


JOBS = st.sampled_from(["a", "b", "c", "d"])
ACTIONS = st.one_of(
    st.tuples(st.just("charge"), JOBS, st.integers(1, 9), st.frozensets(st.integers(0, 5), min_size=1)),
    st.tuples(st.just("begin"), JOBS, st.integers(1, 4)),
    st.tuples(st.just("close"), JOBS),
    st.tuples(st.just("reopen")),
)
CAP, ALLOWANCE = 15, 3


class Model:
    """The same rules in a dozen lines: job -> planned, begun, closed, patients."""

    def __init__(self) -> None:
        self.jobs: dict[str, tuple[int, int, bool, frozenset[int]]] = {}

    def spent(self, patient: int) -> int:
        return sum(
            begun if closed else max(planned, begun)
            for planned, begun, closed, patients in self.jobs.values()
            if patient in patients
        )

    def fits(self, patients: frozenset[int], more: int) -> bool:
        return all(self.spent(patient) + more <= CAP for patient in patients)

    def act(self, kind: str, name: str, *rest: Any) -> type[Exception] | None:
        known = self.jobs.get(name)
        if kind == "charge":
            if known is not None:
                planned, begun, closed, patients = known
                if patients != rest[1]:
                    return PatientsError
                if planned != rest[0]:
                    return LedgerError
                if closed and not self.fits(patients, max(0, planned - begun)):
                    return BudgetError
                self.jobs[name] = (planned, begun, False, patients)
                return None
            if not self.fits(rest[1], rest[0]):
                return BudgetError
            self.jobs[name] = (rest[0], 0, False, rest[1])
        elif known is None:
            return LedgerError if kind == "begin" else None
        elif kind == "close":
            self.jobs[name] = (*known[:2], True, known[3])
        else:
            planned, begun, closed, patients = known
            if closed:
                return LedgerError
            if begun + rest[0] > planned + ALLOWANCE:
                return BudgetError
            beyond = begun + rest[0] - max(planned, begun)
            if beyond > 0 and not self.fits(patients, beyond):
                return BudgetError
            self.jobs[name] = (planned, begun + rest[0], closed, patients)
        return None


def perform(ledger: Ledger, kind: str, name: str, *rest: Any) -> None:
    acts: dict[str, Callable[[], object]] = {
        "charge": lambda: ledger.charge(
            **job(name, event=event(rest[0]), patients=people(*rest[1]), cap=float(CAP), allowance=ALLOWANCE)
        ),
        "begin": lambda: ledger.begin(name, round_number=0, steps=rest[0]),
        "close": lambda: ledger.close(name),
    }
    acts[kind]()


@settings(max_examples=60, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=20))
def test_it_agrees_with_a_model_in_memory_whenever_it_is_reopened(actions: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(accountant, "epsilon", count_steps)
        path, model = Path(folder) / "ledger.db", Model()
        ledger = Ledger.create(path, site="north", key=KEY)
        for kind, *rest in actions:
            if kind == "reopen":
                ledger = reopen(path)
                continue
            expected = model.act(kind, *rest)
            if expected is None:
                perform(ledger, kind, *rest)
            else:
                with pytest.raises(LedgerError) as refused:
                    perform(ledger, kind, *rest)
                assert type(refused.value) is expected
        for book in (ledger, reopen(path)):
            assert [book.spent(people(n), delta=1e-5) for n in range(6)] == [model.spent(n) for n in range(6)]
            assert book.spent(people(*range(6)), delta=1e-5) == max(model.spent(n) for n in range(6))
