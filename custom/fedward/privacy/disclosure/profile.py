"""Release a profile beside the subgroups: both count the same validation patients, in tables that nest.

A count that one hides must not follow from the other. So if subgroups show anything of a dimension, the profile shows
no value that they hide. It shows the decades of an age band only if they add up to the band: from one decade alone, the
other would follow. A structure's subgroups count the patients who have it: the other patients of a value are none, or
at least the minimum count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedward.privacy.disclosure.categories import AGE_BANDS, AGES, DIMENSIONS

DECADES: Mapping[str, tuple[str, ...]] = {
    **{band: AGES[2 * k : 2 * k + 2] for k, band in enumerate(AGE_BANDS[:-1])},
    AGE_BANDS[-1]: AGES[-1:],
}
"""Age band of subgroups -> the ages of a profile within it."""


def beside_subgroups(profile: Mapping[str, Any], subgroups: Mapping[str, Any], *, least: int) -> dict[str, Any]:
    """Return a profile without the values that would follow together with the subgroups.

    Args:
        profile, subgroups: as each may leave without the other.
        least: the minimum count.

    Returns:
        A new table of the same entries. A second call returns its input unchanged.
    """
    found = dict(profile)
    for dimension in DIMENSIONS:
        table, seen = profile.get(dimension), _patients(subgroups, dimension)
        if isinstance(table, Mapping) and seen:
            if dimension == "age":
                keep = _whole_bands(table, seen)
            else:
                shown = {name: count for name, count in table.items() if count is not None and name in seen}
                enough = all(_enough_left(count, one, least) for name, count in shown.items() for one in seen[name])
                keep = set(shown) if enough else set()
            found[dimension] = {name: value if name in keep else None for name, value in table.items()}
    return found


def _patients(subgroups: Mapping[str, Any], dimension: str) -> dict[str, set[int]]:
    """Return value -> the numbers of patients that any label discloses of it."""
    found: dict[str, set[int]] = {}
    for label in subgroups.values():
        for value, cell in label.get(dimension, {}).items():
            if cell.get("patients") is not None:
                found.setdefault(value, set()).add(cell["patients"])
    return found


def _enough_left(count: int, part: int, least: int) -> bool:
    return count == part or count - part >= least


def _whole_bands(ages: Mapping[str, int | None], bands: Mapping[str, set[int]]) -> set[str]:
    found: set[str] = set()
    for band, patients in bands.items():
        known = {age: count for age in DECADES[band] if (count := ages.get(age)) is not None}
        if patients == {sum(known.values())}:
            found |= known.keys()
    return found
