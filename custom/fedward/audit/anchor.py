"""Keep the anchor of a hospital's audit log: the number and the hash of one of its entries, outside the log's folder.

The anchor lies beside the ledger and has the site's seal. It is written once, when the log is first under the site's
key. Every entry after it has that key's seal, so a log that lacks the anchor's entry is another log.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

from fedward.audit.entry import Last
from fedward.audit.head import read_head, write_head
from fedward.audit.keys import Keys
from fedward.errors import AuditError
from fedward.privacy.ledger.hash_chain import Seal

_NAME = "anchor of the audit log"


class Anchor:
    """The anchor of one log; a log without a site's key has none."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def read(self) -> Last | None:
        """Return the entry that the log must hold; None where no anchor was written.

        Raises:
            AuditError: the anchor was changed or cannot be read, or the site's key is not here.
        """
        path, site = self._keys.anchor_file, self._keys.site
        if path is None or not _is_there(path):
            return None
        if site is None:
            what = "the site's key, which sealed the anchor of the audit log, is not here"
            raise AuditError(what, where=path, remedy="restore it, or run as the user who owns the kit")
        found = read_head(path, (_seal(site),), name=_NAME)
        return None if found is None else found[0]

    def write(self, last: Last, *, owned: Callable[[int], None]) -> None:
        """Write the anchor, durably.

        Raises:
            AuditError: the site's key is not here.
            OSError: the disk does not accept it; the old anchor stays.
        """
        path, site = self._keys.anchor_file, self._keys.site
        if path is None or site is None:
            raise AuditError(f"{_NAME} needs the site's key", where=path)
        write_head(path, last, _seal(site), owned=owned)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        remedy = "run as the user who owns the kit"
        raise AuditError(f"{_NAME} cannot be read", where=path, value=error.strerror, remedy=remedy) from None
    return True


def _seal(site: Seal) -> Seal:
    """Return the anchor's seal, apart from the log's: no anchor can stand in a head's place."""
    return Seal(hmac.digest(site.key, b"fedward/1/audit-anchor", "sha256"))
