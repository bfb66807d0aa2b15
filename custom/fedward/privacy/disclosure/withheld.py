"""Which of its own counts a hospital withholds, put beside them in a sum of all hospitals.

A figure over all hospitals less what the others told is one hospital's own, also where its floor hid it or its list
does not have it. No hospital sees what another tells. So each seals more numbers with its counts: 1 for each count that
it withholds, and its floor. Whoever has opened the sum can tell then what may be told of it:

- where a hospital tells a count of its own, a count of all leaves only if every hospital tells its part, so that
  nothing follows from it that was not told;
- where no hospital tells any, there is nothing to take off, and the floor alone decides;
- the floor is the largest of any hospital, so that all tell the same of one sum.

To let more out, such as hidden parts of several hospitals together, would not do: what the floor hides is less than the
floor, so that a sum of hidden parts narrows each; and pooled scores and cohort statistics are two sums of patients that
partly are the same, from whose difference a single part may follow.

This keeps a count from whom reads what hospitals tell, and a server is one. A hospital that takes part in the sum opens
it and can take its own part off; and one that says that it tells what it withholds gives its own part away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward.errors import EncryptionError

ANY = ""
"""Stands for the patients with any yes among the names of labels."""
FLOORS = (*range(1, 31), *range(35, 101, 5), *range(110, 301, 10), 400, 500, 750, 1000, 10**4, 10**5, 10**6, 10**9)
"""Floors as a sum carries them; one between two counts as the higher."""
FORMAT = "fedward untold counts 2"
_WHOLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosed:
    """Which of its own counts a hospital tells.

    Attributes:
        anything: whether it tells any count of its own patients.
        patients: whether it tells how many they are.
        positives: labels, and ANY, whose patients with yes it tells.
        tables: labels of which it tells a reliability table.
    """

    anything: bool
    patients: bool
    positives: Collection[str]
    tables: Collection[str] = field(default_factory=tuple)


def withheld_length(names: Sequence[str]) -> int:
    """The length of ``withheld_counts`` for labels of these names."""
    return len(FLOORS) + _WHOLE + 2 * len(names)


def withheld_counts(names: Sequence[str], disclosed: Disclosed, *, min_count: int) -> NDArray[np.int64]:
    """A hospital's own numbers for the sum.

    Args:
        names: of the labels.
        disclosed: what it discloses.
        min_count: its floor.

    Returns:
        int64 (untold_length(names),), each 0 or 1: 1 for each of FLOORS up to its own; whether it tells anything;
        whether it withholds its patients, its patients with any yes, and those of each label; whether it tells a table
        of each label.
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
    """The counts of a sum that a hospital in it withholds.

    Args:
        names: as they were given to ``withheld_counts``.
        counts: the sum of it over the hospitals.
        min_count: the floor of the hospital that asks.

    Raises:
        EncryptionError: numbers that no hospitals' have.
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
        """The floor that every figure of the sum is held to: the largest of any hospital."""

    def hides_patients(self) -> bool:
        """The number of all patients might tell a hospital's own."""
        return bool(self._anything and self._patients)

    def hides(self, name: str) -> bool:
        """The number of all patients with yes might tell a hospital's own, with yes or without."""
        return bool(self._anything and (self._patients or self._positives[name]))

    def hides_table(self, name: str) -> bool:
        """The table of all might tell a hospital's own bins, since another tells its table."""
        return self._tables[name] > 0


def _not_such() -> EncryptionError:
    what = "what hospitals hide of a sum is not of its hospitals"
    return EncryptionError(what, remedy="let each hospital run the same version on the same job")
