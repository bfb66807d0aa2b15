"""What hospitals do not tell of their own counts, put beside them in a sum of all hospitals.

A figure over all hospitals less what the others told is one hospital's own, also where its floor hid it or its list
does not have it. No hospital sees what another tells. So each puts more numbers into the sealed sum: whether it hides
its part of a count, and how many patients that part is; which edges its own reliability table lacks; its floor. Who has
opened the sum can tell then what may be told of it:

- a count leaves where nobody hides their part, or where two hospitals or more do and their parts together have the
  floor: patients with yes, and without (Hundepool et al. 2012, Statistical Disclosure Control, section 4.2.2);
- a reliability table has the edges that each table of one hospital has, and in each bin the hospitals that tell no
  table are none, or two or more who together have the floor;
- the floor is the largest of any hospital, so that all tell the same of one sum, and nothing follows from two answers.

This keeps a count from whom reads what hospitals tell, and a server is one. A hospital that takes part in the sum opens
it, and can always take its own part off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import EncryptionError
from fedward.privacy.metric_table import RELIABILITY_BINS

ANY = ""
"""Stands for the patients with any yes among the names of labels."""
FLOORS = (*range(1, 11), 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 10**4, 10**5, 10**6, 10**9)
"""Floors as a sum carries them; one between two counts as the higher."""
FORMAT = "fedward untold counts 1"
_TENTHS = len(RELIABILITY_BINS)
_PART = 3
_TABLE = (_TENTHS - 1) + 1 + 2 * _TENTHS

Cell = dict[str, Any]
Table = Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What a hospital does not tell of its own counts of some of its patients.

    Attributes:
        patients: how many they are; None where that is told.
        positives: label, or ANY -> patients, and those of them with yes; absent where these are told.
        by_tenth: label -> int64 (2, 10): patients, and those with yes, in each tenth of the score.
        edges: label -> lower edges of the reliability table that is told; a label that is absent has none.
    """

    patients: int | None
    positives: Mapping[str, tuple[int, int]]
    by_tenth: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    edges: Mapping[str, Collection[str]] = field(default_factory=dict)


def untold_length(names: Sequence[str], *, tables: bool) -> int:
    """How many numbers ``untold_counts`` has for labels of these names."""
    return len(FLOORS) + _PART * (2 + len(names)) + (_TABLE * len(names) if tables else 0)


def untold_counts(names: Sequence[str], splits: Sequence[Own], *, min_count: int, tables: bool) -> NDArray[np.int64]:
    """A hospital's own numbers for the sum.

    Args:
        names: of the labels.
        splits: its patients in groups that have none in common.
        min_count: its floor.
        tables: whether reliability tables are told of the sum; there is one split then.

    Returns:
        int64 (untold_length(names, tables=tables),): 1 for each of FLOORS up to its own; for all patients, for ANY and
        for each label: 1 if some is hidden, the patients of the splits that hide it, and those of them with yes; then
        for each label 1 for each inner edge that its own table lacks, 1 if it tells no table, and the patients by tenth
        that the table would be of.
    """
    own_floor = int(np.searchsorted(FLOORS, min(min_count, FLOORS[-1])))
    rows: list[NDArray[np.int64]] = [(np.arange(len(FLOORS)) <= own_floor).astype(np.int64)]
    rows.append(_part([(split.patients, 0) for split in splits if split.patients is not None]))
    for name in (ANY, *names):
        rows.append(_part([split.positives[name] for split in splits if name in split.positives]))
    if tables:
        (split,) = splits
        rows += [_own_table(split.by_tenth[name], split.edges.get(name, ())) for name in names]
    return np.concatenate(rows)


class Untold:
    """What is hidden of a sum's counts.

    Args:
        names, tables: as they were given to ``untold_counts``.
        counts: the sum of it over the hospitals.
        min_count: the floor of the hospital that asks.

    Raises:
        EncryptionError: numbers that no hospitals' have.
    """

    def __init__(self, names: Sequence[str], counts: NDArray[np.int64], *, tables: bool, min_count: int) -> None:
        good = counts.shape == (untold_length(names, tables=tables),) and counts.dtype == np.int64
        if not good or counts.min() < 0:
            raise _not_such()
        floors, rest = np.split(counts, [len(FLOORS)])
        hospitals = int(floors[0])
        parts, rows = np.split(rest, [_PART * (2 + len(names))])
        self._parts = dict(zip((None, ANY, *names), parts.reshape(-1, _PART), strict=True))
        self._tables = dict(zip(names, rows.reshape(-1, _TABLE), strict=True)) if tables else {}
        known = all(part[0] <= hospitals and part[2] <= part[1] for part in self._parts.values())
        known = known and all(row[:_TENTHS].max() <= hospitals for row in self._tables.values())
        if not hospitals or not known or np.any(np.diff(floors) > 0):
            raise _not_such()
        self.least: int = max(min_count, FLOORS[int(np.flatnonzero(floors)[-1])])
        """The floor that every figure of the sum is held to: the largest of any hospital."""

    def hides_patients(self) -> bool:
        """Whether a hospital's own number of patients would follow from that of all."""
        hospitals, patients, _ = self._parts[None].tolist()
        return _follows(hospitals, patients, self.least)

    def hides(self, name: str) -> bool:
        """Whether a hospital's own patients with yes, or those without, would follow from those of all."""
        hospitals, patients, positives = self._parts[name].tolist()
        return _follows(hospitals, min(positives, patients - positives), self.least)

    def table(self, name: str, cells: Table) -> dict[str, Cell]:
        """A label's reliability table of all hospitals in bins that may be told.

        Args:
            name: the label.
            cells: lower edge -> ``patients``, ``positives``, ``score``; tenths with nobody are absent.

        Returns:
            The same, its neighbours put together from the lowest score up. All null where no bin may be told.
        """
        row = self._tables[name]
        lacked, silent = row[: _TENTHS - 1], int(row[_TENTHS - 1])
        hidden = row[_TENTHS:].reshape(2, _TENTHS)
        done: list[list[int]] = []
        held: list[int] = []
        for tenth in range(_TENTHS):
            held.append(tenth)
            inner = tenth < _TENTHS - 1 and lacked[tenth] > 0
            if not inner and self._enough(cells, held) and not _follows(silent, _fewest(hidden[:, held]), self.least):
                done.append(held)
                held = []
        if not done:
            return {edge: {"patients": None, "positives": None, "score": None} for edge in cells}
        done[-1] += held
        return {RELIABILITY_BINS[tenths[0]]: _together(cells, tenths) for tenths in done}

    def _enough(self, cells: Table, tenths: Sequence[int]) -> bool:
        together = _together(cells, tenths)
        positives: int = together["positives"]
        return bool(min(positives, together["patients"] - positives) >= self.least)


def _part(hidden: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array([bool(hidden), sum(row[0] for row in hidden), sum(row[1] for row in hidden)], dtype=np.int64)


def _own_table(by_tenth: NDArray[np.int64], edges: Collection[str]) -> NDArray[np.int64]:
    """A hospital that tells no table lacks no edge: what the sum tells of it is bounded by the floor."""
    silent = not edges
    lacked = [not silent and edge not in edges for edge in RELIABILITY_BINS[1:]]
    return np.array([*lacked, silent, *(by_tenth.ravel() if silent else np.zeros(2 * _TENTHS))], dtype=np.int64)


def _follows(hospitals: int, fewest: int, least: int) -> bool:
    return hospitals == 1 or (hospitals > 1 and fewest < least)


def _fewest(by_tenth: NDArray[np.int64]) -> int:
    patients, positives = by_tenth.sum(axis=1).tolist()
    return int(min(positives, patients - positives))


def _together(cells: Table, tenths: Sequence[int]) -> Cell:
    found = [cells[RELIABILITY_BINS[tenth]] for tenth in tenths if RELIABILITY_BINS[tenth] in cells]
    patients, positives = (sum(cell[name] for cell in found) for name in ("patients", "positives"))
    scores = sum(cell["patients"] * cell["score"] for cell in found)
    return {"patients": patients, "positives": positives, "score": min(1.0, scores / patients) if patients else None}


def _not_such() -> EncryptionError:
    what = "what hospitals hide of a sum is not of its hospitals"
    return EncryptionError(what, remedy="let each hospital run the same version on the same job")
