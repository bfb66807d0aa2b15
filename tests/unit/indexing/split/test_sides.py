"""The rule of the split: the asked number of patients on either side, of every kind, and nobody moves."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fedward.dataset.manifest import Split
from fedward.indexing.site_key import SiteKey
from fedward.indexing.split.sides import Kind, divide, kinds_of, moved, wanted
from tests.support.validation_rows import validation_row

KEY = SiteKey(b"k" * 32)
hospitals = st.lists(st.sampled_from([("tb=0",), ("tb=1",), ("marked", "tb=1"), ()]), min_size=1, max_size=70)
fractions = st.floats(0.05, 0.95)


def patients(kinds: list[Kind], *, first: int = 0) -> dict[str, Kind]:
    return {f"P{first + number}": kind for number, kind in enumerate(kinds)}


def validation(sides: dict[str, Split]) -> int:
    return sum(side == "validation" for side in sides.values())


@given(hospitals, hospitals, fractions)
def test_the_number_is_the_asked_one_and_nobody_moves_when_patients_come(
    now: list[Kind], later: list[Kind], fraction: float
) -> None:
    before = divide(patients(now), {}, fraction, draw=KEY.draw)
    assert validation(before) == wanted(len(now), fraction)
    assert abs(wanted(len(now), fraction) - fraction * len(now)) <= 1
    grown = patients(now) | patients(later, first=len(now))
    after = divide(grown, before, fraction, draw=KEY.draw)
    assert {patient: after[patient] for patient in before} == before
    assert validation(after) == wanted(len(grown), fraction)


@given(hospitals, fractions)
def test_each_kind_has_its_share(kinds: list[Kind], fraction: float) -> None:
    sides = divide(patients(kinds), {}, fraction, draw=KEY.draw)
    for kind, count in Counter(kinds).items():
        own = sum(sides[patient] == "validation" for patient, its in patients(kinds).items() if its == kind)
        assert abs(own - fraction * count) <= 2.0


@given(hospitals, fractions, fractions)
def test_another_fraction_moves_as_few_as_it_can(kinds: list[Kind], first: float, second: float) -> None:
    before = divide(patients(kinds), {}, first, draw=KEY.draw)
    after = moved(patients(kinds), before, second, draw=KEY.draw)
    assert validation(after) == wanted(len(kinds), second)
    changed = sum(before[patient] != after[patient] for patient in before)
    assert changed == abs(wanted(len(kinds), first) - wanted(len(kinds), second))


def test_a_thousand_small_hospitals() -> None:
    """10 to 60 patients each, at a fraction of 0.3: within two of it, and from 17 patients on five to validate on."""
    drawn = random.Random(7)
    few = []
    for number in range(1000):
        key, count = SiteKey(number.to_bytes(32, "big")), drawn.randint(10, 60)
        rate = drawn.uniform(0.1, 0.9)
        kinds = {f"P{one}": (f"tb={int(drawn.random() < rate)}",) for one in range(count)}
        sides = divide(kinds, {}, 0.3, draw=key.draw)
        assert abs(validation(sides) - 0.3 * count) <= 2
        grown = kinds | {f"Q{one}": ("tb=1",) for one in range(drawn.randint(1, 20))}
        later = divide(grown, sides, 0.3, draw=key.draw)
        assert all(later[patient] == side for patient, side in sides.items())
        few += [count] if validation(sides) < 5 else []
    assert max(few) < 17


def test_one_patient_trains_and_of_two_one_validates() -> None:
    assert divide(patients([()]), {}, 0.9, draw=KEY.draw) == {"P0": "train"}
    assert sorted(divide(patients([(), ()]), {}, 0.01, draw=KEY.draw).values()) == ["train", "validation"]


def test_sides_hang_on_the_key_and_not_on_the_order() -> None:
    many = patients([("tb=0",), ("tb=1",)] * 100)
    sides = divide(many, {}, 0.3, draw=KEY.draw)
    assert divide(dict(reversed(many.items())), {}, 0.3, draw=KEY.draw) == sides
    other = divide(many, {}, 0.3, draw=SiteKey(b"o" * 32).draw)
    assert 5 <= sum(sides[one] == other[one] == "validation" for one in many) <= 35


def test_a_column_of_many_values_tells_no_kind() -> None:
    rows = [
        replace(
            validation_row(number, f"p{number // 2}"), labels={"tb": " Yes" if number % 3 else "no", "id": str(number)}
        )
        for number in range(20)
    ]
    kinds = kinds_of(rows)
    assert set(kinds.values()) <= {("tb=yes",), ("tb=no",), ("tb=no", "tb=yes")}
    assert len(kinds) == 10
