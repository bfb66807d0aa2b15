"""Lock what a hospital gives for a sum, so that it opens only where enough hospitals helped for the same messages.

Shares of different hospitals could be combined although the server asked each of them for another set of messages. So
each hospital encrypts its shares under a fresh key and splits that key among all hospitals of the run: the part of
hospital j is encrypted under a secret of the two for this one sum. And each hospital gives the server its secrets for
the others' locks, for the one set of messages that it helps for. ``quorum`` hospitals that helped for the same set open
the lock; fewer tell nothing of the key (Shamir 1979), and secrets for another set fit no part.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fedward.encryption.masks.agreement import SharedSecrets
from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.shamir import SECRET_BYTES, combine, is_element, new_secret, split

IV_BYTES, TAG_BYTES = 12, 16
PART_BYTES = IV_BYTES + SECRET_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Locked:
    """Locked content of one hospital.

    Attributes:
        content: encrypted.
        parts: hospital -> its part of the key, encrypted, ``PART_BYTES`` bytes.
        tokens: hospital -> secret that opens this hospital's part of that one's lock, ``SECRET_BYTES`` bytes.
    """

    content: bytes
    parts: Mapping[str, bytes]
    tokens: Mapping[str, bytes]


def lock(content: bytes, secrets_: SharedSecrets, *, site: str, graph: Graph, name: str) -> Locked:
    """Lock a hospital's content for one sum.

    Args:
        content: to lock.
        secrets_: of this hospital.
        site: this hospital.
        graph: of the run.
        name: of the sum and the messages in it, ``unmask_message.name_of_sum``.
    """
    key = new_secret()
    shares = split(key, needed=graph.quorum, points=[graph.point(other) for other in graph.sites])
    about = name.encode("ascii")
    parts = {
        other: encrypt_fresh(share, secrets_.derive(other, _use(site, other, name)), about)
        for other, share in zip(graph.sites, shares, strict=True)
    }
    tokens = {other: secrets_.derive(other, _use(other, site, name)) for other in graph.sites}
    return Locked(encrypt_fresh(content, _content_key(key), about), parts, tokens)


def unlock(locked: Locked, tokens: Mapping[str, bytes], *, graph: Graph, name: str) -> bytes | None:
    """Return a hospital's content, or None where too few tokens fit.

    Args:
        locked: what the hospital gave.
        tokens: hospital -> its token for this lock.
        graph: of the run.
        name: of the sum and the messages in it.
    """
    about, found = name.encode("ascii"), dict[int, bytes]()
    for other, token in tokens.items():
        share = decrypt_fresh(locked.parts[other], token, about)
        if share is not None and is_element(share):
            found[graph.point(other)] = share
    if len(found) < graph.quorum:
        return None
    return decrypt_fresh(locked.content, _content_key(combine(found, needed=graph.quorum)), about)


def _use(owner: str, opener: str, name: str) -> bytes:
    return "\n".join(("lock", owner, opener, name)).encode("ascii")


def _content_key(key: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=32, info=b"fedward/lock/1").derive(key)


def encrypt_fresh(content: bytes, key: bytes, about: bytes) -> bytes:
    """Encrypt with AES-256-GCM (NIST SP 800-38D) under a random IV, which comes first; ``about`` is authenticated."""
    iv = secrets.token_bytes(IV_BYTES)  # a repeated answer has another key in its parts, under the same secrets
    return iv + AESGCM(key).encrypt(iv, content, about)


def decrypt_fresh(sealed: bytes, key: bytes, about: bytes) -> bytes | None:
    """Invert ``encrypt_fresh``; None where key, content or ``about`` is another."""
    try:
        return AESGCM(key).decrypt(sealed[:IV_BYTES], sealed[IV_BYTES:], about)
    except (InvalidTag, ValueError):
        return None
