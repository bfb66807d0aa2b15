"""A disk that is full or refuses is no lie: the entry is there or it is not, and the same ledger goes on later."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedward import files
from fedward.errors import DiskFullError, LedgerError, LedgerIOError
from fedward.privacy import accountant
from fedward.privacy.ledger import chain_store
from fedward.privacy.ledger.chain_head import head_path
from fedward.privacy.ledger.io_faults import ledger_fault
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from tests.support.ledger import KEY, count_steps, event, job, people, reopen

WHERE = Path("ledger.db")
PASSING = ["BUSY", "LOCKED", "IOERR", "CANTOPEN", "READONLY", "PERM", "NOMEM", "INTERRUPT", "PROTOCOL"]
EXTENDED = ["IOERR_WRITE", "IOERR_FSYNC", "IOERR_READ", "CANTOPEN_ISDIR", "READONLY_DBMOVED", "BUSY_SNAPSHOT"]


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("SECRET")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with one open job; ε is the number of steps."""
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    Ledger.create(tmp_path / "ledger.db", site="north", key=KEY).charge(**job(event=event(1000), cap=None))
    Record.open(tmp_path / "ledger.db", site="north", key=KEY).begin("j1", job="a" * 64)
    return tmp_path / "ledger.db"


# which fault is which


@pytest.mark.parametrize("name", [*PASSING, *EXTENDED])
def test_a_fault_that_passes_is_one_of_input_and_output(name: str) -> None:
    fault = ledger_fault(sqlite_error(getattr(sqlite3, f"SQLITE_{name}")), where=WHERE, timeout_s=1.0)
    assert type(fault) is LedgerIOError


@pytest.mark.parametrize("name", ["CORRUPT", "NOTADB", "ERROR", "CONSTRAINT", "MISMATCH", "SCHEMA", "FORMAT"])
def test_a_fault_in_the_content_is_none(name: str) -> None:
    fault = ledger_fault(sqlite_error(getattr(sqlite3, f"SQLITE_{name}")), where=WHERE, timeout_s=1.0)
    assert type(fault) is LedgerError
    assert type(ledger_fault(sqlite3.ProgrammingError("of Python"), where=WHERE, timeout_s=1.0)) is LedgerError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), DiskFullError),
        (OSError(errno.ENOSPC, "no space"), DiskFullError),
        (OSError(errno.EDQUOT, "quota"), DiskFullError),
        (OSError(errno.EFBIG, "too large"), DiskFullError),
        (OSError(errno.EIO, "broken"), LedgerIOError),
        (OSError(errno.EACCES, "denied"), LedgerIOError),
        (OSError(errno.EMFILE, "too many"), LedgerIOError),
        (OSError(errno.EROFS, "read-only"), LedgerIOError),
    ],
)
def test_a_full_disk_has_its_own_class(error: Any, kind: type[Exception]) -> None:
    assert type(ledger_fault(error, where=WHERE, timeout_s=1.0)) is kind


@pytest.mark.parametrize("damage", ["ledger", "head", "head gone", "row"])
def test_damage_is_never_told_as_a_fault_of_the_disk(path: Path, damage: str) -> None:
    if damage == "ledger":
        path.write_bytes(b"\0" * 8192)
    elif damage == "head":
        head_path(path).write_text("{}")
    elif damage == "head gone":
        head_path(path).unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content.replace(b'"steps":1000', b'"steps":1001'))
    with pytest.raises(LedgerError) as refused:
        reopen(path)
    assert not isinstance(refused.value, LedgerIOError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("what", ["ledger", "head", "folder"])
def test_a_file_that_may_not_be_read_is_a_fault_of_the_disk(path: Path, what: str) -> None:
    target = {"ledger": path, "head": head_path(path), "folder": path.parent}[what]
    mode = target.stat().st_mode
    target.chmod(0)
    try:
        with pytest.raises(LedgerIOError):
            reopen(path)
    finally:
        target.chmod(mode)
    reopen(path)


# each write in turn


class Failing:
    """A connection of which one statement fails, as the disk or another process would have it fail."""

    def __init__(self, connection: sqlite3.Connection, plan: Plan) -> None:
        self._connection, self._plan = connection, plan

    def execute(self, *statement: Any) -> Any:
        self._plan.reach()
        return self._connection.execute(*statement)

    def close(self) -> None:
        self._connection.close()


class Plan:
    """The number of the operation that fails, of all those of SQLite and of files."""

    def __init__(self, at: int, error: Exception) -> None:
        self.at, self.error, self.seen = at, error, 0

    def reach(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise self.error


@contextmanager
def failing(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SQLite's statements, and each system call of the head, pass through the plan."""
    connect = chain_store._connect

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **named: Any) -> Any:
            if isinstance(plan.error, OSError):
                plan.reach()
            return call(*args, **named)

        return made

    with monkeypatch.context() as patch:
        if isinstance(plan.error, sqlite3.Error):
            patch.setattr(chain_store, "_connect", lambda *a, **k: Failing(connect(*a, **k), plan))
        for name in ("open", "fsync", "fdopen", "fchmod"):
            patch.setattr(files.os, name, guarded(getattr(os, name)))
        patch.setattr(Path, "replace", guarded(Path.replace))
        yield


ERRORS: list[Exception] = [
    sqlite_error(sqlite3.SQLITE_FULL),
    sqlite_error(sqlite3.SQLITE_IOERR_FSYNC),
    sqlite_error(sqlite3.SQLITE_BUSY),
    OSError(errno.ENOSPC, "no space"),
    OSError(errno.EIO, "broken"),
]
ACTS: dict[str, Callable[[Ledger, Record], Any]] = {
    "begin": lambda ledger, record: ledger.begin("j1", round_number=0, steps=2),
    "charge": lambda ledger, record: ledger.charge(**job("j2", event=event(3), cap=None)),
    "close": lambda ledger, record: ledger.close("j1"),
    "leave": lambda ledger, record: record.leave("j1", round_number=0, model="c" * 64, repeats=2),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error}"[:40])
@pytest.mark.parametrize("act", ACTS)
def test_whatever_write_fails_the_entry_is_there_or_an_error_is_and_the_same_ledger_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, act: str
) -> None:
    outcomes = set()
    original = {name: (path.parent / name).read_bytes() for name in (path.name, head_path(path).name)}
    for at in range(1, 60):
        for name, content in original.items():
            (path.parent / name).write_bytes(content)
        ledger, record = reopen(path), Record.open(path, site="north", key=KEY)
        plan, before, raised = Plan(at, error), len(ledger.entries()), False
        with failing(plan, monkeypatch):
            try:
                ACTS[act](ledger, record)
            except LedgerIOError as fault:
                raised = True
                full = isinstance(error, OSError) and error.errno == errno.ENOSPC
                assert isinstance(fault, DiskFullError) == (full or error is ERRORS[0])
        assert raised or len(reopen(path).entries()) == before + 1, "what returned is there"
        assert len(reopen(path).entries()) - before in (0, 1)
        outcomes.add((raised, len(reopen(path).entries()) - before))
        assert ledger.entries() == reopen(path).entries() == record.entries(), "no broken state is held"
        assert ledger.find("j1") == reopen(path).find("j1")
        if act != "close":
            ledger.begin("j1", round_number=5, steps=1)
        assert not list(path.parent.glob("*.draft")) and not list(path.parent.glob("*-journal"))
        if plan.seen < at:
            break
    else:
        pytest.fail("more writes than expected")
    # SQLite's statements come before the entry is there; the head's file comes after it
    assert {(True, int(isinstance(error, OSError))), (False, 1)} <= outcomes


# a real disk that is full


FULL = """
import os, sys
from pathlib import Path
from fedward.errors import DiskFullError, LedgerIOError
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from tests.support.ledger import KEY, event, job, reopen

folder = Path(sys.argv[1])
ledger = Ledger.create(folder / "ledger.db", site="north", key=KEY)
ledger.charge(**job(event=event(10000), cap=None))
record = Record.open(folder / "ledger.db", site="north", key=KEY)
record.begin("j1", job="a" * 64)
full = there = 0
for free in range(14):
    ballast = (folder / "ballast").open("wb", buffering=0)
    try:
        while True:
            ballast.write(b"x" * 4096)
    except OSError:
        size = ballast.tell()
    ballast.truncate(max(0, size - 4096 * free))
    before = len(ledger.entries())
    for act in (
        lambda: ledger.begin("j1", round_number=free, steps=1),
        lambda: record.leave("j1", round_number=free, model="c" * 64, repeats=2),
    ):
        try:
            act()
            there += 1
        except LedgerIOError as error:
            full += isinstance(error, DiskFullError)
    ballast.close()
    os.unlink(folder / "ballast")
    entries = reopen(folder / "ledger.db").entries()
    assert ledger.entries() == entries == record.entries() and len(entries) - before in (0, 1, 2)
    ledger.begin("j1", round_number=free, steps=1)
print(full, there)
"""


def test_on_a_disk_that_is_really_full(tmp_path: Path, root: Path) -> None:
    """A small file system, filled up to the last pages; then there is room again, and the same object goes on."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    mount = f"mount -t tmpfs -o size=200k none {tmp_path} 2>/dev/null || exit 77"
    command = f"exec 3<{script}; {mount}; exec {sys.executable} - {tmp_path} <&3"
    ran = subprocess.run(
        ["unshare", "-rm", "bash", "-c", command], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    if ran.returncode in (1, 77) and "Traceback" not in ran.stderr:
        pytest.skip("this machine mounts nothing for a process of its own")
    assert ran.returncode == 0, ran.stderr
    full, there = map(int, ran.stdout.split())
    assert full >= 4 and there >= 4, "some calls met the full disk, and some had room"


LIMITED = """
import resource, signal, sys
from pathlib import Path
from fedward.errors import LedgerIOError
from tests.support.ledger import reopen

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
ledger = reopen(path)
size, before = path.stat().st_size, len(ledger.entries())
resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))
try:
    ledger.begin("j1", round_number=0, steps=1)
except LedgerIOError:
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(ledger.entries()) == before
ledger.begin("j1", round_number=0, steps=1)
assert len(reopen(path).entries()) == before + 1
"""


def test_where_no_file_may_grow_nothing_is_written_and_later_it_is(path: Path, root: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "refused\n"), ran.stderr
    assert reopen(path).spent(people(0), delta=1e-5) == 1000
