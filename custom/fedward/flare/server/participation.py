"""Describe each site's part in a round, for the round's event: outcome, reason, patients, seconds, bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedward.aggregation.fednova import steps_taken
from fedward.errors import JobError
from fedward.flare.server.asking.waiting import NO_ANSWER as NO_ANSWER
from fedward.metrics.values import LEFT_OUT

if TYPE_CHECKING:
    from fedward.flare.protocol import Reply


@dataclass(slots=True)
class TaskTraffic:
    """Traffic of one site in one task, as the server measures it.

    Attributes:
        sent_at: monotonic seconds at which the site first took the task; None: it has not.
        sent_bytes: payload sent to the site; a task that was sent twice counts twice.
        seconds: time from ``sent_at`` to its answer.
        received_bytes: payload of its answer.
        trained: True if its answer held an update or a sealed model, even if that did not count.
        steps: optimizer steps that its answer reports, even if that did not count.
    """

    sent_at: float | None = None
    sent_bytes: int | None = None
    seconds: float | None = None
    received_bytes: int | None = None
    trained: bool = False
    steps: int | None = None

    def sent(self, *, at: float, payload: int) -> None:
        self.sent_at = at if self.sent_at is None else self.sent_at
        self.sent_bytes = (self.sent_bytes or 0) + payload

    def answered(self, *, at: float, payload: int) -> None:
        self.seconds = None if self.sent_at is None else round(at - self.sent_at, 3)
        self.received_bytes = payload

    def measured(self) -> dict[str, float | int | None]:
        """Return the part of the events that is measured at the server."""
        return {"seconds": self.seconds, "sent_bytes": self.sent_bytes, "received_bytes": self.received_bytes}


def payload_bytes(content: object) -> int:
    """Count the bytes of arrays and sealed messages in a task or an answer, at any depth.

    Metrics, headers, FLARE's framing and TLS are not counted: the network carries a little more.
    """
    if isinstance(content, np.ndarray | np.generic):
        return int(content.nbytes)
    if isinstance(content, bytes | bytearray | memoryview):
        return memoryview(content).nbytes
    if isinstance(content, Mapping):
        return sum(payload_bytes(part) for part in content.values())
    if isinstance(content, list | tuple):
        return sum(payload_bytes(part) for part in content)
    data = getattr(content, "data", None)  # FLARE's DXO, where it is not converted to a table yet
    return payload_bytes(data) if isinstance(data, Mapping) else 0


def patients_of(metrics: Mapping[str, Any]) -> int | None:
    """Return the training patients of a round, where the site reports them."""
    reported = metrics.get("patients")
    return reported if type(reported) is int and reported >= 0 else None


def steps_of(metrics: Mapping[str, Any]) -> int | None:
    """Return the optimizer steps of a round, where the site reports them."""
    reported = metrics.get("steps")
    return reported if type(reported) is int and reported >= 1 else None


def required_steps(metrics: Mapping[str, Any], *, planned: int | None) -> int:
    """Return the optimizer steps of a round, by which its update is weighed: ``planned``, or as few as a site takes.

    The range bounds what a site that lies can do: no update is scaled by more than ``fednova.FEWEST``.

    Raises:
        JobError: the site does not report them, or reports others.
    """
    steps = steps_of(metrics)
    if steps is None or planned is None or steps_taken(planned, steps) != steps:
        what, remedy = "the site reports no steps that the job allows", 'have it disclose "work"'
        raise JobError(what, where="steps", value=steps, remedy=f'{remedy}, or set federation.stragglers to "cut"')
    return steps


def participation(
    asked: Collection[str],
    accepted: Mapping[str, int | None],
    *,
    refused: Mapping[str, str],
    parts: Mapping[str, TaskTraffic],
    unchosen: Mapping[str, int | None],
) -> dict[str, dict[str, Any]]:
    """Build a round's table of participation: every site that was asked, by name.

    ``steps`` are those of its answer, whether it counts or not: a privacy ledger charges both. Those of an answer that
    came later are in its event.

    Args:
        asked: the sites that take part in the job.
        accepted: site -> its training patients, where its answer counts.
        refused: site -> reason why its answer does not count, why it gave none, or why it was not asked.
        parts: site -> its measured traffic.
        unchosen: site -> its training patients, where nothing is wrong with its answer and another was chosen.
    """
    found = {}
    for site in sorted(asked):
        counts, part = site in accepted, parts.get(site) or TaskTraffic()
        found[site] = {
            "outcome": "accepted" if counts else LEFT_OUT if site in unchosen else "dropped",
            "reason": None if counts else refused.get(site, NO_ANSWER),
            "trained": counts or site in unchosen or part.trained,
            "patients": accepted.get(site, unchosen.get(site)),
            "steps": part.steps,
            **part.measured(),
        }
    return found


def patients_together(ledger: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Add up the patients of all accepted sites that report them; None where no site does."""
    counted = [entry["patients"] for entry in ledger.values() if entry["outcome"] == "accepted"]
    reported = [patients for patients in counted if patients is not None]
    return sum(reported) if reported else None


def scores_of(replies: Mapping[str, Reply], measure: str) -> list[float | None]:
    """Return the measure at each site, for the model that the sites just received."""
    return [reply.metrics.get("scores", {}).get(measure) for reply in replies.values()]
