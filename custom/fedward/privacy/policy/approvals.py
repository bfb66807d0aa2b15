"""Decide which jobs may run at a hospital: by hash, by an approval of its IT, or by submitter and study.

The hash depends on no one else: the hospital computes it from the settings that it would run. ``Origin`` holds the
facts that the hospital could verify about a job's submitter, see ``fedward.flare.submitter``; a fact that it could not
verify is None and never matches. A job that none of these admits is refused; an approval that cannot be used admits
nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from fedward.errors import FedwardError, PolicyError, SettingsError
from fedward.files import write_atomic
from fedward.privacy.policy.job_hash import job_hash, policy_hash
from fedward.settings import Admission, JobSpec, Name, Settings, SitePolicy, parse
from fedward.settings.privacy import JobHash

REMEDY = "look at it with `fedward site approve JOB --site-toml site.toml`, and approve it"
REVOKED = "revoked"
"""Folder below the approvals' folder: the revoked approvals, with who revoked each and when."""
LARGEST_FILE = 2**20
"""Largest number of bytes of an approval; a job's settings take a few thousand."""
_HASH = re.compile(r"[0-9a-f]{64}")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

Way = Literal["any", "approved_jobs", "approval", "auto_approve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Facts that a hospital verified about a job's origin; None is unknown.

    Attributes:
        submitter: sign-in name in the certificate of the person who signed the job.
        organisation: the one in that certificate.
        study: FLARE study that the submitter signed the job for and the server runs it in.
    """

    submitter: str | None = None
    organisation: str | None = None
    study: str | None = None


UNKNOWN = Origin()


class Approval(Settings):
    """``<approvals>/<hash>.json``: one job that the hospital's IT has reviewed."""

    format: Literal[1] = Field(description="Of the file.")
    hash: JobHash = Field(description="`job_hash` of the settings below.")
    job: Name = Field(description="The job's name.")
    spec: JobSpec = Field(description="All its settings, for the next diff.")
    approved_at: AwareDatetime = Field(description="When, UTC.")
    by: str = Field(min_length=1, max_length=64, description="Account of the operating system that approved it.")
    policy: JobHash = Field(description="`policy_hash` of site.toml as it was then.")


def admission(job: JobSpec, policy: SitePolicy, *, origin: Origin = UNKNOWN) -> Way:
    """Return the rule that admits a job here; ``fedward.privacy.policy.agreement.agree`` checks the policy's caps.

    Args:
        job: as received by the site.
        policy: the hospital's.
        origin: facts that the site verified itself; without them no ``[[auto_approve]]`` entry matches.

    Raises:
        PolicyError: no rule admits it; with its hash and the remedy.
    """
    if policy.approved_jobs == "any":
        return "any"
    found, fault = job_hash(job), ""
    if found in policy.approved_jobs:
        return "approved_jobs"
    if policy.approvals is not None:
        try:
            if read_approval(policy.approvals, found) is not None:
                return "approval"
        except SettingsError as error:
            fault = f", and its approval {error.what}"
    if any(_holds(entry, origin) for entry in policy.auto_approve):
        return "auto_approve"
    what = f"job is not approved here{fault}"
    raise PolicyError(what, where="job", value=found, remedy=REMEDY, settings={"job": found})


def _holds(entry: Admission, origin: Origin) -> bool:
    """True if every line of the entry matches the origin; an entry without a line matches no job."""
    asked = {
        name: value for name in ("submitter", "organisation", "study") if (value := getattr(entry, name)) is not None
    }
    return bool(asked) and all(getattr(origin, name) == value for name, value in asked.items())


def read_approval(folder: Path, found: str) -> Approval | None:
    """Return the approval of the job with this hash, or None where there is no file of it.

    Raises:
        SettingsError: the file is a link, unreadable or no approval; others may write to it or its folder; or it
            belongs to another job than its name or its own hash states. ``what`` shows no path.
    """
    path = _file(folder, found)
    try:
        text = _read(folder, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError("cannot be read", where=path, value=error.strerror) from None
    try:
        approval = parse(Approval, json.loads(text), where=path)
        reported = job_hash(approval.spec)
    except (ValueError, TypeError, RecursionError, FedwardError):
        raise SettingsError("is damaged", where=path, remedy="look at the job and approve it again") from None
    if not found == approval.hash == reported or approval.job != approval.spec.job.name:
        what = "is of another job than its name says"
        raise SettingsError(what, where=path, remedy="look at the job and approve it again")
    return approval


def approvals(folder: Path) -> Iterator[Approval | SettingsError]:
    """Yield every approval in the folder by hash, or the error of one that cannot be used."""
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if not _HASH.fullmatch(path.stem):
            yield SettingsError("is not named after a job's hash", where=path, remedy="remove it")
            continue
        try:
            approval = read_approval(folder, path.stem)
        except SettingsError as error:
            yield error
            continue
        if approval is not None:
            yield approval


def last_approved(folder: Path, name: str) -> Approval | None:
    """Return the job of this name that was approved last; approvals that cannot be used do not count."""
    known = [one for one in approvals(folder) if isinstance(one, Approval) and one.job == name]
    return max(known, key=lambda approval: approval.approved_at, default=None)


def approve(folder: Path, job: JobSpec, *, policy: SitePolicy, by: str, now: datetime) -> Approval:
    """Write the job's approval: owner and group may read it, only the owner may write. The file is whole or absent.

    Raises:
        SettingsError: others may write to the folder, so that an approval in it would prove nothing.
    """
    content = {"format": 1, "hash": job_hash(job), "job": job.job.name, "spec": job, "approved_at": now.astimezone(UTC)}
    approval = Approval.model_validate(content | {"by": by, "policy": policy_hash(policy)})
    _make(folder)
    _write(_file(folder, approval.hash), approval.model_dump_json(indent=2) + "\n")
    return approval


def revoke(folder: Path, found: str, *, by: str, now: datetime) -> Path:
    """Revoke an approval, also a damaged one; return the record that is kept below ``revoked``.

    The approval is removed first, in one step. If writing the record then fails, the job is revoked and its file kept.

    Raises:
        SettingsError: there is none of this hash.
    """
    path, at = _file(folder, found), now.astimezone(UTC)
    _make(folder / REVOKED)
    record = folder / REVOKED / f"{found}.{at:%Y%m%dT%H%M%S%fZ}.json"
    try:
        path.rename(record)
    except FileNotFoundError:
        raise SettingsError("no such approval", where=folder, value=found, remedy="see --list") from None
    text = record.read_bytes()[:LARGEST_FILE].decode("utf-8", errors="replace")
    content = {"revoked_at": at.isoformat(), "revoked_by": by, "approval": text}
    _write(record, json.dumps(content, indent=2) + "\n")
    return record


def _file(folder: Path, found: str) -> Path:
    if not _HASH.fullmatch(found):
        raise SettingsError("not a job's hash of 64 hex digits", where=folder, value=found, remedy="see --list")
    return folder / f"{found}.json"


def _read(folder: Path, path: Path) -> str:
    """Return the file's text; refuse it if anyone but its owner can have put it there."""
    if stat.S_IMODE(folder.stat().st_mode) & _OTHERS_WRITE:
        raise SettingsError("is in a folder that others may write to", where=folder, remedy="chmod 750 it")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError("is not a file", where=path, remedy="remove it")
        if stat.S_IMODE(status.st_mode) & _OTHERS_WRITE:
            raise SettingsError("is a file that others may write to", where=path, remedy="approve the job again")
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise SettingsError("is damaged", where=path, remedy="look at the job and approve it again")
    return content.decode("utf-8", errors="replace")


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o750, parents=True)
        _share(folder, folder.parent)
    if stat.S_IMODE(folder.stat().st_mode) & _OTHERS_WRITE:
        what = "others may write to the folder of approvals"
        raise SettingsError(what, where=folder, remedy="chmod 750 it, and look at what is in it")


def _write(path: Path, text: str) -> None:
    write_atomic(path, text, mode=0o640, share_group=True)


def _share(made: Path, beside: Path) -> None:
    """Give a new folder the group of its parent folder: an administrator writes what the site's service reads."""
    with contextlib.suppress(PermissionError):
        os.chown(made, -1, beside.stat().st_gid)
