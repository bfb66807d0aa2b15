"""Who took part in a round and what it took, as its event tells it: outcome, reason, patients, seconds, bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

NO_ANSWER = "no answer in time"


@dataclass(slots=True)
class TaskTraffic:
    """One site's part in one task, as the server sees it.

    Attributes:
        sent_at: monotonic seconds at which the site first took the task; None: it has not.
        sent_bytes: payload that went to the site; a task that was sent twice counts twice.
        seconds: from ``sent_at`` to its answer.
        received_bytes: payload of its answer.
        trained: its answer held an update or a sealed model, whether that counted or not.
    """

    sent_at: float | None = None
    sent_bytes: int | None = None
    seconds: float | None = None
    received_bytes: int | None = None
    trained: bool = False

    def sent(self, *, at: float, payload: int) -> None:
        self.sent_at = at if self.sent_at is None else self.sent_at
        self.sent_bytes = (self.sent_bytes or 0) + payload

    def answered(self, *, at: float, payload: int) -> None:
        self.seconds = None if self.sent_at is None else round(at - self.sent_at, 3)
        self.received_bytes = payload

    def measured(self) -> dict[str, float | int | None]:
        """The part of the events that is measured at the server."""
        return {"seconds": self.seconds, "sent_bytes": self.sent_bytes, "received_bytes": self.received_bytes}


def payload_bytes(content: object) -> int:
    """Bytes of arrays and sealed messages in a task or an answer, at any depth.

    Metrics, headers, FLARE's framing and TLS are not in it: a wire carries a little more.
    """
    if isinstance(content, np.ndarray | np.generic):
        return int(content.nbytes)
    if isinstance(content, bytes | bytearray | memoryview):
        return memoryview(content).nbytes
    if isinstance(content, Mapping):
        return sum(payload_bytes(part) for part in content.values())
    if isinstance(content, list | tuple):
        return sum(payload_bytes(part) for part in content)
    data = getattr(content, "data", None)  # FLARE's DXO, where it has not been made a table yet
    return payload_bytes(data) if isinstance(data, Mapping) else 0


def patients_of(metrics: Mapping[str, Any]) -> int | None:
    """Training patients of a round, where the site says them."""
    reported = metrics.get("patients")
    return reported if type(reported) is int and reported >= 0 else None


def participation(
    asked: Collection[str],
    accepted: Mapping[str, int | None],
    *,
    refused: Mapping[str, str],
    parts: Mapping[str, TaskTraffic],
) -> dict[str, dict[str, Any]]:
    """A round's ledger: every site that was asked, by name.

    Args:
        asked: the sites that take part in the job.
        accepted: site -> its training patients, where its answer counts.
        refused: site -> why its answer does not count, or why it gave none.
        parts: site -> what was measured.
    """
    found = {}
    for site in sorted(asked):
        counts, part = site in accepted, parts.get(site) or TaskTraffic()
        found[site] = {
            "outcome": "accepted" if counts else "dropped",
            "reason": None if counts else refused.get(site, NO_ANSWER),
            "trained": counts or part.trained,
            "patients": accepted.get(site),
            **part.measured(),
        }
    return found


def patients_together(ledger: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Patients of all accepted sites that say them; None where none does."""
    reported = [entry["patients"] for entry in ledger.values() if entry["patients"] is not None]
    return sum(reported) if reported else None
