"""Read a site's profile and support as untrusted input: any value may be absent or withheld."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedward.privacy.disclosure.categories import AGES, INTENSITIES

SEVERAL, UNKNOWN = "several", "unknown"
_MOST = 1e12


class SiteFacts:
    """Facts that one site has disclosed; each value is None if it has not disclosed it.

    Args:
        profile: from ``fedward.validation.profile``, as far as the hospital's policy discloses it.
        support: from ``fedward.dataset.selection.Support.plain``, likewise.
    """

    def __init__(self, profile: Mapping[str, Any] | None, support: Mapping[str, Any] | None) -> None:
        self._profile, self._support = profile or {}, support or {}

    @property
    def train_patients(self) -> float | None:
        """Number of its training patients."""
        return _positive(self._support.get("train_patients"))

    @property
    def patients(self) -> float | None:
        """Number of its validation patients."""
        return _positive(self._profile.get("patients")) or _positive(self._support.get("validation_patients"))

    @property
    def images(self) -> float | None:
        """Number of its validation images."""
        return _positive(self._profile.get("images")) or _positive(self._support.get("validation_images"))

    def prevalence(self, label: str) -> float | None:
        """Return the share of its validation patients with a label."""
        positives = _number(self._table("positives").get(label))
        if positives is None or self.patients is None:
            return None
        return min(1.0, positives / self.patients)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels for which it has a count, hidden or not."""
        return tuple(map(str, self._table("positives")))

    @property
    def women(self) -> float | None:
        """Share of women among its patients of known sex."""
        counts = self._counts("sex", ("F", "M"))
        return None if counts is None else counts["F"] / sum(counts.values())

    @property
    def ages(self) -> tuple[float, ...] | None:
        """Shares of its patients of known age, by decade."""
        counts = self._counts("age", AGES[:-1])
        return None if counts is None else tuple(count / sum(counts.values()) for count in counts.values())

    @property
    def makers(self) -> dict[str, float] | None:
        """Shares of its patients by the maker of the scanner, for patients with one known maker."""
        names = [str(name) for name in self._table("maker") if name not in (SEVERAL, UNKNOWN)]
        counts = self._counts("maker", tuple(names))
        return None if counts is None else {name: count / sum(counts.values()) for name, count in counts.items()}

    @property
    def intensity(self) -> tuple[float, ...] | None:
        """Shares of its images' grey values; None unless all are known."""
        table = self._table("intensity")
        shares = [_number(table.get(name)) for name in INTENSITIES]
        known = [share for share in shares if share is not None]
        if len(known) < len(shares) or not sum(known) > 0:
            return None
        return tuple(share / sum(known) for share in known)

    @property
    def spacing_mm(self) -> float | None:
        """Median pixel spacing."""
        return _positive(self._profile.get("spacing_mm"))

    @property
    def label_noise(self) -> float | None:
        """Estimated share of wrong labels."""
        return _number(self._profile.get("label_noise"))

    def _table(self, name: str) -> Mapping[str, Any]:
        support = {"positives": "validation_positives"}.get(name, name)
        for table in (self._profile.get(name), self._support.get(support)):
            if isinstance(table, Mapping):
                return table
        return {}

    def _counts(self, name: str, entries: tuple[str, ...]) -> dict[str, float] | None:
        """Return patients by value; the rest of the whole is divided evenly among the hidden counts.

        None without the whole, with more than half of it hidden, or with no patient in ``entries``.
        """
        table, whole = self._table(name), _positive(self._profile.get("patients"))
        known = {entry: count for entry in table if (count := _number(table[entry])) is not None}
        if whole is None or not known:
            return None
        hidden = max(0.0, whole - sum(known.values()))
        if hidden > 0.5 * whole:
            return None
        each = hidden / max(1, len(table) - len(known))
        found = {entry: known.get(entry, each if entry in table else 0.0) for entry in entries}
        return found if sum(found.values()) > 0 else None


def _number(value: object) -> float | None:
    """Return a plausible number of 0 or more; None for anything else, including NaN and bool."""
    return float(value) if type(value) in (int, float) and 0 <= value <= _MOST else None  # type: ignore[arg-type, operator]


def _positive(value: object) -> float | None:
    return _number(value) or None
