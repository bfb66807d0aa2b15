"""Refuse to start a site or a server whose certificate is not valid, and warn before it ends and when it has ended.

FLARE's site tries for ever to connect with an expired certificate, and names no reason. Here its process ends before it
connects, with one line on stderr and in its log and with an exit code of its own
(``fedward.provisioning.validity.NOT_VALID``). While it runs, the certificates are read every minute, so that a
renewed one ends the warning.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from fedward.errors import FedwardError
from fedward.flare.repeating import repeat
from fedward.provisioning.participants import Kind
from fedward.provisioning.validity import NOT_VALID, first_fault, kit_certificates, notice

LOG_FILE = "log.txt"
CHECK_S = 60.0
AGAIN = timedelta(days=1)
"""Time after which the same line is written again."""
_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"

Log = Callable[[str], None]


def _now() -> datetime:
    return datetime.now(UTC)


def guard_process(kind: Kind, *, log: logging.Logger, arguments: Sequence[str] | None = None) -> None:
    """Hold this process of FLARE's, before it connects, to its kit's certificates; in a parent process watch them.

    Args:
        kind: of its participant.
        log: of the door that calls.
        arguments: of the process; None: its own. FLARE gives the kit as ``-m`` and a job's id as ``-n``.

    Raises:
        SystemExit: as ``require_certificates``.
        EncryptionError: a certificate cannot be read.
    """
    given = sys.argv if arguments is None else arguments
    kit, job = Path(_option(given, "-m", str(Path.cwd()))), _option(given, "-n", "")
    require_certificates(kit, kind, job=job)
    if not job:
        watch = CertificateWatch(kit, kind, log=log.warning, error=log.error)
        repeat(watch.look, every_s=CHECK_S, name="watch over certificates", log=log.warning)


def require_certificates(kit: Path, kind: Kind, *, job: str = "", now: Callable[[], datetime] = _now) -> None:
    """End this process if a certificate of its kit is not valid; warn if one ends within 30 days.

    FLARE opens its log only later, so that the line is written here: to stderr and to the log file.

    Args:
        kit: of the site or the server.
        job: id of the job whose process this is; "" for the parent process.
        now: clock.

    Raises:
        SystemExit: with the exit code ``NOT_VALID``.
        EncryptionError: a certificate cannot be read.
    """
    certificates, today = kit_certificates(kit, kind), now()
    if (why := first_fault(certificates, now=today)) is not None:
        what = f"job {job} of this site" if job else kind.value
        _tell(f"{what} does not start: {why}", kit, job=job, level=logging.ERROR)
        sys.exit(NOT_VALID)
    if not job and (line := notice(certificates, now=today)) is not None:
        _tell(line, kit, job=job, level=logging.WARNING)


class CertificateWatch:
    """Watch over a kit's certificates: one line when something changes, and again once a day.

    Args:
        kit, kind: of the site or the server; its process has just started, and has said what was due then.
        log, error: write to its log, and to its log of errors.
        now: clock.
    """

    def __init__(self, kit: Path, kind: Kind, *, log: Log, error: Log, now: Callable[[], datetime] = _now) -> None:
        self._kit, self._kind, self._log, self._error, self._now = kit, kind, log, error, now
        self._faulty, self._said_at = False, now()

    def look(self) -> None:
        """Look once, and write what is due."""
        now = self._now()
        try:
            certificates = kit_certificates(self._kit, self._kind)
            faulty, line = first_fault(certificates, now=now) is not None, notice(certificates, now=now)
        except FedwardError as error:
            faulty, line = True, str(error)
        changed = faulty != self._faulty
        self._faulty = faulty
        if line is None:
            if changed:
                self._log(f"{self._kit / 'startup'}: certificates are valid again")
            return
        if changed or abs(now - self._said_at) >= AGAIN:
            self._said_at = now
            (self._error if faulty else self._log)(line)


def _option(arguments: Sequence[str], name: str, default: str) -> str:
    found = [value for option, value in pairwise(arguments) if option == name]
    return found[0] if found else default


def _tell(line: str, kit: Path, *, job: str, level: int) -> None:
    """Write a line to stderr and to the log of the parent process or of the job."""
    print(f"fedward: {line}", file=sys.stderr, flush=True)
    record = logging.LogRecord("fedward.door", level, __file__, 0, line, None, None)
    folder = kit / job
    try:
        with ((folder if folder.is_dir() else kit) / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(f"{logging.Formatter(_FORMAT).format(record)}\n")
    except OSError as error:
        print(f"fedward: {kit / LOG_FILE}: cannot be written: {error.strerror!r}", file=sys.stderr, flush=True)
