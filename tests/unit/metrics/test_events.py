"""The event log: whole lines, readable while it grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.metrics.events import KINDS, EventLog, EventReader


def test_what_is_appended_is_read_once_and_in_order(tmp_path: Path) -> None:
    log, reader = EventLog(tmp_path / "e"), EventReader(tmp_path / "e")
    assert list(reader) == []
    log.append("started", job="a")
    assert [event["event"] for event in reader] == ["started"]
    log.append("round", round=0)
    log.append("finished", rounds=1)
    assert [event["event"] for event in reader] == ["round", "finished"]
    assert list(reader) == []


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_half_written_line_waits_until_it_is_whole(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("events") / "e"
    log = EventLog(path)
    for number in range(5):
        log.append("round", round=number, sites=["a", "b"])
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    reader = EventReader(path)
    first = list(reader)
    path.write_bytes(whole)
    assert [event["round"] for event in [*first, *reader]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        EventLog(tmp_path / "e").append("progress", loss=value)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    assert "gossip" not in KINDS
    with pytest.raises(ValueError, match="gossip"):
        EventLog(tmp_path / "e").append("gossip")


@pytest.mark.parametrize("field", ["event", "at"])
def test_an_events_kind_and_time_are_never_those_of_a_field(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match="from a field"):
        EventLog(tmp_path / "e").append("admitted", **{field: "forged"})
    assert not (tmp_path / "e").exists()
