"""Settle at a site what a job's process left open in the ledger when it was killed and is not started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedward.errors import FedwardError
from fedward.flare.audit_trail.notes import note_here
from fedward.flare.job_context import SITE_FILE, open_ledger
from fedward.flare.site.settlement import destroy_ended_keys, settle
from fedward.privacy.ledger.charges import Charge
from fedward.settings import SitePolicy, read_site


def settle_after(kit: Path, job_id: str, *, log: Callable[[str], None]) -> None:
    """Close the job's charge if it is open: steps that never began are given back. It never raises.

    A process that ends in order has closed it already. If the job goes on here later, its charge is reopened.

    Args:
        kit: the site's kit.
        job_id: FLARE's id of the run whose process has ended.
        log: writes to the site's log.
    """
    _settle(kit, lambda charge: charge.job_id == job_id, log=log)


def settle_all(kit: Path, *, log: Callable[[str], None]) -> None:
    """Close every open charge, as ``settle_after`` does, and destroy the keys of runs that have ended.

    When a site's service starts, no process of a job runs.
    """
    policy = _settle(kit, lambda charge: True, log=log)
    if policy is None or not policy.ledger.is_file():
        return
    try:
        destroy_ended_keys(kit, policy)
    except (FedwardError, OSError) as error:
        log(f"keys of runs that have ended stay, {error}")


def _settle(kit: Path, concerns: Callable[[Charge], bool], *, log: Callable[[str], None]) -> SitePolicy | None:
    """Close charges; return the site's policy, or None where its ledger cannot be used."""
    try:
        policy = read_site(kit / "local" / SITE_FILE)
        charges = open_ledger(policy).charges() if policy.ledger.is_file() else []
    except (FedwardError, OSError) as error:
        log(f"charges that a killed process left open stay open, {error}")
        return None
    for charge in (one for one in charges if not one.closed and concerns(one)):
        try:
            done = settle(policy, charge.job_id)
        except (FedwardError, OSError) as error:
            log(f"job {charge.job_id}: its charge stays open, {error}")
            continue
        note_here("charge-closed", job=charge.job_id, steps=done.refunded_steps)
        log(
            f"job {charge.job_id}: its process is gone; {done.begun_steps} steps stay charged, "
            f"{done.refunded_steps} that never began do not"
        )
    return policy
