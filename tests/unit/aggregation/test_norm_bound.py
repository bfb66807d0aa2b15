"""Check the norm bound: scaled poison never counts, honest rounds always do, in any order of arrival."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.aggregation.norm_bound import KEPT, MOST_PATIENTS, bound_norms, patient_allowances, update_norm

RATIO = 10.0
HONEST = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(
    ("norms", "history", "left_out"),
    [
        ({"a": 1.0, "b": 1.2, "c": 1000.0}, [], {"c"}),
        ({"a": 1.0, "b": 1000.0, "c": 1000.0}, [], set()),  # a majority says what is usual
        ({"a": 1.0, "b": 1000.0, "c": 1000.0}, [1.0], set()),
        ({"a": 1.0, "b": 1000.0}, [], set()),  # nobody can say which of two is usual
        ({"a": 1.0, "b": 1000.0}, [1.0], {"b"}),
        ({"a": 1e-9, "b": 1.0}, [1.0], set()),  # a site that sends almost nothing pushes no other out
        ({"a": 1000.0}, [1.0, 1.0, 1.0], {"a"}),
        ({"a": 1000.0}, [], set()),
        ({"a": 0.0, "b": 0.0, "c": 5.0}, [], set()),
        ({"a": 0.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 11.0}, [], {"e"}),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, [], set()),
        ({"a": 1.0, "b": 1.0, "c": 10.0}, [], set()),
        ({"a": 1.0, "b": 1.0, "c": 10.1}, [], {"c"}),
        ({"a": 1.0, "b": 1.0, "c": 1.0, "d": math.inf, "e": math.inf}, [], {"d", "e"}),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, [1e-9], set()),  # all grow together
        ({}, [1.0], set()),
    ],
)
def test_which_updates_are_left_out(norms: dict[str, float], history: list[float], left_out: set[str]) -> None:
    assert set(bound_norms(norms, ratio=RATIO, history=history).left_out) == left_out


def test_the_reason_has_the_three_numbers() -> None:
    found = bound_norms({"a": 1.0, "b": 2.0, "c": 3000.0}, ratio=RATIO)
    reason = "update is too long to count: norm 3e+03 where 2 is usual and at most 20 counts"
    assert found.left_out == {"c": reason} and found.reference == 2.0


def test_only_the_last_references_are_used() -> None:
    old = [1e9] * 10
    assert bound_norms({"a": 1e6, "b": 1.0}, ratio=RATIO, history=[*old, *[1.0] * KEPT]).left_out


@given(st.lists(HONEST, min_size=1, max_size=9), st.data())
def test_a_minority_that_scales_its_updates_never_counts_beyond_the_bound(honest: list[float], data: Any) -> None:
    wrong = data.draw(st.lists(st.floats(0, 1e30), max_size=len(honest) - 1))
    norms = {f"honest-{at}": norm for at, norm in enumerate(honest)} | {f"wrong-{at}": n for at, n in enumerate(wrong)}
    if len(norms) < 3 or len([norm for norm in norms.values() if norm > 0]) < 3:
        return
    left_out = bound_norms(norms, ratio=RATIO).left_out
    for site in set(norms) - set(left_out):
        assert norms[site] <= RATIO * max(honest) * (1 + 1e-12)
    if max(honest) <= RATIO * min(honest):  # honest ones of like length all count
        assert not [site for site in left_out if site.startswith("honest")]


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(0, 1e12), max_size=6), st.lists(HONEST, max_size=6))
def test_the_order_of_arrival_changes_nothing(norms: dict[str, float], history: list[float]) -> None:
    found = {
        tuple(bound_norms({site: norms[site] for site in order}, ratio=RATIO, history=history).left_out.items())
        for order in itertools.islice(itertools.permutations(norms), 24)
    }
    assert len(found) == 1


def honest_job(rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """Norms of four rounds of two to eight hospitals, of which some miss a round: a shared direction that fades, each
    hospital's own data and clip, and DP noise of any size.
    """
    values, steps, clip = int(rng.integers(20, 2000)), int(rng.integers(1, 60)), 10 ** rng.uniform(-2, 1)
    direction, lr, noise = rng.normal(size=values), 10 ** rng.uniform(-4, 0), rng.choice([0.0, 0.3, 1.0, 10.0])
    direction /= np.linalg.norm(direction)
    own = {f"site-{at}": rng.uniform(0.4, 2.0) for at in range(int(rng.integers(2, 9)))}
    fade = rng.uniform(0.5, 1.0)
    for number in range(4):
        found = {}
        for site, spread in own.items():
            drift = direction * spread * min(steps * lr, clip) * fade**number
            data = rng.normal(size=values) * lr * math.sqrt(steps / values) * spread
            dp = rng.normal(size=values) * noise * clip * lr / 8.0 * math.sqrt(steps)
            found[site] = update_norm({"w": drift + data + dp})
        yield {site: norm for site, norm in found.items() if rng.random() > 0.2}


def test_a_thousand_honest_rounds_lose_no_update() -> None:
    rng, alarms, judged = np.random.default_rng(20), 0, 0
    for _ in range(250):
        history: list[float] = []
        for norms in honest_job(rng):
            found = bound_norms(norms, ratio=RATIO, history=history)
            alarms, judged = alarms + len(found.left_out), judged + 1
            history += [] if found.reference is None else [found.reference]
    assert (alarms, judged) == (0, 1000)


def test_a_hospital_of_many_patients_may_send_a_longer_update_where_rounds_are_passes() -> None:
    patients = {"city": 20, "coast": 30, "north": 3000}
    allowances = patient_allowances(patients)
    assert allowances == {"city": 1.0, "coast": 1.0, "north": MOST_PATIENTS}
    norms = {"city": 1.0, "coast": 1.5, "north": 90.0}
    assert bound_norms(norms, ratio=RATIO, allowances=allowances).left_out == {}
    assert set(bound_norms(norms | {"north": 1000.0}, ratio=RATIO, allowances=allowances).left_out) == {"north"}
    assert patient_allowances({}) == {} and patient_allowances({"a": 0}) == {}


def test_counters_are_no_part_of_the_norm() -> None:
    update = {"w": np.array([3.0, 4.0], np.float32), "seen": np.array(10**9), "flag": np.array([True])}
    assert update_norm(update) == pytest.approx(5.0)
    assert math.isnan(update_norm({"w": np.array([np.nan])}))
    assert set(bound_norms({"a": math.nan, "b": 1.0, "c": 1.0, "d": 1.0}, ratio=RATIO).left_out) == {"a"}
