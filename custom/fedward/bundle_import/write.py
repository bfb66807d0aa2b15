"""Write the job of a bundle as a folder: ``job.toml`` with a comment for each part, and its start."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward.bundle_import.job import Asked, Draft, draft
from fedward.bundle_import.start import FILE, start_of
from fedward.errors import JobError, single_line
from fedward.files import write_atomic
from fedward.settings import plain, read_job
from fedward.toml_text import toml_value

_COMMENTS = {
    "federation": "No bundle has these: change them for your hospitals.",
    "data": "size is in Fedward's order of axes: slices, rows, columns.",
    "model": "The bundle's network. Fedward derives dimensions and channels from [data].",
    "training": "The bundle's loss and optimizer. local_epochs is Fedward's.",
    "privacy": "Asks for no protection; a site may still require one.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Job that was written.

    Attributes:
        folder: its folder.
        notes: lines on what it has otherwise than the bundle.
    """

    folder: Path
    notes: tuple[str, ...]


def write_job(bundle: Path, out: Path, asked: Asked) -> Written:
    """Write the job of a bundle.

    Guarantee: the folder is read back as the very job that was checked; where anything fails there is none.

    Raises:
        SettingsError: the bundle's configuration cannot be read.
        JobError: the folder exists, or the bundle has what a job cannot have.
    """
    if out.exists():
        raise JobError("folder exists already", where=out, remedy="name a new one")
    found = draft(bundle, asked)
    start, line = start_of(bundle, found)
    notes = (*found.notes, line)
    try:
        out.mkdir(parents=True)
        if start is not None:
            write_atomic(out / FILE, start)
        write_atomic(out / "job.toml", job_text(found, notes, start=start))
        own = read_job(out)
        model = own.model.model_copy(update={"start": None, "start_sha256": None})
        if plain(own.model_copy(update={"model": model})) != plain(found.job):
            raise JobError("job is read back as another", where=out, remedy="report it")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Written(folder=out, notes=notes)


def job_text(found: Draft, notes: Sequence[str], *, start: bytes | None) -> str:
    """Return the text of ``job.toml``."""
    tables = dict(found.content)
    transforms = tables.pop("transforms")
    if start is not None:
        known = {"start": FILE, "start_sha256": hashlib.sha256(start).hexdigest()}
        tables["model"] = {**tables["model"], **known}
    lines = ["# By `fedward job from-bundle BUNDLE --out JOB --cohort COHORT`. What it has otherwise than the bundle:"]
    lines += [f"# - {single_line(note)}" for note in notes]
    for name, table in tables.items():
        lines += ["", *([f"# {_COMMENTS[name]}"] if name in _COMMENTS else []), f"[{name}]"]
        lines += [f"{key} = {toml_value(value)}" for key, value in table.items() if value not in ([], "")]
    for stage in ("prepare", "augment"):
        lines += _stage(stage, transforms[stage])
    return "\n".join(lines) + "\n"


def _stage(stage: str, items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for item in items:
        yield ""
        yield f"[[transforms.{stage}]]"
        yield from (f"{key} = {toml_value(value)}" for key, value in item.items())
