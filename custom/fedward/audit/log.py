"""Append entries to an audit log, from any process and thread, so that a kill at any moment loses none that counts.

A writer takes the lock, checks the end of the log against its head, heals what a kill left there, appends one line with
one write, syncs it, and replaces the head. An entry counts once ``append`` returns. The end of a log that no kill
explains was changed: nothing is appended to it.

A file of ``ROTATE_BYTES`` or ``ROTATE_DAYS`` is renamed after its first entry's number, and the chain goes on in a new
one. A hospital's log has an anchor outside its folder (``fedward.audit.anchor``): a log without the anchor's entry is
another log, and nothing is appended to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedward.audit.actions import KEYED, RESTARTED, TORN
from fedward.audit.entry import KEEP, Entry, Last, make, read, require_next
from fedward.audit.files import first_line, rotated, rotated_name, tail, torn_name
from fedward.audit.folder import LogFolder
from fedward.audit.head import read_head, write_head
from fedward.audit.verify import verify
from fedward.errors import AuditError
from fedward.files import sync, write_atomic
from fedward.privacy.ledger.hash_chain import Seal

ROTATE_BYTES = 10_000_000
ROTATE_DAYS = 92
LOCK_S = 10.0
"""Seconds to wait for another writer; it needs a few milliseconds."""
LOCK_FILE = "audit.lock"
FULL = "free space; or run as the user who owns the kit"
_POLL_S = 0.005


def _now() -> datetime:
    return datetime.now(UTC)


class AuditLog(LogFolder):
    """One log; any thread and any process may append to it.

    Args:
        folder: folder of the log, made at its first entry.
        site_toml: the hospital's; its key seals the log once it exists.
        clock: UTC time of an entry.
        rotate_bytes: size from which a file is rotated.
    """

    def __init__(
        self,
        folder: Path,
        *,
        site_toml: Path | None = None,
        clock: Callable[[], datetime] = _now,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        super().__init__(folder, site_toml=site_toml)
        self._clock, self._rotate_bytes = clock, rotate_bytes

    def append(self, what: str, *, who: str, about: Mapping[str, object]) -> Entry:
        """Append one entry; it is durable once this returns.

        Raises:
            AuditError: the disk does not accept it, another process holds the log, or the log was changed.
        """
        with self._writing():
            last, seal = self._ready()
            self._rotate()
            entry = self._add(what, who, about, after=last, seal=seal)
            if not last.number and self.keys.site is not None:
                with suppress(OSError):  # the entry is durable; the next writer makes the anchor before it appends
                    self._anchored(Last(entry.number, entry.hash), seal)
            return entry

    def restart(self, *, who: str, reason: str) -> Entry:
        """Begin a new log where the one before is gone; its first entry says so, and names the old log's anchor.

        Raises:
            AuditError: as ``append``, or a log is here.
        """
        with self._writing():
            if self.head.exists() or self.path.exists() or rotated(self.path):
                raise AuditError("a log is here", where=self.path, remedy="move its folder away, and keep it")
            old = self.anchor.read()
            seal = self._begin()
            facts = {"reason": reason, **({} if old is None else {"last": old.number, "hash": old.hash})}
            entry = self._add(RESTARTED, who, facts, after=Last(), seal=seal)
            if self.keys.site is not None:
                self._anchored(Last(entry.number, entry.hash), seal)
            return entry

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the log's lock; an error of the disk becomes one of the log."""
        try:
            self._make_folder()
            handle = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                self._owned(handle)
                self._lock(handle)
                try:
                    yield
                finally:
                    fcntl.flock(handle, fcntl.LOCK_UN)  # a child that was forked meanwhile holds the handle too
            finally:
                os.close(handle)
        except OSError as error:
            what = "audit log cannot be written"
            raise AuditError(what, where=error.filename or self.path, value=error.strerror, remedy=FULL) from None

    def _lock(self, handle: int) -> None:
        end = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    remedy = "end the process that is stopped while it writes"
                    raise AuditError("another process holds the audit log", where=self.path, remedy=remedy) from None
                time.sleep(_POLL_S)
            else:
                return

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            return
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._owned(handle)
        finally:
            os.close(handle)

    def _ready(self) -> tuple[Last, Seal]:
        """Heal the end of the log and return its last entry, and the seal of the next one."""
        anchor = self.anchor.read()
        head, sealed = self._read_head(anchor)
        last, entry = head, self._last_entry(head, anchor)
        if entry is not None:
            last = Last(entry.number, entry.hash)
            if entry.what == KEYED and self.keys.site is not None:
                sealed = self.keys.site
        if anchor is not None and last.number < anchor.number:
            raise AuditError(f"log was cut: entry {anchor.number} is missing", where=self.path, remedy=KEEP)
        if anchor is not None and last.number == anchor.number and last != anchor:
            what = f"entry {last.number} is not the one that the log's anchor names"
            raise AuditError(what, where=self.path, remedy=KEEP)
        if last != head:
            write_head(self.head, last, sealed, owned=self._owned)
        last = self._aside(last, sealed)
        last, sealed = self._keyed(last, sealed)
        if anchor is None and last.number and self.keys.site is not None:
            verify(self, anchored=False)
            self._anchored(last, sealed)
        return last, sealed

    def _anchored(self, last: Last, seal: Seal) -> None:
        """Anchor the log at its last entry; the head, which must have the site's seal from then on, comes first."""
        write_head(self.head, last, seal, owned=self._owned)
        self.anchor.write(last, owned=self._owned)

    def _read_head(self, anchor: Last | None) -> tuple[Last, Seal]:
        found = read_head(self.head, self.seals_after(anchor))
        if found is not None:
            return found
        if self.path.exists() or rotated(self.path):
            raise AuditError("head of the audit log is gone", where=self.head, remedy=KEEP)
        if anchor is not None:
            raise AuditError("log was removed, and its anchor is still here", where=self.path, remedy=KEEP)
        return Last(), self._begin()

    def _begin(self) -> Seal:
        seal = self.keys.site or self.keys.make_own(self._owned)
        write_head(self.head, Last(), seal, owned=self._owned)
        return seal

    def _last_entry(self, head: Last, anchor: Last | None) -> Entry | None:
        """Return the last whole entry, which is the head's or a later one; None where the log is empty."""
        end = tail(self.path)
        if not end.whole and (old := rotated(self.path)):
            end = tail(old[-1])
        if not end.whole:
            if head.number:
                raise AuditError(f"log was cut: entry {head.number} is missing", where=self.path, remedy=KEEP)
            return None
        try:
            entry = read(end.whole, number=head.number)
            seals = self.seals if Last(entry.number, entry.hash) == anchor else self.seals_after(anchor)
            require_next(entry, after=Last(entry.number - 1, entry.previous), seals=seals)
        except AuditError as error:
            raise AuditError(error.what, where=self.path, remedy=KEEP) from None
        if entry.number < head.number or (entry.number == head.number and entry.hash != head.hash):
            raise AuditError(f"log was cut or changed at entry {head.number}", where=self.path, remedy=KEEP)
        return entry

    def _aside(self, last: Last, seal: Seal) -> Last:
        """Keep a torn last line in a file of its own, and put an entry that says so in its place."""
        end = tail(self.path)
        if not end.torn:
            return last
        kept = self._folder / torn_name(last.number + 1)
        write_atomic(kept, end.torn, mode=0o600)
        facts = {"file": kept.name, "bytes": len(end.torn)}
        entry = make(TORN, "the log itself", facts, after=last, seal=seal, now=self._clock())
        with self.path.open("rb") as file:
            whole = file.read(end.size)
        write_atomic(self.path, whole + entry.line(), mode=0o600)
        last = Last(entry.number, entry.hash)
        write_head(self.head, last, seal, owned=self._owned)
        return last

    def _keyed(self, last: Last, seal: Seal) -> tuple[Last, Seal]:
        """Go over to the site's key once it exists."""
        site = self.keys.site
        if site is None or seal == site:
            return last, seal
        entry = self._add(KEYED, "the log itself", {"key": "site"}, after=last, seal=seal, then=site)
        return Last(entry.number, entry.hash), site

    def _rotate(self) -> None:
        line = first_line(self.path)
        if not line:
            return
        try:
            first = read(line, number=0)
        except AuditError:
            raise AuditError("first entry was changed", where=self.path, remedy=KEEP) from None
        old = self._clock() - datetime.fromisoformat(first.at) >= timedelta(days=ROTATE_DAYS)
        if old or self.path.stat().st_size >= self._rotate_bytes:
            self.path.rename(self._folder / rotated_name(first.number))
            sync(self._folder)

    def _add(
        self, what: str, who: str, about: Mapping[str, object], *, after: Last, seal: Seal, then: Seal | None = None
    ) -> Entry:
        entry = make(what, who, about, after=after, seal=seal, now=self._clock())
        self._write(entry.line())
        with suppress(OSError):  # the entry is durable; the next writer replaces the head before it appends
            write_head(self.head, Last(entry.number, entry.hash), then or seal, owned=self._owned)
        return entry

    def _write(self, line: bytes) -> None:
        """Append a line with one write and sync it; a disk that takes a part of it leaves the log as it was."""
        new = not self.path.exists()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._owned(handle)
            size = os.fstat(handle).st_size
            if os.write(handle, line) != len(line):
                os.ftruncate(handle, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            sync(self._folder)

    def _owned(self, handle: int) -> None:
        """Give an open file to the owner of the kit, where root writes: the service must be able to go on with it."""
        if os.geteuid() == 0:
            owner = self._folder.parent.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)
