"""Whoever writes to the ledger's files without its key is found; a kill in between is not taken for that."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fedward.errors import LedgerError
from fedward.privacy import accountant
from fedward.privacy.ledger import chain_store
from fedward.privacy.ledger.chain_head import head_path
from fedward.privacy.ledger.ledger import Ledger
from tests.support.ledger import KEY, count_steps, event, job, people, reopen


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with an entry of every kind."""
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    path = tmp_path / "ledger.db"
    ledger = Ledger.create(path, site="north", key=KEY)
    ledger.charge(**job("j1"))
    begun = ledger.begin("j1", round_number=0, steps=2)
    ledger.release(begun.hash, digest="ab" * 32)
    ledger.charge(**job("j2", patients=people(7), event=event(3)))
    ledger.close("j1")
    ledger.charge(**job("j1"))
    ledger.unprotected(job_id="j3", job="plain", cohort="chest", patients=people(8))
    return path


def alter(path: Path, *statements: str) -> None:
    """Change the file as someone who knows SQLite but not the key would."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TRIGGER IF EXISTS entries_stay; DROP TRIGGER IF EXISTS entries_keep;" + ";".join(statements)
    )
    connection.close()


def test_it_opens_as_it_was_left(path: Path) -> None:
    assert [entry.kind for entry in reopen(path).entries()] == [
        "create", "charge", "begin", "release", "charge", "close", "reopen", "unprotected",
    ]  # fmt: skip
    alter(path)
    reopen(path)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("column", ["number", "at", "kind", "body", "previous", "hash"])
def test_any_changed_column_of_any_entry_is_found(path: Path, number: int, column: str) -> None:
    connection = sqlite3.connect(path)
    (value,) = connection.execute(f"SELECT {column} FROM entries WHERE number = ?", (number,)).fetchone()
    connection.close()
    original = path.read_bytes()
    if column == "number":
        changes = ["number + 100", "-number"]
    else:
        changes = [f"'{value[:at]}{chr(ord(value[at]) ^ 1)}{value[at + 1 :]}'" for at in range(0, len(value), 7)]
        changes += ["''", f"{column} || ' '"]
    for change in changes:
        path.write_bytes(original)
        alter(path, f"UPDATE entries SET {column} = {change} WHERE number = {number}")
        with pytest.raises(LedgerError):
            reopen(path)
    path.write_bytes(original)
    reopen(path)


def test_any_flipped_byte_of_what_is_stored_is_found(path: Path) -> None:
    connection = sqlite3.connect(path)
    stored = [text.encode() for (text,) in connection.execute("SELECT body FROM entries")] + [
        text.encode() for row in connection.execute("SELECT hash, members FROM patient_sets") for text in row
    ]
    connection.close()
    original = path.read_bytes()
    tried = 0
    for text in stored:
        start = original.index(text)
        for at in range(start, start + len(text), 5):
            path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
            with pytest.raises(LedgerError):
                reopen(path)
            tried += 1
    assert tried > 200


LAST = "(SELECT max(number) FROM entries)"


@pytest.mark.parametrize(
    "statements",
    [
        [f"DELETE FROM entries WHERE number = {LAST}"],
        [f"DELETE FROM entries WHERE number >= {LAST} - 2"],
        ["DELETE FROM entries WHERE number > 1"],
        ["DELETE FROM entries"],
        ["DELETE FROM entries WHERE number = 1"],
        ["DELETE FROM entries WHERE number = 3"],
        ["DELETE FROM entries WHERE number = 3", "UPDATE entries SET number = number - 1 WHERE number > 3"],
        [
            "UPDATE entries SET number = 99 WHERE number = 3",
            "UPDATE entries SET number = 3 WHERE number = 4",
            "UPDATE entries SET number = 4 WHERE number = 99",
        ],
        ["UPDATE entries SET body = (SELECT body FROM entries WHERE number = 5) WHERE number = 2"],
        ["INSERT INTO entries SELECT number + 1, at, kind, body, hash, previous FROM entries WHERE number = 8"],
        ["DELETE FROM patient_sets"],
        ["UPDATE patient_sets SET members = members || ' 00000000000000ff'"],
        ["UPDATE patient_sets SET members = substr(members, 18) WHERE length(members) > 20"],
        ["INSERT INTO patient_sets VALUES ('00', '00000000000000ff')"],
        ["DROP TABLE entries"],
        ["DROP TABLE patient_sets"],
        ["PRAGMA user_version = 9"],
        ["PRAGMA application_id = 9"],
        ["ALTER TABLE entries DROP COLUMN at"],
        [
            "CREATE TABLE loose (number INTEGER PRIMARY KEY, at, kind, body, previous, hash)",
            "INSERT INTO loose SELECT number, at, kind, CAST(body AS BLOB), previous, hash FROM entries",
            "DROP TABLE entries",
            "ALTER TABLE loose RENAME TO entries",
        ],
    ],
)
def test_rows_dropped_moved_or_added_are_found(path: Path, statements: list[str]) -> None:
    alter(path, *statements)
    with pytest.raises(LedgerError) as refused:
        reopen(path)
    assert len(str(refused.value).splitlines()) == 1


def test_a_running_ledger_finds_that_its_file_was_changed_under_it(path: Path) -> None:
    ledger = reopen(path)
    alter(path, f"DELETE FROM entries WHERE number = {LAST}")
    for act in (ledger.charges, lambda: ledger.begin("j2", round_number=0, steps=1)):
        with pytest.raises(LedgerError, match="gone or was changed"):
            act()


def test_the_file_put_back_without_its_head_is_found(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "backup")
    reopen(path).begin("j2", round_number=0, steps=1)
    shutil.copy(tmp_path / "backup", path)
    with pytest.raises(LedgerError, match="cut back: 8 entries, and its head has seen 9"):
        reopen(path)


def test_the_head_put_back_is_found_unless_a_kill_leaves_the_same(path: Path) -> None:
    head = head_path(path)
    older = head.read_bytes()
    ledger = reopen(path)
    ledger.begin("j2", round_number=0, steps=1)
    newer = head.read_bytes()
    head.write_bytes(older)
    reopen(path)
    assert head.read_bytes() == newer
    ledger.begin("j2", round_number=1, steps=1)
    head.write_bytes(older)
    with pytest.raises(LedgerError, match="head was put back: it has seen 8 of 10 entries"):
        reopen(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda head: head.unlink(),
        lambda head: head.write_text(""),
        lambda head: head.write_text("[]"),
        lambda head: head.write_text(head.read_text().replace('"count": 8', '"count": 7')),
        lambda head: head.write_text(head.read_text().replace('"count": 8', '"count": 0')),
    ],
)
def test_a_head_lost_or_changed_is_found(path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(head_path(path))
    with pytest.raises(LedgerError):
        reopen(path)


def test_another_ledgers_head_is_found(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    ledger = Ledger.create(other, site="north", key=KEY)
    for number in range(6):
        ledger.charge(**job(f"k{number}", cap=None))
    shutil.copy(head_path(other), head_path(path))
    with pytest.raises(LedgerError, match="not of one piece"):
        reopen(path)


def test_a_deleted_ledger_is_not_begun_anew(path: Path) -> None:
    path.unlink()
    for act in (lambda: reopen(path), lambda: Ledger.create(path, site="north", key=KEY)):
        with pytest.raises(LedgerError, match="ledger was deleted: its head has seen 8 entries"):
            act()
    assert not path.exists()


def test_open_makes_nothing_and_create_overwrites_nothing(path: Path, tmp_path: Path) -> None:
    absent = tmp_path / "none" / "ledger.db"
    with pytest.raises(LedgerError, match="fedward site ledger SITE_TOML --create"):
        reopen(absent)
    assert not absent.parent.exists()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="a ledger is here already"):
        Ledger.create(path, site="north", key=KEY)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_key_another_site_and_another_file_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="another site's key"):
        reopen(path, key=b"\x08" * 32)
    with pytest.raises(LedgerError, match="ledger of another site"):
        reopen(path, site="south")
    with pytest.raises(LedgerError, match="too short"):
        reopen(path, key=b"")
    for content in (b"", b"not SQLite" * 99):
        rubbish = tmp_path / "rubbish"
        rubbish.write_bytes(content)
        with pytest.raises(LedgerError) as refused:
            reopen(rubbish)
        assert len(str(refused.value).splitlines()) == 1
    assert "0707" not in repr(reopen(path)._chain._seal)


def test_a_kill_while_it_is_created_leaves_room_to_create_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.db"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(chain_store.os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            Ledger.create(path, site="north", key=KEY)
    with pytest.raises(LedgerError, match="no privacy ledger here"):
        reopen(path)
    Ledger.create(path, site="north", key=KEY)
    assert len(reopen(path).entries()) == 1


def test_an_entry_whose_head_could_not_be_written_still_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = reopen(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(chain_store, "write_head", full)
        with pytest.raises(LedgerError, match="No space left"):
            ledger.begin("j2", round_number=0, steps=2)
        with pytest.raises(LedgerError, match="No space left"):
            ledger.begin("j2", round_number=1, steps=1)
    assert [entry.kind for entry in reopen(path).entries()[8:]] == ["begin"]
    assert ledger.find("j2") == reopen(path).find("j2")


@pytest.mark.parametrize("which", ["ledger", "head"])
@pytest.mark.parametrize("how", ["changed", "deleted", "replaced by its own copy of before"])
def test_an_open_ledger_finds_it_at_its_next_look(path: Path, which: str, how: str) -> None:
    ledger = reopen(path)
    file = path if which == "ledger" else head_path(path)
    before = file.read_bytes()
    ledger.unprotected(job_id="j4", job="plain", cohort="chest", patients=people(9))
    assert len(ledger.jobs()) == 4
    if how == "deleted":
        file.unlink()
    elif how == "changed":
        file.write_bytes(file.read_bytes().replace(b'"count"', b'"Count"').replace(b"unprotected", b"unprotecteD"))
    else:
        ledger.unprotected(job_id="j5", job="plain", cohort="chest", patients=people(10))
        file.write_bytes(before)
    with pytest.raises(LedgerError):
        ledger.jobs()
