"""Who sent a job, as far as a hospital can verify it itself.

FLARE's console signs a job with the submitter's key before it is sent (``.__nvfl_sig.json`` in each folder, beside the
submitter's certificate), and the app that reaches a site still carries signature and certificate. So a site need not
believe the server's word, which is in ``meta.json``: it verifies every file of the app against the federation's root in
its own kit, and takes name and organisation from the certificate. The study is in a file that was signed with the rest
(``study.json``) and names the job's hash; it counts where the server runs the job in the same study.

What the server's operator can still do: bring a job again that the same person once sent for the same study, or hold
jobs back. What it cannot: change a job, or send one of its own under another's name. Which people a study has is on the
server; so whoever is admitted by study alone is in it by the server's word. A site has no list of revoked people: an
``[[admits]]`` entry for a person who has left is to be removed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import DEFAULT_STUDY, JobMetaKey
from nvflare.apis.workspace import Workspace
from nvflare.lighter.utils import verify_folder_signature_and_get_signers

from fedward.errors import SettingsError
from fedward.flare.app import STUDY_FILE
from fedward.privacy.approvals import UNKNOWN, Origin
from fedward.privacy.job_hash import job_hash
from fedward.settings import JobSpec, SitePolicy

SUBMITTERS = ("project_admin", "lead")
"""Roles whose certificate may send a job. The server's and the sites' own certificates have none of them: a job that is
signed with the server's key has no submitter."""
_ROOT = "rootCA.pem"


def origin_of(job: JobSpec, policy: SitePolicy, context: FLContext) -> Origin:
    """The job's origin; ``UNKNOWN`` wherever anything of it does not hold, and where the policy never asks for it."""
    if not policy.admits:
        return UNKNOWN
    workspace, job_id = cast(Workspace, context.get_engine().get_workspace()), context.get_job_id()
    app, root = Path(workspace.get_app_dir(job_id)), Path(workspace.get_startup_kit_dir()) / _ROOT
    return read_origin(job, app=app, root=root, meta=Path(workspace.get_job_meta_path(job_id)))


def read_origin(job: JobSpec, *, app: Path, root: Path, meta: Path) -> Origin:
    """The same from the files.

    Args:
        job: the settings that lie in ``app``.
        app: folder of the job's app in a run folder.
        root: certificate of the federation's authority, from the site's own kit.
        meta: the server's ``meta.json`` of the run.
    """
    verified, signers = verify_folder_signature_and_get_signers(str(app), str(root))
    if verified is not True or len(signers) != 1:
        return UNKNOWN
    (name, organisation, role) = signers[0]
    if role not in SUBMITTERS or not name:
        return UNKNOWN
    try:
        signed, told = _signed_study(app / "config" / STUDY_FILE, job), _told_study(meta)
    except (OSError, ValueError, TypeError, LookupError, RecursionError, SettingsError):
        return UNKNOWN
    if signed is None:
        return Origin(submitter=name, organisation=organisation or None)
    if signed != told:
        return UNKNOWN
    return Origin(submitter=name, organisation=organisation or None, study=signed)


def _signed_study(path: Path, job: JobSpec) -> str | None:
    """The study that the submitter signed this very job for; None: none was named."""
    if not path.exists():
        return None
    content = _json(path)
    if set(content) != {"study", "job"} or content["job"] != job_hash(job):
        raise SettingsError("is for another job", where=path)
    return _study(content["study"], path)


def _told_study(path: Path) -> str:
    """The study that the server says it runs the job in."""
    return _study(_json(path).get(JobMetaKey.STUDY.value, DEFAULT_STUDY), path)


def _study(value: object, path: Path) -> str:
    if type(value) is not str or not value:
        raise SettingsError("names no study", where=path)
    return value


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if type(content) is not dict:
        raise SettingsError("is not a table", where=path)
    return content
