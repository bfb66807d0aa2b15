"""A job folder -> the folder that FLARE's console, ``nvflare job submit`` and its API take. Data only, no code."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from fedward.errors import FedwardError, JobError
from fedward.privacy.policy.canonical_job import META_FILE, is_study, job_files
from fedward.settings import JobSpec, read_job


def export_job(job: JobSpec, out: Path, *, sites: Sequence[str] = (), study: str | None = None) -> Path:
    """Write ``out/<job name>`` and return it; an older export of the same name is replaced.

    Args:
        job: what ``job.toml`` says; it travels as ``config/job.json`` and is checked again by every participant.
        out: folder to write to.
        sites: the sites to deploy to, or none for every connected site.
        study: FLARE study that it is submitted in; signed with the job, so that sites need not believe the server.

    Raises:
        JobError: the folder is there and is not a job that was exported before, or FLARE takes no study of that name.
    """
    if study is not None and not is_study(study):
        remedy = "give small letters, digits, - and _, and not 'default'"
        raise JobError("not a study's name", where="study", value=study, remedy=remedy)
    folder = out / job.job.name
    if folder.exists():
        if not (folder / META_FILE).is_file():
            raise JobError("folder is not an exported job", where=folder, remedy="give another folder or move it away")
        shutil.rmtree(folder)
    for name, content in job_files(job, sites=sites, study=study).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """What a job's ``job.py`` runs: ``python job.py --export DIR``, as FLARE's own job scripts do."""
    ask = argparse.ArgumentParser(description=f"Export the job in {folder.name} for FLARE.")
    ask.add_argument("--export", type=Path, required=True, metavar="DIR", help="folder to write the job to")
    try:
        print(export_job(read_job(folder), ask.parse_args(argv).export))
    except FedwardError as error:
        ask.exit(1, f"{error}\n")
    return 0
