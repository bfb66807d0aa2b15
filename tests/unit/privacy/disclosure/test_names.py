"""A name in a hospital's metrics is a plain string, at every depth, or the metrics do not leave.

Python compares a dictionary's keys by what they say of themselves. A key that is equal to a metric's name may hold
anything else beside, and FLARE's serializer writes all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from fedward.settings import Disclosure
from tests.support.disclosure import refused, release
from tests.unit.privacy.disclosure.test_release import TOGETHER, pooled, round_metrics, statistics, support
from tests.unit.privacy.disclosure.test_subgroups import ALL, LABELS, cell, one_label, profile

LISTED = Disclosure(metrics=(*ALL, *TOGETHER, "work", "cohort", "privacy"), decimals=6, min_count=1)
MARK = "MARK DOE^JANE"
CURVES = {"a": {"roc": {"0.05": 0.5}, "reliability": {"0.0": {"patients": 40, "positives": 20, "mean_score": 0.05}}}}
PRIVACY = {"mechanism": "dp-sgd", "unit": "patient", "epsilon": 7.0, "spent": 8.0, "delta": 1e-5}
TABLES: list[dict[str, Any]] = [
    round_metrics() | {"support": support(a=20), "privacy": PRIVACY, "fedward": "0.1.0"},
    {"cohort_statistics": statistics()},
    {"pooled": pooled()},
    one_label(F=cell(40, 12), M=cell(30, 20)) | {"profile": profile(), "curves": CURVES},
]


class Noted(str):
    """A string with more in it."""

    def __init__(self, _: str) -> None:
        self.note = MARK


class Liar:
    """Equal to a name, and another thing."""

    def __init__(self, name: str) -> None:
        self.name, self.note = name, MARK

    def __eq__(self, other: object) -> bool:
        return bool(other == self.name)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.note


def enumerated(name: str) -> Any:
    return StrEnum("Word", {"IT": name}).IT  # type: ignore[attr-defined]


KINDS: list[Callable[[str], Any]] = [Noted, Liar, np.str_, enumerated, lambda name: name.encode()]


def paths(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


def renamed(table: dict[str, Any], path: tuple[str, ...], make: Callable[[str], Any]) -> dict[Any, Any]:
    """The table with one name, at the path's end, made anew."""
    first, *rest = path
    return {
        (make(name) if name == first and not rest else name): renamed(value, tuple(rest), make)
        if name == first and rest
        else value
        for name, value in table.items()
    }


def names(table: Any) -> Iterator[Any]:
    if isinstance(table, dict):
        for name, value in table.items():
            yield name
            yield from names(value)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: next(reversed(table)))
def test_a_released_table_is_released_again(table: dict[str, Any]) -> None:
    how = {"private": False, "names": None}
    found = release(table, LISTED, **how)
    assert found and refused(found, LISTED, **how) == []
    assert len(list(paths(found))) > 5


@pytest.mark.parametrize("make", KINDS, ids=["subclass", "liar", "numpy", "enum", "bytes"])
@pytest.mark.parametrize("job", [None, LABELS], ids=["any names", "the job's names"])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: next(reversed(table)))
def test_a_name_of_another_type_is_refused_wherever_it_stands(
    table: dict[str, Any], job: Any, make: Callable[[str], Any]
) -> None:
    how = {"private": False, "names": job}
    good = release(table, LISTED, **how)
    for path in paths(good):
        odd = renamed(good, path, make)
        faults = refused(odd, LISTED, **how)
        assert faults and not any("DOE" in fault for fault in faults), path
        found = release(odd, LISTED, **how)
        assert {type(name) for name in names(found)} <= {str}, path
        assert "DOE" not in repr(found) and not any(hasattr(name, "note") for name in names(found)), path
