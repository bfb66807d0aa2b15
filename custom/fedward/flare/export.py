"""Export a job folder for FLARE's console, ``nvflare job submit`` and FLARE's API: data only, no code."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from fedward.errors import FedwardError, JobError
from fedward.privacy.policy.canonical_job import META_FILE, is_study, job_files
from fedward.screen import printable
from fedward.settings import JobSpec, read_job


def export_job(job: JobSpec, out: Path, *, sites: Sequence[str] = (), study: str | None = None) -> Path:
    """Write ``out/<job name>`` and return it; an older export of the same name is replaced.

    Args:
        job: content of ``job.toml``; it is sent as ``config/job.json``, and every participant checks it again.
        out: folder to write to.
        sites: the sites to deploy to; empty: every connected site.
        study: FLARE study of the job; it is signed with the job, so that sites need not trust the server.

    Raises:
        JobError: the folder exists and is not an exported job, FLARE accepts no study of that name, or ``sites`` lacks
            a hospital of ``must_include``.
    """
    if sites and (left_out := sorted(set(job.federation.must_include) - set(sites))):
        raise JobError(
            "job would never start: must_include names hospitals that it is not deployed to",
            where="federation.must_include",
            value=", ".join(left_out),
            remedy="add --site for each, or take them out of must_include",
        )
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
    """Run the command line of a job's ``job.py``: ``python job.py --export DIR``, as in FLARE's own job scripts."""
    printable()
    ask = argparse.ArgumentParser(description=f"Export the job in {folder.name} for FLARE.")
    ask.add_argument("--export", type=Path, required=True, metavar="DIR", help="folder to write the job to")
    try:
        print(export_job(read_job(folder), ask.parse_args(argv).export))
    except FedwardError as error:
        ask.exit(1, f"{error}\n")
    return 0
