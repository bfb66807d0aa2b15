"""List what jobs, logs and downloads left in a kit, with what must stay and why. It changes nothing.

==================  ===========================================  ==========================
place               content                                      unit
==================  ===========================================  ==========================
<job id>/           a job's run folder                           the job
checkpoints/<id>/   what a job needs to go on                    the job
storage/jobs/<id>/  server: the job as submitted, and its result the job
storage/snapshots/  server: FLARE's snapshots, by job id         the job
log.txt.1 and such  logs that were turned over                   each file
transfer/           files and folders that a person sent, got    each
==================  ===========================================  ==========================

A symbolic link is never followed, and never removed unless it is inside one of these.
"""

from __future__ import annotations

import json
import os
import re
import stat
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedward.upkeep.retention import Kind, Unit

QUIET_S = 3600.0
"""Seconds without a change after which a job counts as at rest, whatever else is known about it."""
STORED = "storage/jobs"
RESUME_FILES = ("resume", "resume.json")
"""Files beside a job's checkpoints: a person's request to resume it, and the one that the server has taken up."""
_CHECKPOINTS = "checkpoints"
_OF_JOBS = ("", _CHECKPOINTS, STORED, "storage/snapshots")
"""Folders of the kit that have a folder for each job."""
_TURNED = re.compile(r"(?:log|log_fl|error_log)\.(?:txt|json)\.\d{1,4}")
"""Names of FLARE's logs as ``logging.handlers.RotatingFileHandler`` turns them over; the one being written has no
number. An audit log is none of them: its entries are chained, and it removes its own old files."""
_TRANSFER = "transfer"
_ENDED = "FINISHED"
_META = "meta"

Reason = str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at a kit.

    Attributes:
        kit: the kit.
        now: seconds since the epoch.
        kept: why a job must stay, by its id; None: it has ended.
        running: texts of command lines of the processes of this machine; a job that one of them names runs.
        untouchable: files and folders that stay whatever holds them, each with its name for people.
    """

    kit: Path
    now: float
    kept: Callable[[str], Reason] = lambda job_id: None
    running: Collection[str] = ()
    untouchable: Mapping[Path, str] = field(default_factory=dict)

    def unit(self, name: str, kind: Kind, paths: tuple[str, ...]) -> Unit:
        """Return one unit as it is now.

        Raises:
            OSError: a file of it is gone, or a folder cannot be read.
        """
        reason = self._reason(name) if kind == "job" else None
        size, changed = 0, 0.0
        for path in paths:
            for one in _files(self.kit / path):
                size += one.st_size if stat.S_ISREG(one.st_mode) else 0
                changed = max(changed, one.st_mtime)
        if reason is None:
            whole = [(self.kit / path).resolve() for path in paths]
            outside = {path.resolve(): name for path, name in self.untouchable.items()}
            held = [name for out, name in outside.items() if any(out == one or one in out.parents for one in whole)]
            reason = f"holds {held[0]}" if held else None
        if reason is None and kind == "job" and changed > self.now - QUIET_S:
            reason = "something in it changed within the last hour"
        return Unit(name=name, kind=kind, paths=paths, size=size, changed=changed, kept=reason)

    def _reason(self, job_id: str) -> Reason:
        if any(job_id in line for line in self.running):
            return "a process of it runs"
        if any(os.path.lexists(self.kit / _CHECKPOINTS / job_id / name) for name in RESUME_FILES):
            return "a person has asked to resume it"
        return self.kept(job_id) or _in_store(self.kit, job_id)


def contents(look: Look) -> tuple[Unit, ...]:
    """Return the units of a kit.

    Raises:
        OSError: a folder cannot be read, so that it is not known what is in it.
    """
    jobs = [look.unit(job_id, "job", paths) for job_id, paths in sorted(_jobs(look.kit).items())]
    logs = [look.unit(path, "log", (path,)) for path in _logs(look.kit)]
    return (*jobs, *logs, *(look.unit(path, "download", (path,)) for path in _sent(look.kit)))


def is_job_id(name: str) -> bool:
    """True if FLARE gives such names to jobs."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _jobs(kit: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for place in _OF_JOBS:
        for entry in _entries(kit, place):
            if is_job_id(entry.name) and entry.is_dir(follow_symlinks=False):
                found.setdefault(entry.name, []).append(f"{place}/{entry.name}".lstrip("/"))
    return {job_id: tuple(paths) for job_id, paths in found.items()}


def _in_store(kit: Path, job_id: str) -> Reason:
    """Return why FLARE's store keeps a job; None: it does not know it, or calls it finished."""
    folder = kit / STORED / job_id
    if not folder.is_dir():
        return None
    try:
        status = json.loads((folder / _META).read_bytes())["status"]
    except (OSError, ValueError, LookupError, TypeError):
        return "FLARE's store does not say that it ended"
    return None if isinstance(status, str) and status.startswith(_ENDED) else "FLARE's store does not call it finished"


def _logs(kit: Path) -> list[str]:
    found = [entry for entry in _entries(kit, "") if _TURNED.fullmatch(entry.name)]
    return sorted(entry.name for entry in found if entry.is_file(follow_symlinks=False))


def _sent(kit: Path) -> list[str]:
    found = [entry for entry in _entries(kit, _TRANSFER) if not entry.is_symlink()]
    return sorted(f"{_TRANSFER}/{entry.name}" for entry in found)


def _entries(kit: Path, place: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder of the kit; nothing where it is absent, or where a link leads to it."""
    folder = kit
    for part in place.split("/") if place else ():
        folder = folder / part
        if folder.is_symlink() or not folder.is_dir():
            return
    with os.scandir(folder) as entries:
        yield from entries


def _files(path: Path) -> Iterator[os.stat_result]:
    """Yield the facts of a file, or of a folder and everything below it; no link is followed."""
    facts = path.lstat()
    yield facts
    if stat.S_ISDIR(facts.st_mode):
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            yield from _files(path / name)
