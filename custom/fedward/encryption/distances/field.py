"""Compute in the field of the integers modulo 2^127 - 1, in which sketches and their distances are shared.

It has room for squared distances of sketches of numbers of 32 bits, and for little more: a hospital that colludes with
the server learns one number of the field of each other sketch in a round, so the field is no larger than it must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

PRIME = (1 << 127) - 1
NUMBER_BYTES = 16
"""Bytes of a number, little-endian."""


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Return numbers as bytes, ``NUMBER_BYTES`` each."""
    return b"".join(number.to_bytes(NUMBER_BYTES, "little") for number in numbers)


def read_numbers(content: bytes, *, count: int) -> list[int] | None:
    """Invert ``pack_numbers``; None: the bytes are not so many numbers of the field."""
    if len(content) != NUMBER_BYTES * count:
        return None
    found = [int.from_bytes(content[at : at + NUMBER_BYTES], "little") for at in range(0, len(content), NUMBER_BYTES)]
    return found if all(number < PRIME for number in found) else None


@lru_cache(maxsize=4096)
def weights_at(points: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Return the factor of each point's value in the value at another point of the polynomial through them."""
    found = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * (at - other) % PRIME
                below = below * (point - other) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)


def value_at(points: Sequence[int], values: Sequence[int], at: int) -> int:
    """Return the value at a point of the polynomial through some points, which are in ascending order."""
    weights = weights_at(tuple(points), at)
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) % PRIME
