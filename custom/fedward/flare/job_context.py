"""Find and read a job's own files at the server and at a site: its settings, its run folder, the site's policy."""

from __future__ import annotations

import atexit
import gc
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace

from fedward.errors import LedgerError, SettingsError
from fedward.indexing.site_key import load_key
from fedward.settings import JOB_FILE, JobSpec, SitePolicy, read_sent, read_site

if TYPE_CHECKING:
    from fedward.privacy.ledger.ledger import Ledger
    from fedward.privacy.ledger.run_record import Record

SITE_FILE = "site.toml"


def leave_quickly() -> None:
    """Skip the last collection of torch's and MONAI's objects when this job process ends: it takes a second or more.

    FLARE reports a job as finished only when its processes have ended. Exit codes and exit handlers do not change.
    """
    atexit.register(gc.freeze)


def job_spec(context: FLContext) -> JobSpec:
    """Read the job's settings and its start, as they were sent, and check them again."""
    return read_sent(Path(_workspace(context).get_app_config_dir(context.get_job_id())) / JOB_FILE)


def run_folder(context: FLContext) -> Path:
    """Return the job's folder in this participant's workspace."""
    return Path(_workspace(context).get_run_dir(context.get_job_id()))


def kit_folder(context: FLContext) -> Path:
    """Return the folder of this participant's kit."""
    return Path(_workspace(context).get_root_dir())


def checkpoint_folder(context: FLContext) -> Path:
    """Return the folder, in this participant's kit, of what the job needs after its processes have ended early."""
    return kit_folder(context) / "checkpoints" / str(context.get_job_id())


def store_path(context: FLContext) -> Path:
    """Return the path of the server's metrics store, in its kit's folder; all jobs of the server write to it."""
    from fedward.metrics.store import STORE_FILE

    return kit_folder(context) / STORE_FILE


def site_policy(context: FLContext) -> SitePolicy:
    """Read the hospital's own ``local/site.toml``; its site must be the one that the certificate names."""
    policy = read_site(Path(_workspace(context).get_site_config_dir()) / SITE_FILE)
    identity = context.get_identity_name()
    if policy.site != identity:
        raise SettingsError(
            f"policy of another site than the kit's {identity!r}",
            where=SITE_FILE,
            value=policy.site,
            remedy="correct `site`",
        )
    return policy


def open_ledger(policy: SitePolicy) -> Ledger:
    """Open the hospital's privacy ledger and check every entry.

    Raises:
        LedgerError: the ledger is missing or damaged, or its site key is missing; this function creates neither.
    """
    from fedward.privacy.ledger.ledger import Ledger

    return Ledger.open(policy.ledger, site=policy.site, key=_ledger_key(policy))


def open_record(policy: SitePolicy) -> Record:
    """Open the hospital's record of runs, in the file of its ledger, and check every entry.

    Raises:
        LedgerError: as ``open_ledger``.
    """
    from fedward.privacy.ledger.run_record import Record

    return Record.open(policy.ledger, site=policy.site, key=_ledger_key(policy))


def _ledger_key(policy: SitePolicy) -> bytes:
    if not policy.key.is_file():  # ``load_key`` would create a new key, which verifies no ledger of this site
        raise LedgerError("the site key that the ledger was made with is gone", where=policy.key, remedy="restore it")
    return load_key(policy.key).secret


def _workspace(context: FLContext) -> Workspace:
    return cast(Workspace, context.get_engine().get_workspace())
