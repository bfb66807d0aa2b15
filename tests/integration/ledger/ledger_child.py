"""Use a ledger until killed, and print each operation that is done. Started by ``test_ledger_kill.py``.

``loop FOLDER``: charge, begin, release and close without end, one line of JSON after each.
``lines FOLDER``: one short life of a ledger; again for each line of the ledger's modules that it runs, in a fork that
kills itself there with SIGKILL, and a check of what is left after each. The last line says how many lines were tried.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from fedward.errors import GateError, LedgerError
from fedward.privacy import accountant
from fedward.privacy.accountant import Event
from fedward.privacy.ledger import (
    chain_head,
    chain_store,
    charges,
    hash_chain,
    io_faults,
    ledger,
    run_record,
    runs,
    site_file,
    spending,
)
from fedward.privacy.ledger.chain_head import head_path
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from fedward.privacy.ledger.runs import BEGIN, END, FINAL, LEAVE, SUM, FinalModel

KEY = b"\x07" * 32
ROOMS = (hash_chain, chain_store, chain_head, io_faults, charges, spending, ledger, site_file, run_record, runs)
MODULES = {module.__file__ for module in ROOMS}
KINDS = ("charge", "begin", "release", "close", "reopen", BEGIN, SUM, LEAVE, FINAL, END)
PATIENTS = [f"{number:016x}" for number in range(4)]
STEPS, ROUNDS = 3, 1
ANSWER: dict[str, Any] = {"model": "12" * 32, "repeats": 1}
Say = Callable[[str, Any], None]


def charged(book: Ledger, job_id: str) -> None:
    event = Event(unit="patient", sampling_rate=0.1, noise_multiplier=1.0, steps=STEPS * ROUNDS)
    book.charge(
        job_id=job_id,
        job="tb",
        cohort="chest",
        event=event,
        rounds=ROUNDS,
        patients=PATIENTS,
        cap=1e9,
        delta=1e-5,
    )


def live(book: Ledger, job_id: str, say: Say) -> None:
    """One job: charged, a round begun, released and recorded as left, closed and reopened, the update sent again; its
    sum opened, a final model; closed, ended."""
    kept = Record.open(book.path, site="north", key=KEY)
    kept.begin(job_id, job="cd" * 32)
    say(BEGIN, "")
    charged(book, job_id)
    say("charge", job_id)
    for number in range(ROUNDS):
        begun = book.begin(job_id, round_number=number, steps=STEPS)
        say("begin", begun.hash)
        say("release", book.release(begun.hash, digest="ab" * 32).hash)
        kept.leave(job_id, **ANSWER, round_number=number)
        say(LEAVE, "")
        entry = book.close(job_id)
        say("close", "" if entry is None else entry.hash)
        charged(book, job_id)
        say("reopen", "")
        kept.leave(job_id, **ANSWER, round_number=number)
        say(LEAVE, "")
        kept.open_sum(job_id, purpose="model", round_number=number, sum="ef" * 32, sites=["north"])
        say(SUM, "")
    kept.finish(job_id, FinalModel(1, "ef" * 32))
    say(FINAL, "")
    entry = book.close(job_id)
    say("close", "" if entry is None else entry.hash)
    kept.end(job_id)
    say(END, "")


def check(path: Path, said: Iterable[tuple[str, str]]) -> None:
    """Check that the ledger opens, holds all that was acknowledged, at most one more, and counts every step begun."""
    book = Ledger.open(path, site="north", key=KEY)
    said = list(said)
    kinds = [entry.kind for entry in book.entries()]
    hashes = {entry.hash for entry in book.entries()}
    for kind, what in said:
        found = not what or (book.find(what) is not None if kind == "charge" else what in hashes)
        if not found:
            raise SystemExit(f"lost: {kind}")
    for kind in KINDS:
        done = sum(one == kind for one, _ in said)
        if not done <= kinds.count(kind) <= done + 1:
            raise SystemExit(f"{kind}: {done} said, {kinds.count(kind)} found")
    begun = STEPS * sum(kind == "begin" for kind, _ in said)
    counted = sum(charge.counted.steps for charge in book.charges())
    if not begun <= sum(charge.begun_steps for charge in book.charges()) <= counted:
        raise SystemExit(f"{begun} steps begun, {counted} counted")
    charged(book, "afterwards")
    once(Record.open(path, site="north", key=KEY), {kind for kind, _ in said})


def once(kept: Record, said: set[str]) -> None:
    """Check that an acknowledged operation is not done a second time: no other sum, round or final model."""
    again: dict[str, Callable[[], object]] = {
        SUM: lambda: kept.open_sum("j1", purpose="model", round_number=0, sum="00" * 32, sites=["north"]),
        LEAVE: lambda: kept.leave("j1", round_number=0, model="00" * 32, repeats=9),
        FINAL: lambda: kept.finish("j1", FinalModel(1, "00" * 32)),
        END: lambda: kept.begin("j1", job="cd" * 32),
    }
    for kind in said & set(again):
        try:
            again[kind]()
        except GateError:
            continue
        raise SystemExit(f"{kind}: done twice")


def lines(folder: Path) -> None:
    template = folder / "template.db"
    Ledger.create(template, site="north", key=KEY)
    total = _watched(folder, template, kill_at=None)
    for number in range(1, total + 1):
        _watched(folder, template, kill_at=number)
    print(json.dumps({"lines": total}))


def _watched(folder: Path, template: Path, *, kill_at: int | None) -> int:
    """Run the job in a fork that dies at the ``kill_at``-th different line; how many different lines it ran."""
    path = folder / "ledger.db"
    for file in folder.iterdir():
        if "template" not in file.name:
            file.unlink()
    shutil.copy(template, path)
    shutil.copy(head_path(template), head_path(path))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(path, writing, kill_at)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = [tuple(json.loads(line)) for line in pipe if line.endswith("\n")]
    status = os.waitpid(child, 0)[1]
    if kill_at is None:
        return int(said[-1][1])
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise SystemExit(f"line {kill_at}: not killed")
    check(path, [one for one in said if one[0] != "lines"])
    return 0


def _child(path: Path, writing: int, kill_at: int | None) -> None:
    """A line counts once in each operation, at its first run there."""
    said = 0
    seen: set[tuple[int, str, int]] = set()

    def say(kind: str, what: Any) -> None:
        nonlocal said
        os.write(writing, (json.dumps([kind, what]) + "\n").encode())
        said += 1

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in MODULES:
            return None
        if event == "line":
            seen.add((said, frame.f_code.co_filename, frame.f_lineno))
            if len(seen) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        live(Ledger.open(path, site="north", key=KEY), "j1", say)
    finally:
        sys.settrace(None)
        say("lines", len(seen))
        os._exit(0)


def creations(folder: Path) -> None:
    """The same for the ledger's creation: afterwards it is there and whole, or can be made."""
    path, number = folder / "ledger.db", 0
    while True:
        number += 1
        for file in folder.iterdir():
            file.unlink()
        child = os.fork()
        if child == 0:
            _creating(path, number)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            print(json.dumps({"lines": number - 1}))
            return
        try:
            Ledger.open(path, site="north", key=KEY)
        except LedgerError as error:
            if "--create" not in str(error):
                raise
            Ledger.create(path, site="north", key=KEY)
        check(path, [])


def _creating(path: Path, kill_at: int) -> None:
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in MODULES:
            return None
        seen.add((frame.f_code.co_filename, frame.f_lineno))
        if len(seen) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    Ledger.create(path, site="north", key=KEY)
    sys.settrace(None)
    os._exit(0)


def loop(folder: Path) -> None:
    book = Ledger.open(folder / "ledger.db", site="north", key=KEY)
    for number in range(10**9):
        live(book, f"{os.getpid()}-{number}", lambda kind, what: print(json.dumps([kind, what]), flush=True))


if __name__ == "__main__":
    accountant.epsilon = lambda events, *, delta: float(sum(one.steps for one in events))
    {"loop": loop, "lines": lines, "creations": creations}[sys.argv[1]](Path(sys.argv[2]))
