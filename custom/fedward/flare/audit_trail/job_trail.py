"""Record the course of a job at the server, from its events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from nvflare.apis.fl_context import FLContext

from fedward.flare.audit_trail.notes import for_job

ACTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "started": ("job-started", {"name": "job", "rounds": "rounds", "sites": "sites"}),
    "declined": ("site-declined", {"site": "site", "reason": "reason"}),
    "round": ("round-complete", {"round": "round", "sites": "sites"}),
    "resumed": ("job-resumed", {"round": "round", "by": "by", "attempt": "attempt"}),
    "paused": ("job-paused", {"reason": "reason"}),
    "unpaused": ("job-unpaused", {}),
    "returned": ("site-returned", {"site": "site", "round": "round"}),
    "finished": ("job-finished", {"rounds": "rounds", "missing": "missing"}),
    "aborted": ("job-aborted", {"by": "by", "reason": "reason"}),
    "failed": ("job-failed", {"reason": "reason"}),
}
"""Kind of an event -> act, and fact of the act -> field of the event."""
ADMITTED = "admitted"
_log = logging.getLogger("fedward.audit")


class JobTrail:
    """Listener of a job's ``EventLog``: passes each event on, and records those that are acts. It never raises.

    Sites are admitted in one entry: a job may have hundreds.

    Args:
        also: the next listener.
        context: of the job, at the server.
    """

    def __init__(self, also: Callable[[Mapping[str, Any]], None], context: FLContext) -> None:
        self._also, self._note = also, for_job(context)
        self._admitted: list[str] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._also(event)
        try:
            self._take(event)
        except Exception as error:  # noqa: BLE001 - none of these acts lets anything leave a hospital
            _log.warning(f"an event of the job is not in the audit log: {type(error).__name__}")

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == ADMITTED:
            self._admitted.append(str(event["site"]))
        elif self._admitted and kind != "declined":
            sites, self._admitted = self._admitted, []
            self._note("sites-admitted", sites=sites)
        if kind in ACTS:
            act, facts = ACTS[kind]
            self._note(act, **{fact: _plain(event.get(field)) for fact, field in facts.items()})


def _plain(value: object) -> object:
    """Return a table, site -> reason, as a list of texts."""
    if isinstance(value, Mapping):
        return [f"{name}: {reason}" for name, reason in sorted(value.items())] or None
    return value
