"""The event log: whole lines, readable while it grows."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import FedwardError
from fedward.metrics import events as events_module
from fedward.metrics.events import ENDS, KINDS, EventLog, EventReader, make_event


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


def test_every_end_is_a_kind() -> None:
    assert set(KINDS) > ENDS == {"finished", "aborted", "failed"}


class Disk:
    """A disk that takes so many bytes and then no more."""

    def __init__(self, room: int, *, code: int = errno.ENOSPC) -> None:
        self.room, self.code, self.write = room, code, os.write

    def take(self, handle: int, content: Any) -> int:
        if not self.room:
            raise OSError(self.code, os.strerror(self.code))
        wrote = self.write(handle, memoryview(content)[: self.room])
        self.room -= wrote
        return wrote


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@given(room=st.integers(min_value=0, max_value=700))
def test_a_full_disk_loses_and_doubles_no_line_of_either_file(
    code: int, room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("events")
    told: list[Any] = []
    log = EventLog(folder / "e", copy=folder / "copy", keep=True, also=told.append)
    disk = Disk(room, code=code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events_module.os, "write", disk.take)
        for number in range(5):
            log.append("round", round=number)
            for path in (folder / "e", folder / "copy"):
                assert not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        if log.behind is not None:
            assert log.behind == os.strerror(code)
            with pytest.raises(OSError, match=os.strerror(code)) as full:
                log.flush()
            assert full.value.errno == code
        assert [event["round"] for event in told] == list(range(5))
    log.flush(durably=True)
    assert log.behind is None
    assert [event["round"] for event in EventReader(folder / "e")] == list(range(5))
    assert (folder / "copy").read_bytes() == (folder / "e").read_bytes()


def test_a_log_that_keeps_nothing_raises_and_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path / "e")
    log.append("round", round=0)
    with monkeypatch.context() as patch:
        patch.setattr(events_module.os, "write", Disk(5).take)
        with pytest.raises(OSError, match="No space"):
            log.append("round", round=1)
    log.append("round", round=2)
    assert [event["round"] for event in EventReader(tmp_path / "e")] == [0, 2]


@given(cut=st.integers(min_value=0, max_value=300))
def test_a_new_process_takes_the_log_up_without_a_torn_line(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("events")
    first = EventLog(folder / "e", copy=folder / "copy")
    first.put([make_event("round", round=number) for number in range(4)])
    whole = (folder / "e").read_bytes()
    (folder / "e").write_bytes(whole[:cut])
    (folder / "copy").write_bytes(b"anything")
    log = EventLog(folder / "e", copy=folder / "copy")
    kept = log.restore()
    assert [event["round"] for event in kept] == list(range(whole[:cut].count(b"\n")))
    log.append("finished", rounds=4)
    assert list(EventReader(folder / "e"))[:-1] == kept
    assert (folder / "copy").read_bytes() == (folder / "e").read_bytes()


@pytest.mark.parametrize("line", [b"\0\0\n", b"[]\n", b'{"at": 1}\n'])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: bytes) -> None:
    EventLog(tmp_path / "e").append("round", round=0)
    (tmp_path / "e").write_bytes((tmp_path / "e").read_bytes() + line)
    with pytest.raises(FedwardError, match=r"no event.*line 2"):
        EventLog(tmp_path / "e").restore()
