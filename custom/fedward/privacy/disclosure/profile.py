"""What a profile may still tell beside the subgroups: both count the same validation patients, in tables that nest.

A count that one hides must not follow from the other. So beside subgroups that show anything of a dimension, a profile
shows no value that they hide, and the decades of an age band only where they are the band: one decade alone would give
the other away. A structure's subgroups count the patients who have it: of a value's others there are none, or the
floor.
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
    """A profile without what would follow together with the subgroups.

    Args:
        profile, subgroups: as each may leave without the other.
        least: the floor.

    Returns:
        A new table of the same entries. It is equal to what the same call makes of it.
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
    """Value -> the numbers of patients that are told of it, by any label."""
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
