"""Let one process at a time work for a job at one participant: an orphan of a killed service ends before the next one.

When a service is killed, the processes of its jobs notice it within a second and stop. A service that is back sooner
may start a job's process beside its predecessor. Two processes would write one checkpoint and one ledger.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from fedward.errors import FederationError

CHECKPOINTS, LOCK_FILE = "checkpoints", "process.lock"
PATIENCE_S = 4.0
"""Seconds that the predecessor has to end by itself."""
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def hold(kit: Path, arguments: Sequence[str] | None = None) -> None:
    """Wait for the end of another process of this job, kill it after ``PATIENCE_S``; hold the job until this one ends.

    Args:
        kit: the participant's kit.
        arguments: of this process; FLARE gives the job's id after ``-n``.

    Raises:
        FederationError: the arguments name no job, or the other process does not end.
        OSError: the folder cannot be written.
    """
    given = list(sys.argv if arguments is None else arguments)
    job_id = given[given.index("-n") + 1] if "-n" in given[:-1] else ""
    if not _JOB.fullmatch(job_id):
        raise FederationError("job's process was started without a job", value=job_id or None)
    folder = kit / CHECKPOINTS / job_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)  # kept open: the lock ends with the process
    if not _taken(handle, within_s=PATIENCE_S):
        _kill(handle, job_id)
        if not _taken(handle, within_s=PATIENCE_S):
            raise FederationError("another process of this job does not end", where=folder / LOCK_FILE)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)


def _taken(handle: int, *, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        else:
            return True


def _kill(handle: int, job_id: str) -> None:
    """Kill the process that holds the lock, if it is a process of this job."""
    text = os.pread(handle, 20, 0).decode("ascii", "replace")
    if not text.isdigit() or int(text) == os.getpid():
        return
    try:
        other = psutil.Process(int(text))
        if job_id in other.cmdline():
            other.kill()
    except psutil.Error:
        return
