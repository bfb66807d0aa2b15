"""Check what hospitals dealt before anything is computed on it.

Of each dealer, every hospital publishes two values: a combination of its shares of the sketch, which must lie on a
polynomial of degree ``colluding`` with the others', and one of its shares of 0, which must lie on a polynomial of twice
the degree that is 0 at 0. The factors follow from the hashes of all packages that this dealer dealt together, so it did
not know them when it dealt; one that dealt something else passes with probability 2^-126. A number that only the dealer
knows hides each combination, but not a second one with other factors: so the dealer's token says which packages it
dealt together (``packages``), and a server cannot have one dealing combined twice.

Every hospital judges the dealers by the same values, and computes with a dealer only if its own values lie on the
polynomials. So of what a hospital computes, all belongs to one sketch of each dealer.

The values of one hospital are canonical JSON: {"damaged": [hospital], "values": hexadecimal digits}. ``damaged`` lists
dealers whose package did not open; the others' values follow in the order of the names, two for each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedward.encryption.distances.dealing import Dealt
from fedward.encryption.distances.field import NUMBER_BYTES, PRIME, pack_numbers, read_numbers
from fedward.encryption.distances.reed_solomon import Decoded, decode
from fedward.encryption.distances.sketch import SIZE
from fedward.errors import EncryptionError

MAGIC = b"FWCHECK1\n"
_NONE = "answer brings no values by which shares are checked"


@dataclass(frozen=True, slots=True)
class Checks:
    """Values of one hospital.

    Attributes:
        values: dealer -> value of the shares of its sketch, and of its shares of 0.
        damaged: dealers whose package did not open, sorted.
    """

    values: Mapping[str, tuple[int, int]]
    damaged: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """Return the values as bytes."""
        digits = pack_numbers(number for dealer in sorted(self.values) for number in self.values[dealer]).hex()
        content = {"damaged": sorted(self.damaged), "values": digits}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judgement of one dealer.

    Attributes:
        why: what is wrong with what it dealt; None: nothing.
        off: hospitals whose values are not on its polynomials, or whose package did not open.
    """

    why: str | None
    off: frozenset[str]


def checks_of(dealt: Mapping[str, Dealt], *, dealings: Mapping[str, str], damaged: Sequence[str] = ()) -> Checks:
    """Return a hospital's values.

    Args:
        dealt: dealer -> what this hospital holds of it.
        dealings: dealer -> ``packages.name_of_dealing`` from which that is, which the dealer's token proves.
        damaged: dealers whose package did not open.
    """
    values = {}
    for dealer, own in dealt.items():
        factors, each = (
            _factors(f"{dealings[dealer]} {what}", count)
            for what, count in (("sketch", SIZE), ("zeros", len(own.zeros)))
        )
        zeros = sum(f * own.zeros[other] for f, other in zip(each, sorted(own.zeros), strict=True))
        shared = sum(f * share for f, share in zip(factors, own.sketch, strict=True))
        values[dealer] = ((shared + own.hides) % PRIME, (zeros + own.hides_zero) % PRIME)
    return Checks(values, tuple(sorted(damaged)))


def read_checks(content: object, *, dealers: Sequence[str]) -> Checks:
    """Read a hospital's values, of any origin.

    Raises:
        EncryptionError: they are none.
    """
    try:
        table = json.loads(content.decode("ascii")) if type(content) is bytes else {}
        raw, damaged = bytes.fromhex(table["values"]), table["damaged"]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise EncryptionError(_NONE) from None
    if type(damaged) is not list or not all(type(one) is str and one in dealers for one in damaged):
        raise EncryptionError(_NONE)
    here = sorted(set(dealers) - set(damaged))
    numbers = read_numbers(raw, count=2 * len(here))
    if numbers is None:
        raise EncryptionError(_NONE)
    found = Checks(dict(zip(here, zip(numbers[0::2], numbers[1::2], strict=True), strict=True)), tuple(damaged))
    if found.pack() != content:
        raise EncryptionError(_NONE)
    return found


def judged(
    checks: Mapping[str, Checks],
    *,
    dealers: Sequence[str],
    points: Mapping[str, int],
    colluding: int,
    malicious: int,
) -> dict[str, Verdict]:
    """Judge every dealer; the same values give the same judgement everywhere.

    Args:
        checks: hospital -> its values.
        dealers: hospitals that have dealt.
        points: hospital of the run -> its point.
        colluding: degree of the polynomials that share a sketch.
        malicious: largest number of hospitals that deal or answer falsely.
    """
    names, doubted, found = {point: site for site, point in points.items()}, set[int](), {}

    def decoded(dealer: str, which: int, degree: int) -> Decoded | None:
        values = {points[holder]: one.values[dealer][which] for holder, one in checks.items() if dealer in one.values}
        polynomial = decode(values, degree=degree, malicious=malicious, doubted=doubted)
        doubted.update(() if polynomial is None else polynomial.false)
        return polynomial

    for dealer in sorted(dealers):
        shared, zeros = decoded(dealer, 0, colluding), decoded(dealer, 1, 2 * colluding)
        if shared is None or zeros is None:
            found[dealer] = Verdict("shared its model's sketch falsely", frozenset())
            continue
        off = {names[point] for point in (*shared.false, *zeros.false)}
        off |= {holder for holder, one in checks.items() if dealer in one.damaged}
        why = "shared false zeros, which change its distances" if zeros.at_zero else None
        if len(off) > malicious:
            why = "shared its model's sketch falsely"
        found[dealer] = Verdict(why, frozenset(off))
    return found


def about(name: str) -> bytes:
    """Return how an answer to a request to check begins; ``name`` is that of the packages."""
    return MAGIC + name.encode("ascii") + b"\n"


def checked(answer: bytes, *, name: str) -> bytes:
    """Return the values in a hospital's answer to a request to check.

    Args:
        answer: as received.
        name: of the packages.

    Raises:
        EncryptionError: the answer is about others.
    """
    start = about(name)
    if not answer.startswith(start):
        raise EncryptionError("values by which shares are checked are of others")
    return answer[len(start) :]


def _factors(name: str, count: int) -> list[int]:
    """Return numbers modulo the prime that follow from a name."""
    content = hashlib.shake_256(b"fedward/distances/1 " + name.encode("ascii")).digest(count * NUMBER_BYTES)
    return [
        int.from_bytes(content[at : at + NUMBER_BYTES], "little") % PRIME for at in range(0, len(content), NUMBER_BYTES)
    ]
