"""Check participation: from the server's own ledger, rebuilt from older events, and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from fedward.reporting.charts.participation import participation_chart
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.participation import (
    SUCCESS,
    Contribution,
    SiteRound,
    coverage_of,
    ledger_of,
    participation_of,
)
from fedward.reporting.page import render
from fedward.reporting.terminal import show_participation
from fedward.settings import JobSpec
from tests.support.report_events import AWAY, ROUNDS, SITES, made_events, made_job

WHOLE = {"outcome": "accepted", "reason": None, "trained": True}


def test_two_rounds_worked_by_hand() -> None:
    first = WHOLE | {"patients": 40, "seconds": 2.5, "sent_bytes": 100, "received_bytes": 1000}
    late = {"outcome": "dropped", "reason": "late", "trained": True, "patients": None}
    late |= {"seconds": 9.0, "sent_bytes": 100, "received_bytes": None}
    events: list[dict[str, Any]] = [
        {"event": "round", "round": 0, "sites": ["a"], "participation": {"a": first}, "patients": 40},
        {"event": "round", "round": 1, "sites": [], "participation": {"a": late}, "patients": None},
        {"event": "suspect", "site": "a", "round": 0, "reason": "all zero"},
    ]
    ledger = ledger_of(events)
    assert [(one.number, one.counted, one.patients) for one in ledger] == [(0, True, 40), (1, True, None)]
    found = participation_of("a", events, ledger)
    assert (found.rounds, found.missed, found.suspect) == ((0,), {1: "late"}, {0: "all zero"})
    assert (found.patients, found.seconds, found.sent_bytes, found.received_bytes) == (40, 11.5, 200, 1000)


def test_a_site_that_was_left_out_by_design_is_not_missing(tiny_job: JobSpec) -> None:
    far = {"outcome": "left out", "reason": "its model was not among those nearest to each other", "trained": True}
    events: list[dict[str, Any]] = [
        {"event": "started", "sites": ["a", "b"]},
        *(
            {"event": "round", "round": n, "sites": ["a"], "participation": {"a": WHOLE, "b": far | {"patients": 9}}}
            for n in range(2)
        ),
    ]
    found = participation_of("b", events, ledger_of(events))
    assert (found.rounds, found.left_out, found.missed, found.patients) == ((), (0, 1), {}, 9)


def test_events_from_before_the_ledger_are_pieced_together_and_the_rest_is_not_measured() -> None:
    events: list[dict[str, Any]] = [
        {"event": "answered", "site": "a", "task": "round", "round": 0, "metrics": {"patients": 7}},
        {"event": "answered", "site": "b", "task": "round", "round": 0, "metrics": {}},
        {"event": "dropped", "site": "c", "round": 0, "reason": "no answer in time"},
        {"event": "dropped", "site": "c", "round": None, "reason": "answered after it was closed"},
        {"event": "round", "round": 0, "sites": ["a", "b"], "wall_s": 1.0},
        {"event": "dropped", "site": "a", "round": 1, "reason": "gone"},
    ]
    first, second = ledger_of(events)
    assert first.sites == {
        "a": SiteRound(outcome="accepted", trained=True, patients=7),
        "b": SiteRound(outcome="accepted", trained=True),
        "c": SiteRound(outcome="dropped", reason="no answer in time"),
    }
    assert (second.counted, second.sites["a"].reason) == (False, "gone")
    found = participation_of("b", events, (first, second))
    assert (found.rounds, found.patients, found.seconds, found.sent_bytes) == ((0,), None, None, None)


@pytest.mark.parametrize(
    ("rest", "success", "verdict"),
    [
        ([{"event": "finished"}], True, SUCCESS),
        ([], False, "unfinished: 2 of 2 rounds counted"),
        ([{"event": "failed", "reason": "full disk"}], False, "failed after 2 of 2 rounds: full disk"),
        (
            [
                {"event": "uncovered", "round": 1, "reason": "round 1 does not count: x is missing"},
                {"event": "failed", "reason": "y"},
            ],
            False,
            "failed: round 2 did not count: x is missing",
        ),
        (
            [{"event": "uncovered", "round": None, "reason": "not validated at x"}, {"event": "failed", "reason": "y"}],
            False,
            "failed: not validated at x",
        ),
        (
            [{"event": "finished"}, {"event": "failed", "reason": "no model"}],
            False,
            "failed after 2 of 2 rounds: no model",
        ),
    ],
)
def test_only_an_end_that_events_tell_is_a_success(
    tiny_job: JobSpec, rest: list[dict[str, Any]], success: bool, verdict: str
) -> None:
    rounds = [{"event": "round", "round": number, "sites": ["a"]} for number in range(2)]
    found = coverage_of(tiny_job, [{"event": "started", "sites": ["a"]}, *rounds, *rest])
    assert (found.success, found.verdict) == (success, verdict)
    assert (found.min_sites, found.must_include, found.min_patients) == (tiny_job.federation.min_sites, (), None)


def test_a_hospital_that_must_be_there_and_was_not_connected_is_listed() -> None:
    job = made_job()
    events = made_events(job)[:1]
    events[0] = events[0] | {"sites": ["elm"]}
    absent = {"at": events[0]["at"], "event": "uncovered", "round": None, "reason": "alder-hospital is missing"}
    done = report_of(job, [*events, absent])
    found = {one.site: one.declined for one in done.participation}
    assert found == {"elm": None, "alder-hospital": "was not connected to the server"}
    assert done.coverage.verdict == "failed: alder-hospital is missing"


def test_a_job_that_says_finished_before_its_rounds_are_done_is_no_success(tiny_job: JobSpec) -> None:
    events = [{"event": "started"}, {"event": "round", "round": 0, "sites": ["a"]}, {"event": "finished"}]
    assert coverage_of(tiny_job, events).verdict == "unfinished: 1 of 2 rounds counted"


def test_the_page_leads_with_the_verdict_and_the_terminal_too() -> None:
    job = made_job()
    done = report_of(job, made_events(job))
    page = render(done)
    assert page.index("Success: every round counted") < page.index('id="part"') + 400
    assert page.index('id="part"') < page.index('id="outcome"') < page.index('id="sites"')
    console = Console(width=100, record=True)
    show_participation(done, console)
    said = console.export_text().splitlines()
    assert said[0] == "cxr_lesions: success: every round counted"
    (birch,) = [line for line in said if "birch-clinic" in line]
    assert f"{ROUNDS - 2} of {ROUNDS}" in birch and "no answer in time" in birch
    assert any("coast-institute, round 6" in line for line in said)


def test_a_reason_with_brackets_is_printed_and_not_obeyed(tiny_job: JobSpec) -> None:
    events = [
        {"at": 0.0, "event": "started", "sites": ["a"]},
        {"at": 1.0, "event": "declined", "site": "a", "reason": "[red]size[/red] [24, 24]"},
    ]
    console = Console(width=120, record=True)
    show_participation(report_of(tiny_job, events), console)
    assert "[red]size[/red] [24, 24]" in console.export_text()


@pytest.mark.parametrize("width", [760, 380])
def test_the_grid_has_a_square_for_each_site_and_round(width: int) -> None:
    job = made_job()
    drawn = participation_chart(report_of(job, made_events(job)), measure="AUC", width=width)
    away = sum(len(rounds) for rounds in AWAY.values())
    assert (drawn.count('class="took"'), drawn.count('class="missed"')) == (len(SITES) * ROUNDS - away, away)
    assert "took no part" in drawn and "birch-clinic: 6 of 8 rounds counted, 2 missed" in drawn


def test_what_a_site_brought_is_shown_where_it_was_measured() -> None:
    job = made_job()
    done = report_of(job, made_events(job))
    assert "Lost without it" not in render(done)
    first, *rest = done.participation
    brought = Contribution(leave_one_out=-0.0125, shapley=0.25)
    page = render(replace(done, participation=(replace(first, contribution=brought), *rest)))
    table = page[page.index('id="part"') : page.index("</table>")]
    assert '<data value="-0.0125">−0.013</data>' in table or '<data value="-0.0125">−0.012</data>' in table
    assert '<data value="0.25">+0.250</data>' in table and table.count('colspan="2"') == len(SITES) - 1
