"""Wait in the controller's own thread, for the server's disk or for a computation; an abort ends each wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from nvflare.apis.signal import Signal

from fedward.errors import FederationError
from fedward.flare.server.clock import Clock
from fedward.metrics.events import EventLog
from fedward.privacy.policy.canonical_job import POLL_S

LONGEST_S = 86_400.0
"""Seconds after which a job that the disk holds up ends as failed: a day."""
RETRY_S = 1.0
Written = TypeVar("Written")
Made = TypeVar("Made")


class AbortedError(Exception):
    """The job's abort signal is set: nothing more is sent."""


class Pause:
    """Writer that waits for the disk.

    While it waits, FLARE's threads go on: answers are taken in, and their events wait in memory (``EventLog``).

    Args:
        events: log of the job; ``paused`` and ``unpaused`` go there.
        abort: signal that ends every wait.
        clock: clock of the waits.
        log: writes a line to the server's log.
    """

    def __init__(self, events: EventLog, *, abort: Signal, clock: Clock, log: Callable[[str], None]) -> None:
        self._events, self._abort, self._clock, self._log = events, abort, clock, log
        self._gave_up = False

    def check(self) -> None:
        """Raise ``AbortedError`` if the job was aborted."""
        if self._abort.triggered:
            raise AbortedError

    def settle(self) -> None:
        """Return when every event of the log is in its file; errors as in ``until``."""
        self.check()
        self.until(self._events.flush)

    def until(self, write: Callable[[], Written], *, events: bool = True) -> Written:
        """Call ``write`` until it raises no ``OSError``, and return what it returns.

        Args:
            write: what the disk may refuse.
            events: False after the job's end: the pause then goes to the server's log alone.

        Raises:
            AbortedError: the job was aborted meanwhile.
            FederationError: it failed for ``LONGEST_S``; after that, a failure is not waited for again.
        """
        since: float | None = None
        while True:
            try:
                done = write()
            except OSError as error:
                if since is None and not self._gave_up:
                    since = self._paused(error, events=events)
                if since is None or self._clock.now() - since > LONGEST_S:
                    self._gave_up = True
                    raise FederationError(
                        "the server's disk took nothing for a day",
                        where=error.filename or "the kit's folder",
                        value=error.strerror,
                        remedy="make room on it and submit the job again",
                    ) from None
                self._wait()
                continue
            if since is not None:
                if events:
                    self._events.append("unpaused")
                self._log("the job goes on: the disk takes its files again")
            return done

    def _paused(self, error: OSError, *, events: bool) -> float:
        where = "" if error.filename is None else f" at {error.filename}"
        reason = f"the server's disk does not take the job's files{where}: {error.strerror or type(error).__name__}"
        if events:
            self._events.append("paused", reason=reason)
        self._log(f"the job pauses: {reason}")
        return self._clock.now()

    def _wait(self) -> None:
        until = self._clock.now() + RETRY_S
        while self._clock.now() < until:
            self.check()
            self._clock.sleep(POLL_S)
        self.check()


class Beside(Generic[Made]):
    """Result of a function that runs in a thread of its own; nobody has to wait for it.

    The sites load their libraries during admission; the server loads its own at the same time.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._future: Future[Made] = Future()
        threading.Thread(target=self._run, args=(make,), name="initial model").start()

    def _run(self, make: Callable[[], Made]) -> None:
        try:
            self._future.set_result(make())
        except BaseException as error:  # noqa: BLE001 - ``result`` raises it
            self._future.set_exception(error)

    def result(self, check: Callable[[], None]) -> Made:
        """Return what the function returned, or raise what it raised; call ``check`` at every poll until then."""
        while True:
            check()
            try:
                return self._future.result(timeout=POLL_S)
            except TimeoutError:
                if self._future.done():
                    raise
