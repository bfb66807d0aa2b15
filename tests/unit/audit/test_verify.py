"""Any change of an audit log without its key is found, with the number of the entry; an honest log has no fault."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.audit.entry import Last
from fedward.audit.expiry import expire
from fedward.audit.files import rotated
from fedward.audit.log import AuditLog
from fedward.audit.verify import entries, parse_head, verify
from fedward.errors import AuditError
from tests.support.audit_log import ACTS, numbers, of_rounds, scratch, written

DRAWN = settings(max_examples=60, deadline=None)
logs = st.lists(ACTS, min_size=2, max_size=10)


LIKELY = b'0123456789abcdefxyzTZ -:,"{}[]\n\\'
"""Bytes that leave a line readable more often than a drawn one."""


def lines_of(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def fault(log: AuditLog, lines: list[bytes]) -> list[int]:
    log.path.write_bytes(b"".join(lines))
    with pytest.raises(AuditError) as raised:
        verify(log)
    assert "\n" not in str(raised.value) and "tell the privacy officer" in str(raised.value)
    return numbers(raised.value)


@DRAWN
@given(acts=st.lists(ACTS, max_size=12), rotate_bytes=st.sampled_from([1, 700, 10**7]))
def test_an_honest_log_has_no_fault(acts: list, rotate_bytes: int) -> None:
    with scratch() as folder:
        log = written(folder, [*acts, ("signed-in", "a", {})], rotate_bytes=rotate_bytes)
        found = verify(log)
        assert (found.first, found.last.number, found.torn_bytes) == (1, len(acts) + 1, 0)
        assert verify(AuditLog(folder), noted=found.last) == found
        if rotate_bytes == 1:
            assert len(rotated(log.path)) == len(acts)


@DRAWN
@given(acts=logs, data=st.data())
def test_a_changed_byte_is_found_at_its_entry(acts: list, data: st.DataObject) -> None:
    with scratch() as folder:
        log = written(folder, acts)
        lines = lines_of(log)
        at = data.draw(st.integers(0, len(lines) - 1))
        line = bytearray(lines[at])
        place = data.draw(st.integers(0, len(line) - 1))
        line[place] = data.draw(st.sampled_from(sorted({*LIKELY, line[place] ^ 0x80, 0} - {line[place]})))
        lines[at] = bytes(line)
        assert at + 1 in fault(log, lines)


def test_each_byte_of_a_log_changed_to_another_of_its_kind_is_found(tmp_path: Path) -> None:
    """A digit to the next, a letter to the next: what stays readable, and so is found by the hash alone."""
    log = of_rounds(tmp_path, 3)
    lines = lines_of(log)
    tried = 0
    for at, line in enumerate(lines):
        for place, byte in enumerate(line):
            for alphabet in (b"0123456789", b"abcdef", b"abcdefghijklmnopqrstuvwxyz"):
                if byte in alphabet:
                    other = alphabet[(alphabet.index(byte) + 1) % len(alphabet)]
                    changed = line[:place] + bytes([other]) + line[place + 1 :]
                    assert at + 1 in fault(log, [*lines[:at], changed, *lines[at + 1 :]])
                    tried += 1
    assert tried > 700


@DRAWN
@given(acts=logs, data=st.data())
def test_a_removed_a_swapped_and_an_inserted_line_are_found_at_their_place(acts: list, data: st.DataObject) -> None:
    with scratch() as folder:
        log = written(folder, acts)
        lines = lines_of(log)
        first = data.draw(st.integers(0, len(lines) - 2))
        second = data.draw(st.integers(first + 1, len(lines) - 1))
        for removed in (first, second):
            assert removed + 1 in fault(log, lines[:removed] + lines[removed + 1 :])
        swapped = list(lines)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        assert first + 1 in fault(log, swapped)
        for copied, to in ((first, second), (second, first), (first, len(lines))):
            assert to + 1 in fault(log, [*lines[:to], lines[copied], *lines[to:]])
        assert second + 1 in fault(log, [*lines[:second], b"{}\n", *lines[second:]])


@DRAWN
@given(acts=logs, data=st.data())
def test_a_tail_that_is_cut_below_the_head_is_found(acts: list, data: st.DataObject) -> None:
    with scratch() as folder:
        log = written(folder, acts)
        content = log.path.read_bytes()
        keep = data.draw(st.integers(0, len(content) - 1))
        whole = content[:keep].count(b"\n")
        log.path.write_bytes(content[:keep])
        with pytest.raises(AuditError) as raised:
            verify(log)
        assert whole + 1 in numbers(raised.value)
        with pytest.raises(AuditError, match="cut"):
            log.append("signed-in", who="a", about={})


def test_a_log_written_anew_under_another_key_is_found_by_the_head_noted_elsewhere(tmp_path: Path) -> None:
    """The key beside the log does not guard against who reads it; a noted head does."""
    noted = verify(of_rounds(tmp_path / "true", 5)).last
    forged = of_rounds(tmp_path / "forged", 7)
    assert verify(forged).last.number == 7
    with pytest.raises(AuditError, match="entry 5 is not the one whose head was noted"):
        verify(forged, noted=noted)
    with pytest.raises(AuditError, match="log ends at entry 5, and the noted head is entry 6"):
        verify(AuditLog(tmp_path / "true"), noted=Last(6, "0" * 64))


def test_a_log_put_back_to_an_earlier_moment_with_its_head_is_found_by_a_noted_head(tmp_path: Path) -> None:
    log = of_rounds(tmp_path, 3)
    old = log.path.read_bytes(), log.head.read_bytes()
    log.append("signed-in", who="a", about={})
    noted = verify(log).last
    log.path.write_bytes(old[0])
    log.head.write_bytes(old[1])
    assert verify(log).last.number == 3
    with pytest.raises(AuditError, match="log ends at entry 3, and the noted head is entry 4"):
        verify(log, noted=noted)


def test_the_head_cannot_be_changed_removed_or_taken_from_another_log(tmp_path: Path) -> None:
    log, other = of_rounds(tmp_path / "a", 3), of_rounds(tmp_path / "b", 3)
    head = log.head.read_bytes()
    for content in (b"", b"{}", head.replace(b'"n": 3', b'"n": 2'), other.head.read_bytes()):
        log.head.write_bytes(content)
        with pytest.raises(AuditError, match="head of the audit log was changed"):
            verify(log)
        with pytest.raises(AuditError, match="head of the audit log was changed"):
            log.append("signed-in", who="a", about={})
    log.head.unlink()
    with pytest.raises(AuditError, match="head of the audit log is gone"):
        verify(log)
    with pytest.raises(AuditError, match="head of the audit log is gone"):
        log.append("signed-in", who="a", about={})
    log.head.write_bytes(head)
    log.path.unlink()
    with pytest.raises(AuditError, match="log was removed"):
        verify(log)


def test_a_removed_rotated_file_is_found_and_retention_is_not(tmp_path: Path) -> None:
    acts = [("signed-in", "a", {}) for _ in range(6)]
    log = written(tmp_path / "cut", acts, rotate_bytes=1)
    assert [path.name[-7:-6] for path in rotated(log.path)] == ["1", "2", "3", "4", "5"]
    rotated(log.path)[0].unlink()
    with pytest.raises(AuditError, match="entries 1 to 1 are missing, and no entry says that retention removed them"):
        verify(log)
    middle = written(tmp_path / "middle", acts, rotate_bytes=1)
    rotated(middle.path)[2].unlink()
    with pytest.raises(AuditError, match="entry 3 is missing"):
        verify(middle)

    kept = written(tmp_path / "kept", acts, rotate_bytes=1)
    noted = verify(kept).last
    fourth = datetime.fromisoformat(list(entries(kept))[3].at)
    assert [path.name[-7:-6] for path in expire(kept, fourth, who="own account a")] == ["1", "2", "3"]
    found = verify(kept, noted=noted)
    assert (found.first, found.last.number) == (4, 9)
    assert verify(kept, noted=Last(3, next(iter(entries(kept))).previous)).first == 4
    with pytest.raises(AuditError, match="entry 2, whose head was noted, is no longer here"):
        verify(kept, noted=Last(2, "0" * 64))


@pytest.mark.parametrize("text", ["", "3", "3:", ":ab", "3:xyz", f"3:{'a' * 63}", f"-3:{'a' * 64}", f"٣:{'a' * 64}"])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(AuditError, match="is no head"):
        parse_head(text)


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no audit log here"):
        verify(AuditLog(tmp_path))
