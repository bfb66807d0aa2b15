"""Check one job under several ids: what a server learns from all runs together, and what each hospital refuses."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nvflare.apis.shareable import Shareable

from fedward.errors import GateError
from fedward.flare.protocol import REFUSED_AT_DOOR, Model, Reply, Sum, Task, refusal, to_reply, to_shareable
from fedward.flare.secagg_context import enough
from fedward.flare.summed_counts import counts_length
from fedward.privacy.ledger import run_record
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import Run
from fedward.privacy.policy.job_hash import job_hash
from tests.support.flare.three import SITES, Three
from tests.support.ledger import FAST, KEY

OTHERS = "other hospitals were summed in another run of this job; submit it with another job.seed"
FOUR = (*SITES, "west")
ONE_ROUND: dict[str, Any] = {"federation": {"rounds": 1, "min_sites": 3}, "encryption": {"open_final": True}}


# what sums disclose together, by each hospital's own record


HOSPITALS = tuple("abcdefghij")
Asked = tuple[frozenset[str], frozenset[str]]
"""Hospitals in a run's sum, and those whose confirmation the server asks for."""


def fewest(revealed: Sequence[frozenset[str]]) -> int:
    """Of all that can be worked out from sums, the fewest hospitals whose numbers are in it; 3 for three or more.

    Linear algebra: sums tell a combination of T's numbers alone where their rank is less without the columns of T.
    """
    whole = np.array([[site in one for site in HOSPITALS] for one in revealed], dtype=float)
    rank, columns = np.linalg.matrix_rank(whole), range(len(HOSPITALS))
    for size in (1, 2):
        for left in itertools.combinations(columns, len(HOSPITALS) - size):
            if np.linalg.matrix_rank(whole[:, left]) < rank:
                return size
    return 3


@st.composite
def asked(draw: st.DrawFn) -> list[Asked]:
    """Runs of one job; mostly of few hospitals, so that several sums find enough who have not given a word."""
    drawn = []
    for _ in range(draw(st.integers(1, 8))):
        sites = draw(st.frozensets(st.sampled_from(HOSPITALS), min_size=3, max_size=draw(st.sampled_from([4, 5, 10]))))
        silent = draw(st.frozensets(st.sampled_from(sorted(sites)), max_size=(len(sites) - 1) // 3))
        drawn.append((sites, sites - silent))
    return drawn


def sets(*words: str) -> list[Asked]:
    return [(frozenset(word), frozenset(word)) for word in words]


ONE_LESS = sets("abcd", "abc")
THREE_RUNS = sets("abcdefg", "abc", "def")
"""The first less the others is what g sent."""
FANO = sets("abc", "ade", "afg", "bdf", "beg", "cdg", "cef")
"""Seven triples, any two with one hospital in common (the Fano plane): they tell what each of the seven sent."""
TWO_SETS: list[Asked] = [(frozenset("abcd"), frozenset("abc")), (frozenset("defg"), frozenset("efg"))]


@pytest.mark.parametrize("runs", [ONE_LESS, THREE_RUNS, FANO], ids=["one less", "three runs", "seven runs"])
def test_runs_of_a_job_would_tell_what_one_hospital_sent(runs: list[Asked]) -> None:
    """The next property is not empty, and that any two sums differ by four hospitals would not be enough."""
    assert fewest([sites for sites, _ in runs]) == 1
    if runs is not ONE_LESS:
        assert all(len(one ^ other) >= 4 for (one, _), (other, _) in itertools.combinations(runs, 2))


@settings(max_examples=40, deadline=None)
@example(runs=ONE_LESS, opened=1)
@example(runs=THREE_RUNS, opened=1)
@example(runs=FANO, opened=1)
@example(runs=sets("abcdefg", "abcdefg", "abcdef"), opened=2)
@example(runs=TWO_SETS, opened=2)
@given(runs=asked(), opened=st.none())
def test_what_all_runs_of_a_job_reveal_holds_three_hospitals_or_more(runs: list[Asked], opened: int | None) -> None:
    """Each hospital for itself, by its own record; a sum is revealed on the word of more than two thirds."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        members = sorted({site for sites, _ in runs for site in sites})
        kept = {site: Record.create(Path(folder) / site, site=site, key=KEY) for site in members}

        def says(site: str, job_id: str, sites: frozenset[str]) -> bool:
            kept[site].begin(job_id, job=64 * "a")
            try:
                kept[site].open_sum(job_id, purpose="model", round_number=0, sum=64 * "c", sites=sites)
            except GateError as error:
                assert error.what == OTHERS
                return False
            return True

        revealed = []
        for number, (sites, willing) in enumerate(runs):
            if enough([site for site in sorted(willing) if says(site, f"j{number}", sites)], sites):
                revealed.append(sites)
        assert runs[0][0] in revealed and opened in (None, len(revealed))
        assert fewest(revealed) == 3


# the same through the gates of the hospitals


def told(shareable: Shareable) -> str:
    """Return the reason why the hospital's ingress gate kept a task from its executor; empty: it did not."""
    reason = shareable.get_header(REFUSED_AT_DOOR)
    assert reason is None or "DXO" not in shareable
    return "" if reason is None else str(reason)


def state(one: Three, site: str) -> Run:
    """Return the run from the hospital's record."""
    return one.hospitals[site].record.require(one.hospitals[site].job_id)


def revealed(one: Three, sites: tuple[str, ...]) -> Any:
    """Return the model of a one-round job that its hospitals open to the server, or None; each is asked to confirm."""
    model, _ = one.round(one.exchange.initial, sites)
    words = {}
    for site in sites:
        one.give(site, Task.FINAL, model)
        answer = one.hospitals[site].send(to_shareable(Reply()), Task.FINAL)
        if refusal(answer) is None:
            words[site] = to_reply(answer)
    tally = one.exchange.confirmation("model", model.sealed or b"")
    assert tally.take(words) == {}
    confirmed = tally.close()
    found = [one.open(site, model, None if confirmed is None else confirmed.sealed) for site in sites]
    opened = [to_reply(answer).model for answer in found if refusal(answer) is None]
    assert len(opened) in (0, len(sites))
    return opened[0] if opened else None


def correlation_with_west(one: Three, with_west: Any, without: Any) -> float:
    west, start = one.update("west"), one.hospitals["west"].model
    found = [4.0 * with_west[name].astype("f8") - 3.0 * without[name].astype("f8") - start[name] for name in start]
    flat = [np.concatenate([np.ravel(array) for array in arrays]) for arrays in (found, west.values())]
    return float(np.corrcoef(*flat)[0, 1])


@pytest.mark.parametrize(
    ("roster", "first", "again"),
    [(FOUR, FOUR, SITES), (SITES, SITES, FOUR), (FOUR, SITES, FOUR)],
    ids=["one less", "one more", "one that was late before"],
)
def test_a_second_run_that_leads_to_another_sum_is_refused_before_it_trains(
    tmp_path: Path, roster: tuple[str, ...], first: tuple[str, ...], again: tuple[str, ...]
) -> None:
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    assert revealed(known.again(roster), first) is not None
    other = known.again(again)
    for site in SITES:
        assert told(other.give(site, Task.ROUND, other.exchange.initial, number=0)) == f"ingress gate: {OTHERS}"
        assert state(other, site).left == -1 and state(other, site).ended


def test_a_second_run_does_not_tell_what_the_one_hospital_sent_that_is_in_one_alone(tmp_path: Path) -> None:
    """The roster is the same, and the server leaves one hospital's message out."""
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    assert revealed(known.again(), FOUR) is not None
    other = known.again()
    assert revealed(other, SITES) is None
    assert all(state(other, site).ended and state(other, site).final is None for site in SITES)


def test_without_the_comparison_it_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack is a real one: what the server works out is what west sent."""
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    monkeypatch.setattr(run_record, "require_same_hospitals", lambda *_: None)
    found = [revealed(known.again(sites), sites) for sites in (FOUR, SITES)]
    assert correlation_with_west(known, *found) > 0.999


@pytest.mark.parametrize("sites", [FOUR, SITES])
def test_the_same_hospitals_open_the_same_model_again(tmp_path: Path, sites: tuple[str, ...]) -> None:
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    one, other = (revealed(known.again(sites), sites) for _ in range(2))
    assert one is not None and other is not None
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_of_two_runs_at_once_one_hospitals_update_leaves_in_one(tmp_path: Path) -> None:
    """Both are admitted and begin before any update leaves; nobody knows whose sums the server has opened."""
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    one, other = known.again(FOUR), known.again(SITES)
    first = {("city", one), ("coast", other)}
    for site, run in (("city", one), ("city", other), ("coast", one), ("coast", other)):
        assert told(run.give(site, Task.ROUND, run.exchange.initial, number=0)) == ""
    for site, run in (("city", one), ("coast", other), ("city", other), ("coast", one)):
        hospital = run.hospitals[site]
        answer = hospital.send(hospital.answer(run.update(site)))
        assert (refusal(answer) is None) is ((site, run) in first)


def test_counts_of_the_final_model_leave_in_one_of_two_runs_at_once(tmp_path: Path) -> None:
    """Both runs' models are of the same hospitals, which the server had opened; in one, west adds its counts."""
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    one, other = known.again(FOUR), known.again(SITES)
    for run in (one, other):
        assert told(run.give("city", Task.ROUND, run.exchange.initial, number=0)) == ""
    made, _ = one.round(one.exchange.initial, SITES)
    assert told(one.give("city", Task.FINAL, made)) == ""
    hospital = other.hospitals["city"]
    assert refusal(hospital.send(hospital.answer(other.update("city")))) is not None
    assert told(other.give("city", Task.FINAL, made)) != ""


@pytest.mark.parametrize("restarted", [False, True])
def test_no_update_follows_from_a_rounds_sum_of_other_hospitals(tmp_path: Path, restarted: bool) -> None:
    """The first run never comes to an end: who knows whether its model was opened elsewhere?"""
    known = Three(tmp_path, sites=FOUR, federation={"rounds": 2, "min_sites": 3})
    one, other = known.again(), known.again()
    assert told(one.give("city", Task.ROUND, one.round(one.exchange.initial)[0], number=1)) == ""
    less, _ = other.round(other.exchange.initial, SITES)
    if restarted:
        other.hospitals["city"].restart()
    assert told(other.give("city", Task.ROUND, less, number=1)) == f"ingress gate: {OTHERS}"
    city = other.hospitals["city"]
    answer = city.send(city.answer(city.update()))
    assert refusal(answer) is not None and state(other, "city").left == 0
    assert state(other, "city").ended and not state(one, "city").ended


def test_statistics_of_two_runs_are_those_of_the_same_hospitals(tmp_path: Path) -> None:
    """The models' sums are the same; the counts are of all four, and then without those of west."""
    known = Three(tmp_path, sites=FOUR, **ONE_ROUND)
    numbers = counts_length(known.hospitals["city"].job, "cohort")

    def counted(one: Three, sites: tuple[str, ...]) -> tuple[Sum, dict[str, Shareable]]:
        model: Model = one.round(one.exchange.initial)[0]
        tally = one.exchange.tally("cohort")
        assert tally is not None
        counts = {"cohort": np.full(numbers, 9, np.int64)}
        assert tally.take({site: one.final(site, model, counts) for site in sites}) == {}
        total = tally.close()
        assert total is not None
        return total, {site: one.give(site, Task.CONFIRM, [total]) for site in sites}

    _, asked_for = counted(known.again(), FOUR)
    assert [told(answer) for answer in asked_for.values()] == [""] * 4
    less, asked_for = counted(other := known.again(), SITES)
    assert [told(answer) for answer in asked_for.values()] == [f"ingress gate: {OTHERS}"] * 3
    assert told(other.give("city", Task.POOL, less)) != ""


def test_another_seed_is_another_job(tmp_path: Path) -> None:
    known = Three(tmp_path / "one", sites=FOUR, **ONE_ROUND)
    other = Three(tmp_path / "other", sites=FOUR, **ONE_ROUND, job={"seed": 1})
    assert revealed(known.again(), FOUR) is not None
    for site, hospital in known.hospitals.items():
        hospital.config, hospital.job = other.hospitals[site].config, other.hospitals[site].job
    assert job_hash(known.hospitals["city"].job) == job_hash(other.hospitals["city"].job)
    assert revealed(known.again(SITES), SITES) is not None
