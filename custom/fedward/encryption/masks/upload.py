r"""Write and read the payload of a masked message: numbers, commitments to the seeds, and shares of the seeds.

::

    numbers | commitment to each seed | hashes of each holder's shares | package of each holder

The seeds are that of the self mask, then that of the mask with each neighbour; neighbours and holders are in the order
of their names. A commitment is the SHA-256 of a seed, a hash the first half of the SHA-256 of a share. A package holds
one share of each seed, encrypted to its holder with AES-256-GCM (NIST SP 800-38D) under a key that serves this package
alone. Every part has a fixed length, so that a payload has one form only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedward.encryption.masks.graphs.graph import Graph
from fedward.encryption.masks.shamir import SECRET_BYTES, is_element
from fedward.errors import EncryptionError

COMMITMENT_BYTES, HASH_BYTES = 32, 16
_GCM_BYTES = 16
_IV = bytes(12)
"""Constant: each key encrypts one package."""


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """Parts of a masked message's payload.

    Attributes:
        numbers: masked numbers, little-endian.
        commitments: to the self mask's seed, then to the seed with each neighbour.
        hashes: holder -> hashes of its shares, in the order of the commitments.
        packages: holder -> its package.
    """

    numbers: bytes
    commitments: tuple[bytes, ...]
    hashes: Mapping[str, tuple[bytes, ...]]
    packages: Mapping[str, bytes]

    def pack(self) -> bytes:
        """Return the payload."""
        holders = sorted(self.packages)
        hashes = (one for name in holders for one in self.hashes[name])
        return b"".join((self.numbers, *self.commitments, *hashes, *(self.packages[name] for name in holders)))


def extra_bytes(*, neighbours: int, holders: int) -> int:
    """Return the bytes of a payload besides its numbers, for a hospital with so many neighbours and holders."""
    seeds = neighbours + 1
    return COMMITMENT_BYTES * seeds + holders * (HASH_BYTES * seeds + package_bytes(neighbours))


def package_bytes(neighbours: int) -> int:
    """Return the bytes of one package from a hospital with so many neighbours."""
    return (neighbours + 1) * SECRET_BYTES + _GCM_BYTES


def unpack_upload(payload: bytes, *, site: str, graph: Graph, number_bytes: int) -> Upload:
    """Read the payload of a hospital's masked message.

    Args:
        payload: as received.
        site: hospital that sealed it.
        graph: of the run.
        number_bytes: bytes of all numbers of the sum.

    Raises:
        EncryptionError: it has another length.
    """
    holders, seeds = graph.holders(site), len(graph.neighbours(site)) + 1
    size = package_bytes(seeds - 1)
    hashed = number_bytes + COMMITMENT_BYTES * seeds
    start = hashed + HASH_BYTES * seeds * len(holders)
    if len(payload) != start + size * len(holders):
        raise EncryptionError("masked message has another length than its sum's", value=len(payload))
    commitments = pieces(payload[number_bytes:hashed], COMMITMENT_BYTES)
    every = pieces(payload[hashed:start], HASH_BYTES)
    hashes = {holder: every[seeds * place : seeds * (place + 1)] for place, holder in enumerate(holders)}
    packages = {
        holder: payload[start + size * place : start + size * (place + 1)] for place, holder in enumerate(holders)
    }
    return Upload(payload[:number_bytes], commitments, hashes, packages)


def commitment(seed: bytes) -> bytes:
    """Return the commitment to a seed: it discloses nothing of a uniform seed, and fits no other."""
    return hashlib.sha256(b"fedward/seed/1" + seed).digest()


def share_hash(share: bytes) -> bytes:
    """Return the hash of a share, ``HASH_BYTES`` bytes: it discloses nothing of a uniform share, and fits no other."""
    return hashlib.sha256(b"fedward/share/1" + share).digest()[:HASH_BYTES]


def pieces(content: bytes, size: int) -> tuple[bytes, ...]:
    """Cut content into parts of one size, in order."""
    return tuple(content[at : at + size] for at in range(0, len(content), size))


def close_package(shares: Sequence[bytes], *, key: bytes, part: bytes) -> bytes:
    """Encrypt one holder's shares.

    Args:
        shares: ``SECRET_BYTES`` bytes each.
        key: 32 bytes that serve this package alone.
        part: name of the message, which is authenticated with the shares.
    """
    return AESGCM(key).encrypt(_IV, b"".join(shares), part)


def open_package(package: bytes, *, key: bytes, part: bytes) -> list[bytes] | None:
    """Return a package's shares, or None where it was not closed for this message with this key."""
    try:
        content = AESGCM(key).decrypt(_IV, package, part)
    except InvalidTag:
        return None
    shares = list(pieces(content, SECRET_BYTES))
    return shares if all(is_element(share) for share in shares) else None
