"""The record of runs: a fact is written once, by whichever process, and costs nobody anything in the ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.errors import GateError, LedgerError, RepeatError
from fedward.privacy import accountant
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import RUN, FinalModel
from tests.support.ledger import FAST, KEY, count_steps, event, job, people

JOB, OTHER = "a" * 64, "b" * 64
ROSTER = {"north": "1" * 32, "south": "2" * 32}
ANSWER: dict[str, Any] = {"model": "c" * 64, "repeats": 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Record.create(tmp_path / "ledger.db", site="north", key=KEY)
    return tmp_path / "ledger.db"


def book(path: Path) -> Record:
    return Record.open(path, site="north", key=KEY)


WRITES: dict[str, tuple[Callable[[Record], None], Callable[[Record], None]]] = {
    "roster": (
        lambda kept: kept.take_roster("j1", ROSTER),
        lambda kept: kept.take_roster("j1", ROSTER | {"south": "3" * 32}),
    ),
    "sum": (
        lambda kept: kept.open_sum("j1", purpose="model", round_number=0, sum="c" * 64, sites=["south", "north"]),
        lambda kept: kept.open_sum("j1", purpose="model", round_number=0, sum="d" * 64, sites=["south", "north"]),
    ),
    "sites": (
        lambda kept: kept.open_sum("j1", purpose="model", round_number=0, sum="c" * 64, sites=["south", "north"]),
        lambda kept: kept.open_sum("j1", purpose="model", round_number=0, sum="c" * 64, sites=["north"]),
    ),
    "confirm": (
        lambda kept: kept.confirm_sum("j1", purpose="cohort", round_number=0, sum="c" * 64),
        lambda kept: kept.confirm_sum("j1", purpose="cohort", round_number=0, sum="d" * 64),
    ),
    "validate": (
        lambda kept: kept.validate("j1", FinalModel(2, "c" * 64)),
        lambda kept: kept.validate("j1", FinalModel(1, "c" * 64)),
    ),
    "final": (
        lambda kept: kept.finish("j1", FinalModel(2, "c" * 64)),
        lambda kept: kept.finish("j1", FinalModel(2, "d" * 64)),
    ),
    "begin": (lambda kept: None, lambda kept: kept.begin("j1", job=OTHER) and None),
}


@pytest.mark.parametrize("fact", WRITES)
def test_a_fact_is_written_once_and_no_other_stands_in_its_place(path: Path, fact: str) -> None:
    write, other = WRITES[fact]
    nonce = book(path).begin("j1", job=JOB).nonce
    write(book(path))
    count = len(book(path).entries())
    write(book(path))
    assert len(book(path).entries()) == count
    with pytest.raises(GateError):
        other(book(path))
    assert len(book(path).entries()) == count
    assert book(path).begin("j1", job=JOB).nonce == nonce
    book(path).end("j1")
    for act in (write, other) if fact != "begin" else (other,):
        with pytest.raises(GateError):
            act(book(path))
    book(path).end("j1")
    assert len(book(path).entries()) == count + 1


def test_what_is_opened_to_the_server_is_the_final_model(path: Path) -> None:
    kept = book(path)
    kept.begin("j1", job=JOB)
    final = FinalModel(2, "c" * 64)
    with pytest.raises(GateError):
        kept.reveal("j1", final)
    kept.finish("j1", final)
    for other in (FinalModel(1, "c" * 64), FinalModel(2, "d" * 64)):
        with pytest.raises(GateError):
            kept.reveal("j1", other)
    kept.reveal("j1", final)
    kept.reveal("j1", final)
    with pytest.raises(GateError, match="last validation"):
        kept.leave("j1", round_number=5, **ANSWER)
    with pytest.raises(GateError):
        kept.validate("j1", final)


def test_an_update_leaves_again_for_the_same_model_a_few_times_and_each_time_is_an_entry(path: Path) -> None:
    book(path).begin("j1", job=JOB)
    for number in (0, 0, 1, 1):
        book(path).leave("j1", round_number=number, **ANSWER)
    entries = book(path).entries()
    assert [entry.body["round"] for entry in entries if entry.kind == "run-leave"] == [0, 0, 1, 1]
    assert book(path).require("j1").repeats == 2
    with pytest.raises(RepeatError, match="used up"):
        book(path).leave("j1", round_number=1, **ANSWER)
    with pytest.raises(GateError, match="for another model"):
        book(path).leave("j1", round_number=1, model="d" * 64, repeats=9)
    with pytest.raises(GateError, match="later round"):
        book(path).leave("j1", round_number=0, **ANSWER)
    assert book(path).entries() == entries
    book(path).leave("j1", round_number=2, **ANSWER)
    with pytest.raises(RepeatError):
        book(path).leave("j1", round_number=2, **ANSWER)


def test_an_older_entry_without_its_model_is_never_repeated(path: Path) -> None:
    book(path).begin("j1", job=JOB)
    with book(path)._turn() as turn:
        turn.append("run-leave", {"job_id": "j1", "round": 0})
    with pytest.raises(GateError, match="for another model"):
        book(path).leave("j1", round_number=0, **ANSWER)
    book(path).leave("j1", round_number=1, **ANSWER)


def test_a_run_that_never_began_has_no_facts(path: Path) -> None:
    for name in ("j1", ""):
        with pytest.raises(LedgerError, match="no such run"):
            book(path).leave(name, round_number=0, **ANSWER)
    book(path).end("j1")
    assert book(path).runs() == () and book(path).find("j1") is None
    for job_id, hash in (("", JOB), ("j1", "short"), ("j1", "A" * 64)):
        with pytest.raises(LedgerError):
            book(path).begin(job_id, job=hash)


MOVES = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from([JOB, OTHER])),
    st.tuples(st.just("leave"), st.integers(0, 5), st.sampled_from("cd")),
    st.tuples(st.just("sum"), st.integers(0, 2), st.sampled_from("cd")),
    st.tuples(st.just("final"), st.integers(0, 2), st.sampled_from("cd")),
    st.tuples(st.just("end")),
    st.tuples(st.just("reopen")),
)


@settings(max_examples=80, deadline=None)
@given(moves=st.lists(MOVES, max_size=25))
def test_whatever_is_tried_rounds_ascend_and_each_sum_and_final_model_is_one(moves: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        path = Path(folder) / "ledger.db"
        kept = Record.create(path, site="north", key=KEY)
        left, models, sums, finals, jobs = [], {}, {}, set(), set()
        for kind, *rest in moves:
            try:
                if kind == "reopen":
                    kept = book(path)
                elif kind == "begin":
                    jobs.add(kept.begin("j1", job=rest[0]).job)
                elif kind == "leave":
                    kept.leave("j1", round_number=rest[0], model=rest[1] * 64, repeats=2)
                    left.append(rest[0])
                    models.setdefault(rest[0], set()).add(rest[1])
                elif kind == "sum":
                    kept.open_sum("j1", purpose="model", round_number=rest[0], sum=rest[1] * 64, sites=["north"])
                    sums.setdefault(rest[0], set()).add(rest[1])
                elif kind == "final":
                    kept.finish("j1", FinalModel(rest[0], rest[1] * 64))
                    finals.add(tuple(rest))
                else:
                    kept.end("j1")
            except (GateError, LedgerError):
                continue
        assert left == sorted(left) and len(left) - len(set(left)) <= 2 and len(finals) <= 1 and len(jobs) <= 1
        assert all(len(found) == 1 for found in models.values())
        assert all(len(found) == 1 for found in sums.values())
        run = book(path).find("j1")
        assert (run.left if run else -1) == max(left, default=-1)
        assert (run.repeats if run else 0) == len(left) - len(set(left))


def test_the_record_costs_nobody_anything_and_the_ledger_takes_no_notice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    kept, ledger = book(path), Ledger.open(path, site="north", key=KEY)
    kept.begin("j1", job=JOB)
    ledger.charge(**job(event=event(10)))
    kept.leave("j1", round_number=0, **ANSWER)
    begun = ledger.begin("j1", round_number=1, steps=2)
    kept.open_sum("j1", purpose="model", round_number=0, sum="c" * 64, sites=["north"])
    ledger.release(begun.hash, digest="e" * 64)
    kept.end("j1")
    assert ledger.spent(people(0), delta=1e-5) == 10
    assert [value for _, value in ledger.course(people(0), delta=1e-5)] == [10]
    kinds = [entry.kind for entry in ledger.entries()]
    assert sum(kind.startswith(RUN) for kind in kinds) == 4 and kinds == [entry.kind for entry in kept.entries()]


def test_two_processes_draw_one_nonce(path: Path) -> None:
    one, other = book(path), book(path)
    assert one.begin("j1", job=JOB).nonce == other.begin("j1", job=JOB).nonce
    assert one.begin("j2", job=JOB).nonce != other.begin("j1", job=JOB).nonce


def test_an_entry_that_says_what_cannot_be_is_found(path: Path) -> None:
    kept = book(path)
    kept.begin("j1", job=JOB)
    kept.leave("j1", round_number=3, **ANSWER)
    for kind, body in {
        "run-leave": {"job_id": "j1", "round": 2, "model": "c" * 64},
        "run-leave again": {"job_id": "j1", "round": 3, "model": "d" * 64},
        "run-leave ": {"job_id": "j2", "round": 2},
        "run-dance": {"job_id": "j1"},
        "run-sum": {"job_id": "j1", "round": 0},
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "ledger.db"
            for name in ("ledger.db", "ledger.db.head"):
                (Path(folder) / name).write_bytes((path.parent / name).read_bytes())
            with book(copy)._turn() as turn:
                turn.append(kind.removesuffix(" again"), body)
            with pytest.raises(LedgerError, match="cannot be understood"):
                book(copy)


# several runs of one job


def opens(
    kept: Record, job_id: str, sites: Sequence[str], *, job: str = JOB, purpose: str = "model", number: int = 0
) -> bool:
    """True if the hospital opens a sum of these hospitals in a run that it began."""
    kept.begin(job_id, job=job)
    try:
        kept.open_sum(job_id, purpose=purpose, round_number=number, sum=64 * "c", sites=sites)
    except GateError as error:
        another = "another run of this job" in error.what and "job.seed" in str(error)
        assert another or error.what == "counts of other hospitals were summed in this run"
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    opened=st.lists(
        st.tuples(
            st.sampled_from(["j1", "j2", "j3"]),
            st.sampled_from([JOB, OTHER]),
            st.sampled_from(["model", "scores", "cohort"]),
            st.integers(0, 1),
            st.frozensets(st.sampled_from("abcdefg"), min_size=3),
        ),
        max_size=12,
    ),
    ends=st.booleans(),
)
def test_a_sums_hospitals_are_one_set_in_all_runs_of_a_job(opened: list[Any], ends: bool) -> None:
    """The oracle keeps one set for each job and kind: each round's models, and all counts together."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        path = Path(folder) / "ledger.db"
        Record.create(path, site="north", key=KEY)
        known: dict[Any, frozenset[str]] = {}
        facts, ended = set(), set()
        for run, job_hash, purpose, number, sites in opened:
            job_id, kind = run + job_hash, (job_hash, number if purpose == "model" else "counts")
            fact = job_id, purpose, number
            again = any(other[:2] == (job_id, purpose) and (purpose != "model" or other == fact) for other in facts)
            if again or job_id in ended:
                continue  # a second sum within one run, and a run that has ended: other tests
            due = known.get(kind, sites) == sites
            # the record is opened anew each time: it is the file that knows
            order = sorted(sites, reverse=number == 1)
            assert opens(book(path), job_id, order, job=job_hash, purpose=purpose, number=number) is due
            if due:
                known[kind] = sites
                facts.add(fact)
            elif ends:
                book(path).end(job_id)
                ended.add(job_id)


@pytest.mark.parametrize("roster", ["abc", "abcde", "abce", "efgh", "abcdefgh"])
def test_a_roster_that_leads_to_another_sum_is_refused_before_anything_is_trained(path: Path, roster: str) -> None:
    drawn = {site: f"{number:032x}" for number, site in enumerate(roster)}
    assert opens(book(path), "j1", "abcd")
    book(path).begin("j2", job=JOB)
    with pytest.raises(GateError, match="another run of this job"):
        book(path).take_roster("j2", drawn)
    book(path).begin("j3", job=OTHER)
    book(path).take_roster("j3", drawn)
    book(path).begin("j4", job=JOB)
    book(path).take_roster("j4", {site: f"{number:032x}" for number, site in enumerate("dcba")})


def test_a_roster_is_not_held_against_counts_nor_against_a_run_that_opened_nothing(path: Path) -> None:
    """A hospital that gives no counts is in the model's sum; a run that came to no sum told nothing."""
    kept = book(path)
    kept.begin("j0", job=JOB)
    kept.take_roster("j0", ROSTER)
    assert opens(kept, "j1", "abcd") and opens(kept, "j1", "abc", purpose="cohort")
    kept.begin("j2", job=JOB)
    kept.take_roster("j2", {site: f"{number:032x}" for number, site in enumerate("abcd")})
    assert opens(kept, "j2", "abcd") and not opens(kept, "j2", "abcd", purpose="cohort")
    assert not opens(kept, "j3", "abcd", purpose="cohort", number=1), "counts are of one kind, whatever the round"


def test_a_sum_that_does_not_say_its_hospitals_is_another_set_than_any(path: Path) -> None:
    """No version wrote such an entry; where one stands, its job goes on under another hash alone."""
    book(path).begin("j1", job=JOB)
    with book(path)._turn() as turn:
        turn.append("run-sum", {"job_id": "j1", "purpose": "model", "round": 0, "sum": 64 * "c"})
    assert not opens(book(path), "j2", "abc")
    assert opens(book(path), "j2", "abc", number=1)
    assert opens(book(path), "j3", "abc", job=OTHER)


def test_runs_side_by_side_open_sums_of_one_set(path: Path) -> None:
    """Both begun, and their rosters taken, before either has a sum: whichever opens first settles it."""
    one, other = book(path), book(path)
    for kept, job_id, sites in ((one, "j1", "abcd"), (other, "j2", "abc")):
        kept.begin(job_id, job=JOB)
        kept.take_roster(job_id, {site: f"{number:032x}" for number, site in enumerate(sites)})
    assert opens(other, "j2", "abc") and not opens(one, "j1", "abcd")
    assert opens(one, "j1", "cba"), "in another order they are the same hospitals"
