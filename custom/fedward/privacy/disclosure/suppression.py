"""Suppress small counts of a table, and as many more as needed so that none follows from the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Cell = Sequence[int] | None
"""Numbers of one part, by quantity, the first being all its patients; None where unknown."""


def suppress_labels(
    counts: Mapping[str, object], *, patients: int | None, images: int | None, least: int
) -> dict[str, int | None]:
    """Return patients by label, each from the minimum count to all patients minus it, or null; never one null alone.

    A patient has a label if an image has it, and may have several. Labels may be classes of which each image has one.
    Then the patients of the null classes together are at least all patients minus the shown ones, and at most all
    images minus the shown ones. More labels become null until neither number is below the minimum count; a number below
    0 discloses nothing. With one image for each patient, both numbers are exact.

    Args:
        counts: label -> patients; a value that is no count is null.
        patients, images: of all, or None where unknown; without the patients every value is null.
        least: the minimum count.

    Returns:
        A new table of the same entries. A second call returns its input unchanged.
    """
    found: dict[str, int | None] = {}
    for label, value in counts.items():
        good = patients is not None and type(value) is int and least <= value <= patients - least
        found[label] = value if good else None  # type: ignore[assignment]
    left = sorted((value, label) for label, value in found.items() if value is not None)
    wholes = [whole for whole in (patients, images) if whole is not None]

    def follows() -> bool:
        shown = sum(value for value, _ in left)
        return len(found) - len(left) == 1 or any(0 <= whole - shown < least for whole in wholes)

    while left and len(left) < len(found) and follows():
        found[left.pop(0)[1]] = None
    return found


def suppress_parts(
    counts: Mapping[str, object], *, total: int | None, least: int, empty: bool = False
) -> dict[str, int | None]:
    """Return parts of a whole, such as patients by age; small parts are null, and those that would disclose them.

    The null parts together follow from the whole. So the next smallest part becomes null too, until there are two nulls
    or more that together have at least the minimum count (Hundepool et al. 2012, Statistical Disclosure Control,
    section 4.2.2).

    Args:
        counts: every part -> number; a value that is no count is null.
        total: sum of the parts, or None where unknown; then every value is null.
        least: the minimum count.
        empty: True if it may follow that all null parts are empty.

    Returns:
        A new table of the same entries; all null where they do not add up to ``total``. A second call returns its input
        unchanged.
    """
    nothing: dict[str, int | None] = dict.fromkeys(counts)
    known = {name: value for name, value in counts.items() if type(value) is int and value >= least}
    hidden, rest = len(counts) - len(known), (total or 0) - sum(known.values())
    if total is None or rest < 0 or (not hidden and rest):
        return nothing
    for name in sorted(known, key=lambda name: (known[name], name)):
        if not hidden or (hidden > 1 and rest >= least) or (empty and not rest):
            break
        rest, hidden = rest + known.pop(name), hidden + 1
    return nothing | known


def suppress_cells(
    tables: Mapping[Any, Mapping[str, Cell]],
    *,
    wholes: Mapping[Any, Sequence[int]],
    least: int,
    allowed: Collection[str] | None = None,
) -> frozenset[str]:
    """Return the parts that may be shown in all of several tables that divide patients into the same parts.

    A part may be shown if it has at least the minimum count of each quantity. The hidden parts of a table together
    follow from its total. So the smallest other part is hidden too, until two or more hidden parts are not empty and
    together have at least the minimum count of each quantity (Hundepool et al. 2012, Statistical Disclosure Control,
    section 4.2.2).

    Args:
        tables: any name -> part -> number of each quantity.
        wholes: the same names -> number of each quantity in all parts.
        least: the minimum count.
        allowed: parts that may be shown at all; None: all.

    Returns:
        Parts; none where those of a table do not fit its total. With all others unknown, the same call gives the same.
    """
    sizes = {part: 0 for table in tables.values() for part in table}
    fit = set(sizes) if allowed is None else set(sizes) & set(allowed)
    for table in tables.values():
        for part, cell in table.items():
            if cell is None or min(cell) < least:
                fit.discard(part)
            else:
                sizes[part] += cell[0]
    seen = sorted(fit, key=lambda part: (-sizes[part], part))
    while seen and not all(_kept(table, seen, wholes[name], least) for name, table in tables.items()):
        seen.pop()
    return frozenset(seen)


def _kept(table: Mapping[str, Cell], seen: Sequence[str], whole: Sequence[int], least: int) -> bool:
    """True if what a table hides stays hidden beside the shown parts, and the parts fit the total."""
    visible = [cell for part in seen if (cell := table.get(part)) is not None]
    others = [cell for part, cell in table.items() if part not in seen]
    hidden = [cell for cell in others if cell is None or cell[0] > 0]
    rest = [all_of - sum(cell[k] for cell in visible) for k, all_of in enumerate(whole)]
    if min(rest) < 0:
        return False
    known = [cell for cell in hidden if cell is not None]
    if not hidden or rest[0] == 0:
        return not known and rest[0] == 0
    if len(known) == len(hidden):
        rest = [min(left, sum(cell[k] for cell in known)) for k, left in enumerate(rest)]
    return len(hidden) > 1 and min(rest) >= least
