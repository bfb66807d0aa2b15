"""Ledgers to test with: memory-backed where the machine can, and an ε that is the number of steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedward.privacy.accountant import Event
from fedward.privacy.ledger.ledger import Ledger

KEY = b"\x07" * 32
SHM = Path("/dev/shm")
FAST = str(SHM) if SHM.is_dir() else None
"""Where a folder costs no disk; SIGKILL loses nothing that was written there."""


def people(*numbers: int) -> frozenset[str]:
    return frozenset(f"{number:016x}" for number in numbers)


def event(steps: int = 10, *, noise: float = 1.0, rate: float = 0.1) -> Event:
    return Event(unit="patient", sampling_rate=rate, noise_multiplier=noise, steps=steps)


def count_steps(events: Iterable[Event], *, delta: float) -> float:
    """Replace ε by the number of steps where a test is about bookkeeping."""
    return float(sum(one.steps for one in events))


def job(job_id: str = "j1", **changed: Any) -> dict[str, Any]:
    """Arguments of a charge: ten steps in five rounds for patients 0 to 3, capped at 20."""
    asked: dict[str, Any] = {
        "job_id": job_id,
        "job": "tb",
        "cohort": "chest",
        "event": event(),
        "rounds": 5,
        "patients": people(0, 1, 2, 3),
        "cap": 20.0,
        "delta": 1e-5,
    }
    return asked | changed


def reopen(path: Path, **changed: Any) -> Ledger:
    return Ledger.open(path, **({"site": "north", "key": KEY} | changed))
