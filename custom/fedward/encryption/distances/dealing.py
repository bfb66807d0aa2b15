"""Share the sketch of a hospital's model among all hospitals of a run, with what lets them compute distances of it.

Each number of the sketch is the value at 0 of a polynomial of degree ``colluding``; a hospital's share is its value at
the hospital's point (Shamir 1979, as in ``masks.shamir``). The share of a distance is a value of a polynomial of twice
that degree, whose other coefficients would tell of the sketches. So for each other hospital the dealer also shares 0,
with a polynomial of twice the degree that is otherwise uniform: added to the distance, it leaves the distance alone.
Two more shared numbers hide what is published to check the dealer (``checking``).

A package, for one hospital, has ``NUMBER_BYTES`` bytes for each of: the numbers of the sketch; the shares of 0 for each
other hospital of the round, in the order of the names; the two hiding numbers, of degree ``colluding`` and of twice it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedward.encryption.distances.field import NUMBER_BYTES, PRIME, pack_numbers, read_numbers
from fedward.encryption.distances.sketch import SIZE


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dealt:
    """What one hospital holds of another's sketch.

    Attributes:
        sketch: shares of the ``SIZE`` numbers.
        zeros: other hospital of the round -> share of 0.
        hides: share of a number that hides the check of the sketch's shares.
        hides_zero: share of 0 that hides the check of the shares of 0.
    """

    sketch: tuple[int, ...]
    zeros: Mapping[str, int]
    hides: int
    hides_zero: int

    def pack(self) -> bytes:
        """Return the package's content."""
        zeros = (self.zeros[other] for other in sorted(self.zeros))
        return pack_numbers((*self.sketch, *zeros, self.hides, self.hides_zero))


def package_size(sites: int) -> int:
    """Return the bytes of a package's content in a round of so many hospitals."""
    return NUMBER_BYTES * (SIZE + sites + 1)


def unpack_dealt(content: bytes, *, others: Sequence[str]) -> Dealt | None:
    """Read a package's content; None: it is of another length, or a number is outside the field.

    Args:
        content: as decrypted.
        others: the other hospitals of the round, sorted.
    """
    numbers = read_numbers(content, count=SIZE + len(others) + 2)
    if numbers is None:
        return None
    zeros = dict(zip(others, numbers[SIZE : SIZE + len(others)], strict=True))
    return Dealt(tuple(numbers[:SIZE]), zeros, numbers[-2], numbers[-1])


def deal(
    numbers: Sequence[int], *, others: Sequence[str], points: Mapping[str, int], colluding: int
) -> dict[str, Dealt]:
    """Return each hospital's package of one sketch.

    Args:
        numbers: the sketch, modulo ``PRIME``.
        others: the other hospitals of the round.
        points: hospital of the run -> its point, from 1.
        colluding: number of hospitals whose shares together tell nothing.
    """
    order = sorted(points)
    at = [points[holder] for holder in order]
    shared = [_shares(number, degree=colluding, points=at) for number in numbers]
    zeros = {other: _shares(0, degree=2 * colluding, points=at) for other in others}
    hides = _shares(secrets.randbelow(PRIME), degree=colluding, points=at)
    hides_zero = _shares(0, degree=2 * colluding, points=at)
    return {
        holder: Dealt(
            tuple(shares[place] for shares in shared),
            {other: shares[place] for other, shares in zeros.items()},
            hides[place],
            hides_zero[place],
        )
        for place, holder in enumerate(order)
    }


def _shares(value: int, *, degree: int, points: Sequence[int]) -> list[int]:
    """Return the values at some points of a polynomial that is ``value`` at 0 and otherwise uniform."""
    higher = [secrets.randbelow(PRIME) for _ in range(degree)]
    found = []
    for point in points:
        total = 0
        for coefficient in higher:
            total = (total + coefficient) * point % PRIME
        found.append((total + value) % PRIME)
    return found
