"""Define the ledger's record of a job: a charge, or a job without protection."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from fedward.errors import LedgerError, PatientsError
from fedward.privacy.accountant import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A job that the ledger has charged to a set of patients.

    Attributes:
        job_id: FLARE's id of the run. job: the job's name. cohort: cohort of the patients.
        event: the mechanism with all planned steps.
        rounds: planned. begun_steps: of all rounds begun; a round that began twice counts twice.
        allowance: steps beyond the planned ones that may begin after a restart.
        refunded_steps: planned steps that never began, while closed. closed: no round can begin until it is reopened.
        reopened: number of times that a continuation of the job reopened it.
        cap, delta: largest ε and its δ under which the job was admitted; cap None: recorded, not capped.
        absent_noise: where the noise was for the sum of all hospitals, number t of them whose share ε can do without;
            None: it was this hospital's own.
        at: time of the charge, UTC.
        patients: hash of the set of patients. number: of the charge's entry.
    """

    job_id: str
    job: str
    cohort: str
    event: Event
    rounds: int
    cap: float | None
    delta: float
    at: str
    patients: str
    number: int
    allowance: int = 0
    absent_noise: int | None = None
    begun_steps: int = 0
    refunded_steps: int = 0
    closed: bool = False
    reopened: int = 0

    @property
    def counted(self) -> Event:
        """Event that counts: the steps begun and, until the job is closed, those planned and not begun."""
        return replace(self.event, steps=self.begun_steps if self.closed else max(self.event.steps, self.begun_steps))

    @property
    def unbegun_steps(self) -> int:
        """Planned steps that never began: closing gives them back, reopening counts them again."""
        return max(0, self.event.steps - self.begun_steps)

    @property
    def ceiling(self) -> Event:
        """Largest event that this job can reach: the planned steps, and the steps that a restart is allowed."""
        return replace(self.event, steps=self.event.steps + self.allowance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotected:
    """A job without differential privacy that used patients; attributes as for ``Charge``."""

    job_id: str
    job: str
    cohort: str
    at: str
    patients: str
    number: int


def other_patients(where: Path) -> PatientsError:
    """Return the error for a job that comes again with other patients."""
    what = "the cohort's patients are not those that this job was charged for"
    return PatientsError(
        what, where=where, remedy="restore the index that it was charged with, or submit the job again"
    )


def named(**names: str) -> dict[str, str]:
    for name, value in names.items():
        if not isinstance(value, str) or not value:
            raise LedgerError(f"{name} is empty", remedy="name it")
    return dict(names)


def require_possible(event: Event, *, rounds: int, cap: float | None, delta: float, allowance: int) -> None:
    """Refuse numbers for which no ε is defined, and units other than the patient."""
    if event.unit != "patient":
        raise LedgerError("only ε of patients is kept", value=event.unit, remedy="account for patients")
    sound = 0 < event.sampling_rate <= 1 and 0 <= event.noise_multiplier < math.inf and event.steps >= 1
    sound = sound and rounds >= 1 and allowance >= 0 and 0 < delta < 1
    if not (sound and (cap is None or 0 < cap < math.inf)):
        what = "sampling rate, noise, steps, rounds, allowance, cap or δ cannot be"
        value = f"{event.sampling_rate}, {event.noise_multiplier}, {event.steps}, {rounds}, {allowance}, {cap}, {delta}"
        raise LedgerError(what, value=value, remedy="correct the job or site.toml")
