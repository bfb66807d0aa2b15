"""Compute a hospital's shares of the distances between all sketches of a round, from what it holds of each.

The share of a squared distance is the squared distance of the shares, plus the two hospitals' shares of 0. For each
dealer there are two more values, by which the server sees that the dealer shared what it had to: a combination of the
shares of its sketch lies on a polynomial of degree ``colluding``, and one of its shares of 0 on a polynomial of twice
the degree that is 0 at 0. The factors follow from the name of the round's sketches, so that no dealer knows them; a
dealer that shared something else passes with probability 2^-254.

An answer is canonical JSON: {"damaged": [hospital], "values": hexadecimal digits}. ``damaged`` lists the dealers whose
package did not open. The values, ``SECRET_BYTES`` bytes each, are: of the other dealers, in the order of the names, the
distance of each two; then for each dealer the two checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from fedward.encryption.distances.dealing import Dealt
from fedward.encryption.distances.sketch import SIZE
from fedward.encryption.masks.shamir import PRIME, SECRET_BYTES
from fedward.encryption.masks.upload import pieces
from fedward.errors import EncryptionError

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One hospital's values.

    Attributes:
        distances: two hospitals, sorted -> value.
        sketches: hospital -> value that checks the shares of its sketch.
        zeros: hospital -> value that checks its shares of 0.
        damaged: hospitals whose package did not open; nothing is of them.
    """

    distances: Mapping[Pair, int]
    sketches: Mapping[str, int]
    zeros: Mapping[str, int]
    damaged: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """Return the answer, to be locked."""
        numbers = [self.distances[pair] for pair in sorted(self.distances)]
        numbers += [number for site in sorted(self.sketches) for number in (self.sketches[site], self.zeros[site])]
        digits = b"".join(number.to_bytes(SECRET_BYTES, "little") for number in numbers).hex()
        content = {"damaged": sorted(self.damaged), "values": digits}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def held(dealt: Mapping[str, Dealt], *, name: str, damaged: Sequence[str] = ()) -> Held:
    """Return a hospital's values.

    Args:
        dealt: dealer -> what this hospital holds of it.
        name: of the round's sketches.
        damaged: dealers whose package did not open.
    """
    distances = {}
    for one, other in combinations(sorted(dealt), 2):
        pairs = zip(dealt[one].sketch, dealt[other].sketch, strict=True)
        squared = sum((a - b) ** 2 for a, b in pairs)
        distances[one, other] = (squared + dealt[one].zeros[other] + dealt[other].zeros[one]) % PRIME
    factors = _factors(f"{name} sketch", SIZE)
    sketches = {
        site: (sum(f * share for f, share in zip(factors, own.sketch, strict=True)) + own.hides) % PRIME
        for site, own in dealt.items()
    }
    zeros = {}
    for site, own in dealt.items():
        each = _factors(f"{name} zeros", len(own.zeros))
        total = sum(f * own.zeros[other] for f, other in zip(each, sorted(own.zeros), strict=True))
        zeros[site] = (total + own.hides_zero) % PRIME
    return Held(distances, sketches, zeros, tuple(sorted(damaged)))


def read_held(content: bytes, *, sites: Sequence[str]) -> Held:
    """Read an answer of any origin, after it was unlocked.

    Args:
        content: of the lock.
        sites: hospitals that have dealt.

    Raises:
        EncryptionError: it is no such answer.
    """
    try:
        table = json.loads(content.decode("ascii"))
        digits, damaged = table["values"], table["damaged"]
        raw = bytes.fromhex(digits)
    except (ValueError, TypeError, LookupError, RecursionError):
        raise EncryptionError("answer brings no shares of the distances") from None
    if type(damaged) is not list or not all(type(site) is str for site in damaged) or not set(damaged) <= set(sites):
        raise EncryptionError("answer brings no shares of the distances")
    here = sorted(set(sites) - set(damaged))
    pairs = list(combinations(here, 2))
    numbers = [int.from_bytes(piece, "little") for piece in pieces(raw, SECRET_BYTES)]
    if len(raw) != SECRET_BYTES * (len(pairs) + 2 * len(here)) or any(number >= PRIME for number in numbers):
        raise EncryptionError("answer brings another number of shares than it was asked for")
    checks = numbers[len(pairs) :]
    return Held(
        dict(zip(pairs, numbers, strict=False)),
        dict(zip(here, checks[0::2], strict=True)),
        dict(zip(here, checks[1::2], strict=True)),
        tuple(sorted(damaged)),
    )


def _factors(name: str, count: int) -> list[int]:
    """Return numbers modulo the prime that follow from a name."""
    content = hashlib.shake_256(b"fedward/distances/1 " + name.encode("ascii")).digest(count * SECRET_BYTES)
    return [int.from_bytes(piece, "little") % PRIME for piece in pieces(content, SECRET_BYTES)]
