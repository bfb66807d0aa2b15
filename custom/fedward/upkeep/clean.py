"""Clean one kit: find what is due by its own retention, and remove it.

A site's retention is ``[upkeep]`` of its ``local/site.toml``, the server's is ``local/upkeep.toml``. Without one,
nothing is removed. A site's ledger says which jobs are open; where it cannot be read, nothing is removed. Each unit is
looked at once more right before it goes: a job that begins, or that a person has resumed, meanwhile stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil

from fedward.audit.expiry import expire, older
from fedward.audit.note import own_account
from fedward.audit.place import log_of_kit
from fedward.errors import FederationError, LedgerError
from fedward.privacy.ledger.chain_head import head_path
from fedward.settings import Retention, SitePolicy, read_retention, read_site
from fedward.upkeep.contents import Look, contents
from fedward.upkeep.removal import only_one, remove, settle
from fedward.upkeep.retention import Removal, Unit, due

UPKEEP_S = 6 * 3600.0
"""Seconds between two cleanings of a kit by its parent process; the first one comes as long after its start."""
SITE_FILE, SERVER_FILE = "site.toml", "upkeep.toml"
_SERVER_START, _SITE_START = "fed_server.json", "fed_client.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """Result of one cleaning, or of the look before it.

    Attributes:
        kit: the kit. retention: its limits; None: it has none, so nothing is due.
        units: all that was found. removals: what was due. audit: files of the audit log that were due.
    """

    kit: Path
    retention: Retention | None
    units: tuple[Unit, ...]
    removals: tuple[Removal, ...]
    audit: tuple[Path, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes of what was due."""
        return sum(removal.unit.size for removal in self.removals)


def clean_site(site_toml: Path, *, dry_run: bool = False, now: float | None = None) -> Cleaning:
    """Clean the kit that a ``site.toml`` lies in: its folder is the kit's ``local/``.

    Args:
        dry_run: True to remove nothing and only say what is due.
        now: seconds since the epoch; None: the clock's.

    Raises:
        SettingsError, LedgerError, FederationError: the policy, the ledger or the kit cannot be read, or something
            cannot be removed. Nothing was removed then.
        AuditError: the audit log is damaged or cannot be written; all else that was due has been removed.
    """
    policy = read_site(site_toml)
    kit = _kit_around(site_toml)
    kept = partial(_open_jobs, policy)
    return _clean(kit, policy.upkeep, kept=kept, untouchable=_own(policy), dry_run=dry_run, now=now)


def clean_server(kit: Path, *, dry_run: bool = False, now: float | None = None) -> Cleaning:
    """Clean the server's kit; otherwise as ``clean_site``."""
    if not (kit / "startup" / _SERVER_START).is_file():
        raise FederationError("is not the server's kit", where=kit, remedy="give its folder; a site has `site clean`")
    retention = read_retention(kit / "local" / SERVER_FILE)
    return _clean(kit, retention, kept=lambda: lambda job_id: None, untouchable={}, dry_run=dry_run, now=now)


def daily(kit: Path, log: Callable[[str], None]) -> Callable[[], None]:
    """Return the step that cleans a kit, of a site or the server, and logs one line where something was removed.

    For ``fedward.flare.repeating.repeat``, with ``every_s=UPKEEP_S``. An error is the caller's to log.
    """

    def step() -> None:
        server = (kit / "startup" / _SERVER_START).is_file()
        done = clean_server(kit) if server else clean_site(kit / "local" / SITE_FILE)
        if done.removals or done.audit:
            names = ", ".join([*(removal.unit.name for removal in done.removals), *(path.name for path in done.audit)])
            log(f"upkeep removed {done.freed} bytes: {names}")

    return step


def _clean(
    kit: Path,
    retention: Retention | None,
    *,
    kept: Callable[[], Callable[[str], str | None]],
    untouchable: dict[Path, str],
    dry_run: bool,
    now: float | None,
) -> Cleaning:
    now = time.time() if now is None else now
    try:
        with only_one(kit):
            if not dry_run:
                settle(kit)
            look = Look(kit=kit, now=now, kept=kept(), running=_command_lines(), untouchable=untouchable)
            units = contents(look)
            removals = () if retention is None else due(units, retention, now=now)
            if removals and not dry_run:
                removals = _remove(replace(look, kept=kept(), running=_command_lines()), removals)
    except OSError as error:
        raise FederationError("cannot be read", where=error.filename or kit, value=error.strerror) from None
    audit = _audit(kit, retention, dry_run=dry_run, now=now)
    return Cleaning(kit=kit, retention=retention, units=units, removals=removals, audit=audit)


def _remove(look: Look, removals: tuple[Removal, ...]) -> tuple[Removal, ...]:
    """Remove what is due, and return it: a unit that changed, or must stay, by a look right before it goes, is left."""
    unit_of = {path: removal.unit for removal in removals for path in removal.unit.paths}
    stays: dict[str, bool] = {}

    def goes(path: str) -> bool:
        unit = unit_of[path]
        if unit.name not in stays:
            found = look.unit(unit.name, unit.kind, unit.paths)
            stays[unit.name] = found.kept is not None or found.changed != unit.changed
        return not stays[unit.name]

    remove(look.kit, list(unit_of), goes=goes)
    return tuple(removal for removal in removals if not stays[removal.unit.name])


def _audit(kit: Path, retention: Retention | None, *, dry_run: bool, now: float) -> tuple[Path, ...]:
    """Remove the files of the audit log that are due; the log keeps an entry of each. A log with a fault loses none."""
    log = log_of_kit(kit)
    if log is None or retention is None or retention.audit_days is None:
        return ()
    before = datetime.fromtimestamp(now, UTC) - timedelta(days=retention.audit_days)
    return tuple(older(log, before) if dry_run else expire(log, before, who=own_account()))


def _kit_around(site_toml: Path) -> Path:
    local = site_toml.resolve().parent
    kit = local.parent
    if local.name != "local" or not (kit / "startup" / _SITE_START).is_file():
        remedy = "give the site.toml in the local/ of the kit"
        raise FederationError("is not in a site's kit", where=site_toml, remedy=remedy)
    return kit


def _open_jobs(policy: SitePolicy) -> Callable[[str], str | None]:
    """Return why a job must stay at this site, by its id, from the ledger and the record of runs."""
    from fedward.indexing.site_key import load_key
    from fedward.privacy.ledger.ledger import Ledger
    from fedward.privacy.ledger.run_record import Record

    if not policy.ledger.exists() and not head_path(policy.ledger).exists():
        return lambda job_id: "no ledger says that it ended"
    if not policy.key.is_file():
        what = "the site key that the ledger was made with is gone"
        raise LedgerError(what, where=policy.key, remedy="restore it")
    key = load_key(policy.key).secret
    charges = Ledger.open(policy.ledger, site=policy.site, key=key).charges()
    runs = Record.open(policy.ledger, site=policy.site, key=key).runs()
    charged = {charge.job_id for charge in charges if not charge.closed}
    begun = {run.job_id for run in runs if not run.ended}

    def kept(job_id: str) -> str | None:
        close = f"`fedward site ledger SITE_TOML --settle {job_id}` closes it"
        if job_id in charged:
            return f"its charge is open; {close}"
        return f"its run has not ended here; {close}" if job_id in begun else None

    return kept


def _own(policy: SitePolicy) -> dict[Path, str]:
    """Return the hospital's own files and folders, which no cleaning touches, each with its name."""
    own = {policy.key: "the site key", policy.ledger: "the ledger", head_path(policy.ledger): "the ledger's head"}
    own |= {path: "the federation's key" for path in (policy.federation_key,) if path is not None}
    own |= {path: "approvals" for path in (policy.approvals,) if path is not None}
    for name, cohort in policy.cohorts.items():
        places = (cohort.images, cohort.index, cohort.labels, cohort.masks)
        own |= {path: f"cohort {name}" for path in places if path is not None}
    return own


def _command_lines() -> list[str]:
    """Return the command line of every process that this user may see: FLARE's job processes name their job."""
    found = []
    for process in psutil.process_iter():
        try:
            found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
