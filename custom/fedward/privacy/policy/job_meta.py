"""Check the ``meta`` that a server sends with a job: FLARE's own facts about a job, as a closed list of keys.

FLARE's server adds to a submitted ``meta.json`` the submitter, the job's id, times and counts, and sends all of it to
every site. The site saves it, and reads from it how to start the job's process, in which privacy scope it runs, and
whether it may carry code. No signature covers it. So every key that a Fedward job does not have is refused, whatever
its value: ``scope``, ``launcher_spec``, ``byoc``, ``stats_pool_config``, ``custom_props`` and every later one.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from fedward.errors import JobError
from fedward.privacy.policy.canonical_job import META_FILE, NO_STUDY, CanonicalJob, deployed_to, not_canonical

CHANGES = frozenset(
    {
        *("status", "start_time", "duration", "schedule_count", "last_schedule_time", "schedule_history"),
        *("job_deploy_detail", "job_clients"),
    }
)
"""Keys that FLARE's server may change between the deployment of a job and its start; all others stay."""
_TEXT_CHARACTERS = 1024
_LIST_ENTRIES = 4096
_CLIENT_KEYS = frozenset({"name", "fqcn", "fqsn", "is_leaf", "site_config"})
_VERSION = re.compile(r"[0-9a-z.+-]{1,48}")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def require_reported(
    meta: Mapping[str, Any], canonical: CanonicalJob, *, job_id: str, site: str | None
) -> dict[str, Any]:
    """Refuse a job's ``meta`` that holds anything that a job of this form does not have.

    Args:
        meta: as FLARE's server has it or sent it.
        canonical: content of the job's own files.
        job_id: id under which it is deployed.
        site: certificate name of the site that it is deployed to; None: the server.

    Returns:
        The meta as plain JSON data.

    Raises:
        JobError: names ``meta.json`` and nothing of its content.
    """
    reported = _plain(meta)
    try:
        expected = _due(canonical, job_id)
        right = all(key in expected and expected[key](value) for key, value in reported.items())
        right = right and set(reported) >= _REQUIRED and reported["job_id"] == job_id == str(uuid.UUID(job_id))
        sites = deployed_to(reported["deploy_map"])
        right = right and reported.get("study", NO_STUDY) == (canonical.study or NO_STUDY)
    except (LookupError, ValueError, TypeError, AttributeError):
        raise not_canonical(META_FILE) from None
    if not right or (site is not None and sites and site not in sites):
        raise not_canonical(META_FILE)
    return reported


def require_unchanged(start: Mapping[str, Any], deployed: Mapping[str, Any]) -> None:
    """Refuse the ``meta`` of a start that differs from the deployment's in any key outside ``CHANGES``.

    Raises:
        JobError: it differs.
    """

    def kept(meta: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in _plain(meta).items() if key not in CHANGES}

    if kept(start) != kept(deployed):
        raise JobError("job is started with other words than it was deployed with", where=META_FILE)


def is_folder(name: object) -> bool:
    """True if this is a plain name for the folder that a job was sent in."""
    return type(name) is str and _FOLDER.fullmatch(name) is not None


_REQUIRED = frozenset({"name", "job_id", "deploy_map", "min_clients", "mandatory_clients", "resource_spec"})
Check = Callable[[Any], bool]


def _due(canonical: CanonicalJob, job_id: str) -> dict[str, Check]:
    """Return every key that a job's meta may have, with a check of its value."""
    name = canonical.job.job.name
    return {
        # as exported
        "name": lambda value: value == name,
        "resource_spec": lambda value: value == {},
        "min_clients": lambda value: type(value) is int and value == canonical.job.federation.min_sites,
        "mandatory_clients": lambda value: _texts(value) and value == list(canonical.job.federation.must_include),
        "deploy_map": lambda value: isinstance(value, dict),
        "fedward_version": lambda value: type(value) is str and _VERSION.fullmatch(value) is not None,
        # as FLARE's server adds
        "job_id": lambda value: value == job_id,
        "job_folder_name": is_folder,
        "study": _text,
        "submitter_name": _text,
        "submitter_org": _text,
        "submitter_role": _text,
        "cloned_from": lambda value: type(value) is str and str(uuid.UUID(value)) == value,
        "submit_time": _number,
        "submit_time_iso": _text,
        "start_time": _text,
        "duration": _text,
        "status": _text,
        "data_storage_format": lambda value: type(value) is int and value == 2,
        "schedule_count": _number,
        "last_schedule_time": _number,
        "schedule_history": _texts,
        "job_deploy_detail": _texts,
        "job_clients": lambda value: isinstance(value, list) and all(_client(one) for one in _short(value)),
    }


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(json.dumps(dict(meta), allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        raise not_canonical(META_FILE) from None
    return content


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= _TEXT_CHARACTERS and (not value or value.isprintable())


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is str for one in _short(value))


def _client(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= _CLIENT_KEYS and _text(value.get("name"))


def _short(value: list[Any]) -> list[Any]:
    if len(value) > _LIST_ENTRIES:
        raise ValueError
    return value
