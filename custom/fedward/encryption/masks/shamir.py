"""Split secrets into shares, of which any ``needed`` give the secret back and fewer tell nothing of it.

Shamir (1979), "How to share a secret", Communications of the ACM 22(11): the secret is the value at 0 of a polynomial
of degree ``needed - 1`` over a prime field, its other coefficients are uniform, and a share is its value at a point
that is not 0. The field is that of the integers modulo 2^255 - 19.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

from fedward.errors import EncryptionError

PRIME = (1 << 255) - 19
SECRET_BYTES = 32
"""Bytes of a secret and of a share, little-endian; both are below ``PRIME``."""


def is_element(content: object) -> bool:
    """True if ``content`` is ``SECRET_BYTES`` bytes of a number below ``PRIME``."""
    return type(content) is bytes and len(content) == SECRET_BYTES and int.from_bytes(content, "little") < PRIME


def new_secret() -> bytes:
    """Return a uniform secret from the system's entropy."""
    return secrets.randbelow(PRIME).to_bytes(SECRET_BYTES, "little")


def split(secret: bytes, *, needed: int, points: Sequence[int]) -> list[bytes]:
    """Return the share of each point.

    Args:
        secret: ``SECRET_BYTES`` bytes below ``PRIME``.
        needed: number of shares that give the secret back.
        points: of the holders: different numbers from 1.

    Raises:
        EncryptionError: the secret is none, there are fewer points than ``needed``, or a point is 0 or occurs twice.
    """
    if not is_element(secret):
        raise EncryptionError("secret to share is outside the field")
    if not 1 <= needed <= len(points) or len(set(points)) != len(points) or min(points) < 1:
        raise EncryptionError("shares cannot be made for these holders")
    higher = [secrets.randbelow(PRIME) for _ in range(needed - 1)]
    first = int.from_bytes(secret, "little")
    return [_value(first, higher, point).to_bytes(SECRET_BYTES, "little") for point in points]


def _value(first: int, higher: Sequence[int], point: int) -> int:
    total = 0
    for coefficient in higher:
        total = (total + coefficient) * point % PRIME
    return (total + first) % PRIME


def weights_of(points: Sequence[int]) -> tuple[int, ...]:
    """Return the factor of each point's share in the secret: Lagrange's polynomials at 0.

    Raises:
        EncryptionError: a point is 0 or occurs twice.
    """
    return weights_at(tuple(points), 0)


@lru_cache(maxsize=4096)
def weights_at(points: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Return the factor of each point's share in the polynomial's value at another point; errors as ``weights_of``."""
    if len(set(points)) != len(points) or any(not 0 < point < PRIME for point in points):
        raise EncryptionError("shares of one holder were given twice")
    found = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * (at - other) % PRIME
                below = below * (point - other) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)


def combine(shares: Mapping[int, bytes], *, needed: int) -> bytes:
    """Return the secret, from the shares of ``needed`` points or more; of more, the lowest points are used.

    Raises:
        EncryptionError: there are too few shares, or one is outside the field.
    """
    points = sorted(shares)[:needed]
    if len(points) < needed or not all(is_element(shares[point]) for point in points):
        raise EncryptionError("too few usable shares of a secret", value=len(points))
    return weighted(weights_of(points), [shares[point] for point in points])


def weighted(weights: Sequence[int], shares: Sequence[bytes]) -> bytes:
    """Return the secret of shares whose factors, from ``weights_of``, are known already."""
    total = sum(weight * int.from_bytes(share, "little") for weight, share in zip(weights, shares, strict=True))
    return (total % PRIME).to_bytes(SECRET_BYTES, "little")
