"""Read and write the head of an audit log: a small file beside it with the number and the hash of the last entry.

The head is replaced whole after its entry is durable. So a kill leaves a log that is as long as its head or longer, and
a log that is shorter was cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fedward.audit.entry import KEEP, Last
from fedward.audit.files import opened
from fedward.errors import AuditError
from fedward.files import write_atomic
from fedward.privacy.ledger.hash_chain import Seal

HEAD_FILE = "audit.head"
_LARGEST = 4096


def read_head(path: Path, seals: tuple[Seal, ...], *, name: str = "head of the audit log") -> tuple[Last, Seal] | None:
    """Return the head and the seal that it has; None where there is no head. ``name`` is the file's, for errors.

    Raises:
        AuditError: it was changed, has none of these seals, or cannot be read.
    """
    try:
        with opened(path) as file:
            text = file.read(_LARGEST)
        content = json.loads(text)
        last = Last(content["n"], content["hash"])
        found = next((one for one in seals if type(last.number) is int and text == _line(one, last)), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        what, remedy = f"{name} cannot be read", "run as the user who owns the kit"
        raise AuditError(what, where=path, value=error.strerror, remedy=remedy) from None
    except (ValueError, LookupError, TypeError, RecursionError):
        found = None
    if found is None:
        raise AuditError(f"{name} was changed, or written under another key", where=path, remedy=KEEP)
    return last, found


def write_head(path: Path, last: Last, seal: Seal, *, owned: Callable[[int], None]) -> None:
    """Replace the head, durably; ``owned`` gives an open file to the kit's owner.

    Raises:
        OSError: the disk does not accept it; the old head stays.
    """

    def content(file: BinaryIO) -> None:
        owned(file.fileno())
        file.write(_line(seal, last))

    write_atomic(path, content, mode=0o600)


def _line(seal: Seal, last: Last) -> bytes:
    """Return the head's one spelling."""
    content = {"n": last.number, "hash": last.hash, "seal": seal.head(last.number, last.hash)}
    return json.dumps(content, allow_nan=False).encode() + b"\n"
