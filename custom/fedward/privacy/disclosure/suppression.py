"""Small counts taken out of a table, and as many more as it needs that none of them follows from the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Cell = Sequence[int] | None
"""How many one part has of each quantity, the first being all its patients; None where that is not known."""


def suppress_labels(
    counts: Mapping[str, object], *, patients: int | None, images: int | None, least: int
) -> dict[str, int | None]:
    """Patients by label, each between the floor and all patients less the floor, or null; one null is never alone.

    A patient has a label who has it in an image, and may have several. Where labels are classes of which each image has
    one, the patients of the classes that are null are together at least all patients less those that are shown, and at
    most all images less those; more is taken until neither is below the floor, unless it is below 0 and so says
    nothing. With one image a patient both are how many they are.

    Args:
        counts: label -> patients; what is no count is null.
        patients, images: of all, or None where that is not known; without the patients nothing is.
        least: the floor.

    Returns:
        A new table of the same entries. It is equal to what the same call makes of it.
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
    """Parts of a whole, such as patients by age: those below the floor are null, with them what would give them away.

    What is null follows from the whole together. So the next smallest is taken too until there are two nulls or more
    and they stand for at least the floor (Hundepool et al. 2012, Statistical Disclosure Control, section 4.2.2).

    Args:
        counts: every part -> how many; what is no count is null.
        total: how many the parts are together, or None where that is not known; then nothing is.
        least: the floor.
        empty: whether it may follow that all parts that are null are empty.

    Returns:
        A new table of the same entries; all null where they do not add up to ``total``. It is equal to what the same
        call makes of it.
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
    """Which parts may be seen in all of several tables that part patients in the same way.

    A part may be seen that has at least the floor of each quantity. What is hidden in a table follows from its whole
    together; so the smallest other part is hidden too, until those that are not empty are two or more and have at least
    the floor of each quantity together (Hundepool et al. 2012, Statistical Disclosure Control, section 4.2.2).

    Args:
        tables: any name -> part -> how many of each quantity.
        wholes: the same names -> how many of each quantity in all parts.
        least: the floor.
        allowed: parts that may be seen at all; None: all.

    Returns:
        Parts; none where those of a table are not of its whole. With all others unknown, the same call gives the same.
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
    """Whether what a table hides stays hidden beside what is seen, and the parts can be of the whole."""
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
