"""Hold the names of a cohort's images against the rows of a label table: exact matches, doubts, other spellings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.rows import KEY_COLUMNS, LabelRow
from fedward.indexing.tables.spellings import Spellings, spellings_of

Names = Mapping[Kind, frozenset[str]]
"""Pseudonyms by which a row may name an image, by kind; several for the slices of a volume."""


class Cohort:
    """Images as the rows of a table may name them.

    Attributes:
        named: by kind, name -> numbers of the images that it names.
        usable: kinds by which one row at least names an image, most specific first.
    """

    def __init__(self, images: Sequence[Names], spellings: Spellings, rows: Sequence[LabelRow], key: SiteKey) -> None:
        self.named: dict[Kind, dict[str, set[int]]] = {kind: {} for kind in KEY_COLUMNS.values()}
        for number, image in enumerate(images):
            for kind, names in image.items():
                for name in names:
                    self.named[kind].setdefault(name, set()).add(number)
        self.usable = [kind for kind in self.named if any(row.keys.get(kind) in self.named[kind] for row in rows)]
        self._spellings, self._key = spellings, key
        self._in_table = {name for row in rows for name in row.keys.values()}

    def counts_under(self, row: LabelRow) -> Kind | None:
        """Return the most specific usable kind by which the row names anything."""
        return next((kind for kind in self.usable if kind in row.keys), None)

    def doubt(self, row: LabelRow) -> str:
        """Return the reason to refuse a row, "" for none."""
        present = [self.named[kind][name] for kind, name in row.keys.items() if name in self.named[kind]]
        if present and not set.intersection(*present):
            return "contradicting-ids"
        kind = self.counts_under(row)
        if kind is not None and row.keys[kind] in self.named[kind] and self._alike(row, kind) - self._in_table:
            return "ambiguous-id"
        return ""

    def is_respelled(self, row: LabelRow) -> bool:
        """True for an unmatched row whose identifier, in another spelling, is that of an image of the cohort."""
        counted = self.counts_under(row)
        kinds = row.keys if counted is None else (counted,)
        return any(
            row.keys[kind] not in self._spellings and not self.named[kind].keys().isdisjoint(self._alike(row, kind))
            for kind in kinds
        )

    def _alike(self, row: LabelRow, kind: Kind) -> set[str]:
        """Return the identifiers of the cohort, and of its quarantine, that the row's identifier may stand for."""
        alike: set[str] = set()
        for spelling in spellings_of(kind, row.ids[kind], self._key):
            alike |= self._spellings.get(spelling, frozenset())
            if spelling in self.named[kind]:
                alike.add(spelling)
        return alike - {row.keys[kind]}
