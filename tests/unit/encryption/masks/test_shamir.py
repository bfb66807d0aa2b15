"""Shares: any ``needed`` of them give the secret back, and fewer are uniform."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from fedward.encryption.masks.graphs.threshold import Threshold, colluding_of
from fedward.encryption.masks.shamir import PRIME, combine, is_element, new_secret, split, weighted, weights_at
from fedward.errors import EncryptionError
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

SECRETS = st.integers(0, PRIME - 1).map(lambda number: number.to_bytes(32, "little"))


@settings(max_examples=60)
@given(secret=SECRETS, data=st.data())
def test_any_enough_shares_give_the_secret_back(secret: bytes, data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=9, unique=True))
    needed = data.draw(st.integers(1, len(points)))
    shares = dict(zip(points, split(secret, needed=needed, points=points), strict=True))
    chosen = data.draw(st.permutations(points))[:needed]
    assert combine({point: shares[point] for point in chosen}, needed=needed) == secret
    assert combine(shares, needed=needed) == secret
    other = data.draw(st.sampled_from(points))
    factors = weights_at(tuple(chosen), other)
    assert weighted(factors, [shares[point] for point in chosen]) == shares[other], "and every other share"


def test_fewer_shares_are_uniform_whatever_the_secret() -> None:
    """Two of three needed shares of one secret, many times: each is uniform in [0, PRIME)."""
    secret, needed = (5).to_bytes(32, "little"), 3
    drawn = [split(secret, needed=needed, points=[1, 2, 3]) for _ in range(2000)]
    for place in range(3):
        numbers = [int.from_bytes(shares[place], "little") / PRIME for shares in drawn]
        assert kstest(numbers, "uniform").pvalue > 1e-6
    for one, other in combinations(range(3), 2):  # a line through two of them does not lead to the secret
        guesses = [combine({one + 1: shares[one], other + 1: shares[other]}, needed=2) for shares in drawn]
        assert secret not in guesses


def test_what_is_no_share_is_refused() -> None:
    secret = new_secret()
    assert is_element(secret) and not is_element(PRIME.to_bytes(32, "little"))
    assert not is_element(b"\xff" * 32) and not is_element(b"\0" * 31) and not is_element("0" * 32)
    for points in ([], [0, 1], [1, 1], [-1, 2]):
        with pytest.raises((EncryptionError, ValueError)):
            split(secret, needed=2, points=points)
    with pytest.raises(EncryptionError, match="outside the field"):
        split(b"\xff" * 32, needed=1, points=[1])
    shares = dict(zip([1, 2, 3], split(secret, needed=3, points=[1, 2, 3]), strict=True))
    with pytest.raises(EncryptionError, match="too few usable shares"):
        combine({1: shares[1], 2: shares[2]}, needed=3)
    with pytest.raises(EncryptionError, match="too few usable shares"):
        combine(shares | {2: b"\xff" * 32}, needed=3)
    with pytest.raises(EncryptionError, match="given twice"):
        weights_at((1, 1), 0)


# the threshold


@given(sites=st.integers(3, 300), data=st.data())
def test_no_two_sets_of_a_round_can_both_be_opened(sites: int, data: st.DataObject) -> None:
    colluding = data.draw(st.integers(1, sites - 2))
    bound = Threshold(sites=sites, colluding=colluding)
    honest = sites - colluding
    # each set needs this many honest helpers, and none helps twice
    assert 2 * (bound.needed - colluding) > honest
    assert 2 * (bound.needed - 1 - colluding) <= honest, "and one less would not do"
    assert bound.needed <= sites and bound.fewest - colluding >= 2


@pytest.mark.parametrize(("sites", "colluding"), [(2, 1), (3, 0), (3, 2), (5, 4)])
def test_a_bound_that_protects_nobody_is_refused(sites: int, colluding: int) -> None:
    with pytest.raises(EncryptionError):
        Threshold(sites=sites, colluding=colluding)


@pytest.mark.parametrize(("least", "most"), [(3, 1), (4, 1), (5, 1), (6, 2), (9, 3), (30, 10)])
def test_a_job_that_states_no_bound_gets_a_third_of_its_smallest_number_of_hospitals(least: int, most: int) -> None:
    content = tiny_job_content() | {"encryption": {}}
    content["federation"] |= {"min_sites": least}
    assert colluding_of(parse(JobSpec, content, where="test")) == most
    content["encryption"] = {"max_colluding": 2}
    assert colluding_of(parse(JobSpec, content, where="test")) == 2
