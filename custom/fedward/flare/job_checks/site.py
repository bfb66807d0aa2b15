"""Check at a site every job that a server deploys or starts, before FLARE's handlers of both requests.

``SITE_PROCESSORS`` replace FLARE's two in its ``ClientRequestProcessors``. The site remembers what was deployed. When
the job starts, its run folder must be the same, byte for byte: another deployment under the same id, or another writer,
may have changed it. From a request's check to the end of FLARE's own work, another request of the same id is refused.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.workspace import Workspace
from nvflare.private.admin_defs import Message, error_reply
from nvflare.private.defs import ERROR_MSG_PREFIX, RequestHeader
from nvflare.private.fed.client.client_engine_internal_spec import ClientEngineInternalSpec
from nvflare.private.fed.client.scheduler_cmds import StartJobProcessor
from nvflare.private.fed.client.training_cmds import DeployProcessor

from fedward.errors import JobError
from fedward.flare.audit_trail.notes import checked
from fedward.flare.job_checks.form import OWN, refusal, require_deployable, require_laid_out
from fedward.flare.submitter import signer_name
from fedward.privacy.policy.job_archive import Contents, read_archive
from fedward.privacy.policy.job_meta import require_unchanged

_REMEMBERED = 256
"""Largest number of remembered deployments; a server that deploys more before the first starts must deploy it again."""

ENDS_WITHIN_S = 6.0
"""Seconds in which the process of an aborted job ends; FLARE's server waits 10 s for the answer to a deployment."""


@dataclass(frozen=True, slots=True)
class _Deployed:
    app: str
    """SHA-256 of the app's names and bytes."""
    meta: Mapping[str, Any]
    signer: str | None
    """Person who signed the app, by the certificate."""


class _Deployments:
    """Deployments of this process, by job id."""

    def __init__(self) -> None:
        self._known: dict[str, _Deployed] = {}
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def alone(self, job_id: str) -> Iterator[None]:
        """Reserve a job for one request; a second request meanwhile is refused and does not wait."""
        with self._lock:
            if job_id in self._busy:
                raise JobError("job is being deployed or started here")
            self._busy.add(job_id)
        try:
            yield
        finally:
            with self._lock:
                self._busy.remove(job_id)

    def note(self, job_id: str, deployed: _Deployed) -> None:
        with self._lock:
            self._known[job_id] = deployed
            while len(self._known) > _REMEMBERED:
                self._known.pop(next(iter(self._known)))

    def forget(self, job_id: str) -> None:
        with self._lock:
            self._known.pop(job_id, None)

    def signer(self, job_id: object) -> str | None:
        """Return the person who signed a deployed job; None where none was deployed under this id."""
        with self._lock:
            known = self._known.get(job_id) if type(job_id) is str else None
        return None if known is None else known.signer

    def of(self, job_id: str) -> _Deployed:
        with self._lock:
            known = self._known.get(job_id)
        if known is None:
            raise JobError("job was not deployed here")
        return known


_DEPLOYMENTS = _Deployments()


class CanonicalDeploy(DeployProcessor):  # type: ignore[misc]
    """FLARE's handler of a deployment, only for a canonical job signed by a permitted submitter."""

    def process(self, req: Message, app_ctx: ClientEngineInternalSpec) -> Message:
        """Check the request; then do FLARE's own work."""
        deployed: list[_Deployed] = []
        with ExitStack() as held:
            reason = refusal(lambda: deployed.append(_check_deploy(req, app_ctx, held)))
            who = deployed[0].signer if deployed else None
            checked("job-deployed", "job-refused", reason, who=who, job=req.get_header(RequestHeader.JOB_ID))
            if reason is not None:
                return error_reply(f"{OWN}{reason}")
            job_id = req.get_header(RequestHeader.JOB_ID)
            _DEPLOYMENTS.forget(job_id)
            reply = super().process(req, app_ctx)
            _DEPLOYMENTS.note(job_id, deployed[0])
            return reply


class CanonicalStart(StartJobProcessor):  # type: ignore[misc]
    """FLARE's handler of a start, only for a job whose run folder is as deployed."""

    def process(self, req: Message, app_ctx: ClientEngineInternalSpec) -> Message:
        """Check the request and the run folder; then do FLARE's own work."""
        with ExitStack() as held:
            reason = refusal(lambda: _check_start(req, app_ctx, held))
            job_id = req.get_header(RequestHeader.JOB_ID)
            checked("job-launched", "job-refused", reason, who=_DEPLOYMENTS.signer(job_id), job=job_id)
            if reason is not None:
                return Message(topic=f"reply_{req.topic}", body=f"{ERROR_MSG_PREFIX}: {OWN}{reason}")
            return super().process(req, app_ctx)


SITE_PROCESSORS = (CanonicalDeploy, CanonicalStart)
"""Replacements in FLARE's registry for ``DeployProcessor`` and ``StartJobProcessor``."""


def _check_deploy(req: Message, engine: ClientEngineInternalSpec, held: ExitStack) -> _Deployed:
    job_id, meta, data = _job_id(req), req.get_header(RequestHeader.JOB_META), req.body
    held.enter_context(_DEPLOYMENTS.alone(job_id))
    if type(data) is not bytes:
        raise JobError("job is no archive")
    _require_over(engine, job_id)
    app = read_archive(data)
    workspace = _workspace(engine)
    name = req.get_header(RequestHeader.APP_NAME)
    site = engine.get_client_name()
    reported = require_deployable(app, meta, job_id=job_id, app_name=name, workspace=workspace, site=site)
    return _Deployed(_digest(app), reported, signer_name(app))


def _require_over(engine: ClientEngineInternalSpec, job_id: str) -> None:
    """Wait a little for the process of a job that is deployed again: a person may abort a job and resume it at once."""
    until = time.monotonic() + ENDS_WITHIN_S
    while job_id in engine.get_all_job_ids():
        if time.monotonic() > until:
            raise JobError("job is running here")
        time.sleep(0.1)


def _check_start(req: Message, engine: ClientEngineInternalSpec, held: ExitStack) -> None:
    job_id, meta = _job_id(req), req.get_header(RequestHeader.JOB_META)
    held.enter_context(_DEPLOYMENTS.alone(job_id))
    deployed, workspace = _DEPLOYMENTS.of(job_id), _workspace(engine)
    if job_id in engine.get_all_job_ids():
        raise JobError("job is running here")
    if req.body:
        raise JobError("job asks for resources")
    app = require_laid_out(meta, job_id=job_id, workspace=workspace, site=engine.get_client_name())
    written = json.loads(Path(workspace.get_job_meta_path(job_id)).read_bytes())
    require_unchanged(meta, deployed.meta)
    if _digest(app) != deployed.app or written != deployed.meta:
        raise JobError("job's run folder is not as it was deployed")


def _job_id(req: Message) -> str:
    """Return the job's id; ``_DEPLOYMENTS.of`` and ``require_reported`` check its form."""
    job_id = req.get_header(RequestHeader.JOB_ID)
    if type(job_id) is not str:
        raise JobError("job has no id")
    return job_id


def _workspace(engine: ClientEngineInternalSpec) -> Workspace:
    return Workspace(root_dir=engine.args.workspace, site_name=engine.get_client_name())


def _digest(app: Contents) -> str:
    whole = hashlib.sha256()
    for name in sorted(app.files):
        content = app.files[name]
        whole.update(f"{len(name)}:{name}:{len(content)}:".encode())
        whole.update(content)
    return whole.hexdigest()
