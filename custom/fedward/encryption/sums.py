r"""Name the sum, or the sums of the groups, from which a model follows; several of them are one message.

::

    FWSUMS1\n | each: length, 8 bytes, big-endian | message
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fedward.encryption.message import MAGIC as ONE
from fedward.encryption.message import unpack
from fedward.errors import EncryptionError

MAGIC = b"FWSUMS1\n"
_SIZE_BYTES = 8


def pack_sums(sums: Sequence[bytes]) -> bytes:
    """Return the sums of some groups as one message, in the order of the groups."""
    return MAGIC + b"".join(len(one).to_bytes(_SIZE_BYTES, "big") + one for one in sums)


def sums_in(sealed: object) -> tuple[bytes, ...]:
    """Return the sums in a message of any origin: one, or one for each group.

    Raises:
        EncryptionError: it is no such message.
    """
    if type(sealed) is not bytes or not sealed.startswith((ONE, MAGIC)):
        raise EncryptionError("not a sealed message")
    if sealed.startswith(ONE):
        return (sealed,)
    found, at = [], len(MAGIC)
    while at < len(sealed):
        start = at + _SIZE_BYTES
        stop = start + int.from_bytes(sealed[at:start], "big")
        found.append(sealed[start:stop])
        at = stop
    if at != len(sealed) or pack_sums(found) != sealed:
        raise EncryptionError("sums of groups are cut short")
    return tuple(found)


def identity_of(sealed: bytes) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of the whole message; each has one form only.

    Raises:
        EncryptionError: as ``sums_in`` and ``message.unpack``.
    """
    for one in sums_in(sealed):
        unpack(one)
    return hashlib.sha256(sealed).hexdigest()


def sites_in(sealed: bytes) -> tuple[str, ...]:
    """Return the hospitals in the sums, sorted; errors as ``identity_of``."""
    return tuple(sorted(site for one in sums_in(sealed) for site in unpack(one).sites))
