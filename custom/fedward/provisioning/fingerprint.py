"""Fingerprints that people read to each other over the telephone: eight groups of four hexadecimal digits.

They are the first 128 bits of a SHA-256 over what both ends hold. Who would pass off another certificate or key under
one of them has to find a second preimage, 2^128 tries, since the first is made by an honest end.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedward.encryption.keys.sealed_box import grouped
from fedward.errors import FederationError

_DIGITS, _ALL = 32, 64


def key_hash(key: RSAPublicKey) -> str:
    """SHA-256 over the key's SubjectPublicKeyInfo in DER (RFC 5280, 4.1), as 64 hexadecimal digits."""
    digest = Hash(SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def spoken(digest: str) -> str:
    """What people read of a SHA-256 of 64 digits."""
    return grouped(digest[:_DIGITS])


def spoken_authority(root: x509.Certificate) -> str:
    """What people read of the authority's certificate."""
    return spoken(root.fingerprint(SHA256()).hex())


def require_fingerprint(spoken: str, *, digest: str, what: str, where: str | Path, remedy: str) -> None:
    """Refuse what another end named otherwise; the error says what was given, since the right one is to be heard.

    Args:
        spoken: what was read over the telephone, in any grouping; all 64 digits, as openssl prints them, serve too.
        digest: of what is here, 64 hexadecimal digits.
        what, where, remedy: for the error.

    Raises:
        FederationError: ``spoken`` is no fingerprint, or another's.
    """
    plain = "".join(spoken.split()).replace("-", "").replace(":", "").lower()
    if len(plain) not in (_DIGITS, _ALL) or not set(plain) <= set("0123456789abcdef"):
        hint = "give the eight groups of four that the other end reads to you"
        raise FederationError("is not a fingerprint", where=where, value=spoken, remedy=hint)
    if not hmac.compare_digest(digest[: len(plain)].encode(), plain.encode()):
        raise FederationError(what, where=where, value=grouped(plain), remedy=remedy)
