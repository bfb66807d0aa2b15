"""Check that the report says first how the job ended, and lists what interrupted it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from fedward.reporting.charts.participation import participation_chart
from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import Report
from fedward.reporting.data.summary import MEANINGS, summary
from fedward.reporting.page import render
from fedward.reporting.terminal import show_participation
from fedward.reporting.write import read_report, write_report
from tests.support.report_events import ROUNDS, START, made_events, made_job

ELM = "elm"
Events = list[dict[str, Any]]


def without_elm(first: int) -> Events:
    """The events of a job that elm left for good in a round, from 0."""
    events: Events = []
    for event in made_events(made_job()):
        if event.get("site") == ELM and (event.get("round", -1) >= first or event.get("task") == "final"):
            continue
        if event["event"] == "round" and event["round"] >= first:
            part = {"outcome": "dropped", "reason": "no answer in time"}
            event = {
                **event,
                "sites": [site for site in event["sites"] if site != ELM],
                "participation": {**event["participation"], ELM: part},
            }
        if event["event"] == "finished":
            event = {**event, "missing": {ELM: "no answer in time"}}
        events.append(event)
    return events


def after_round(number: int, *more: Mapping[str, Any], cut: bool = False) -> Events:
    """The job's events with more of them after a round, from 0; ``cut``: nothing comes after those."""
    events = made_events(made_job())
    place = next(at for at, one in enumerate(events) if one["event"] == "round" and one["round"] == number) + 1
    at = events[place - 1]["at"]
    put_in = [{"at": at + 0.1 * (k + 1), **one} for k, one in enumerate(more)]
    return [*events[:place], *put_in, *([] if cut else events[place:])]


def report(events: Sequence[Mapping[str, Any]]) -> Report:
    return report_of(made_job(), events)


RESUMED = {"event": "resumed", "round": 4, "by": "server process", "attempt": 1}
PAUSED = {"event": "paused", "reason": "the server's disk is full"}
ENDS: list[tuple[Events, str, str]] = [
    (made_events(made_job()), "finished", "success: every round counted"),
    (
        without_elm(5),
        "finished",
        "success with 1 site missing at the end: every round counted, without elm since round 6, no answer in time",
    ),
    (
        after_round(2, {"event": "aborted", "by": "lead@uni.org", "reason": "stopped from the console"}, cut=True),
        "aborted",
        f"aborted by lead@uni.org after 3 of {ROUNDS} rounds: stopped from the console",
    ),
    (
        after_round(2, {"event": "failed", "reason": "no model"}, cut=True),
        "failed",
        f"failed after 3 of {ROUNDS} rounds: no model",
    ),
    (
        after_round(3, RESUMED, cut=True),
        "resuming",
        f"unfinished: resuming after round 4 of {ROUNDS} (attempt 1): the job's process at the server was gone",
    ),
    (
        after_round(3, PAUSED, cut=True),
        "paused",
        f"unfinished: paused after round 4 of {ROUNDS}: the server's disk is full",
    ),
    (after_round(3, RESUMED), "finished", "success: every round counted"),
    (after_round(3, PAUSED, {"event": "unpaused"}), "finished", "success: every round counted"),
    (
        after_round(3, {"event": "failed", "reason": "x"}, {**RESUMED, "by": "person"}),
        "finished",
        "success: every round counted",
    ),
]


@pytest.mark.parametrize(("events", "state", "words"), ENDS)
def test_every_view_of_a_report_tells_the_same_end(events: Events, state: str, words: str, tmp_path: Any) -> None:
    made = report(events)
    assert (made.coverage.state, made.coverage.verdict) == (state, words)
    assert made.coverage.success == (state == "finished")
    told = summary(made)
    assert (told["state"], told["end"], told["success"]) == (state, words, state == "finished")
    assert told["missing"] == {one.site: one.reason for one in made.coverage.missing}
    page = render(made)
    first = page[page.index('id="part"') :][:400]
    look = "partly" if made.coverage.missing else "met" if state == "finished" else "unmet"
    assert f'class="verdict {look}"' in first
    assert words[0].upper() + words[1:].replace("'", "&#39;") in first
    console = Console(width=100, record=True)
    show_participation(made, console)
    assert console.export_text().splitlines()[0] == f"cxr_lesions: {words}"
    write_report(tmp_path, made)
    assert read_report(tmp_path).coverage == made.coverage


def test_what_interrupted_the_job_is_in_the_page_the_grid_and_the_terminal() -> None:
    events = after_round(
        3, RESUMED, {"event": "returned", "site": "birch-clinic", "round": 4}, PAUSED, {"event": "unpaused"}
    )
    made = report(events)
    lines = [
        "the server was resumed after round 4: the job's process at the server was gone",
        "birch-clinic answered again in round 5",
        "the server paused after round 4, for 0 s: the server's disk is full",
    ]
    console = Console(width=120, record=True)
    show_participation(made, console)
    shown, page = console.export_text(), render(made)
    grid = participation_chart(made, measure="AUC", width=760)
    for line in lines:
        assert line in shown
        assert line.replace("'", "&#39;") in page
    assert grid.count('class="break"') == 2
    assert summary(made)["resumed"] == 1
    assert "What interrupted the job" not in render(report(made_events(made_job())))


def test_every_field_of_the_summary_has_its_meaning() -> None:
    def fields(told: dict[str, Any]) -> set[str]:
        site = {f"sites.NAME.{name}" for name in next(iter(told["sites"].values()))}
        return site | {f"time.{name}" for name in told["time"]} | (set(told) - {"sites", "time"})

    told = fields(summary(report(made_events(made_job()))))
    assert told == {field.format(measure="auc") for field in MEANINGS}


def test_steps_that_were_charged_and_did_not_count_are_said_beside_epsilon() -> None:
    made = report(made_events(made_job()))
    (birch,) = [site for site in made.sites if site.site == "birch-clinic"]
    assert birch.privacy is not None
    assert (birch.privacy.steps, birch.privacy.steps_counted) == (640, 80 * (ROUNDS - 2))
    page = render(made)
    table = page[page.index('id="protection"') :]
    assert 'charged <data value="640">640</data>, <data value="480">480</data> counted' in table
    assert table.count(" counted</td>") == 1, "at the others every step that was charged counted"
    assert "birch-clinic: ε" in table
    assert summary(made)["steps"]["birch-clinic"] == {"charged": 640, "counted": 480}


def test_a_site_that_does_not_report_its_steps_has_none_that_counted() -> None:
    events = made_events(made_job())
    for event in events:
        if event.get("site") == "birch-clinic" and event.get("task") == "round":
            event["metrics"] = {name: one for name, one in event["metrics"].items() if name != "steps"}
    (birch,) = [site for site in report(events).sites if site.site == "birch-clinic"]
    assert birch.privacy is not None and birch.privacy.steps_counted is None
    assert " counted</td>" not in render(report(events))


def test_a_round_that_was_made_again_counts_once() -> None:
    events = made_events(made_job())
    place = next(at for at, one in enumerate(events) if one["event"] == "round" and one["round"] == 3)
    again = [one for one in events[:place] if one.get("round") == 3 and one["event"] == "answered"]
    made = report([*events[:place], {"at": START, **RESUMED, "round": 3}, *again, *events[place:]])
    assert made.rounds_done == ROUNDS and made.coverage.success
    (alder,) = [site for site in made.sites if site.site == "alder-hospital"]
    assert alder.privacy is not None and alder.privacy.steps_counted == 640


def test_an_interruption_cannot_bring_markup(tmp_path: Any) -> None:
    bad = "<script>alert(1)</script>"
    made = report(after_round(3, {**PAUSED, "reason": bad}))
    made = replace(made, interruptions=(replace(made.interruptions[0], site=bad),))
    assert bad not in render(made) and bad not in participation_chart(made, measure="AUC", width=380)


def test_no_site_is_blamed_for_a_validation_that_nobody_was_asked_for() -> None:
    stopped = report(after_round(2, {"event": "aborted", "by": "lead@uni.org"}, cut=True))
    assert {site.federated.why for site in stopped.sites} == {"the job ended before the last validation"}
    missed = {site.site: site.federated.why for site in report(without_elm(3)).sites}
    assert missed[ELM] == "the site did not answer the last validation"
