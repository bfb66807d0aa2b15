"""A job folder -> the folder that FLARE's console, ``nvflare job submit`` and its API take. Data only, no code."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import DEFAULT_STUDY
from nvflare.apis.utils.format_check import name_check

from fedward import __version__
from fedward.errors import FedwardError, JobError
from fedward.flare.app import STUDY_FILE
from fedward.flare.protocol import Task
from fedward.privacy.job_hash import job_hash
from fedward.settings import JOB_FILE, JobSpec, plain, read_job

APP = "app"


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
    if study is not None and (study == DEFAULT_STUDY or name_check(study, "study")[0]):
        remedy = "give small letters, digits, - and _, and not 'default'"
        raise JobError("not a study's name", where="study", value=study, remedy=remedy)
    folder = out / job.job.name
    if folder.exists():
        if not (folder / "meta.json").is_file():
            raise JobError("folder is not an exported job", where=folder, remedy="give another folder or move it away")
        shutil.rmtree(folder)
    config = folder / APP / "config"
    config.mkdir(parents=True)
    _write(folder / "meta.json", _meta(job, sites, study))
    _write(config / "config_fed_server.json", _server())
    _write(config / "config_fed_client.json", _client())
    _write(config / JOB_FILE, plain(job))
    if study is not None:
        _write(config / STUDY_FILE, {"study": study, "job": job_hash(job)})
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


def _meta(job: JobSpec, sites: Sequence[str], study: str | None) -> dict[str, Any]:
    in_study = {} if study is None else {"study": study}
    return in_study | {
        "name": job.job.name,
        "resource_spec": {},
        "min_clients": job.federation.min_sites,
        "deploy_map": {APP: sorted(["server", *sites]) if sites else ["@ALL"]},
        "fedward_version": __version__,
    }


def _server() -> dict[str, Any]:
    from fedward.flare.asking import POLL_S
    from fedward.flare.controller import PERSISTOR

    return {
        "format_version": 2,
        # nested: FLARE ignores the same key at the top level
        "server": {"task_request_interval": POLL_S},
        "workflows": [{"id": "rounds", "path": "fedward.flare.controller.FederatedRounds", "args": {}}],
        "components": [{"id": PERSISTOR, "path": "fedward.flare.persistor.ModelStore", "args": {}}],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def _client() -> dict[str, Any]:
    executor = {"path": "fedward.flare.executor.HospitalExecutor", "args": {}}
    return {
        "format_version": 2,
        "executors": [{"tasks": [task.value for task in Task], "executor": executor}],
        "components": [],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
