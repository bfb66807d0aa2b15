"""Make and compare fingerprints that people read over the telephone: eight groups of four hexadecimal digits.

A fingerprint is the first 128 bits of a SHA-256 over data that both ends have. To pass off another certificate or key,
an attacker must find a second preimage, in 2^128 tries, since an honest end makes the first.
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
    """Return the SHA-256 over the key's SubjectPublicKeyInfo in DER (RFC 5280, 4.1), as 64 hexadecimal digits."""
    digest = Hash(SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def spoken(digest: str) -> str:
    """Return the fingerprint of a SHA-256 of 64 digits, as people read it."""
    return grouped(digest[:_DIGITS])


def spoken_authority(root: x509.Certificate) -> str:
    """Return the fingerprint of the authority's certificate, as people read it."""
    return spoken(root.fingerprint(SHA256()).hex())


def require_fingerprint(spoken: str, *, digest: str, what: str, where: str | Path, remedy: str) -> None:
    """Refuse a fingerprint that does not match; the error shows the given one only: the right one comes by telephone.

    Args:
        spoken: fingerprint read over the telephone, in any grouping; all 64 digits, as openssl prints them, work too.
        digest: SHA-256 of the certificate or key that is here, 64 hexadecimal digits.
        what, where, remedy: for the error.

    Raises:
        FederationError: ``spoken`` is not a fingerprint, or does not match.
    """
    plain = "".join(spoken.split()).replace("-", "").replace(":", "").lower()
    if len(plain) not in (_DIGITS, _ALL) or not set(plain) <= set("0123456789abcdef"):
        hint = "give the eight groups of four that the other end reads to you"
        raise FederationError("is not a fingerprint", where=where, value=spoken, remedy=hint)
    if not hmac.compare_digest(digest[: len(plain)].encode(), plain.encode()):
        raise FederationError(what, where=where, value=grouped(plain), remedy=remedy)
