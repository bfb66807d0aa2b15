"""Give each new patient a side of the split: the whole is the asked fraction, and each kind of patient has its share.

A patient with a side keeps it. New patients are ordered by kind, and within a kind by their draw under the site's key,
and each kind gets its share of the whole (systematic sampling in strata: Cochran 1977, chapter 8). So the validation
side has the asked number of patients as long as none is taken away, however the patients came.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from fedward.dataset.manifest import Row, Split

MOST_VALUES = 8
"""Number of values up to which a label column tells kinds of patients."""
Kind = tuple[str, ...]


def kinds_of(rows: Sequence[Row]) -> dict[str, Kind]:
    """Return patient -> kind: the values of its labels over all its images, and whether a mask marks something.

    A label column with more than ``MOST_VALUES`` values tells no kind.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for column, value in row.labels.items():
            values[column].add(value.strip().lower())
    columns = sorted(column for column, found in values.items() if len(found) <= MOST_VALUES)
    told: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        told[row.patient] |= {f"{name}={row.labels[name].strip().lower()}" for name in columns if name in row.labels}
        told[row.patient] |= {"marked"} if row.structures else set()
    return {patient: tuple(sorted(words)) for patient, words in told.items()}


def wanted(patients: int, fraction: float) -> int:
    """Return the number of validation patients: the fraction, rounded, and with two patients or more one on each side
    at least."""
    return min(max(math.floor(fraction * patients + 0.5), 1), patients - 1) if patients > 1 else 0


def divide(
    kinds: Mapping[str, Kind], known: Mapping[str, Split], fraction: float, *, draw: Callable[[str], float]
) -> dict[str, Split]:
    """Return the side of each patient of ``kinds``; those of ``known`` keep theirs.

    Guarantee: the number of validation patients is ``wanted``, or as near to it as the new patients allow.

    Args:
        kinds: patient -> kind.
        known: patient -> side, of patients that have one.
        fraction: share of validation patients, between 0 and 1.
        draw: function of a patient to [0, 1): lower draws come to validation first.
    """
    sides: dict[str, Split] = {patient: known[patient] for patient in kinds if patient in known}
    fresh: dict[Kind, list[str]] = defaultdict(list)
    for patient in sorted((one for one in kinds if one not in known), key=lambda one: (draw(one), one)):
        fresh[kinds[patient]].append(patient)
    counts: dict[Kind, int] = defaultdict(int)
    held: dict[Kind, int] = defaultdict(int)
    for patient, kind in kinds.items():
        counts[kind] += 1
        held[kind] += sides.get(patient) == "validation"
    passed = given = 0
    chosen: set[str] = set()
    for kind in sorted(counts):
        passed += counts[kind]
        due = math.floor(fraction * passed + 0.5) - given - held[kind]
        taken = fresh[kind][: max(due, 0)]
        chosen.update(taken)
        given += held[kind] + len(taken)
    chosen = _exactly(wanted(len(kinds), fraction) - given, chosen, fresh, draw)
    for some in fresh.values():
        sides |= {patient: "validation" if patient in chosen else "train" for patient in some}
    return sides


def _exactly(
    missing: int, chosen: set[str], fresh: Mapping[Kind, Sequence[str]], draw: Callable[[str], float]
) -> set[str]:
    """Add so many new patients to those chosen, or take so many away, whatever their kind."""
    every = sorted((patient for some in fresh.values() for patient in some), key=lambda one: (draw(one), one))
    if missing >= 0:
        return chosen | set([one for one in every if one not in chosen][:missing])
    return chosen - set([one for one in reversed(every) if one in chosen][:-missing])


def moved(
    kinds: Mapping[str, Kind], known: Mapping[str, Split], fraction: float, *, draw: Callable[[str], float]
) -> dict[str, Split]:
    """Return the sides after a change of the fraction: as few patients as possible change theirs, by their draw."""
    sides = divide(kinds, known, fraction, draw=draw)
    validation = [one for one, side in sides.items() if side == "validation"]
    missing = wanted(len(kinds), fraction) - len(validation)
    if missing > 0:
        ordered = sorted((one for one in sides if sides[one] == "train"), key=lambda one: (draw(one), one))
        return sides | dict.fromkeys(ordered[:missing], "validation")
    ordered = sorted(validation, key=lambda one: (draw(one), one), reverse=True)
    return sides | dict.fromkeys(ordered[: -missing or 0], "train")
