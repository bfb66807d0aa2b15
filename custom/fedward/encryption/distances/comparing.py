"""Compute a hospital's shares of the distances between sketches, and decode the distances at the server.

The share of a squared distance is the squared distance of the shares, plus the two hospitals' shares of 0: a value of a
polynomial of degree 2 ``colluding`` that is the squared distance at 0 and otherwise uniform.

An answer is canonical JSON: {"omitted": [hospital], "values": hexadecimal digits}. ``omitted`` lists the hospitals with
whose shares this hospital does not compute (``checking``); the distances of each two others follow in the order of the
names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, sqrt

from fedward.encryption.distances.dealing import Dealt
from fedward.encryption.distances.field import PRIME, pack_numbers, read_numbers
from fedward.encryption.distances.reed_solomon import decode
from fedward.encryption.distances.sketch import BLOCKS
from fedward.errors import EncryptionError

Pair = tuple[str, str]
_NONE = "answer brings no shares of the distances"


@dataclass(frozen=True, slots=True)
class DistanceShares:
    """One hospital's shares.

    Attributes:
        values: two hospitals, sorted -> share of their squared distance.
        omitted: hospitals with whose shares it does not compute, sorted.
    """

    values: Mapping[Pair, int]
    omitted: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """Return the answer, to be locked."""
        digits = pack_numbers(self.values[pair] for pair in sorted(self.values)).hex()
        content = {"omitted": sorted(self.omitted), "values": digits}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def distance_shares(dealt: Mapping[str, Dealt], *, omitted: Sequence[str] = ()) -> DistanceShares:
    """Return a hospital's shares of the distances between the sketches of some hospitals.

    Args:
        dealt: hospital -> what this hospital holds of it, checked.
        omitted: hospitals with whose shares it does not compute.
    """
    values = {}
    for one, other in combinations(sorted(dealt), 2):
        pairs = zip(dealt[one].sketch, dealt[other].sketch, strict=True)
        squared = sum((a - b) ** 2 for a, b in pairs)
        values[one, other] = (squared + dealt[one].zeros[other] + dealt[other].zeros[one]) % PRIME
    return DistanceShares(values, tuple(sorted(omitted)))


def read_distance_shares(content: bytes, *, dealers: Sequence[str]) -> DistanceShares:
    """Read an answer of any origin, after it was unlocked.

    Args:
        content: of the lock.
        dealers: hospitals that have dealt.

    Raises:
        EncryptionError: it is no such answer.
    """
    try:
        table = json.loads(content.decode("ascii"))
        raw, omitted = bytes.fromhex(table["values"]), table["omitted"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise EncryptionError(_NONE) from None
    if type(omitted) is not list or not all(type(one) is str and one in dealers for one in omitted):
        raise EncryptionError(_NONE)
    pairs = list(combinations(sorted(set(dealers) - set(omitted)), 2))
    numbers = read_numbers(raw, count=len(pairs))
    if numbers is None:
        raise EncryptionError(_NONE)
    found = DistanceShares(dict(zip(pairs, numbers, strict=True)), tuple(omitted))
    if found.pack() != content:
        raise EncryptionError(_NONE)
    return found


def answers_needed(*, colluding: int, malicious: int) -> int:
    """Return the number of hospitals that must answer, so that distances can be decoded if some answer falsely."""
    return 2 * colluding + 1 + 2 * malicious


def shares_needed(*, colluding: int, malicious: int) -> int:
    """Return the smallest number of shares of a sum of sketches that prove a sum (``sketched_sum``)."""
    return colluding + 1 + malicious


def decode_distances(
    answers: Mapping[str, DistanceShares],
    *,
    sites: Sequence[str],
    points: Mapping[str, int],
    colluding: int,
    malicious: int,
) -> dict[Pair, float]:
    """Return the estimated Euclidean distance of the codes of each two hospitals; infinite where it is not known.

    That of two honest hospitals is right, if at most ``malicious`` hospitals are not honest and ``answers_needed``
    answers are there.

    Args:
        answers: hospital that answered -> its shares.
        sites: hospitals whose distances are asked for.
        points: hospital of the run -> its point.
        colluding: degree of the polynomials that share a sketch.
        malicious: largest number of hospitals that deal or answer falsely.
    """
    found, doubted = {}, set[int]()
    for pair in combinations(sorted(sites), 2):
        values = {points[holder]: one.values[pair] for holder, one in answers.items() if pair in one.values}
        polynomial = decode(values, degree=2 * colluding, malicious=malicious, doubted=doubted)
        if polynomial is None:
            found[pair] = inf
            continue
        doubted.update(polynomial.false)
        found[pair] = sqrt(polynomial.at_zero / BLOCKS)
    return found
