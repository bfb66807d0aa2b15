"""Check the data of the pages: the store's values, worst first, with flags, and no number where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward.dashboard import api
from fedward.dashboard.series import every_nth
from fedward.metrics.store import SiteSeen, Store
from tests.support.metrics_store import (
    DROPPED,
    FLAGGED,
    MISSING_WORDS,
    STATES,
    SUPPRESSED,
    fill,
    fill_states,
    site_name,
)

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "metrics.db", create=True) as opened:
        yield opened


def job(store: Store, job_id: str, *, now: float = NOW) -> dict[str, Any]:
    found = api.one_job(store, job_id, now=now)
    assert found is not None
    return found


def report(store: Store, site: str, auc: float, *, at: float = NOW, half: float = 0.02) -> None:
    scores = {
        "auc": auc,
        "auc_low": auc - half,
        "auc_high": auc + half,
        "patients": 100,
        "images": 130,
        "positives": 20,
    }
    store.write(
        "a",
        {"event": "answered", "at": at, "site": site, "task": "round", "round": 0, "metrics": {"scores": scores}},
    )


def start(store: Store, *, at: float = NOW - 60) -> None:
    store.write("a", {"event": "started", "at": at, "job": "a", "task": "classification", "rounds": 3, "sites": []})


def flagged(content: dict[str, Any]) -> list[str]:
    return [site["site"] for site in content["sites"] if site["flag"] is not None]


def test_no_store_yet_is_an_empty_federation() -> None:
    assert api.federation(None, now=NOW) == {"now": NOW, "stale_after_s": 60.0, "sites": [], "jobs": []}
    assert api.one_job(None, "a", now=NOW) is None
    assert api.one_site(None, "north", now=NOW) is None


def test_everything_is_json_without_nan(store: Store) -> None:
    (job_id,) = fill(store, sites=5, now=NOW)
    for content in (api.federation(store, now=NOW), job(store, job_id), api.one_site(store, "north", now=NOW)):
        assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_federation_says_who_is_there_and_who_is_not(store: Store) -> None:
    fill(store, sites=3, jobs=2, now=NOW)
    content = api.federation(store, now=NOW + 30)
    sites = {site["site"]: site for site in content["sites"]}
    assert sites["north"] == {
        "site": "north",
        "last_seen": NOW,
        "stale": False,
        "connected": True,
        "version": "0.1.0",
        "certificate_days": 5.0,
    }
    assert sites["river"]["connected"] is False
    assert [one["id"] for one in content["jobs"]] == ["00000001-made-up", "00000000-made-up"]
    assert content["jobs"][0]["worst"] == {"site": "north", "value": 0.69}
    assert all(site["stale"] for site in api.federation(store, now=NOW + 61)["sites"])


def test_a_job_has_its_worst_site_first_and_who_has_no_value_last(store: Store) -> None:
    (job_id,) = fill(store, sites=5, now=NOW)
    content = job(store, job_id)
    sites = content["sites"]
    assert (sites[0]["site"], sites[-1]["site"]) == (site_name(FLAGGED), site_name(SUPPRESSED))
    assert [site["value"] for site in sites[:-1]] == sorted(site["value"] for site in sites[:-1])
    assert (sites[-1]["value"], sites[-1]["suppressed"], sites[-1]["patients"]) == (None, True, 122)
    assert content["declined"] == [{"site": site_name(4), "reason": "job is not approved here"}]
    assert [(one["site"], one["round"]) for one in content["dropped"]] == [(site_name(DROPPED), 1)]
    assert content["pooled"] == {
        "value": 0.861,
        "low": 0.84,
        "high": 0.88,
        "patients": 500,
        "images": 640,
        "positives": 140,
    }
    assert content["job"]["coverage"]["min_sites"] == 2
    assert (content["job"]["measure"], content["job"]["threshold"]) == ("auc", 0.8)
    assert content["cursor"] == store.cursor()


def test_lines_and_rounds_are_the_stores(store: Store) -> None:
    (job_id,) = fill(store, sites=3, rounds=4, now=NOW)
    content = job(store, job_id)
    north, river, small = (content["series"][site] for site in ("north", "river", "small"))
    assert north["round"] == [0, 1, 2, 3, 4]
    assert river["round"] == [0, 2, 3, 4], "it missed round 1"
    assert north["value"][-1] == content["sites"][0]["value"]
    assert north["training_loss"][-1] is None, "nobody trained from the final model"
    assert small["value"] == [None] * 5
    assert all(len(column) == len(north["round"]) for column in north.values())
    first, second = content["rounds"][:2]
    assert (first["wall_s"], first["stages"]) == (57.0, {"wait_s": 54.0, "add_s": 3.0})
    assert first["sites"]["north"]["train_s"] == 24.0
    assert (second["sites"]["river"]["outcome"], second["sites"]["river"]["reason"]) == ("dropped", "no answer in time")


def test_a_job_that_ended_says_what_its_model_is_worth_and_a_running_one_does_not(store: Store) -> None:
    start(store)
    report(store, "north", 0.52)
    report(store, "south", 0.91)
    assert job(store, "a")["worth"] == []
    store.write("a", {"event": "finished", "at": NOW, "rounds": 3})
    (verdict,) = job(store, "a")["worth"]
    assert not verdict["good"] and verdict["advice"]
    chance = "The model is not shown to be better than chance at 1 of 2 hospitals: north (AUC 0.520"
    assert verdict["words"].startswith(chance)


@pytest.mark.parametrize(("low", "others"), [(0.70, 0.88), (0.10, 0.90)])
def test_a_site_far_below_four_others_is_flagged_while_the_job_runs_and_after(
    store: Store, low: float, others: float
) -> None:
    start(store)
    report(store, "north", low)
    for number in range(1, 5):
        report(store, site_name(number), others + number / 1000)
    assert flagged(job(store, "a")) == ["north"]
    assert job(store, "a")["sites"][0]["flag"]["others_mean"] == pytest.approx(others + 0.0025)
    store.write("a", {"event": "finished", "at": NOW + 5, "rounds": 3})
    assert flagged(job(store, "a", now=NOW + 1e6)) == ["north"], "as it was at its end"


def test_a_dead_sites_old_value_flags_no_one_and_is_not_flagged(store: Store) -> None:
    start(store)
    report(store, "dead", 0.05, at=NOW - 4000)
    for number, auc in enumerate((0.71, 0.72, 0.73)):
        report(store, site_name(number), auc)
    assert flagged(job(store, "a")) == []
    report(store, "dead", 0.05)
    assert flagged(job(store, "a")) == ["dead"], "the same value counts once it is recent"


def test_a_site_turns_stale_in_a_job_that_waits_for_it_alone(store: Store) -> None:
    start(store)
    report(store, "north", 0.8)
    store.seen([SiteSeen(site="north", last_seen=NOW, connected=True, certificate_until=None)])
    assert not job(store, "a", now=NOW + 59)["sites"][0]["stale"]
    assert job(store, "a", now=NOW + 61)["sites"][0]["stale"]
    store.write("a", {"event": "failed", "at": NOW + 62, "reason": "too few sites"})
    content = job(store, "a", now=NOW + 500)
    assert not content["sites"][0]["stale"]
    assert (content["job"]["state"], content["job"]["reason"]) == ("failed", "too few sites")
    assert content["job"]["wall_s"] == 122.0


def test_a_site_has_its_jobs_newest_first(store: Store) -> None:
    fill(store, sites=4, jobs=3, now=NOW, private=False)
    content = api.one_site(store, site_name(3), now=NOW)
    assert content is not None
    assert [one["id"] for one in content["jobs"]] == ["00000002-made-up", "00000001-made-up"], "it declined the first"
    assert content["jobs"][0]["epsilon"] is None
    assert api.one_site(store, "nobody", now=NOW) is None


@pytest.mark.parametrize(("sites", "rounds", "every"), [(3, 10, 1), (100, 100, 1), (100, 101, 2), (100, 1000, 10)])
def test_what_no_page_could_draw_is_thinned(sites: int, rounds: int, every: int) -> None:
    assert every_nth(sites, rounds) == every


def test_a_thinned_job_keeps_its_last_round(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward.dashboard.series.MOST_POINTS", 10)
    (job_id,) = fill(store, sites=3, rounds=6, now=NOW)
    content = job(store, job_id)
    assert content["series"]["north"]["round"] == [0, 2, 4, 6]
    assert [one["round"] for one in content["rounds"]] == [0, 2, 4, 5]


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_job_that_does_not_simply_run_says_how_it_stands(store: Store, state: str) -> None:
    job_id = fill_states(store, now=NOW)[state]
    content = job(store, job_id)["job"]
    ended = state in ("aborted", "failed")
    assert (content["state"], content["words"], content["ended"]) == (state, STATES[state][1], ended)
    assert content["wall_s"] == (540.0 if ended else 600.0)
    listed = {one["id"]: one["words"] for one in api.federation(store, now=NOW)["jobs"]}
    assert listed[job_id] == STATES[state][1]
    site = api.one_site(store, "north", now=NOW)
    assert site is not None and {one["id"]: one["words"] for one in site["jobs"]} == listed


def test_a_job_that_finished_without_a_site_says_so(store: Store) -> None:
    content = job(store, fill_states(store, now=NOW)["missing"])["job"]
    assert (content["state"], content["words"], content["ended"]) == ("finished", MISSING_WORDS, True)
    assert content["missing"] == [{"site": "river", "reason": "no answer in time", "since": 4}]


def test_what_interrupted_a_job_is_listed_in_order(store: Store) -> None:
    start(store)
    turns = [
        {"event": "resumed", "round": 1, "by": "server", "attempt": 1},
        {"event": "returned", "site": "north", "round": 1},
        {"event": "paused", "reason": "disk full"},
        {"event": "unpaused"},
    ]
    for number, one in enumerate(turns):
        store.write("a", {"at": NOW + number, **one})
    found = job(store, "a", now=NOW + 9)["turns"]
    assert [(one["kind"], one["at"], one["site"]) for one in found] == [
        *(("resumed", NOW, None), ("returned", NOW + 1, "north"), ("paused", NOW + 2, None)),
        ("unpaused", NOW + 3, None),
    ]
    assert (found[0]["by"], found[0]["attempt"], found[2]["reason"]) == ("server", 1, "disk full")
