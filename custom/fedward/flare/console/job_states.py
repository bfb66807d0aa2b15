"""Tell a console how a job stands by Fedward's own record, beside FLARE's status of it.

FLARE's answer to ``get_job_meta`` gets one more entry, ``ENTRY``: the job's state in the metrics store and the sites
that the server knows. Who may see the job's meta sees it too. The console reads it with ``standing``, which believes
no form and no character of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import JobMetaKey
from nvflare.fuel.hci.proto import MetaKey
from nvflare.private.fed.server.job_cmds import JobCommandModule

from fedward.ends import STATES, JobState, Missing
from fedward.errors import StoreError
from fedward.flare.refusal import one_line
from fedward.metrics import queries
from fedward.metrics.job_state import state_of
from fedward.metrics.store import Store
from fedward.metrics.values import whole

ENTRY = "fedward"
MOST_SITES = 4096
_log = logging.getLogger("fedward.door")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a job stands, as a server told it.

    Attributes:
        flare: FLARE's status.
        job: state by Fedward's record; None: the record has no event of the job, or the server did not tell.
        needed: number of sites that the job needs.
        required: sites that it must include.
        known: sites that the server has heard of.
        why: result of the server's last try to start it.
    """

    flare: str
    job: JobState | None
    needed: int
    required: tuple[str, ...]
    known: tuple[str, ...]
    why: str


def install(store: Path) -> None:
    """Add ``ENTRY`` to every answer to ``get_job_meta`` in this process, from the metrics store at that path."""
    before = JobCommandModule.get_job_meta

    def get_job_meta(self: Any, conn: Any, args: list[str]) -> None:
        job_id, append = conn.get_prop(self.JOB_ID), conn.append_dict

        def with_entry(data: Json, meta: Json | None = None) -> Any:
            entry = recorded(store, str(job_id))
            told = {**(meta or {}), MetaKey.JOB_META: {**(meta or {}).get(MetaKey.JOB_META, {}), ENTRY: entry}}
            return append({**data, ENTRY: entry}, meta=told)

        conn.append_dict = with_entry
        try:
            before(self, conn, args)
        finally:
            conn.append_dict = append

    JobCommandModule.get_job_meta = get_job_meta


def recorded(path: Path, job_id: str) -> Json:
    """Return a job's state and the known sites from the store; without a store, neither."""
    if not path.is_file():
        return {"job": None, "sites": []}
    try:
        with Store.open(path) as store, store.turn() as connection:
            job = queries.job(connection, job_id)
            state = None if job is None else _plain(state_of(connection, job))
            return {"job": state, "sites": [one.site for one in queries.sites(connection)][:MOST_SITES]}
    except StoreError as error:
        _log.warning("how a job stands cannot be told: %s", error)
        return {"job": None, "sites": []}


def _plain(job: JobState) -> Json:
    content = asdict(job)
    return {**content, "missing": list(content["missing"])}


def standing(meta: Mapping[str, Any]) -> Standing:
    """Read how a job stands from a server's answer. What has another form than the server writes counts as not told."""
    entry = meta.get(ENTRY)
    told = entry if isinstance(entry, Mapping) else {}
    history = _list(meta.get(JobMetaKey.SCHEDULE_HISTORY.value))
    last = history[-1] if history else ""
    return Standing(
        flare=_text(meta.get(JobMetaKey.STATUS.value)) or "UNKNOWN",
        job=_state(told.get("job")),
        needed=whole(meta.get(JobMetaKey.MIN_CLIENTS.value)) or 1,
        required=_list(meta.get(JobMetaKey.MANDATORY_CLIENTS.value)),
        known=_list(told.get("sites")),
        why=last.split(": ", 1)[-1],
    )


def _state(told: object) -> JobState | None:
    if not isinstance(told, Mapping) or told.get("state") not in STATES:
        return None
    missing = told.get("missing")
    return JobState(
        state=told["state"],
        rounds_done=whole(told.get("rounds_done")) or 0,
        rounds_asked=whole(told.get("rounds_asked")),
        reason=_text(told.get("reason")),
        by=_text(told.get("by")),
        attempt=whole(told.get("attempt")),
        uncovered=told.get("uncovered") is True,
        missing=tuple(
            Missing(
                site=_text(one.get("site")) or "?",
                reason=_text(one.get("reason")) or "?",
                since=whole(one.get("since")),
            )
            for one in (missing[:MOST_SITES] if isinstance(missing, list) else [])
            if isinstance(one, Mapping)
        ),
    )


def _list(value: object) -> tuple[str, ...]:
    return tuple(one_line(str(one)) for one in value[-MOST_SITES:]) if isinstance(value, list) else ()


def _text(value: object) -> str | None:
    return one_line(value) if type(value) is str and value else None
