"""Decode the distances between the sketches of a round at the server; some hospitals may deal or answer falsely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, sqrt

from fedward.encryption.distances.holding import Held, Pair
from fedward.encryption.distances.reed_solomon import Decoded, decode
from fedward.encryption.distances.sketch import BLOCKS

_LARGEST = 1 << 240
"""Squared distances of sketches are below it; a larger number is none."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Distances of one round.

    Attributes:
        distances: two hospitals, sorted -> estimated Euclidean distance of their codes; infinite where one of the two
            dealt falsely.
        dealers: hospital that dealt falsely -> what was found.
        holders: hospitals that answered falsely, sorted.
    """

    distances: Mapping[Pair, float]
    dealers: Mapping[str, str]
    holders: tuple[str, ...]


def answers_needed(*, colluding: int, malicious: int) -> int:
    """Return the number of answers from which distances can be decoded."""
    return 2 * colluding + 1 + 2 * malicious


def decode_distances(
    answers: Mapping[str, Held],
    *,
    sites: Sequence[str],
    points: Mapping[str, int],
    colluding: int,
    malicious: int,
) -> Decoding:
    """Return the distances between the sketches of some hospitals.

    An honest hospital's distance to another honest one is right if at most ``malicious`` hospitals are not honest and
    ``answers_needed`` answers are there.

    Args:
        answers: hospital that answered -> its values.
        sites: hospitals that have dealt.
        points: hospital of the run -> its point.
        colluding: degree of the polynomials that share a sketch.
        malicious: largest number of hospitals that deal or answer falsely.
    """
    doubted = set[int]()
    names = {point: site for site, point in points.items()}

    def decoded(values: Mapping[int, int], degree: int) -> Decoded | None:
        # values that are missing, because a package did not open, count as false
        absent = len(answers) - len(values)
        if absent > malicious:
            return None
        found = decode(values, degree=degree, errors=malicious - absent, doubted=doubted)
        if found is not None:
            doubted.update(found.false)
        return found

    dealers = {}
    for site in sorted(sites):
        here = {points[holder]: one for holder, one in answers.items() if site in one.sketches}
        shared = decoded({point: one.sketches[site] for point, one in here.items()}, colluding)
        zero = decoded({point: one.zeros[site] for point, one in here.items()}, 2 * colluding)
        if shared is None or zero is None:
            dealers[site] = "shared its model's sketch falsely"
        elif zero.at_zero != 0:
            dealers[site] = "shared false zeros, which change its distances"
    distances, disagreed = {}, dict[int, int]()
    for pair in combinations(sorted(sites), 2):
        given = {points[holder]: one.distances[pair] for holder, one in answers.items() if pair in one.distances}
        found = None if set(pair) & set(dealers) else decoded(given, 2 * colluding)
        if found is None or found.at_zero > _LARGEST:
            distances[pair] = inf
            continue
        distances[pair] = sqrt(found.at_zero / BLOCKS)
        for point in found.false:
            disagreed[point] = disagreed.get(point, 0) + 1
    # false shares of one dealer make an honest holder disagree for that dealer's pairs, which are the fewer
    most = sum(distance < inf for distance in distances.values()) / 2
    false = sorted(names[point] for point, count in disagreed.items() if count > most)
    return Decoding(distances, dealers, tuple(false))
