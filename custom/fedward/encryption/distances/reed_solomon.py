"""Find the polynomial of low degree through some points of which a few are false.

Values of a polynomial of degree d at N points are a Reed-Solomon codeword; up to e false ones are found if
N >= d + 1 + 2 e. Welch and Berlekamp (1986, US patent 4,633,470), as in Gemmell and Sudan (1992), "Highly
resilient correctors for polynomials", Information Processing Letters 43(4): find E of degree e and Q with
Q(x) = y E(x) at each point; then Q / E is the polynomial. The field is that of ``field``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedward.encryption.distances.field import PRIME, value_at


@dataclass(frozen=True, slots=True)
class Decoded:
    """Polynomial that was found.

    Attributes:
        at_zero: its value at 0.
        false: points whose value is another, sorted.
    """

    at_zero: int
    false: tuple[int, ...]


def decode(values: Mapping[int, int], *, degree: int, malicious: int, doubted: Iterable[int] = ()) -> Decoded | None:
    """Return the one polynomial on which ``degree + 1 + malicious`` values or more lie; None: there is none.

    So it is that of the true values, if at most ``malicious`` are false. It is unique: of N values at most
    min(malicious, N - degree - 1 - malicious) may lie elsewhere.

    Args:
        values: point, from 1 -> value.
        degree: largest degree of the polynomial.
        malicious: largest number of false values.
        doubted: points that were false before: the polynomial is first sought without them, which is faster.
    """
    errors = min(malicious, len(values) - degree - 1 - malicious)
    if errors < 0:
        return None
    doubts = set(doubted)
    order = sorted(values, key=lambda point: (point in doubts, point))
    found = _checked(values, order[: degree + 1], errors=errors)
    if found is not None or errors == 0:
        return found
    good = _welch_berlekamp(values, degree=degree, errors=errors)
    return None if good is None else _checked(values, good[: degree + 1], errors=errors)


def _checked(values: Mapping[int, int], chosen: Sequence[int], *, errors: int) -> Decoded | None:
    """Return the polynomial through the chosen points, if it goes through all others but ``errors``."""
    points = tuple(sorted(chosen))
    rest = [point for point in values if point not in points]
    false = [point for point in rest if _value(values, points, point) != values[point]]
    if len(false) > errors:
        return None
    return Decoded(_value(values, points, 0), tuple(sorted(false)))


def _value(values: Mapping[int, int], points: tuple[int, ...], at: int) -> int:
    return value_at(points, [values[point] for point in points], at)


def _welch_berlekamp(values: Mapping[int, int], *, degree: int, errors: int) -> list[int] | None:
    """Return the points whose values are true; None where no such polynomial exists."""
    rows = []
    for point, value in values.items():
        powers = [pow(point, n, PRIME) for n in range(degree + errors + 1)]
        located = [-value * power % PRIME for power in powers[:errors]]
        rows.append([*powers, *located, value * pow(point, errors, PRIME) % PRIME])
    solved = _solve(rows)
    if solved is None:
        return None
    locator = [*solved[degree + errors + 1 :], 1]
    quotient = solved[: degree + errors + 1]
    found = []
    for point, value in values.items():
        e = _horner(locator, point)
        if e and _horner(quotient, point) == value * e % PRIME:
            found.append(point)
    return found if len(found) >= degree + 1 else None


def _horner(coefficients: Sequence[int], at: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * at + coefficient) % PRIME
    return total


def _solve(rows: list[list[int]]) -> list[int] | None:
    """Solve linear equations, the right side last in each row; unknowns that are free are 0."""
    width, pivots = len(rows[0]) - 1, list[int]()
    for column in range(width):
        at = len(pivots)
        chosen = next((n for n in range(at, len(rows)) if rows[n][column]), None)
        if chosen is None:
            continue
        rows[at], rows[chosen] = rows[chosen], rows[at]
        inverse = pow(rows[at][column], -1, PRIME)
        rows[at] = [number * inverse % PRIME for number in rows[at]]
        for n, row in enumerate(rows):
            if n != at and row[column]:
                factor = row[column]
                rows[n] = [(a - factor * b) % PRIME for a, b in zip(row, rows[at], strict=True)]
        pivots.append(column)
        if len(pivots) == len(rows):
            break
    if any(row[-1] and not any(row[:-1]) for row in rows):
        return None
    solved = [0] * width
    for row, column in zip(rows, pivots, strict=False):
        solved[column] = row[-1]
    return solved
