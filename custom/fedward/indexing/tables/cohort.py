"""Hold the names of a cohort's images against the rows of a label table: exact matches, doubts, other spellings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.rows import KEY_COLUMNS, LabelRow
from fedward.indexing.tables.spellings import Spellings, spellings_of, whole_spellings

Names = Mapping[Kind, frozenset[str]]
"""Pseudonyms by which a row may name an image, by kind; several for the slices of a volume and for a NIfTI file."""
_NOBODY: frozenset[int] = frozenset()


class Cohort:
    """Images as the rows of a table may name them.

    Attributes:
        named: by kind, name -> numbers of the images that it names.
        usable: kinds by which one row at least names an image, most specific first.
    """

    def __init__(self, images: Sequence[Names], spellings: Spellings, rows: Sequence[LabelRow], key: SiteKey) -> None:
        named: dict[Kind, dict[str, set[int]]] = {kind: {} for kind in KEY_COLUMNS.values()}
        for number, image in enumerate(images):
            for kind, names in image.items():
                for name in names:
                    named[kind].setdefault(name, set()).add(number)
        self.named = {kind: {name: frozenset(those) for name, those in known.items()} for kind, known in named.items()}
        self._spellings, self._key = spellings, key
        self.usable = [kind for kind in self.named if any(self.images_of(row, kind) for row in rows)]
        meant = (self._names(row, kind) for row in rows for kind in row.keys)
        self._in_table = {name for names in meant if len(names) == 1 for name in names}

    def counts_under(self, row: LabelRow) -> Kind | None:
        """Return the most specific usable kind by which the row names anything."""
        return next((kind for kind in self.usable if kind in row.keys), None)

    def images_of(self, row: LabelRow, kind: Kind) -> frozenset[int]:
        """Return the numbers of the images that the row names by one kind."""
        known = self.named[kind]
        found = [known[name] for name in self._names(row, kind) if name in known]
        return found[0] if len(found) == 1 else _NOBODY.union(*found)

    def doubt(self, row: LabelRow) -> str:
        """Return the reason to refuse a row, "" for none."""
        if len(self.images_of(row, "image")) + len(self._set_aside(row, "image")) > 1:
            return "ambiguous-id"
        found = {kind: self.images_of(row, kind) for kind in row.keys}
        named = [images for images in found.values() if images]
        if not named:
            return ""
        here = named[0].intersection(*named[1:]) if len(named) > 1 else named[0]
        kind = self.counts_under(row)
        if not here or (kind is not None and found[kind] and self._is_denied(row, here)):
            return "contradicting-ids"
        if kind is not None and found[kind] and self._alike(row, kind) - self._in_table:
            return "ambiguous-id"
        return ""

    def is_respelled(self, row: LabelRow) -> bool:
        """True for an unmatched row whose identifier, in another spelling, is that of an image of the cohort."""
        return any(
            self._spellings.keys().isdisjoint(self._names(row, kind))
            and not self.named[kind].keys().isdisjoint(self._alike(row, kind))
            for kind in self._counted(row)
        )

    def is_set_aside(self, row: LabelRow) -> bool:
        """True for an unmatched row that names a patient, a study or a NIfTI file of which all is in quarantine."""
        return any(self._set_aside(row, kind) for kind in self._counted(row))

    def _is_denied(self, row: LabelRow, here: frozenset[int]) -> bool:
        """True if the row has an identifier of a usable kind that none of these images has, in no spelling."""
        for kind in self.usable:
            if kind in row.keys and not self.images_of(row, kind):
                known = self.named[kind]
                if here.isdisjoint(_NOBODY.union(*(known.get(name, ()) for name in self._alike(row, kind)))):
                    return True
        return False

    def _counted(self, row: LabelRow) -> Sequence[Kind]:
        counted = self.counts_under(row)
        return tuple(row.keys) if counted is None else (counted,)

    def _set_aside(self, row: LabelRow, kind: Kind) -> set[str]:
        return {name for name in self._names(row, kind) if name in self._spellings and name not in self.named[kind]}

    def _names(self, row: LabelRow, kind: Kind) -> frozenset[str]:
        """Return the names by which cohort and quarantine know what the row names; its own name if they do not.

        A path in the table means the files whose paths end in it, and the file whose path is the longest end of it.
        """
        if kind not in row.keys:
            return frozenset()
        name = row.keys[kind]
        if kind != "image":
            return frozenset({name})
        longest = [one for one in row.files if one in self._spellings or one in self.named["image"]][:1]
        return frozenset().union(*(self._spellings.get(one, frozenset({one})) for one in (name, *longest)))

    def _alike(self, row: LabelRow, kind: Kind) -> set[str]:
        """Return the identifiers of the cohort, and of its quarantine, that the row's identifier may stand for."""
        spellings = spellings_of(kind, row.ids[kind], self._key)
        if kind == "image" and row.files:
            ends = whole_spellings(row.ids[kind], self._key)
            spellings = spellings.union([one for one in ends if one in self._spellings][:1])
        known = self.named[kind].keys()
        alike = (self._spellings.get(spelling, {spelling} & known) for spelling in spellings)
        return set().union(*alike) - self._names(row, kind)
