"""Close what a job left open at a hospital, after its process has gone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedward.encryption.masks.run_keys import RUN_KEYS_FILE, destroy_run_keys
from fedward.errors import LedgerError
from fedward.flare import job_context
from fedward.settings import SitePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A job's charge after it was closed. Without differential privacy there are no steps, and ε is infinite.

    Attributes:
        begun_steps: stay spent. refunded_steps: never began, and are given back.
        epsilon: largest ε among the job's patients now, over all their jobs, at ``delta``.
    """

    job_id: str
    begun_steps: int
    refunded_steps: int
    epsilon: float
    delta: float | None


def settle(policy: SitePolicy, job_id: str) -> Settled:
    """Close the charge of a job whose process is gone, and give back the steps that never began. Safe to repeat.

    The run's record does not end, so the job may be continued under its id; its charge is then reopened, under the cap
    and the job's own ceiling. A process that still runs can begin no round.

    Args:
        policy: the hospital's.
        job_id: FLARE's id of the run.

    Raises:
        LedgerIOError: the ledger cannot be written at the moment; try again.
        LedgerError: the ledger has no such job, or is missing or damaged.
    """
    ledger = job_context.open_ledger(policy)
    ledger.close(job_id)
    charge, patients = ledger.find(job_id), ledger.patients_of(job_id)
    if not patients:
        remedy = "see `fedward site ledger SITE_TOML`"
        raise LedgerError("no such job in the ledger", where=ledger.path, value=job_id, remedy=remedy)
    delta = None if charge is None else charge.delta
    return Settled(
        job_id=job_id,
        begun_steps=0 if charge is None else charge.begun_steps,
        refunded_steps=0 if charge is None else charge.refunded_steps,
        epsilon=ledger.spent(patients, delta=delta or _ANY),
        delta=delta,
    )


def end_process(policy: SitePolicy, job_id: str, *, ordinary: bool) -> bool:
    """Close the job's charge at the end of a process, and end the run's record if the job is done here.

    A run that was aborted, or has no final model here yet, does not end: it can be continued under its id.

    Args:
        policy: the hospital's.
        job_id: FLARE's id of the run.
        ordinary: True if the server ended the run; False if it was aborted.

    Returns:
        True if the run has ended here.

    Raises:
        LedgerError: the ledger cannot be written, or is missing or damaged; the charge then stays.
    """
    try:
        job_context.open_ledger(policy).close(job_id)
    finally:
        record = job_context.open_record(policy)
        run = record.find(job_id)
        done = ordinary and run is not None and run.final is not None
        if done:
            record.end(job_id)
    return done or (run is not None and run.ended)


def settle_for_good(policy: SitePolicy, job_id: str) -> Settled:
    """Settle a job because a person says that it is over here: its run ends too, and nothing continues it.

    Raises:
        LedgerIOError, LedgerError: as ``settle``.
    """
    try:
        return settle(policy, job_id)
    finally:
        job_context.open_record(policy).end(job_id)


def destroy_ended_keys(kit: Path, policy: SitePolicy) -> None:
    """Destroy the keys of masked runs that have ended at this hospital, or that its record does not know.

    Raises:
        LedgerError: the record cannot be read.
        OSError: a file cannot be removed.
    """
    record = job_context.open_record(policy)
    for path in sorted((kit / "checkpoints").glob(f"*/{RUN_KEYS_FILE}")):
        run = record.find(path.parent.name)
        if run is None or run.ended:
            destroy_run_keys(path)


_ANY = 1e-5
"""δ for a job without differential privacy: its patients' ε is infinite at every δ."""
