"""Take the slowest line and the slowest work from the events of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedward.errors import JobError

_LEAST_S = 0.05
"""Transfers below it are measured too coarsely for a rate: a line of that answer is not the slowest."""
_WORK = ("validate_s", "train_s", "seal_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Slowest of all answers to rounds.

    Attributes:
        mbit_s: of both directions together, and the hospital; None: no transfer took long enough to tell.
        work_s: seconds of validation, training and encryption, and the hospital.
    """

    mbit_s: float | None
    slowest_line: str | None
    work_s: float
    slowest_work: str


def measured(events: Iterable[Mapping[str, Any]], *, where: str) -> Measured:
    """Return what the answers to an earlier run's rounds say.

    The time of an answer that is no work is transfer and waiting, so that the rate is a lower bound of the line's.

    Raises:
        JobError: the run has no answer to a round with its seconds and bytes.
    """
    rates: list[tuple[float, str]] = []
    works: list[tuple[float, str]] = []
    for event in events:
        if event.get("event") != "answered" or event.get("task") != "round":
            continue
        metrics, site = event.get("metrics") or {}, str(event.get("site"))
        whole, sizes = event.get("seconds"), [event.get("sent_bytes"), event.get("received_bytes")]
        if whole is None or None in sizes:
            continue
        work = sum(float(metrics.get(name) or 0.0) for name in _WORK)
        works.append((work, site))
        rest = float(whole) - work
        if rest > _LEAST_S:
            rates.append((sum(int(size or 0) for size in sizes) * 8.0 / rest / 1e6, site))
    if not works:
        remedy = "give the folder of a run that finished a round, with its events.jsonl"
        raise JobError("run has no answer with its seconds and bytes", where=where, remedy=remedy)
    work_s, slowest_work = max(works)
    mbit_s, slowest_line = min(rates) if rates else (None, None)
    return Measured(mbit_s=mbit_s, slowest_line=slowest_line, work_s=work_s, slowest_work=slowest_work)
