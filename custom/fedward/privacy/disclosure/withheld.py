"""Mark the counts that each hospital withholds, together with the counts in a secure sum of all hospitals.

A figure over all hospitals, minus the figures that the others disclosed, is one hospital's own, even where its minimum
count or its list withholds it. No hospital sees what another discloses. So each hospital encrypts more numbers with its
counts: 1 for each count that it withholds, and its minimum count. Whoever has opened the sum can then decide what may
be disclosed of it:

- where a hospital discloses its own count, a count of all leaves only if every hospital discloses its part, so that
  nothing follows from it that was not disclosed;
- where no hospital discloses any, there is nothing to subtract, and the minimum count alone decides;
- the minimum count is the largest of any hospital, so that all disclose the same of one sum.

Disclosing more, such as hidden parts of several hospitals together, would not be safe. A hidden part is below the
minimum count, so that a sum of hidden parts narrows each. And pooled scores and cohort statistics are two sums over
partly the same patients: a single part may follow from their difference.

This hides a count from anyone who reads what hospitals disclose, such as a server. A hospital in the sum opens it and
can subtract its own part; and a hospital that marks a withheld count as disclosed gives its own part away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward.errors import EncryptionError

ANY = ""
"""Name for the patients with any yes among the names of labels."""
FLOORS = (*range(1, 31), *range(35, 101, 5), *range(110, 301, 10), 400, 500, 750, 1000, 10**4, 10**5, 10**6, 10**9)
"""Minimum counts as a sum carries them; a value between two counts as the higher."""
FORMAT = "fedward untold counts 2"
_WHOLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosed:
    """Counts that a hospital discloses about its own patients.

    Attributes:
        anything: True if it discloses any such count.
        patients: True if it discloses their number.
        positives: labels, and ANY, for which it discloses the patients with yes.
        tables: labels of which it discloses a reliability table.
    """

    anything: bool
    patients: bool
    positives: Collection[str]
    tables: Collection[str] = field(default_factory=tuple)


def withheld_length(names: Sequence[str]) -> int:
    """Return the length of ``withheld_counts`` for labels of these names."""
    return len(FLOORS) + _WHOLE + 2 * len(names)


def withheld_counts(names: Sequence[str], disclosed: Disclosed, *, min_count: int) -> NDArray[np.int64]:
    """Return a hospital's own numbers for the sum.

    Args:
        names: of the labels.
        disclosed: the counts that it discloses.
        min_count: its minimum count.

    Returns:
        int64 (withheld_length(names),), each 0 or 1. In order: 1 for each of FLOORS up to its own; 1 if it discloses
        anything; 1 if it withholds its patients, its patients with any yes, and those of each label; 1 if it
        discloses a table of each label.
    """
    own_floor = int(np.searchsorted(FLOORS, min(min_count, FLOORS[-1])))
    marks = [
        *(np.arange(len(FLOORS)) <= own_floor),
        disclosed.anything,
        not disclosed.patients,
        *(name not in disclosed.positives for name in (ANY, *names)),
        *(name in disclosed.tables for name in names),
    ]
    return np.array(marks, dtype=np.int64)


class Withheld:
    """Counts of a sum that some hospital in it withholds.

    Args:
        names: as they were given to ``withheld_counts``.
        counts: the sum of its results over the hospitals.
        min_count: minimum count of the hospital that asks.

    Raises:
        EncryptionError: the numbers cannot be those of hospitals.
    """

    def __init__(self, names: Sequence[str], counts: NDArray[np.int64], *, min_count: int) -> None:
        if counts.shape != (withheld_length(names),) or counts.dtype != np.int64:
            raise _not_such()
        floors, marks = np.split(counts, [len(FLOORS)])
        if floors[0] < 1 or counts.min() < 0 or marks.max() > floors[0] or np.any(np.diff(floors) > 0):
            raise _not_such()
        self._anything, self._patients, *rest = marks.tolist()
        self._positives: Mapping[str, int] = dict(zip((ANY, *names), rest[: len(names) + 1], strict=True))
        self._tables: Mapping[str, int] = dict(zip(names, rest[len(names) + 1 :], strict=True))
        self.least: int = max(min_count, FLOORS[int(np.flatnonzero(floors)[-1])])
        """Minimum count for every figure of the sum: the largest of any hospital."""

    def hides_patients(self) -> bool:
        """True if the number of all patients might disclose a hospital's own."""
        return bool(self._anything and self._patients)

    def hides(self, name: str) -> bool:
        """True if the number of all patients with yes might disclose a hospital's own, with yes or without."""
        return bool(self._anything and (self._patients or self._positives[name]))

    def hides_table(self, name: str) -> bool:
        """True if the table of all might disclose a hospital's own bins, since another discloses its table."""
        return self._tables[name] > 0


def _not_such() -> EncryptionError:
    what = "what hospitals hide of a sum is not of its hospitals"
    return EncryptionError(what, remedy="let each hospital run the same version on the same job")
