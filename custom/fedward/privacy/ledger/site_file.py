"""Share one file of a site between its privacy ledger and its record of runs: one chain of entries, and one head."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from fedward.errors import LedgerError
from fedward.privacy.ledger.chain_store import BUSY_TIMEOUT_S, ChainFile, Turn, create_chain
from fedward.privacy.ledger.hash_chain import ChainEntry, Seal


class LedgerFile(ABC):
    """File for use from any thread, and from several processes at once.

    Made by ``create`` or ``open``. Every method first reads and checks the entries that others have written since; what
    a method that writes decides, it decides under the file's lock.
    """

    def __init__(self, chain: ChainFile, *, site: str) -> None:
        self.path, self._site, self._chain = chain.path, site, chain
        self._seen, self._mine = 0, threading.Lock()

    @classmethod
    def create(cls, path: Path, *, site: str, key: bytes, timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Create a site's file, once in its life.

        Raises:
            LedgerError: one exists, or existed and was deleted.
        """
        create_chain(path, seal=Seal.of(key), kind="create", body={"site": site})
        return cls.open(path, site=site, key=key, timeout_s=timeout_s)

    @classmethod
    def open(cls, path: Path, *, site: str, key: bytes, timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Open the file and check it from its first entry to its last. It never creates one.

        Args:
            path: ``ledger`` of ``site.toml``.
            site: the hospital's id.
            key: the site's secret key.
            timeout_s: seconds to wait for another process that is writing.

        Raises:
            LedgerError: there is none, it is another site's, it was changed or cut back, or it cannot be read.
        """
        opened = cls(ChainFile(path, seal=Seal.of(key), timeout_s=timeout_s), site=site)
        with opened._turn():
            return opened

    def entries(self) -> list[ChainEntry]:
        """Return all entries, in order."""
        with self._look():
            return list(self._chain.entries)

    def entry(self, hash: str) -> ChainEntry | None:
        """Return the entry with this hash, or None."""
        return next((entry for entry in self.entries() if entry.hash == hash), None)

    @abstractmethod
    def _take(self, entry: ChainEntry) -> None:
        """Add one entry that was read and checked.

        Raises:
            LedgerError: it cannot be understood.
        """

    @contextmanager
    def _turn(self) -> Iterator[Turn]:
        with self._mine, self._chain.turn() as turn:
            self._read()
            yield turn

    @contextmanager
    def _look(self) -> Iterator[None]:
        """Read as in a turn; a file that nobody has written to since the last turn is not locked, and not read."""
        with self._mine:
            if not self._chain.is_unchanged():
                with self._chain.turn():
                    pass
            self._read()
            yield

    def _read(self) -> None:
        entries = self._chain.entries
        if not self._seen and entries[0].body.get("site") != self._site:
            raise LedgerError("ledger of another site", where=self.path, remedy="name this site's own")
        while self._seen < len(entries):
            self._take(entries[self._seen])
            self._seen += 1
