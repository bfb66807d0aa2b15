"""Read and write the chain's head: a small file beside the ledger with the number of entries and the last hash.

The head is replaced whole and synced with its folder, so that a kill leaves the old head or the new one.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from pathlib import Path

from fedward.errors import LedgerError
from fedward.files import write_atomic
from fedward.privacy.ledger.hash_chain import RESTORE, START, Seal


@dataclass(frozen=True, slots=True)
class Head:
    """Number of entries, and the hash of the last; none, and ``START``, while the ledger is being created."""

    count: int = 0
    hash: str = START


def head_path(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.head")


def read_head(ledger: Path, seal: Seal) -> Head | None:
    """Read the head, or return None where there is none.

    Raises:
        LedgerError: it was changed, or written under another key.
        OSError: the disk does not give it.
    """
    path = head_path(ledger)
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        head = Head(int(content["count"]), str(content["hash"]))
        sound = hmac.compare_digest(seal.head(head.count, head.hash), str(content["seal"]))
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError):
        sound = False
    if not sound:
        raise LedgerError("head was changed, or written under another site's key", where=path, remedy=RESTORE)
    return head


def write_head(ledger: Path, seal: Seal, head: Head) -> None:
    """Replace the head, durably.

    Raises:
        OSError: the disk does not accept it; the old head then stays.
    """
    content = {"count": head.count, "hash": head.hash, "seal": seal.head(head.count, head.hash)}
    write_atomic(head_path(ledger), json.dumps(content) + "\n")
