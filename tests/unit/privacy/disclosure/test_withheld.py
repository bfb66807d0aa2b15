"""Check that no hospital's hidden count follows from the counts that hospitals disclose, their own and the sums.

Hospitals, lists and floors are drawn; each tells what its rules let out, and then what it may tell of both sums.
Whoever has read all of it knows sums of patients: which counts they determine is a question of linear algebra, asked
here of all labels, of training and validation, and of patients with yes and without at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedward.dataset.selection import Support
from fedward.errors import EncryptionError
from fedward.flare.summed_counts import counts_layout, counts_length, site_counts, told_of_all
from fedward.privacy.disclosure.categories import AGES, RELIABILITY_BINS, SEXES
from fedward.privacy.disclosure.withheld import ANY, FLOORS, Disclosed, Withheld, withheld_counts, withheld_length
from fedward.settings import Disclosure, JobSpec, parse
from fedward.validation.curves import curves
from fedward.validation.pooling.cohort_statistics import pooled_statistics, statistics_layout, statistics_length
from fedward.validation.pooling.pooled import histogram_layout, score_histogram
from fedward.validation.predictions import Predictions
from tests.conftest import tiny_job_content
from tests.support.disclosure import refused, release

KINDS: dict[str, dict[str, Any]] = {
    "binary": {"labels": ["a"]},
    "multilabel": {"target": "multilabel", "labels": ["a", "b", "c"]},
    "multiclass": {"target": "multiclass", "labels": ["finding"], "classes": ["a", "b", "c"]},
}
LISTS = (
    ("scores", "support", "curves", "pooled", "cohort_statistics"),
    ("scores", "support", "pooled", "cohort_statistics"),
    ("curves", "pooled", "cohort_statistics"),
    ("auc", "pooled", "cohort_statistics"),
    ("pooled", "cohort_statistics"),
    ("work", "pooled", "cohort_statistics"),
)
Metrics = dict[str, Any]
Key = tuple[int, str, str, bool]
SPLITS = ("train", "validation")


def job_of(kind: str) -> JobSpec:
    content = tiny_job_content()
    content["data"] |= KINDS[kind]
    content["encryption"] = {}
    content["federation"]["min_sites"] = 3
    return parse(JobSpec, content, where="test")


@dataclass
class Site:
    """A hospital's validation patients, one image each, and how many it trains on."""

    job: JobSpec
    disclosure: Disclosure
    truth: np.ndarray
    """0 or 1 of each label or class, (patients, labels)."""
    tenths: np.ndarray
    """Of each score, (patients, labels)."""
    trained: int
    trained_yes: dict[str, int]

    @property
    def patients(self) -> int:
        return len(self.truth)

    def yes(self, name: str) -> np.ndarray:
        return self.truth[:, self.job.scored_names.index(name)] == 1

    def counted(self, name: str, split: str, *, yes: bool | None) -> int:
        """Patients of training or validation: all, with yes, or without."""
        train = split == "train"
        positives = self.trained_yes[name] if train else int(self.yes(name).sum())
        everyone = self.trained if train else self.patients
        return everyone if yes is None else positives if yes else everyone - positives

    def metrics(self) -> Metrics:
        """Counts as the hospital's own code makes them; the scores beside them are of no matter here."""
        found, names = self.predictions(), self.job.scored_names
        labels = {name: self.yes(name).astype(np.int64) for name in names}
        scores = {name: found.scores[:, k] for k, name in enumerate(names)}
        each = {name: {"auc": 0.5, "patients": self.patients, "positives": int(self.yes(name).sum())} for name in names}
        anyone = int(np.sum(found.labels != 0 if self.job.exclusive else found.labels.any(axis=1)))
        top = {"auc": 0.5, "patients": self.patients, "images": self.patients, "positives": anyone}
        return {
            "scores": top | ({"labels": each} if len(names) > 1 else {}),
            "curves": curves(labels, scores, found.patients),
            "support": self.support().plain(),
            "patients": self.trained,
        }

    def told(self, metrics: Metrics) -> Metrics:
        given = release(metrics, self.disclosure, private=False, names=self.job.names, exclusive=self.job.exclusive)
        faults = refused(given, self.disclosure, private=False, names=self.job.names, exclusive=self.job.exclusive)
        assert not faults, "the gate lets it pass"
        return given

    def counts(self) -> dict[str, np.ndarray]:
        trainer: Any = SimpleNamespace(
            score_histogram=lambda: score_histogram(self.job, self.predictions()),
            cohort_statistics=self._cohort,
            support=self.support(),
        )
        policy: Any = SimpleNamespace(disclosure=self.disclosure)
        return site_counts(self.job, policy, trainer, lets_out=self.told(self.metrics()), private=False)

    def support(self) -> Support:
        own = {name: int(self.yes(name).sum()) for name in self.job.scored_names}
        size = {"train_patients": self.trained, "train_images": self.trained, "left_out": 0}
        mine = {"validation_patients": self.patients, "validation_images": self.patients}
        return Support(**size, **mine, train_positives=self.trained_yes, validation_positives=own)

    def predictions(self) -> Predictions:
        labels = self.truth.argmax(axis=1) if self.job.exclusive else self.truth
        names = tuple(f"{k:016x}" for k in range(self.patients))
        return Predictions(patients=names, images=names, scores=(self.tenths + 0.5) / 10, labels=labels, loss=0.5)

    def _cohort(self) -> np.ndarray:
        """All of one age and sex; with grey values that are alike."""
        everyone = self.trained + self.patients
        mine = self.support()
        found = {
            "patients": [everyone],
            "images": [everyone],
            "age": [everyone] + [0] * 10,
            "sex": [everyone] + [0] * 3,
            "positives": [mine.train_positives[n] + mine.validation_positives[n] for n in self.job.scored_names],
            "intensity": [1000 * everyone] + [0] * 31,
        }
        counts = np.array([value for part in found.values() for value in part], dtype=np.int64)
        assert len(counts) == statistics_length(self.job)
        return counts


def drawn(kind: str, rng: np.random.Generator) -> list[Site]:
    job, sites = job_of(kind), []
    names = job.scored_names
    same = rng.random() < 0.3
    for _ in range(int(rng.integers(3, 6))):
        patients = int(rng.choice([4, 12, 60, 300]))
        if job.exclusive and len(names) > 1:
            truth = np.eye(len(names), dtype=np.int64)[rng.choice(len(names), patients, p=(0.8, 0.15, 0.05))]
        else:
            truth = (rng.random((patients, len(names))) < rng.choice([0.02, 0.1, 0.5], len(names))).astype(np.int64)
        tenths = np.clip(rng.normal(2 + 5 * truth, 2.5), 0, 9).astype(int)
        trained = int(rng.choice([3, 40, 200]))
        floor, asked = int(rng.choice([1, 3, 5, 11, 20])), LISTS[0 if rng.random() < 0.5 else rng.integers(len(LISTS))]
        disclosure = Disclosure(metrics=LISTS[0] if same else asked, decimals=6, min_count=5 if same else floor)
        shares = rng.choice([0.02, 0.1, 0.5], len(names))
        parts = rng.multinomial(trained, shares / shares.sum()) if job.exclusive else rng.binomial(trained, shares)
        yes = dict(zip(names, map(int, parts), strict=True))
        sites.append(Site(job, disclosure, truth, tenths, trained, yes))
    return sites


def of_all(sites: Sequence[Site], purpose: str) -> list[Metrics]:
    """Return what each hospital discloses of the sum."""
    counts = sum(site.counts()[purpose] for site in sites)
    job = sites[0].job
    return [site.told(told_of_all(job, purpose, counts, disclosure=site.disclosure, private=False)) for site in sites]


class Reader:
    """Patients of each hospital, split and label, with yes and without: what is known of them, and what follows."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._names, self._sites = sites[0].job.scored_names, range(len(sites))
        keys = itertools.product(self._sites, SPLITS, self._names, (False, True))
        self._index = {key: at for at, key in enumerate(keys)}
        self._known = [np.zeros(len(self._index))]
        first = self._names[0]
        for site, split in itertools.product(self._sites, SPLITS):
            for name in self._names[1:]:
                self._is(self._row(self.of(name, split, site)) - self._row(self.of(first, split, site)))
            if sites[0].job.exclusive:
                classes = [(site, split, name, True) for name in self._names]
                self._is(self._row(classes) - self._row(self.of(first, split, site)))

    def of(self, name: str, split: str, *sites: int, yes: bool | None = None) -> list[Key]:
        """Patients of one label in some hospitals: all, those with yes, or those without."""
        sides = (False, True) if yes is None else (yes,)
        return [(site, split, name, side) for site in sites for side in sides]

    def learns(self, keys: Sequence[Key], value: object) -> None:
        """Record the sum of these as known, unless it is withheld."""
        if value is not None:
            self._is(self._row(keys))

    def determines(self, keys: Sequence[Key]) -> bool:
        """True if the sum of these follows from what is known."""
        known, row = np.array(self._known), self._row(keys)
        found, *_ = np.linalg.lstsq(known.T, row, rcond=None)
        return bool(np.abs(known.T @ found - row).max() < 1e-9)

    def hears(self, site: int, own: Metrics) -> None:
        """Record what a hospital discloses of its own patients."""
        first, support, scores = self._names[0], own.get("support", {}), own.get("scores", {})
        for value in (support.get("train_patients"), own.get("patients")):
            self.learns(self.of(first, "train", site), value)
        for value in (support.get("validation_patients"), scores.get("patients")):
            self.learns(self.of(first, "validation", site), value)
        for name in self._names:
            self.learns(self.of(name, "train", site, yes=True), support.get("train_positives", {}).get(name))
            inner = label_of(scores, name).get("positives")
            for value in (support.get("validation_positives", {}).get(name), inner):
                self.learns(self.of(name, "validation", site, yes=True), value)

    def hears_of_all(self, pooled: Metrics, cohort: Metrics) -> None:
        """Record what a hospital discloses of the sums."""
        everyone, first = self._sites, self._names[0]
        self.learns(self.of(first, "validation", *everyone), pooled.get("patients"))
        both = [key for split in SPLITS for key in self.of(first, split, *everyone)]
        self.learns(both, cohort.get("patients"))
        for name in self._names:
            self.learns(self.of(name, "validation", *everyone, yes=True), label_of(pooled, name).get("positives"))
            yes = [key for split in SPLITS for key in self.of(name, split, *everyone, yes=True)]
            self.learns(yes, cohort.get("positives", {}).get(name))

    def _is(self, row: np.ndarray) -> None:
        self._known.append(row)

    def _row(self, keys: Sequence[Key]) -> np.ndarray:
        row = np.zeros(len(self._index))
        for key in keys:
            row[self._index[key]] += 1
        return row


def edges_of(table: Any) -> list[tuple[int, int]]:
    """Return the first and last tenth of each disclosed bin."""
    if not isinstance(table, dict):
        return []
    low = [RELIABILITY_BINS.index(edge) for edge, cell in table.items() if cell["patients"] is not None]
    return [(first, after - 1) for first, after in pairwise([*low, 10])] if low else []


def label_of(told: Metrics, name: str) -> Any:
    """A label's counts among scores."""
    inner = told.get("labels", told if "labels" not in told else {})
    return inner.get(name, {}) if "labels" in told else inner


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_no_hidden_count_of_a_hospital_is_determined_by_all_that_was_told(kind: str, seed: int) -> None:
    sites = drawn(kind, np.random.default_rng(seed))
    before, after = Reader(sites), Reader(sites)
    for k, site in enumerate(sites):
        own = site.told(site.metrics())
        before.hears(k, own)
        after.hears(k, own)
    for pooled, cohort in zip(of_all(sites, "scores"), of_all(sites, "cohort"), strict=True):
        after.hears_of_all(pooled["pooled"], cohort["cohort_statistics"])
    floor = max(site.disclosure.min_count for site in sites)
    for split, name, yes in itertools.product(SPLITS, sites[0].job.scored_names, (False, True, None)):
        for k in range(len(sites)):
            keys = after.of(name, split, k, yes=yes)
            assert after.determines(keys) == before.determines(keys), (split, name, yes)
        everyone = after.of(name, split, *range(len(sites)), yes=yes)
        if after.determines(everyone) and not before.determines(everyone):
            assert sum(site.counted(name, split, yes=yes) for site in sites) >= floor


def test_a_reliability_table_of_all_is_told_where_no_hospital_tells_its_own() -> None:
    rng = np.random.default_rng(1)
    for lists, least in (((0, 0, 0), 0), ((1, 1, 1), 6), ((4, 4, 4), 6), ((1, 1, 0), 0)):
        sites = three(20, 30, 12, lists=lists)
        for site in sites:
            site.truth, site.tenths = (rng.random((900, 1)) < 0.5).astype(np.int64), rng.integers(0, 10, (900, 1))
        for one in of_all(sites, "scores"):
            assert one["pooled"]["positives"] is not None and one["pooled"]["auc"] is not None
            told = edges_of(one["pooled"]["curves"]["a"]["reliability"])
            assert (len(told) >= least) if least else not told


@pytest.mark.parametrize("listed", [("pooled",), ("cohort_statistics",), ()])
def test_a_hospital_takes_part_in_both_sums_or_in_none(listed: tuple[str, ...]) -> None:
    """Of two sums that count its validation patients, one without it would tell its counts."""
    site, *_ = three(20, 30, 12)
    assert set(site.counts()) == {"cohort", "scores"}
    site.disclosure = site.disclosure.model_copy(update={"metrics": listed})
    assert site.counts() == {}


def test_all_hospitals_tell_the_same_of_one_sum() -> None:
    for kind in KINDS:
        for seed in range(25):
            sites = drawn(kind, np.random.default_rng(seed))
            for purpose, group in (("scores", "pooled"), ("cohort", "cohort_statistics")):
                told = [one[group] for one in of_all(sites, purpose)]
                assert all(one == told[0] for one in told)


def three(*positives: int, lists: Sequence[int] = (0, 0, 0), floors: Sequence[int] = (5, 5, 5)) -> list[Site]:
    """Hospitals of 60 patients each, so many with yes."""
    job = job_of("binary")
    sites = []
    for yes, asked, floor in zip(positives, lists, floors, strict=True):
        truth = (np.arange(60) < yes).astype(np.int64)[:, np.newaxis]
        tenths = np.where(truth == 1, 7, 2)
        sites.append(
            Site(job, Disclosure(metrics=LISTS[asked], decimals=6, min_count=floor), truth, tenths, 40, {"a": 9})
        )
    return sites


@pytest.mark.parametrize(
    ("sites", "told"),
    [
        (three(20, 30, 12), 62),
        (three(20, 30, 3), None),
        (three(20, 30, 0), None),
        (three(20, 3, 4), None),
        (three(3, 3, 3), None),
        (three(20, 30, 12, lists=(0, 0, 4)), None),
        (three(20, 30, 12, lists=(4, 4, 4)), 62),
        (three(1, 2, 3, lists=(4, 4, 4)), 6),
        (three(1, 1, 1, lists=(4, 4, 4)), None),
        (three(20, 30, 12, floors=(5, 5, 25)), None),
        (three(1, 2, 3, lists=(4, 4, 4), floors=(5, 5, 7)), None),
        (three(20, 30, 58), None),
    ],
)
def test_a_count_of_all_is_told_where_no_hospitals_own_follows(sites: list[Site], told: int | None) -> None:
    """Where all disclose their own, or where no hospital's list has any."""
    for one in of_all(sites, "scores"):
        assert one["pooled"]["positives"] == told
        assert (one["pooled"]["auc"] is None) == (told is None)
        assert one["pooled"].get("suppressed", False) == (told is None)


def test_what_is_in_training_alone_has_the_floor_too() -> None:
    """Cohort statistics less pooled scores are the patients of training."""
    for trained, yes, patients, told in ((40, 1, 300, None), (40, 2, 300, 12), (40, 4, 300, 18), (1, 0, None, None)):
        sites = three(1, 2, 3, lists=(4, 4, 4))
        for site in sites:
            site.trained, site.trained_yes = trained, {"a": yes}
        for one in of_all(sites, "cohort"):
            assert one["cohort_statistics"]["patients"] == patients
            assert one["cohort_statistics"]["positives"]["a"] == told


def test_hospitals_put_bins_together_by_the_largest_floor_among_them() -> None:
    """Two answers over one sum, in different bins, would disclose the difference between the bins."""
    rng = np.random.default_rng(0)
    sites = three(60, 60, 60, floors=(1, 7, 20), lists=(1, 1, 1))
    for site in sites:
        site.truth, site.tenths = (rng.random((60, 1)) < 0.5).astype(np.int64), rng.integers(0, 10, (60, 1))
    tables = [edges_of(one["pooled"]["curves"]["a"]["reliability"]) for one in of_all(sites, "scores")]
    assert tables[0] == tables[1] == tables[2] and 1 <= len(tables[0]) <= 3


@pytest.mark.parametrize(("told", "shown"), [(0, 40), (35, 40), (36, None), (40, None)])
def test_ages_less_those_of_the_hospitals_profiles_have_the_floor(told: int, shown: int | None) -> None:
    ages, sexes = [40, 300, 30, 4, 3, 3, *[0] * 5], [380, 0, 0, 0]
    counts = np.array([380, 380, *ages, *sexes, 99, 380_000, *[0] * 31], dtype=np.int64)
    rest = {"age": dict(zip(AGES, [40 - told, *ages[1:]], strict=True)), "sex": dict(zip(SEXES, sexes, strict=True))}
    found = pooled_statistics(job_of("binary"), counts, min_count=5, rest=rest)
    assert found["age"]["0-9"] == shown and found["age"]["10-19"] == 300


def test_a_floor_between_two_counts_as_the_higher() -> None:
    told = Disclosed(anything=True, patients=True, positives={ANY})
    for floor in [*range(1, 1100), 10**9, 10**12]:
        counts = withheld_counts((), told, min_count=floor)
        least = Withheld((), counts, min_count=1).least
        assert least == min(at for at in FLOORS if at >= min(floor, FLOORS[-1]))
        assert Withheld((), counts, min_count=floor).least >= floor


def test_vectors_of_another_version_are_not_added() -> None:
    for kind in KINDS:
        job = job_of(kind)
        assert counts_layout(job, "scores") != histogram_layout(job)
        assert counts_layout(job, "cohort") != statistics_layout(job)
        for purpose in ("scores", "cohort"):
            assert counts_length(job, purpose) == len(three(20, 30, 9)[0].counts()[purpose]) or kind != "binary"


def test_numbers_that_no_hospitals_hide_are_refused() -> None:
    names = ("a", "b")
    told = Disclosed(anything=True, patients=False, positives={"a"}, tables={"b"})
    good = 3 * withheld_counts(names, told, min_count=5)
    assert Withheld(names, good, min_count=1).least == 5
    assert len(good) == withheld_length(names)
    at = np.arange(len(good))
    wrong = {
        "length": good[:-1],
        "type": good.astype(np.float64),
        "negative": np.where(at == len(good) - 1, -1, good),
        "nobody": np.where(at < len(FLOORS), 0, good),
        "floors": np.where(at == 20, 2, good),
        "more hospitals than there are": np.where(at == len(FLOORS) + 1, 4, good),
    }
    for what, counts in wrong.items():
        with pytest.raises(EncryptionError):
            Withheld(names, counts, min_count=1)
            pytest.fail(what)


def test_training_that_is_not_of_the_cohort_is_refused() -> None:
    sites = three(20, 30, 12)
    counts = sum(site.counts()["cohort"] for site in sites)
    for at in (-1, -20, statistics_length(sites[0].job) + withheld_length(("a",)), len(counts) - 17):
        wrong = counts.copy()
        wrong[at] += 10_000
        with pytest.raises(EncryptionError):
            told_of_all(sites[0].job, "cohort", wrong, disclosure=sites[0].disclosure, private=False)
