"""Check the log of refusals when a sender is refused again and again."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.flare.messages.refusal_log import EVERY_S, MOST_LINES, RefusalLog

FEW = st.sampled_from(["a", "b", "c"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(refusals=st.lists(st.tuples(FEW, FEW, st.integers(0, 200).map(str)), max_size=300))
def test_nobody_fills_the_log_or_uses_up_what_is_written_of_another(
    caplog: pytest.LogCaptureFixture, refusals: list[tuple[str, str, str]]
) -> None:
    caplog.clear()
    log = RefusalLog(clock=lambda: 0.0)
    for why, sender, about in refusals:
        log.say(why, sender, about)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 9 * (MOST_LINES + 1)
    log.say("new reason", "a", "first")
    log.say("a", "new sender", "first")
    assert [record.getMessage() for record in caplog.records[len(lines) :]] == [
        "refused: new reason; first (certificate a)",
        "refused: a; first (certificate new sender)",
    ]


def test_the_log_says_that_lines_are_left_out_and_begins_anew_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = RefusalLog(clock=lambda: now[0])
    for number in range(MOST_LINES + 50):
        log.say("message is on no list", "city-hospital", f"from {number}")
    *_, last = [record.getMessage() for record in caplog.records]
    assert len(caplog.records) == MOST_LINES + 1
    assert last == (
        "refused: message is on no list; more of the same, left out of this log for an hour (certificate city-hospital)"
    )
    caplog.clear()
    now[0] = EVERY_S
    log.say("message is on no list", "city-hospital", "from 0")
    assert [record.getMessage() for record in caplog.records] == [
        "refused: message is on no list; from 0 (certificate city-hospital)"
    ]
