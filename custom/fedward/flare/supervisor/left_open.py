"""Settle at a site what a job's process left open in the ledger when it was killed and is not started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedward.errors import FedwardError
from fedward.flare.audit_trail.notes import note_here
from fedward.flare.job_context import SITE_FILE, open_ledger
from fedward.flare.site.settlement import settle
from fedward.settings import read_site


def settle_after(kit: Path, job_id: str, *, log: Callable[[str], None]) -> None:
    """Close the job's charge if it is open: steps that never began are given back. It never raises.

    A process that ends in order has closed it already. If the job goes on here later, its charge is reopened.

    Args:
        kit: the site's kit.
        job_id: FLARE's id of the run whose process has ended.
        log: writes to the site's log.
    """
    try:
        policy = read_site(kit / "local" / SITE_FILE)
        if not policy.ledger.is_file():
            return
        charge = open_ledger(policy).find(job_id)
        if charge is None or charge.closed:
            return
        done = settle(policy, job_id)
        note_here("ledger-settled", job=job_id, steps=done.refunded_steps)
        log(
            f"job {job_id}: its process is gone; {done.begun_steps} steps stay charged, "
            f"{done.refunded_steps} that never began do not"
        )
    except (FedwardError, OSError) as error:
        log(f"job {job_id}: its charge stays open, {error}")
