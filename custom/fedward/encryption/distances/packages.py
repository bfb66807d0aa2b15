r"""Pack the shares of a hospital's sketch into one message for the server: a package for each hospital of the run.

::

    FWDEAL2\n | package of each hospital, in the order of the names
    package: ``dealing.Dealt``, encrypted | token, 32 bytes

Encryption is AES-256-GCM (NIST SP 800-38D) under a secret of the two hospitals for this round's sketch, with a random
IV, since a repeated answer has new shares. The token is a secret of the two hospitals that follows from the hashes of
all packages of the dealer. So a holder knows which packages were dealt together with its own, whatever a server says.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from fedward.encryption.distances.dealing import Dealt, package_size, unpack_dealt
from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.locks import IV_BYTES, TAG_BYTES, decrypt_fresh, encrypt_fresh
from fedward.encryption.masks.shamir import SECRET_BYTES
from fedward.encryption.masks.upload import pieces
from fedward.errors import EncryptionError

MAGIC = b"FWDEAL2\n"
TOKEN_BYTES = SECRET_BYTES


def sealed_size(sites: int) -> int:
    """Return the bytes of a package in a round of so many hospitals."""
    return IV_BYTES + package_size(sites) + TAG_BYTES + TOKEN_BYTES


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
    holders, about = sorted(dealt), name.encode("ascii")
    sealed = [encrypt_fresh(dealt[one].pack(), secrets.derive(one, _use(site, one, name)), about) for one in holders]
    dealing = name_of_dealing([hashlib.sha256(one).hexdigest() for one in sealed], dealer=site, name=name)
    tokens = [secrets.derive(holder, _use_of_token(site, holder, dealing)) for holder in holders]
    return MAGIC + b"".join(package + token for package, token in zip(sealed, tokens, strict=True))


def hash_of(package: bytes) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of a package without its token."""
    return hashlib.sha256(package[:-TOKEN_BYTES]).hexdigest()


def name_of_dealing(hashes: Sequence[str], *, dealer: str, name: str) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of all packages that a hospital dealt together.

    Args:
        hashes: ``hash_of`` each package, in the order of the run's sites.
        dealer: the hospital.
        name: of the round's sketch.
    """
    return hashlib.sha256("\n".join(("fedward/dealing/1", name, dealer, *hashes)).encode("ascii")).hexdigest()


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
    package: bytes,
    secrets: SharedSecrets,
    *,
    dealer: str,
    site: str,
    name: str,
    sites: Sequence[str],
    dealing: str,
) -> Dealt | None:
    """Return what a hospital holds of another's sketch.

    None: the package is not the dealer's for this sketch, or the dealer did not deal it together with the others.

    Args:
        package: as received.
        secrets: of this hospital.
        dealer: the hospital whose sketch it is.
        site: this hospital.
        name: of the round's sketch.
        sites: hospitals of the round, sorted.
        dealing: ``name_of_dealing`` the packages of the dealer, as a server names them.
    """
    token = secrets.derive(dealer, _use_of_token(dealer, site, dealing))
    if not hmac.compare_digest(package[-TOKEN_BYTES:], token):
        return None
    content = decrypt_fresh(
        package[:-TOKEN_BYTES], secrets.derive(dealer, _use(dealer, site, name)), name.encode("ascii")
    )
    return None if content is None else unpack_dealt(content, others=[one for one in sites if one != dealer])


def _use(dealer: str, holder: str, name: str) -> bytes:
    return "\n".join(("sketch", dealer, holder, name)).encode("ascii")


def _use_of_token(dealer: str, holder: str, dealing: str) -> bytes:
    return "\n".join(("dealing", dealer, holder, dealing)).encode("ascii")
