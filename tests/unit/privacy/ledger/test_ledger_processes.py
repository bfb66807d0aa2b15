"""Jobs that come at once share one budget: only what fits is admitted, whoever comes first."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedward.errors import BudgetError, LedgerError
from fedward.privacy import accountant
from fedward.privacy.ledger import chain_store
from fedward.privacy.ledger.ledger import Ledger
from tests.support.ledger import KEY, count_steps, event, job, people, reopen

CHILD = """
import sys
from pathlib import Path
from fedward.errors import BudgetError
from fedward.privacy import accountant
from tests.support.ledger import count_steps, event, job, reopen

accountant.epsilon = count_steps
ledger = reopen(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    try:
        ledger.charge(**job(f"{sys.argv[2]}-{number}", event=event(3)))
        print("admitted")
    except BudgetError:
        print("refused")
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    Ledger.create(tmp_path / "ledger.db", site="north", key=KEY)
    return tmp_path / "ledger.db"


def test_two_processes_at_once_admit_only_what_fits(path: Path, root: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
    children = [subprocess.Popen([*command, name], **pipes) for name in "ab"]  # type: ignore[call-overload]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = "".join(child.communicate()[0] for child in children).split()
    assert [child.returncode for child in children] == [0, 0]
    assert (said.count("admitted"), said.count("refused")) == (6, 10)
    ledger = reopen(path)
    assert ledger.spent(people(0), delta=1e-5) == 18
    assert len(ledger.charges()) == 6


def test_threads_share_one_ledger(path: Path) -> None:
    ledger = reopen(path)
    outcomes: list[str] = []

    def work(name: str) -> None:
        for number in range(6):
            try:
                ledger.charge(**job(f"{name}-{number}", event=event(3)))
                outcomes.append("admitted")
            except BudgetError:
                outcomes.append("refused")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("admitted"), outcomes.count("refused")) == (6, 12)


def test_a_second_ledger_sees_what_the_first_wrote(path: Path) -> None:
    first, second = reopen(path), reopen(path)
    first.charge(**job())
    assert second.find("j1") == first.find("j1")
    begun = second.begin("j1", round_number=0, steps=2)
    assert first.entry(begun.hash) == begun
    first.close("j1")
    with pytest.raises(LedgerError, match="closed"):
        second.begin("j1", round_number=1, steps=2)


def test_a_ledger_that_another_process_holds_is_one_line(path: Path) -> None:
    ledger = reopen(path, timeout_s=0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"another process held the ledger for 0.01 s; try again") as refused:
        ledger.charge(**job())
    assert len(str(refused.value).splitlines()) == 1
    holder.close()
    ledger.charge(**job())


def test_a_look_sees_what_another_wrote_and_locks_only_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that nobody has written to is not opened again: another entry, at once or much later, is seen."""
    ours, other = reopen(path), reopen(path)
    for number in range(12):
        other.charge(**job(f"j{number}", event=event(1), patients=people(number)))
        assert [charge.job_id for charge in ours.charges()][-1] == f"j{number}"
        with monkeypatch.context() as patched:
            patched.setattr(chain_store, "_connect", lambda *args, **named: pytest.fail("nothing has changed"))
            assert len(ours.charges()) == number + 1
            assert ours.find(f"j{number}") is not None


def test_one_who_only_looks_waits_for_nobody(path: Path) -> None:
    ledger = reopen(path)
    ledger.charge(**job())
    lock = sqlite3.connect(path)
    lock.execute("BEGIN IMMEDIATE")
    try:
        assert len(ledger.charges()) == 1
    finally:
        lock.close()
