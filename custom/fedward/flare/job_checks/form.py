"""Check a job that reached the server or a site, before any process of it starts: its form, metadata and signer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.apis.workspace import Workspace

from fedward.errors import JobError
from fedward.flare.refusal import one_line
from fedward.flare.submitter import ROOT, require_signer
from fedward.privacy.policy.canonical_job import APP, META_FILE, require_app
from fedward.privacy.policy.job_archive import Contents, read_folder
from fedward.privacy.policy.job_meta import require_reported, require_unchanged

OWN = "fedward: "
"""Prefix of every sentence in a site's answer to a server: FLARE's own, which may have a path, never leave."""
UNCHECKED = "job cannot be checked"
"""Reason sent for every fault of the check itself: the job is refused, and the participant's own log has the cause."""
_log = logging.getLogger("fedward.job")


def require_deployable(
    app: Contents, meta: Mapping[str, Any], *, job_id: str, app_name: str, workspace: Workspace, site: str | None
) -> dict[str, Any]:
    """Refuse an app that is not canonical, is not signed by a permitted submitter, or has wrong metadata.

    Args:
        app: the app's folder.
        meta: FLARE's metadata of the job, from the server.
        job_id, app_name: id and name under which the app is deployed.
        workspace: the participant's; the federation's root is in its kit's ``startup/``.
        site: name in the site's certificate; None: this is the server.

    Returns:
        ``meta`` as plain JSON data.

    Raises:
        JobError: in one sentence that discloses nothing of what was found.
    """
    if app_name != APP:
        raise JobError("job has another app than its own", remedy="export it with `fedward job export JOB`")
    canonical = require_app(app)
    reported = require_reported(meta, canonical, job_id=job_id, site=site)
    require_signer(app, Path(workspace.get_startup_kit_dir()) / ROOT)
    return reported


def require_laid_out(meta: Mapping[str, Any], *, job_id: str, workspace: Workspace, site: str | None) -> Contents:
    """Check in the same manner the job's present run folder, just before its process starts.

    Returns:
        Contents of the app's folder.

    Raises:
        JobError: as ``require_deployable``, or the run folder has other files than FLARE's deployment leaves there. At
            the server, a job that goes on after the server was killed may also have the files that it wrote itself:
            they are data, and no process imports or runs them.
    """
    run, app = Path(workspace.get_run_dir(job_id)), Path(workspace.get_app_dir(job_id))
    due, found = {app.name, META_FILE, "fl_app.txt"}, {path.name for path in run.iterdir()}
    continued = site is None and meta.get(JobMetaKey.STATUS.value) == RunStatus.RUNNING
    if run.is_symlink() or not found >= due or (found > due and not continued):
        raise JobError("job's run folder is not as it was deployed")
    require_unchanged(meta, json.loads((run / META_FILE).read_bytes()))
    contents = read_folder(app)
    name = (run / "fl_app.txt").read_text(encoding="utf-8")
    require_deployable(contents, meta, job_id=job_id, app_name=name, workspace=workspace, site=site)
    return contents


def refusal(check: Callable[[], object]) -> str | None:
    """Return why a check refuses, in one line for the other side, or None. A fault of the check refuses too."""
    try:
        check()
    except JobError as error:
        _log.warning(f"job refused: {error}")
        return str(error)
    except Exception as error:  # noqa: BLE001 - any error that a hostile job causes here refuses it
        _log.warning(f"job refused, {UNCHECKED}: {type(error).__name__}: {one_line(str(error))}")
        return UNCHECKED
    return None
