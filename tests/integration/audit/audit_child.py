"""Write to an audit log until killed. Started by ``test_audit_kill.py``.

``moments FOLDER SEED KILLS``: three writers without end, each a fork that dies by SIGKILL at a drawn moment and is
followed by another; the log is verified meanwhile and at the end, and then holds every entry that was acknowledged.
``lines FOLDER``: one short life of a log; again for each line of the log's modules that it runs, in a fork that kills
itself there. The last line printed says how many kills there were.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from fedward import files as room_files
from fedward.audit import anchor, entry, expiry, head, keys, log
from fedward.audit import files as log_files
from fedward.audit.expiry import expire
from fedward.audit.files import LOG_FILE
from fedward.audit.log import AuditLog
from fedward.audit.verify import entries, verify
from fedward.indexing.site_key import load_key

MODULES = {module.__file__ for module in (anchor, entry, expiry, head, keys, log, log_files, room_files)}
SITE = """site = "north"
key = "key"
ledger = "ledger.db"
approved_jobs = "any"
disclosure = { metrics = [], decimals = 3, min_count = 5 }
cohorts = {}
"""
WRITERS = 3
VERIFIED_EVERY = 20
"""Kills. The others go on writing meanwhile: verified after each kill, the log would grow faster than it is read."""


def moments(folder: Path, seed: int, kills: int) -> None:
    drawn = random.Random(seed)
    log = AuditLog(folder / "audit", rotate_bytes=20_000)
    pipes: dict[int, int] = {}
    said: set[tuple[str, int]] = set()
    for number in range(WRITERS):
        _begin(log, pipes, number)
    for number in range(WRITERS, kills + WRITERS):
        time.sleep(drawn.random() * 0.02)
        victim = drawn.choice(sorted(pipes))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        said |= _acknowledged(pipes.pop(victim))
        if number % VERIFIED_EVERY == 0:
            verify(log)
        _begin(log, pipes, number)
    for child, pipe in pipes.items():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said |= _acknowledged(pipe)
    log.append("signed-in", who="afterwards", about={})
    found = verify(log)
    kept = [(one.who, int(one.about["round"])) for one in entries(log) if one.what == "round-complete"]
    if len(set(kept)) != len(kept) or not said <= set(kept) or len(kept) > len(said) + kills + WRITERS:
        raise SystemExit(f"{len(said)} acknowledged, {len(kept)} kept, {len(set(kept))} different")
    torn = sum(one.what == "torn" for one in entries(log))
    print(json.dumps({"kills": kills + WRITERS, "entries": found.last.number, "acknowledged": len(said), "torn": torn}))


def _begin(log: AuditLog, pipes: dict[int, int], name: int) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        pipes[child] = reading
        return
    for number in range(10**9):
        log.append("round-complete", who=f"writer {name}", about={"round": number})
        os.write(writing, f"writer {name}:{number}\n".encode())


def _acknowledged(pipe: int) -> set[tuple[str, int]]:
    with os.fdopen(pipe) as lines:
        return {(who, int(number)) for who, _, number in (line.strip().partition(":") for line in lines)}


def life(kit: Path, say: Any) -> None:
    """One life of a log: made, healed of a torn line, under the site's key, rotated, a file of it removed."""
    clock = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(10**6))
    log = AuditLog(kit / "audit", site_toml=kit / "local" / "site.toml", rotate_bytes=1500, clock=lambda: next(clock))
    for number in range(8):
        if number == 2 and not (kit / "local" / "key").exists():
            load_key(kit / "local" / "key")
        if number == 4:
            with (kit / "audit" / LOG_FILE).open("ab") as file:
                file.write(b'{"n":')
        say(log.append("round-complete", who="a", about={"round": number}).about["round"])
    expire(log, datetime(2027, 1, 1, tzinfo=UTC), who="a")
    say(log.append("round-complete", who="a", about={"round": 8}).about["round"])


def lines(folder: Path) -> None:
    number = 0
    while True:
        number += 1
        kit = folder / "kit"
        shutil.rmtree(kit, ignore_errors=True)
        (kit / "local").mkdir(parents=True)
        (kit / "local" / "site.toml").write_text(SITE)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _dying(kit, writing, number)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = {int(line) for line in pipe}
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        _check(kit, said, number)
        if not killed:
            print(json.dumps({"kills": number - 1}))
            return


def _check(kit: Path, said: set[int], number: int) -> None:
    """The log goes on after the kill, has no fault, and lost nothing but what its retention removed."""
    log = AuditLog(kit / "audit", site_toml=kit / "local" / "site.toml")
    log.append("signed-in", who="afterwards", about={})
    found = verify(log)
    kept = [int(one.about["round"]) for one in entries(log) if one.what == "round-complete"]
    gone = set(range(min(kept, default=0))) if found.first > 1 else set()
    if len(set(kept)) != len(kept) or not said <= set(kept) | gone or len(set(kept) | gone) > len(said) + 1:
        raise SystemExit(f"line {number}: {sorted(said)} acknowledged, {kept} kept")


def _dying(kit: Path, writing: int, kill_at: int) -> None:
    """Kill this process at the ``kill_at``-th different line; a line counts once between two entries."""
    seen: set[tuple[int, str, int]] = set()
    said = 0

    def say(number: object) -> None:
        nonlocal said
        said += 1
        os.write(writing, f"{number}\n".encode())

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
        life(kit, say)
    finally:
        sys.settrace(None)
        os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "moments":
        moments(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        lines(Path(sys.argv[2]))
