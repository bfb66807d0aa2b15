"""Small counts taken out of a table, and as many more as it needs that none of them follows from the rest."""

from __future__ import annotations

from collections.abc import Mapping


def suppress_labels(counts: Mapping[str, object], *, images: int | None, least: int) -> dict[str, int | None]:
    """Images by label, each between the floor and all images less the floor, or null; one null is never alone.

    Args:
        counts: label -> images; what is no count is null.
        images: of all, or None where that is not known; then nothing is.
        least: the floor.

    Returns:
        A new table of the same entries. It is equal to what the same call makes of it.
    """
    found: dict[str, int | None] = {}
    for label, value in counts.items():
        good = images is not None and type(value) is int and least <= value <= images - least
        found[label] = value if good else None  # type: ignore[assignment]
    left = sorted((value, label) for label, value in found.items() if value is not None)
    if left and len(left) == len(found) - 1:
        found[left[0][1]] = None
    return found


def suppress_parts(counts: Mapping[str, object], *, total: int | None, least: int) -> dict[str, int | None]:
    """Parts of a whole, such as patients by age: those below the floor are null, with them what would give them away.

    What is null follows from the whole together. So the next smallest is taken too until there are two nulls or more
    and they stand for at least the floor (Hundepool et al. 2012, Statistical Disclosure Control, section 4.2.2).

    Args:
        counts: every part -> how many; what is no count is null.
        total: how many the parts are together, or None where that is not known; then nothing is.
        least: the floor.

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
        if not hidden or (hidden > 1 and rest >= least):
            break
        rest, hidden = rest + known.pop(name), hidden + 1
    return nothing | known
