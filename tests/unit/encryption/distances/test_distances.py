"""Distances between shared sketches: near the true ones, whoever lies, and nothing else is learnt."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.aggregation.krum import multi_krum
from fedward.encryption.distances.checking import Checks, about, checked, checks_of, judged, read_checks
from fedward.encryption.distances.comparing import (
    DistanceShares,
    answers_needed,
    decode_distances,
    distance_shares,
    read_distance_shares,
    shares_needed,
)
from fedward.encryption.distances.dealing import Dealt, deal, package_size, unpack_dealt
from fedward.encryption.distances.field import PRIME, pack_numbers, read_numbers
from fedward.encryption.distances.reed_solomon import decode
from fedward.encryption.distances.sketch import BLOCKS, SIZE, sketch
from fedward.encryption.distances.sketched_sum import (
    SketchedSum,
    read_sketched_sum,
    require_sketched,
    seal_share,
)
from fedward.encryption.keys.key import FederationKey
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


@settings(max_examples=80, deadline=None)
@given(degree=st.integers(0, 6), malicious=st.integers(0, 4), more=st.integers(0, 8), data=st.data())
def test_false_values_are_found(degree: int, malicious: int, more: int, data: st.DataObject) -> None:
    """Found if ``degree + 1 + malicious`` true values are there, and the false ones are few enough to be alone."""
    count = degree + 1 + malicious + more
    secret = [secrets.randbelow(PRIME) for _ in range(degree + 1)]
    values = {x: sum(c * pow(x, n, PRIME) for n, c in enumerate(secret)) % PRIME for x in range(1, count + 1)}
    wrong = data.draw(st.sets(st.sampled_from(sorted(values)), max_size=min(malicious, more)))
    bad = values | {x: (values[x] + 1 + secrets.randbelow(PRIME - 1)) % PRIME for x in wrong}
    doubted = data.draw(st.sets(st.sampled_from(sorted(values))))
    found = decode(bad, degree=degree, malicious=malicious, doubted=doubted)
    assert found is not None and (found.at_zero, set(found.false)) == (secret[0], wrong)


def test_too_many_false_values_are_no_polynomial() -> None:
    values = {x: secrets.randbelow(PRIME) for x in range(1, 10)}
    assert decode(values, degree=2, malicious=3) is None
    assert decode({1: 5, 2: 5}, degree=2, malicious=0) is None
    assert decode(dict.fromkeys(range(1, 3), 7), degree=0, malicious=2) is None, "too few values for so many errors"


def test_numbers_of_the_field_have_one_form() -> None:
    numbers = [0, 1, PRIME - 1]
    assert read_numbers(pack_numbers(numbers), count=3) == numbers
    assert read_numbers(pack_numbers(numbers), count=2) is None
    assert read_numbers(PRIME.to_bytes(16, "little"), count=1) is None


# a round


class Round:
    """Hospitals that deal, check and compute, without any server between them."""

    def __init__(self, count: int = 10, colluding: int = 2, malicious: int = 2, length: int = 5000) -> None:
        self.sites = [f"site-{number:02}" for number in range(count)]
        self.points = {site: number + 1 for number, site in enumerate(self.sites)}
        self.colluding, self.malicious, self.seed = colluding, malicious, secrets.token_bytes(32)
        self.bound = {"colluding": colluding, "malicious": malicious}
        rng = np.random.default_rng(3)
        base = rng.integers(-(2**26), 2**26, length)
        self.codes: dict[str, NDArray[np.int64]] = {site: base + rng.integers(-900, 900, length) for site in self.sites}
        self.dealt: dict[str, dict[str, Dealt]] = {}

    def deal(self) -> None:
        for site in self.sites:
            others = [other for other in self.sites if other != site]
            numbers = sketch(self.codes[site], seed=self.seed)
            self.dealt[site] = deal(numbers, others=others, points=self.points, colluding=self.colluding)

    def checks(self) -> dict[str, Checks]:
        return {
            holder: checks_of(
                {site: self.dealt[site][holder] for site in self.sites}, dealings={s: s for s in self.sites}
            )
            for holder in self.sites
        }

    def judged(self, checks: Mapping[str, Checks] | None = None) -> Any:
        return judged(checks or self.checks(), dealers=self.sites, points=self.points, **self.bound)

    def answers(self, verdicts: Any = None) -> dict[str, DistanceShares]:
        verdicts = verdicts or self.judged()
        found = {}
        for holder in self.sites:
            good = [site for site in self.sites if verdicts[site].why is None and holder not in verdicts[site].off]
            omitted = sorted(set(self.sites) - set(good))
            found[holder] = distance_shares({site: self.dealt[site][holder] for site in good}, omitted=omitted)
        return found

    def decoded(self, answers: Mapping[str, DistanceShares], sites: list[str] | None = None) -> dict[Any, float]:
        return decode_distances(answers, sites=sites or self.sites, points=self.points, **self.bound)

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
    for pair, distance in found.items():
        assert distance == pytest.approx(honest.true(*pair), rel=0.15)
    assert all((one.why, one.off) == (None, frozenset()) for one in honest.judged().values())
    chosen = multi_krum(found, honest.sites, malicious=2)
    assert set(honest.sites) - set(chosen) == {"site-03", "site-07"}


def false(one: DistanceShares) -> DistanceShares:
    """Values of a hospital that answers at random."""
    return replace(one, values={pair: secrets.randbelow(PRIME) for pair in one.values})


def test_hospitals_that_answer_falsely_change_nothing(honest: Round) -> None:
    answers, due = honest.answers(), honest.decoded(honest.answers())
    del answers["site-09"]
    for liar in ("site-01", "site-05"):
        answers[liar] = false(answers[liar])
    assert honest.decoded(answers) == due
    answers["site-08"] = false(answers["site-08"])  # one more than max_malicious
    assert set(honest.decoded(answers).values()) == {inf}


def test_a_hospital_that_checks_falsely_is_off_every_dealer(honest: Round) -> None:
    checks = honest.checks()
    checks["site-04"] = Checks({site: (secrets.randbelow(PRIME), 5) for site in honest.sites})
    checks["site-06"] = Checks({}, tuple(honest.sites))
    for one in honest.judged(checks).values():
        assert one.why is None and one.off == {"site-04", "site-06"}


Wrong = Callable[[Dealt, int], Dealt]
DEALS: dict[str, Wrong] = {
    "zeros that are none": lambda own, x: replace(
        own, zeros={other: (share - 5_000_000) % PRIME for other, share in own.zeros.items()}
    ),
    "another polynomial for the sketch": lambda own, x: replace(
        own, sketch=tuple((share + pow(x, 7, PRIME)) % PRIME for share in own.sketch)
    ),
    "zeros on no polynomial": lambda own, x: replace(
        own, zeros={other: secrets.randbelow(PRIME) for other in own.zeros}
    ),
    "another vector for each hospital": lambda own, x: replace(
        own, sketch=tuple(secrets.randbelow(PRIME) for _ in own.sketch)
    ),
}


@pytest.mark.parametrize("kind", [*DEALS])
def test_nobody_computes_with_a_hospital_that_deals_falsely(kind: str) -> None:
    """It wants small distances, or many numbers of the others' sketches in place of one distance."""
    made = Round()
    made.deal()
    made.dealt["site-02"] = {
        holder: DEALS[kind](own, made.points[holder]) for holder, own in made.dealt["site-02"].items()
    }
    verdicts = made.judged()
    assert [site for site, one in verdicts.items() if one.why is not None] == ["site-02"]
    answers = made.answers(verdicts)
    assert all(
        "site-02" in one.omitted and not any("site-02" in pair for pair in one.values) for one in answers.values()
    )
    others = [site for site in made.sites if site != "site-02"]
    for pair, distance in made.decoded(answers, others).items():
        assert distance == pytest.approx(made.true(*pair), rel=0.15)


def test_a_hospital_with_false_shares_of_one_dealer_computes_nothing_with_it() -> None:
    """Two hospitals got shares of something else: what the others compute is of one sketch, and they are not blamed."""
    made = Round()
    made.deal()
    victims = ("site-04", "site-05")
    for holder in victims:
        own = made.dealt["site-02"][holder]
        made.dealt["site-02"][holder] = replace(own, sketch=tuple(range(SIZE)))
    verdicts = made.judged()
    assert verdicts["site-02"].why is None and verdicts["site-02"].off == {*victims}
    assert all(not one.off for site, one in verdicts.items() if site != "site-02")
    answers = made.answers(verdicts)
    for holder in victims:
        assert answers[holder].omitted == ("site-02",)
    answers["site-07"] = false(answers["site-07"])
    found = made.decoded(answers)
    for pair, distance in found.items():
        if "site-02" not in pair:
            assert distance == pytest.approx(made.true(*pair), rel=0.15)
    third = replace(made.dealt["site-02"]["site-08"], hides=3)
    made.dealt["site-02"]["site-08"] = third
    assert made.judged()["site-02"].why is not None, "false for more hospitals than may be false"


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
    """Two rounds with the same distances: what hospitals publish is distributed the same.

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
            held = {site: made.dealt[site]["site-00"] for site in made.sites}
            low[name] += distance_shares(held).values["site-01", "site-02"] < PRIME // 2
    assert abs(low["near"] - low["moved"]) < 5 * np.sqrt(100 / 2)
    assert 25 < low["near"] < 75 and 25 < low["moved"] < 75


def test_a_dealer_of_another_vector_for_each_hospital_learns_nothing_from_honest_ones() -> None:
    """Without the check it would have read a number of each honest hospital's sketch from every one of them."""
    made = Round(7, colluding=1, malicious=1, length=400)
    made.deal()
    for place, holder in enumerate(made.sites):
        own = made.dealt["site-06"][holder]
        probe = [0] * SIZE
        probe[place] = 1 << 60
        made.dealt["site-06"][holder] = replace(own, sketch=tuple(probe))
    answers = made.answers()
    assert not any("site-06" in pair for one in answers.values() for pair in one.values)


# packages and answers of any origin


def test_packages_and_answers_have_one_form(honest: Round) -> None:
    own = honest.dealt["site-00"]["site-01"]
    others = [site for site in honest.sites if site != "site-00"]
    assert len(own.pack()) == package_size(len(honest.sites))
    again = unpack_dealt(own.pack(), others=others)
    assert again is not None and again.pack() == own.pack()
    assert unpack_dealt(own.pack()[:-1], others=others) is None
    assert unpack_dealt(b"\xff" * len(own.pack()), others=others) is None
    values, shares = honest.checks()["site-00"].pack(), honest.answers()["site-00"].pack()
    assert read_checks(values, dealers=honest.sites).pack() == values
    assert read_distance_shares(shares, dealers=honest.sites).pack() == shares


@pytest.mark.parametrize("number", range(14))
def test_an_answer_of_another_form_is_refused(honest: Round, number: int) -> None:
    values, shares = honest.checks()["site-00"].pack(), honest.answers()["site-00"].pack()

    def spaced(whole: bytes) -> bytes:
        at = whole.index(b'"values":"') + 10
        return whole[:at] + b"  " + whole[at + 2 :]

    def bad(whole: bytes) -> list[bytes]:
        listed = whole.replace(b'"damaged":[]', b'"damaged":["site-01","site-01"]').replace(
            b'"omitted":[]', b'"omitted":["site-01","site-01"]'
        )
        upper = whole.replace(b"a", b"A")
        nothing = [b"", b"{}", b"[]", b"null", b"\xff", b"9" * 10**5, b"[" * 10**5]
        return [*nothing, whole[:-1], whole + b" ", spaced(whole), listed, upper, whole[:-40] + b'"}', b'{"values":3}']

    with pytest.raises(EncryptionError):
        read_checks(bad(values)[number], dealers=honest.sites)
    with pytest.raises(EncryptionError):
        read_distance_shares(bad(shares)[number], dealers=honest.sites)


def test_values_are_of_the_packages_that_they_name(honest: Round) -> None:
    values = honest.checks()["site-00"].pack()
    assert checked(about("a" * 64) + values, name="a" * 64) == values
    with pytest.raises(EncryptionError, match="are of others"):
        checked(about("b" * 64) + values, name="a" * 64)


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
    few = replace(few, sealed=dict(itertools.islice(few.sealed.items(), 4)))
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
    assert shares_needed(colluding=2, malicious=2) == 5
    assert [answers_needed(colluding=t, malicious=a) for t, a in ((1, 1), (2, 2), (1, 3))] == [5, 9, 9]
