"""Ask the server, on its own machine, to take up a job that has ended as failed or aborted.

The request is a file beside the job's checkpoints, which the server's supervisor looks for. FLARE's console has no
command for it, and a job that is submitted again would be another job, charged again.
"""

from __future__ import annotations

import getpass
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedward.ends import JobState, worded
from fedward.errors import FederationError, JobError
from fedward.files import write_atomic
from fedward.metrics import queries
from fedward.metrics.job_state import state_of
from fedward.metrics.store import STORE_FILE, Store

CHECKPOINTS, REQUEST_FILE, PENDING_FILE = "checkpoints", "resume", "resume.json"
"""Folder of the checkpoints; files in a job's: a person's request, and the one taken up that no process has begun."""
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
GENERATION = re.compile(r"g-([0-9]{8,18})")
"""Name of a checkpoint's folder, which has the number of the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest:
    """A person's request to resume a job.

    Attributes:
        job_id: FLARE's id of the job.
        name: name of the job.
        state: how the job ended.
        generation: name of the newest checkpoint.
        file: path of the request.
    """

    job_id: str
    name: str
    state: JobState
    generation: str
    file: Path


def request_resume(kit: Path, job_id: str) -> ResumeRequest:
    """Write a request to resume a job; a request that is there already stays.

    Args:
        kit: the server's kit.
        job_id: FLARE's id of the job.

    Raises:
        FederationError: the folder is no server's kit, or the request cannot be written.
        JobError: ``job_id`` is no id of a job, the server does not know the job, it has not ended, it has finished, or
            it left no checkpoint, or the server takes it up already.
        StoreError: the metrics store cannot be read.
    """
    if not (kit / "startup" / "fed_server.json").is_file():
        remedy = "run this on the server's machine, with the kit of the server: the folder with startup/"
        raise FederationError("not a server's kit", where=kit, remedy=remedy)
    name, state = _known(kit, job_id)
    if state.state == "finished":
        raise JobError("job has finished; there is nothing to resume", value=job_id, remedy="fetch its result")
    if not state.ended:
        remedy = "wait: the server takes it up by itself; it asks for nobody until it has failed"
        raise JobError(f"job has not ended: {worded(state)}", value=job_id, remedy=remedy)
    folder = kit / CHECKPOINTS / job_id
    if (folder / PENDING_FILE).exists():
        remedy = "wait: the server takes it up, once, when it runs and the hospitals are connected"
        raise JobError("job is being resumed already", where=folder / PENDING_FILE, remedy=remedy)
    generations = sorted((int(m[1]), m[0]) for path in folder.glob("g-*") if (m := GENERATION.fullmatch(path.name)))
    if not generations:
        remedy = "submit the job again: none of its rounds is on the disk"
        raise JobError("job left no checkpoint", where=folder, remedy=remedy)
    file = folder / REQUEST_FILE
    if not file.exists():
        try:
            write_atomic(file, json.dumps({"by": getpass.getuser(), "at": round(time.time(), 3)}) + "\n")
            file.chmod(0o644)  # whoever typed the command; the server's own user reads and removes it
        except OSError as error:
            remedy = "run it as the server's user"
            raise FederationError(
                "request cannot be written", where=file, value=error.strerror, remedy=remedy
            ) from None
    return ResumeRequest(job_id=job_id, name=name, state=state, generation=generations[-1][1], file=file)


def requested(kit: Path) -> Iterator[str]:
    """Yield the ids of the jobs that a person asked to resume, in this server's kit."""
    for file in sorted((kit / CHECKPOINTS).glob(f"*/{REQUEST_FILE}")):
        if _JOB_ID.fullmatch(file.parent.name) and file.is_file():
            yield file.parent.name


def take_request(kit: Path, job_id: str) -> None:
    """Remove a request: the job is taken up or refused, or a person aborts it.

    Raises:
        OSError: it cannot be removed.
    """
    (kit / CHECKPOINTS / job_id / REQUEST_FILE).unlink(missing_ok=True)


def _known(kit: Path, job_id: str) -> tuple[str, JobState]:
    remedy = "give the id that `fedward job submit` printed; the dashboard shows it too"
    if not _JOB_ID.fullmatch(job_id):
        raise JobError("is no id of a job", value=job_id, remedy=remedy)
    with Store.open(kit / STORE_FILE) as store, store.turn() as connection:
        job = queries.job(connection, job_id)
        if job is None:
            raise JobError("server has no record of the job", value=job_id, remedy=remedy)
        return job.name or job_id, state_of(connection, job)
