"""Check every job at the server: when it is submitted, when it is deployed, and before its process starts.

FLARE has events at these steps, but a handler that throws stops none of them, and the event of a submission comes after
FLARE's loaders have read the job. So only this module replaces three names in FLARE's modules: the validator that
``submit_job`` makes, the deployer of the job runner, and the choice of a launcher in the server's engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.job_launcher_spec import JobLauncherSpec
from nvflare.apis.workspace import Workspace
from nvflare.private.fed.server import job_cmds, job_runner, server_engine
from nvflare.private.fed.server.job_meta_validator import JobMetaValidator
from nvflare.private.fed.utils.app_deployer import AppDeployer
from nvflare.private.fed.utils.fed_utils import get_job_launcher

from fedward.audit.note import own_account
from fedward.errors import FederationError, JobError
from fedward.flare.audit_trail.notes import checked
from fedward.flare.job_checks.form import refusal, require_deployable, require_laid_out
from fedward.flare.job_checks.large_jobs import install_server
from fedward.flare.submitter import ROOT, require_signer, signer_name
from fedward.privacy.policy.canonical_job import require_job
from fedward.privacy.policy.job_archive import read_archive, read_archive_file
from fedward.privacy.policy.job_meta import is_folder


class CanonicalValidator(JobMetaValidator):  # type: ignore[misc]
    """Validator that accepts a canonical job signed by a permitted submitter; FLARE's loaders read no other."""

    def validate(self, job_name: str, job_data: bytes | str) -> tuple[bool, str, dict[str, Any]]:
        """Validate with our check, then FLARE's. ``job_data`` is a zip archive or the path of one."""
        who: list[str] = []
        reason = refusal(lambda: who.append(check_submitted(job_name, job_data, root=Path.cwd() / "startup" / ROOT)))
        valid, said, meta = (False, reason, {}) if reason is not None else super().validate(job_name, job_data)
        name, why = str(job_name), None if valid else str(said)
        checked("job-submitted", "job-rejected", why, who="".join(who), job=None, name=name)
        return valid, said, meta


class CanonicalDeployer(AppDeployer):  # type: ignore[misc]
    """Deployer to the server's run folder, only of a canonical app signed by a permitted submitter."""

    def deploy(
        self,
        workspace: Workspace,
        job_id: str,
        job_meta: dict[str, Any],
        app_name: str,
        app_data: bytes,
        fl_ctx: FLContext,
    ) -> str | None:
        """Run our check, then FLARE's deployment; return the reason of a refusal, or None."""

        who: list[str | None] = []

        def check() -> None:
            app = read_archive(app_data)
            require_deployable(app, job_meta, job_id=job_id, app_name=app_name, workspace=workspace, site=None)
            who.append(signer_name(app))

        reason = refusal(check)
        checked("job-deployed", "job-refused", reason, who=who[0] if who else None, job=job_id)
        if reason is not None:
            return reason
        err: str | None = super().deploy(workspace, job_id, job_meta, app_name, app_data, fl_ctx)
        return err


def check_submitted(job_name: str, job_data: bytes | str, *, root: Path) -> str:
    """Refuse a submitted job that is not canonical in every byte; return the name of the person who signed it.

    Args:
        job_name: name of the folder, as FLARE's console reports it; `nvflare job submit` chooses a name itself.
        job_data: a zip archive, or the path of one.
        root: certificate of the federation's authority.

    Raises:
        JobError: it is not canonical, or not signed by a permitted submitter.
    """
    if not is_folder(job_name):
        raise JobError("job's folder has a name that none has")
    if isinstance(job_data, bytes):
        folder = read_archive(job_data, below=job_name)
    else:
        folder = read_archive_file(Path(job_data), below=job_name)
    require_job(folder)
    return require_signer(folder, root).name


def launcher_of_canonical(job_meta: Mapping[str, Any], fl_ctx: FLContext) -> JobLauncherSpec:
    """Return FLARE's choice of a launcher for a job, if the run folder is unchanged since it was deployed.

    Raises:
        JobError: the run folder has changed; the process is not started.
    """
    workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
    job_id = job_meta.get(JobMetaKey.JOB_ID.value)
    reason = refusal(lambda: require_laid_out(job_meta, job_id=str(job_id), workspace=workspace, site=None))
    checked("job-launched", "job-refused", reason, who=own_account(), job=job_id)
    if reason is not None:
        raise JobError(reason)
    return get_job_launcher(dict(job_meta), fl_ctx)


def install() -> None:
    """Replace the three names; a second call changes nothing.

    Raises:
        FederationError: FLARE does not have one of these names, so its release is not the one that was examined.
    """
    places = (
        (job_cmds, "JobMetaValidator", JobMetaValidator, CanonicalValidator),
        (job_runner, "AppDeployer", AppDeployer, CanonicalDeployer),
        (server_engine, "get_job_launcher", get_job_launcher, launcher_of_canonical),
    )
    for module, name, theirs, ours in places:
        if getattr(module, name, None) not in (theirs, ours):
            raise FederationError("FLARE has another release than Fedward's", where=module.__name__, value=name)
    for module, name, _, ours in places:
        setattr(module, name, ours)
    install_server()
