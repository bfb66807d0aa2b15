"""Record one act of a process of FLARE in the audit log of its kit.

A process whose folder is no kit has no log: a test made its objects. An act that must be recorded raises where it
cannot be; any other goes on, and the process's log says so. Refusals are bounded, so that no sender fills a disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext

from fedward.audit import note as writer
from fedward.audit.actions import ACTIONS
from fedward.audit.log import AuditLog
from fedward.audit.place import log_of_kit
from fedward.errors import AuditError

MOST_REFUSALS = 100
"""Refusals of one act that a process records in ``EVERY_S``; one more entry says that others are left out."""
EVERY_S = 3600.0
LEFT_OUT = "more of the same, left out of this log for an hour"
BOUNDED = frozenset({"connection-refused", "gate-refused", "job-refused", "job-rejected", "task-refused"})
_log = logging.getLogger("fedward.audit")


def note(context: FLContext, what: str, *, who: str | None = None, **about: object) -> None:
    """Record an act in the log of the kit that a context belongs to, about its job.

    Raises:
        AuditError: the act must be recorded and cannot be.
    """
    _record(_kit(context), what, who, {"job": context.get_job_id(), **about})


def for_job(context: FLContext) -> Callable[..., None]:
    """Return ``note`` for the kit and the job of a context, which may be gone when it is called."""
    kit, job = _kit(context), context.get_job_id()

    def noted(what: str, *, who: str | None = None, **about: object) -> None:
        _record(kit, what, who, {"job": job, **about})

    return noted


def note_here(what: str, *, who: str | None = None, **about: object) -> None:
    """Record an act of a parent process, whose working folder is its kit.

    Raises:
        AuditError: the act must be recorded and cannot be.
    """
    _record(Path.cwd(), what, who, about)


def checked(accepted: str, refused: str, reason: str | None, *, who: str | None, job: object, **about: object) -> None:
    """Record the result of a check in a parent process: ``accepted``, or ``refused`` with the reason."""
    known = job if type(job) is str else None
    note_here(accepted if reason is None else refused, who=who or writer.UNPROVEN, job=known, reason=reason, **about)


class _Refusals:
    """Count of a process's refusals, by act."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def left(self, what: str) -> int:
        """Count a refusal, and return how many of its act may be recorded, this one included; 1: the last."""
        with self._lock:
            now = self._clock()
            began, count = self._counts.get(what, (now, 0))
            if now - began >= EVERY_S:
                began, count = now, 0
            self._counts[what] = began, count + 1
        return MOST_REFUSALS + 1 - count


_REFUSALS = _Refusals()


@cache
def _log_of(kit: Path) -> AuditLog | None:
    return log_of_kit(kit)


def _kit(context: FLContext) -> Path | None:
    engine = context.get_engine()
    root: Callable[[], Any] | None = None if engine is None else getattr(engine.get_workspace(), "get_root_dir", None)
    return None if root is None else Path(root())


def _record(kit: Path | None, what: str, who: str | None, about: dict[str, object]) -> None:
    log = None if kit is None else _log_of(kit)
    if log is None:
        return
    if what in BOUNDED:
        left = _REFUSALS.left(what)
        if left < 1:
            return
        about = about if left > 1 else {"reason": LEFT_OUT}
    write = partial(writer.note, log, what, warn=_log.warning, who=who, **about)
    try:
        write()
    except AuditError:
        raise
    except Exception as error:  # noqa: BLE001 - an act that must be recorded is refused after any error
        if ACTIONS[what].must:
            raise AuditError(f"{what} is refused: it cannot be recorded ({type(error).__name__})") from None
        _log.warning(f"{what} is not in the audit log: {type(error).__name__}")
