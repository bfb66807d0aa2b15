r"""Pack the shares of a hospital's sketch into one message for the server: a package for each hospital of the run.

::

    FWDEAL1\n | package of each hospital, in the order of the names

A package is ``dealing.Dealt`` encrypted with AES-256-GCM (NIST SP 800-38D) under a secret of the two hospitals for this
round's sketch, with a random IV, since a repeated answer has new shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.encryption.distances.dealing import Dealt, package_size, unpack_dealt
from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.locks import IV_BYTES, TAG_BYTES, decrypt_fresh, encrypt_fresh
from fedward.encryption.masks.upload import pieces
from fedward.errors import EncryptionError

MAGIC = b"FWDEAL1\n"


def sealed_size(sites: int) -> int:
    """Return the bytes of an encrypted package in a round of so many hospitals."""
    return IV_BYTES + package_size(sites) + TAG_BYTES


def message_size(*, sites: int, holders: int) -> int:
    """Return the bytes of one hospital's message, for so many holders, in a round of so many hospitals."""
    return len(MAGIC) + holders * sealed_size(sites)


def pack_dealt(dealt: Mapping[str, Dealt], secrets: SharedSecrets, *, site: str, name: str) -> bytes:
    """Return a hospital's message.

    Args:
        dealt: hospital of the run -> what it is to hold.
        secrets: of the hospital that deals.
        site: this hospital.
        name: of the round's sketch, ``SketchRequest.name``.
    """
    sealed = (
        encrypt_fresh(dealt[holder].pack(), secrets.derive(holder, _use(site, holder, name)), name.encode("ascii"))
        for holder in sorted(dealt)
    )
    return MAGIC + b"".join(sealed)


def split_message(content: object, *, holders: Sequence[str], sites: int) -> dict[str, bytes]:
    """Return the package of each hospital, from a message of any origin.

    Args:
        content: as received.
        holders: hospitals of the run, sorted.
        sites: number of hospitals of the round.

    Raises:
        EncryptionError: it is no such message.
    """
    size = sealed_size(sites)
    if type(content) is not bytes or len(content) != message_size(sites=sites, holders=len(holders)):
        raise EncryptionError("answer brings no shares of a model's sketch")
    if not content.startswith(MAGIC):
        raise EncryptionError("answer brings no shares of a model's sketch")
    return dict(zip(holders, pieces(content[len(MAGIC) :], size), strict=True))


def open_dealt(
    package: bytes, secrets: SharedSecrets, *, dealer: str, site: str, name: str, sites: Sequence[str]
) -> Dealt | None:
    """Return what a hospital holds of another's sketch; None: the package is not the dealer's for this sketch.

    Args:
        package: as received.
        secrets: of this hospital.
        dealer: the hospital whose sketch it is.
        site: this hospital.
        name: of the round's sketch.
        sites: hospitals of the round, sorted.
    """
    content = decrypt_fresh(package, secrets.derive(dealer, _use(dealer, site, name)), name.encode("ascii"))
    return None if content is None else unpack_dealt(content, others=[one for one in sites if one != dealer])


def _use(dealer: str, holder: str, name: str) -> bytes:
    return "\n".join(("sketch", dealer, holder, name)).encode("ascii")
