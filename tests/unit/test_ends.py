"""Check that a job has one end: FLARE's status and Fedward's last event say the same, or the words say that not."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.job_def import RunStatus

from fedward.ends import ENDS, OPEN, STATES, JobState, Missing, end_of, missing_sites, not_covered, waiting, worded
from fedward.metrics.events import ENDS as END_EVENTS
from fedward.metrics.events import KINDS
from fedward.reporting.data.ending import state_of

ROUNDS = 3
FIELDS: dict[str, dict[str, Any]] = {
    "round": {"round": ROUNDS - 1, "sites": ["a", "b"]},
    "answered": {"site": "a", "task": "round", "round": 0, "metrics": {}},
    "uncovered": {"round": 1, "reason": "round 1 does not count: b is missing"},
    "resumed": {"round": ROUNDS, "by": "server", "attempt": 2},
    "paused": {"reason": "disk full"},
    "finished": {"rounds": ROUNDS, "missing": {}},
    "aborted": {"by": "lead@uni.org", "reason": "a person stopped it"},
    "failed": {"reason": "no model"},
}
BEGUN = [
    {"event": "started", "sites": ["a", "b"]},
    *({"event": "round", "round": number, "sites": ["a", "b"]} for number in range(ROUNDS)),
]
AGREED = {
    ("finished", "FINISHED:COMPLETED"),
    ("aborted", "FINISHED:ABORTED"),
    *(("failed", one.value) for one in RunStatus if one.value not in OPEN | {"FINISHED:COMPLETED", "FINISHED:ABORTED"}),
}


def last_event(kind: str) -> JobState:
    """The state of a job of three rounds, all of which counted, whose last event is of that kind."""
    return state_of([*BEGUN, {"event": kind, **FIELDS.get(kind, {})}], asked=ROUNDS)


def test_flares_open_statuses_are_those_of_a_job_that_has_not_ended() -> None:
    """If this fails, FLARE has changed."""
    assert {one.value for one in RunStatus if not one.value.startswith("FINISHED:")} == OPEN
    assert END_EVENTS == ENDS


@pytest.mark.parametrize(("status", "kind"), list(product(RunStatus, sorted(KINDS))))
def test_every_status_of_flare_with_every_last_event_has_one_end_or_says_that_not(status: RunStatus, kind: str) -> None:
    job = last_event(kind)
    end = end_of(status.value, job)
    words = worded(job)
    assert end.ended == (status.value not in OPEN)
    assert end.success == (status is RunStatus.FINISHED_COMPLETED and kind == "finished")
    if status.value in OPEN:
        by_hand = status in (RunStatus.SUBMITTED, RunStatus.APPROVED) and job.state in ("failed", "aborted")
        assert end.agreed == (not job.ended or by_hand)
        assert end.agreed or (status.value in end.words and end.words.endswith(words))
        assert not by_hand or end.words == "resuming after round 3 of 3: a person takes it up again"
    elif (job.state, status.value) in AGREED:
        assert end.agreed and end.words == words
    else:
        assert not end.agreed
        assert end.words.startswith(f"FLARE says {status.value.removeprefix('FINISHED:')} although ")
        assert end.words.endswith(words)


@pytest.mark.parametrize("status", RunStatus)
def test_a_job_of_which_no_event_is_known_is_no_success(status: RunStatus) -> None:
    end = end_of(status.value, None)
    assert not end.success and end.ended == (status.value not in OPEN)
    agreed = {
        *("FINISHED:ABORTED", "FINISHED:CAN_NOT_SCHEDULE", "FINISHED:FAILED_TO_RUN", "FINISHED:ABANDONED"),
        *OPEN,
    }
    assert end.agreed == (status.value in agreed)


def test_the_disagreement_that_a_returned_site_makes_is_told() -> None:
    end = end_of("FINISHED:ABNORMAL", last_event("finished"))
    assert end.words == "FLARE says ABNORMAL although every round counted: success: every round counted"


def test_a_job_that_flare_sends_out_again_is_being_resumed() -> None:
    end = end_of("SUBMITTED", JobState(state="running", rounds_done=4, rounds_asked=8))
    assert (end.state, end.words) == ("resuming", "resuming after round 4 of 8")


STANDS = [
    (JobState(state="running", rounds_asked=8), "running, round 1 of 8"),
    (JobState(state="running", rounds_done=2, rounds_asked=8), "running, round 3 of 8"),
    (JobState(state="running", rounds_done=8, rounds_asked=8), "running, all 8 rounds counted; the last validation"),
    (JobState(state="resuming", rounds_done=4, rounds_asked=8, attempt=2), "resuming after round 4 of 8 (attempt 2)"),
    (JobState(state="resuming", rounds_asked=8), "resuming before the first round"),
    (
        JobState(state="paused", rounds_done=4, rounds_asked=8, reason="disk full"),
        "paused after round 4 of 8: disk full",
    ),
    (
        JobState(state="aborted", rounds_done=3, rounds_asked=8, by="lead@uni.org"),
        "aborted by lead@uni.org after 3 of 8 rounds",
    ),
    (
        JobState(state="failed", rounds_done=3, rounds_asked=8, reason="no model"),
        "failed after 3 of 8 rounds: no model",
    ),
    (
        JobState(state="failed", rounds_done=3, rounds_asked=8, reason="round 4 did not count: x", uncovered=True),
        "failed: round 4 did not count: x",
    ),
    (JobState(state="finished", rounds_done=8, rounds_asked=8), "success: every round counted"),
    (
        JobState(
            state="finished",
            rounds_done=8,
            rounds_asked=8,
            missing=(
                Missing(site="north", reason="no answer in time", since=5),
                Missing(site="west", reason="left", since=8),
            ),
        ),
        "success with 2 sites missing at the end: every round counted, without north since round 6, no answer in time; "
        "west after the last round, left",
    ),
    (
        JobState(
            state="finished",
            rounds_done=8,
            rounds_asked=8,
            missing=tuple(Missing(site=f"site-{number}", reason="left", since=0) for number in range(9)),
        ),
        "success with 9 sites missing at the end: every round counted, without site-0 since round 1, left; "
        "site-1 since round 1, left; site-2 since round 1, left; 6 more",
    ),
]


@pytest.mark.parametrize(("job", "words"), STANDS)
def test_how_a_job_stands_in_one_sentence(job: JobState, words: str) -> None:
    assert worded(job) == words


def test_a_site_cannot_accuse_another_by_its_own_reason() -> None:
    left = Missing(site="north", reason="closed; coast since round 1, update is too long to count", since=0)
    words = worded(JobState(state="finished", rounds_done=8, rounds_asked=8, missing=(left,)))
    assert words.endswith('without north since round 1, "closed; coast since round 1, update is too long to count"')


def test_every_state_has_words() -> None:
    assert {job.state for job, _ in STANDS} == set(STATES)


def test_since_when_a_site_is_missing() -> None:
    found = missing_sites({"c": "z", "a": "x", "b": "y"}, last_counted={"a": 2, "b": 7}, rounds=8)
    assert [(one.site, one.since) for one in found] == [("a", 3), ("b", 8), ("c", 0)]
    assert missing_sites(None, last_counted={}, rounds=8) == ()


def test_a_round_that_did_not_count_is_counted_from_one() -> None:
    assert not_covered(2, "round 2 does not count: x") == "round 3 did not count: x"
    assert not_covered(None, "too few") == "too few"


WAITING = [
    ((["a"], 2, ["north-clinic"], ["a", "b"]), "1 of 3 sites connected (2 needed); missing north-clinic"),
    ((["a"], 2, [], ["a", "b"]), "1 of 2 sites connected (2 needed); missing b"),
    (([], 2, [], []), "0 of 0 sites connected (2 needed); missing 2 more"),
    (([], 3, ["north"], []), "0 of 1 sites connected (3 needed); missing north, 2 more"),
    ((["a", "b"], 2, ["b"], ["c"]), "2 of 3 sites connected (2 needed); the server starts it next"),
]


@pytest.mark.parametrize(("given_", "line"), WAITING)
def test_who_is_waited_for(given_: tuple[list[str], int, list[str], list[str]], line: str) -> None:
    here, needed, required, known = given_
    assert waiting(here, needed=needed, required=required, known=known) == f"waiting: {line}"


SITES = st.sets(st.sampled_from("abcdef"))


@given(SITES, st.integers(1, 6), SITES, SITES)
def test_a_site_that_the_job_must_include_is_named_until_it_is_there(
    here: set[str], needed: int, required: set[str], known: set[str]
) -> None:
    line = waiting(here, needed=needed, required=required, known=known)
    _, _, rest = line.partition("missing ")
    assert set(rest.split(", ")) >= required - here or not required - here
    assert ("missing" in line) == bool(required - here or len(here) < needed)
