"""Distances between shared sketches: near the true ones, whoever lies, and nothing else is learnt."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.aggregation.krum import multi_krum
from fedward.encryption.distances.dealing import Dealt, deal, package_size, unpack_dealt
from fedward.encryption.distances.decoding import answers_needed, decode_distances
from fedward.encryption.distances.holding import Held, held, read_held
from fedward.encryption.distances.reed_solomon import decode
from fedward.encryption.distances.sketch import BLOCKS, SIZE, sketch
from fedward.encryption.distances.sketched_sum import (
    SketchedSum,
    read_sketched_sum,
    require_sketched,
    seal_share,
)
from fedward.encryption.keys.key import FederationKey
from fedward.encryption.masks.shamir import PRIME
from fedward.encryption.stream import KeyStream
from fedward.errors import EncryptionError, JobError


def signed(number: int) -> int:
    return number - PRIME if number > PRIME // 2 else number


# the sketch


@settings(max_examples=30, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), bits=st.sampled_from([32, 48]), length=st.integers(1, 3000))
def test_a_sketch_is_linear_and_exact(seed: bytes, bits: int, length: int) -> None:
    rng, most = np.random.default_rng(length), 2 ** (bits - 1) - 1
    one, other = (rng.integers(-most // 2, most // 2, length) for _ in range(2))
    one[0], other[-1] = most // 2, -most // 2
    both = sketch(one + other, seed=seed)
    parts = zip(sketch(one, seed=seed), sketch(other, seed=seed), strict=True)
    assert both == [(a + b) % PRIME for a, b in parts]
    for block in range(BLOCKS):  # each number is in one bucket of each block
        row = both[block * SIZE // BLOCKS : (block + 1) * SIZE // BLOCKS]
        assert sum(map(signed, row)) % 2 == int((one + other).sum()) % 2


def test_squared_length_is_kept_on_average() -> None:
    rng = np.random.default_rng(0)
    for vector in (rng.integers(-1000, 1000, 20_000), np.eye(1, 20_000, 7, dtype=np.int64)[0] * 5000):
        true = float((vector.astype(float) ** 2).sum())
        found = [
            sum(signed(number) ** 2 for number in sketch(vector, seed=secrets.token_bytes(32))) / BLOCKS / true
            for _ in range(60)
        ]
        assert np.mean(found) == pytest.approx(1.0, abs=0.03)
        assert np.std(found) <= 1.5 * np.sqrt(2 / SIZE)


def test_a_vector_made_for_one_sketch_shows_in_another() -> None:
    """A cheat who knows the seed hides a large vector in the sketch's null space; one who does not cannot."""
    seed, length = bytes(32), 2000
    places = KeyStream(seed).take(length, np.dtype("<u8")).view(np.uint8).reshape(length, BLOCKS)
    matrix = np.zeros((SIZE, length))
    for at, row in itertools.product(range(length), range(BLOCKS)):
        bucket = int(places[at, row])
        matrix[row * SIZE // BLOCKS + bucket % (SIZE // BLOCKS), at] = 1 if bucket < SIZE // BLOCKS else -1
    _, _, rows = np.linalg.svd(matrix)
    hidden = np.rint(rows[-1] * 1e6).astype(np.int64)
    assert [signed(number) for number in sketch(hidden, seed=seed)] == np.rint(matrix @ hidden).astype(int).tolist()
    known = [signed(number) for number in sketch(hidden, seed=seed)]
    fresh = [signed(number) for number in sketch(hidden, seed=secrets.token_bytes(32))]
    assert np.linalg.norm(known) / np.sqrt(BLOCKS) < 1e-4 * np.linalg.norm(hidden)
    assert np.linalg.norm(fresh) / np.sqrt(BLOCKS) > 0.8 * np.linalg.norm(hidden)


# the decoder


@settings(max_examples=60, deadline=None)
@given(degree=st.integers(0, 6), errors=st.integers(0, 4), more=st.integers(0, 3), data=st.data())
def test_false_values_are_found(degree: int, errors: int, more: int, data: st.DataObject) -> None:
    count = degree + 1 + 2 * errors + more
    secret = [secrets.randbelow(PRIME) for _ in range(degree + 1)]
    values = {x: sum(c * pow(x, n, PRIME) for n, c in enumerate(secret)) % PRIME for x in range(1, count + 1)}
    wrong = data.draw(st.sets(st.sampled_from(sorted(values)), max_size=errors))
    bad = values | {x: (values[x] + 1 + secrets.randbelow(PRIME - 1)) % PRIME for x in wrong}
    doubted = data.draw(st.sets(st.sampled_from(sorted(values))))
    found = decode(bad, degree=degree, errors=errors, doubted=doubted)
    assert found is not None and (found.at_zero, set(found.false)) == (secret[0], wrong)


def test_too_many_false_values_are_no_polynomial() -> None:
    values = {x: secrets.randbelow(PRIME) for x in range(1, 10)}
    assert decode(values, degree=2, errors=3) is None
    assert decode({1: 5, 2: 5}, degree=2, errors=0) is None
    assert decode(dict.fromkeys(range(1, 4), 7), degree=0, errors=2) is None, "too few values for so many errors"


# a round


class Round:
    def __init__(self, count: int = 10, colluding: int = 2, malicious: int = 2, length: int = 5000) -> None:
        self.sites = [f"site-{number:02}" for number in range(count)]
        self.points = {site: number + 1 for number, site in enumerate(self.sites)}
        self.colluding, self.malicious, self.seed = colluding, malicious, secrets.token_bytes(32)
        rng = np.random.default_rng(3)
        base = rng.integers(-(2**26), 2**26, length)
        self.codes: dict[str, NDArray[np.int64]] = {site: base + rng.integers(-900, 900, length) for site in self.sites}
        self.dealt: dict[str, dict[str, Dealt]] = {}

    def deal(self) -> None:
        for site in self.sites:
            others = [other for other in self.sites if other != site]
            numbers = sketch(self.codes[site], seed=self.seed)
            self.dealt[site] = deal(numbers, others=others, points=self.points, colluding=self.colluding)

    def answers(self, *, without: tuple[str, ...] = ()) -> dict[str, Held]:
        return {
            holder: held({site: self.dealt[site][holder] for site in self.sites}, name="round")
            for holder in self.sites
            if holder not in without
        }

    def decoded(self, answers: Mapping[str, Held]) -> Any:
        return decode_distances(
            answers, sites=self.sites, points=self.points, colluding=self.colluding, malicious=self.malicious
        )

    def true(self, one: str, other: str) -> float:
        return float(np.linalg.norm((self.codes[one] - self.codes[other]).astype(float)))


@pytest.fixture(scope="module")
def honest() -> Round:
    made = Round()
    made.codes["site-03"] = made.codes["site-03"] * -1
    made.codes["site-07"] = made.codes["site-07"] + 4000
    made.deal()
    return made


def test_distances_are_near_the_true_ones(honest: Round) -> None:
    found = honest.decoded(honest.answers())
    for pair, distance in found.distances.items():
        assert distance == pytest.approx(honest.true(*pair), rel=0.15)
    assert found.dealers == {} and found.holders == ()
    chosen = multi_krum(found.distances, honest.sites, malicious=2)
    assert set(honest.sites) - set(chosen) == {"site-03", "site-07"}


def false(one: Held) -> Held:
    """Values of a hospital that answers at random."""
    return Held(
        *({name: secrets.randbelow(PRIME) for name in table} for table in (one.distances, one.sketches, one.zeros))
    )


def test_hospitals_that_answer_falsely_change_nothing_and_are_named(honest: Round) -> None:
    answers, due = honest.answers(without=("site-09",)), honest.decoded(honest.answers()).distances
    for liar in ("site-01", "site-05"):
        answers[liar] = false(answers[liar])
    found = honest.decoded(answers)
    assert found.distances == due and found.holders == ("site-01", "site-05") and found.dealers == {}
    answers["site-08"] = false(answers["site-08"])  # one more than max_malicious
    assert set(honest.decoded(answers).distances.values()) == {inf}


def test_a_package_that_does_not_open_counts_as_false(honest: Round) -> None:
    answers, due = honest.answers(), honest.decoded(honest.answers()).distances
    for holder in ("site-00", "site-04"):
        whole = {site: honest.dealt[site][holder] for site in honest.sites if site != "site-06"}
        answers[holder] = held(whole, name="round", damaged=["site-06"])
    assert honest.decoded(answers).distances == due


@pytest.mark.parametrize("kind", ["zeros", "sketch", "unequal"])
def test_a_hospital_that_deals_falsely_is_named(kind: str) -> None:
    """It wants its distances to be small: with shares of another number than 0, or that are on no polynomial."""
    made = Round()
    made.deal()
    for holder, own in made.dealt["site-02"].items():
        x = made.points[holder]
        if kind == "zeros":
            own = replace(own, zeros={other: (share - 5_000_000) % PRIME for other, share in own.zeros.items()})
        if kind == "sketch":
            own = replace(own, sketch=tuple((share + pow(x, 7, PRIME)) % PRIME for share in own.sketch))
        if kind == "unequal":
            own = replace(own, zeros={other: secrets.randbelow(PRIME) for other in own.zeros})
        made.dealt["site-02"][holder] = own
    found = made.decoded(made.answers())
    assert list(found.dealers) == ["site-02"]
    assert all((distance == inf) is ("site-02" in pair) for pair, distance in found.distances.items())
    assert found.holders == ()


def test_a_dealer_and_holders_that_plan_it_together_only_lose_their_own_distances() -> None:
    made = Round()
    made.deal()
    for holder in ("site-04", "site-05"):  # false shares for honest holders, which then look false
        made.dealt["site-02"][holder] = replace(made.dealt["site-02"][holder], sketch=tuple(range(SIZE)))
    answers = made.answers()
    answers["site-03"] = false(answers["site-03"])
    found = made.decoded(answers)
    for pair, distance in found.distances.items():
        if not set(pair) & {"site-02"}:
            assert distance == pytest.approx(made.true(*pair), rel=0.15)
    assert found.holders in (("site-03",), ())


# what is learnt


def test_fewer_shares_than_needed_say_nothing_of_a_sketch() -> None:
    """With what t hospitals hold, each number of the sketch is possible: there is a polynomial for it."""
    made = Round(5, colluding=1, malicious=1, length=50)
    made.deal()
    own = made.dealt["site-00"]["site-04"]
    share, x = own.sketch[0], made.points["site-04"]
    for guess in (0, 1, secrets.randbelow(PRIME)):
        slope = (share - guess) * pow(x, -1, PRIME) % PRIME
        assert (guess + slope * x) % PRIME == share


def test_published_values_depend_on_distances_alone() -> None:
    """Two rounds with the same distances: what holders publish is distributed the same, given what one of them holds.

    For each pair the published values at all points are a polynomial of twice the degree: its value at 0 is the
    distance, it goes through what the colluding hospitals know, and the rest is uniform. So the values of two rounds
    with other sketches and the same distances cannot be told apart by any statistic: here by the rank of a value.
    """
    low = {"near": 0, "moved": 0}
    for _ in range(100):
        for name, base in (("near", 0), ("moved", 12345)):
            made = Round(5, colluding=1, malicious=1, length=8)
            for number, site in enumerate(made.sites):
                made.codes[site] = np.full(8, base + number, np.int64)
            made.deal()
            low[name] += made.answers()["site-00"].distances["site-01", "site-02"] < PRIME // 2
    assert abs(low["near"] - low["moved"]) < 5 * np.sqrt(100 / 2)
    assert 25 < low["near"] < 75 and 25 < low["moved"] < 75


# packages and answers of any origin


def test_packages_and_answers_have_one_form(honest: Round) -> None:
    own = honest.dealt["site-00"]["site-01"]
    others = [site for site in honest.sites if site != "site-00"]
    assert len(own.pack()) == package_size(len(honest.sites))
    again = unpack_dealt(own.pack(), others=others)
    assert again is not None and again.pack() == own.pack()
    assert unpack_dealt(own.pack()[:-1], others=others) is None
    assert unpack_dealt(b"\xff" * len(own.pack()), others=others) is None
    answer = honest.answers()["site-00"]
    assert read_held(answer.pack(), sites=honest.sites).pack() == answer.pack()
    for bad in (
        b"",
        b"{}",
        b"[]",
        b'{"damaged":[],"values":"00"}',
        b'{"damaged":["ghost"],"values":""}',
        b"\xff",
        b"9" * 10**5,
    ):
        with pytest.raises(EncryptionError):
            read_held(bad, sites=honest.sites)


# the sum held against the sketches


KEY = FederationKey(scheme="masked", generation=1, secret=bytes(32))


def proof(made: Round, chosen: list[str], *, liars: tuple[str, ...] = ()) -> SketchedSum:
    sealed = {}
    for holder in made.sites:
        shares = [made.dealt[site][holder].sketch for site in chosen]
        if holder in liars:
            shares = [tuple(secrets.randbelow(PRIME) for _ in range(SIZE))]
        sealed[holder] = seal_share(shares, KEY, site=holder, name="sum")
    return SketchedSum(made.seed, sealed)


def require(made: Round, codes: NDArray[np.int64], given: SketchedSum) -> None:
    require_sketched(
        codes, given, KEY, name="sum", points=made.points, colluding=made.colluding, malicious=made.malicious
    )


def test_the_sum_of_the_chosen_passes_although_some_answer_falsely(honest: Round) -> None:
    chosen = honest.sites[:3] + honest.sites[4:7]
    total = np.sum([honest.codes[site] for site in chosen], axis=0)
    given = read_sketched_sum(proof(honest, chosen, liars=("site-01", "site-09")).pack())
    require(honest, total, given)


def test_a_cheat_whose_sketch_is_not_its_models_is_found_out(honest: Round) -> None:
    chosen = honest.sites[:3] + honest.sites[4:7]
    total = np.sum([honest.codes[site] for site in chosen], axis=0)
    cheated = total.copy()
    cheated[17] += 1  # the least that a model can differ
    with pytest.raises(EncryptionError, match="not of the models that hospitals said they sent"):
        require(honest, cheated, proof(honest, chosen))
    with pytest.raises(EncryptionError, match="not of the models"):
        require(honest, total, replace(proof(honest, chosen), seed=bytes(32)))
    few = proof(honest, chosen)
    few = replace(few, sealed=dict(itertools.islice(few.sealed.items(), 5)))
    with pytest.raises(EncryptionError, match="too few shares"):
        require(honest, total, few)
    other = FederationKey(scheme="masked", generation=1, secret=b"1" * 32)
    with pytest.raises(EncryptionError, match="too few shares"):
        require_sketched(
            total, proof(honest, chosen), other, name="sum", points=honest.points, colluding=2, malicious=2
        )


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_damaged_proof_is_refused(honest: Round, cut: int) -> None:
    whole = proof(honest, honest.sites[:8]).pack()
    for bad in (whole[:cut], whole + b"x", b"", None, 7):
        with pytest.raises(EncryptionError):
            read_sketched_sum(bad)


# the choice


def test_krum_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        points = {f"s{number}": rng.normal(size=3) for number in range(9)}
        points["s0"], points["s1"] = points["s0"] + 40, points["s1"] - 30
        distances = {
            (one, other): float(np.linalg.norm(points[one] - points[other]))
            for one, other in itertools.combinations(sorted(points), 2)
        }
        scores = {}
        for site in points:
            far = sorted(np.linalg.norm(points[site] - points[other]) ** 2 for other in points if other != site)
            scores[site] = sum(far[: 9 - 2 - 2])
        nearest = sorted(scores, key=scores.__getitem__)[:7]
        assert multi_krum(distances, sorted(points), malicious=2) == tuple(sorted(nearest))
    with pytest.raises(JobError, match="fewer than 7 sites cannot be compared"):
        multi_krum({}, ["a", "b", "c", "d", "e", "f"], malicious=2)


def test_so_many_answers_are_needed() -> None:
    assert [answers_needed(colluding=t, malicious=a) for t, a in ((1, 1), (2, 2), (1, 3))] == [5, 9, 9]
