"""Define the one form of a job: every byte of its folder, from its settings and the study that it was signed for.

``job_files`` writes a job, and ``require_app`` and ``require_job`` read one: they parse its ``job.json``, write the job
again, and refuse every file that is not the same byte for byte. So FLARE's loaders, and all other programs, interpret
only files that were written here: no other class, argument, format, include or variable.

A job that starts from a model also has that model's file, whose SHA-256 is in its settings; here it is only compared.
Beside its own files, a job may hold the files that FLARE's console adds to each folder when it signs: ``SIGNATURE`` and
``CERTIFICATE``. ``fedward.flare.submitter`` checks their content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from fedward import __version__
from fedward.errors import JobError, SettingsError
from fedward.privacy.policy.job_archive import Contents
from fedward.privacy.policy.job_hash import job_hash
from fedward.settings import JOB_FILE, START_FILE, JobSpec, SiteId, parse, plain
from fedward.settings.base import Settings
from fedward.transport.timeouts import flare_timeouts

APP, CONFIG, META_FILE, STUDY_FILE = "app", "config", "meta.json", "study.json"
SIGNATURE, CERTIFICATE = ".__nvfl_sig.json", ".__nvfl_submitter.crt"
"""Files that FLARE's console writes into each folder of a job that it signs."""
SERVER, ALL_SITES, NO_STUDY = "server", "@ALL", "default"
"""FLARE's names in a job's ``meta.json``: the server, all connected sites, and the study of a job that has none."""
EXECUTOR = "fedward.flare.site.executor.HospitalExecutor"
CONTROLLER = "fedward.flare.server.controller.FederatedRounds"
STORE = "fedward.flare.server.persistor.ModelStore"
JOB_CLASSES = (EXECUTOR, CONTROLLER, STORE)
"""All classes that a job names."""
PERSISTOR = "persistor"
POLL_S = 0.05
"""Seconds between two polls for new messages, at the server and at a site."""
UNKNOWN_FILE = "a file that a job does not have"
"""Text in a refusal in place of every name that is not one of a job's own."""
_REMEDY = "export it with `fedward job export JOB`, with the release of Fedward that the server and the sites have"
_STUDY = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")


class Task(StrEnum):
    """Task that the server may ask of a site; ``fedward.flare.gates.task_order`` has the order of a job's tasks."""

    ADMIT = "fedward_admit"
    KEY = "fedward_key"
    ROUND = "fedward_round"
    UNMASK = "fedward_unmask"
    VALIDATE = "fedward_validate"
    FINAL = "fedward_final"
    OPEN = "fedward_open"
    CONFIRM = "fedward_confirm"
    POOL = "fedward_pool"
    ALONE = "fedward_alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalJob:
    """Content of a job's folder, after every byte of it was compared.

    Attributes:
        job: its settings.
        study: study that its submitter signed it for; None: none.
        sites: sites that it is deployed to; empty: all connected sites. Unknown, and empty, for an app alone.
    """

    job: JobSpec
    study: str | None = None
    sites: tuple[str, ...] = ()


def app_files(job: JobSpec, *, study: str | None = None) -> dict[str, bytes]:
    """Return every file of the job's app, by its path below the app's folder.

    Args:
        study: FLARE study in which it is submitted; it is signed with the rest and names exactly this job.

    Raises:
        JobError: the job has a start, and its content is not here.
    """
    timeouts = flare_timeouts(job.transport)
    server, client = {**_server(), **timeouts.server}, {**_client(), **timeouts.client}
    content = {"config_fed_server.json": server, "config_fed_client.json": client, JOB_FILE: plain(job)}
    if study is not None:
        content[STUDY_FILE] = {"study": study, "job": job_hash(job)}
    return {f"{CONFIG}/{name}": _text(one) for name, one in content.items()} | _start(job)


def job_files(job: JobSpec, *, sites: Sequence[str] = (), study: str | None = None) -> dict[str, bytes]:
    """Return every file of the job's folder, by its path below it.

    Args:
        sites: the sites to deploy to, or none for every connected site.
        study: as in ``app_files``.
    """
    app = {f"{APP}/{name}": content for name, content in app_files(job, study=study).items()}
    return {META_FILE: _text(_meta(job, sites, study)), **app}


def _start(job: JobSpec) -> dict[str, bytes]:
    if job.model.start is None:
        return {}
    if job.model.start_bytes is None:
        remedy = "read the job from its folder, with the file beside its settings"
        raise JobError("job's start is not here", where="model.start", value=job.model.start, remedy=remedy)
    return {f"{CONFIG}/{START_FILE}": job.model.start_bytes}


def require_app(app: Contents) -> CanonicalJob:
    """Read an app's folder; refuse one that is not, byte for byte, the export of its ``job.json``.

    Args:
        app: the folder that a server sends to a site, with FLARE's signatures or without.

    Raises:
        JobError: names the file that is not canonical, or ``UNKNOWN_FILE``.
    """
    job = _settings(app.files, f"{CONFIG}/{JOB_FILE}")
    study = _study(app.files, f"{CONFIG}/{STUDY_FILE}")
    _require_same(app, app_files(job, study=study))
    return CanonicalJob(job=job, study=study)


def require_job(folder: Contents) -> CanonicalJob:
    """Read a job's whole folder, as a person submits it with this release; otherwise as ``require_app``.

    Raises:
        JobError: names the file that is not canonical, or ``UNKNOWN_FILE``.
    """
    job = _settings(folder.files, f"{APP}/{CONFIG}/{JOB_FILE}")
    study = _study(folder.files, f"{APP}/{CONFIG}/{STUDY_FILE}")
    meta = _table(folder.files, META_FILE)
    sites = deployed_to(meta.get("deploy_map"))
    _require_same(folder, job_files(job, sites=sites, study=study))
    return CanonicalJob(job=job, study=study, sites=sites)


def deployed_to(deploy_map: object) -> tuple[str, ...]:
    """Return the sites in a ``deploy_map`` of the one form that a job has; empty: all connected sites.

    Raises:
        JobError: it has another form.
    """
    deployed = deploy_map.get(APP) if isinstance(deploy_map, dict) and set(deploy_map) == {APP} else None
    if deployed == [ALL_SITES]:
        return ()
    if not isinstance(deployed, list) or any(type(one) is not str for one in deployed):
        raise not_canonical(META_FILE)
    sites = [one for one in deployed if one != SERVER]
    try:
        named = parse(_Sites, {"sites": sites}, where=META_FILE).sites
    except SettingsError:
        raise not_canonical(META_FILE) from None
    if not sites or deployed != _deployed(sites) or len(set(deployed)) != len(deployed):
        raise not_canonical(META_FILE)
    return named


def is_study(name: object) -> bool:
    """True if FLARE and Fedward accept this as the name of a study that a job is submitted in."""
    return type(name) is str and name != NO_STUDY and _STUDY.fullmatch(name) is not None


def not_canonical(name: str) -> JobError:
    """Return the refusal that names one of a job's own files, and no other name."""
    known = name if name in _NAMES else UNKNOWN_FILE
    return JobError("job is not what its settings export to", where=known, remedy=_REMEDY)


class _Sites(Settings):
    sites: tuple[SiteId, ...]


def _require_same(found: Contents, expected: Mapping[str, bytes]) -> None:
    """Refuse contents that have other files or folders than expected, or other bytes."""
    folders = _folders(expected)
    signed = {f"{folder}/{name}" if folder else name for folder in ("", *folders) for name in (SIGNATURE, CERTIFICATE)}
    for name in sorted(set(found.files) - set(expected) - signed):
        raise not_canonical(name if name in expected else UNKNOWN_FILE)
    if found.folders != frozenset(folders):
        raise not_canonical(UNKNOWN_FILE)
    for name, content in expected.items():
        if found.files.get(name) != content:
            raise not_canonical(name)


def _folders(files: Iterable[str]) -> Collection[str]:
    return {str(above) for name in files for above in PurePosixPath(name).parents if str(above) != "."}


def _settings(files: Mapping[str, bytes], name: str) -> JobSpec:
    try:
        job = parse(JobSpec, _table(files, name), where=name)
    except SettingsError:
        raise not_canonical(name) from None
    if job.model.start is None:
        return job
    start = f"{name.removesuffix(JOB_FILE)}{START_FILE}"
    try:
        return job.model_copy(update={"model": job.model.with_start(files[start])})
    except (LookupError, ValueError):
        raise not_canonical(start) from None


def _study(files: Mapping[str, bytes], name: str) -> str | None:
    if name not in files:
        return None
    study = _table(files, name).get("study")
    if not isinstance(study, str) or not is_study(study):
        raise not_canonical(name)
    return study


def _table(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        content = json.loads(files[name].decode("utf-8"))
    except (LookupError, ValueError, RecursionError):
        raise not_canonical(name) from None
    if not isinstance(content, dict):
        raise not_canonical(name)
    return content


def _meta(job: JobSpec, sites: Sequence[str], study: str | None) -> dict[str, Any]:
    in_study = {} if study is None else {"study": study}
    return in_study | {
        "name": job.job.name,
        "resource_spec": {},
        "min_clients": job.federation.min_sites,
        "mandatory_clients": list(job.federation.must_include),  # FLARE starts no job before they are connected
        "deploy_map": {APP: _deployed(sites) if sites else [ALL_SITES]},
        "fedward_version": __version__,
    }


def _deployed(sites: Iterable[str]) -> list[str]:
    return sorted([SERVER, *sites])


def _server() -> dict[str, Any]:
    return {
        "format_version": 2,
        # nested: FLARE ignores the same key at the top level
        "server": {"task_request_interval": POLL_S},
        "workflows": [{"id": "rounds", "path": CONTROLLER, "args": {}}],
        "components": [{"id": PERSISTOR, "path": STORE, "args": {}}],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def _client() -> dict[str, Any]:
    return {
        "format_version": 2,
        "executors": [{"tasks": [task.value for task in Task], "executor": {"path": EXECUTOR, "args": {}}}],
        "components": [],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode("utf-8")


_FILES = ("config_fed_server.json", "config_fed_client.json", JOB_FILE, STUDY_FILE, START_FILE)
_OWN = [f"{CONFIG}/{name}" for name in _FILES]
_NAMES = frozenset({META_FILE, *_OWN, *(f"{APP}/{name}" for name in _OWN)})
"""Names of a job's own files, below its folder and below its app's; no other name is ever sent or shown."""
