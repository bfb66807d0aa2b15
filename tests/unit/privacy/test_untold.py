"""No hospital's hidden count follows from what hospitals told and what they told of all together.

Hospitals, lists and floors are drawn; each tells what its rules let out, and then what it may tell of the sum. Whoever
has read all of it knows sums of patients: which counts they determine is a question of linear algebra, asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedward.dataset.selection import Support
from fedward.errors import EncryptionError
from fedward.flare.site_counts import counts_layout, counts_length, site_counts, told_of_all
from fedward.privacy.metric_table import RELIABILITY_BINS
from fedward.privacy.release import refused, release
from fedward.privacy.untold import ANY, FLOORS, Own, Untold, untold_counts, untold_length
from fedward.settings import JobSpec, Leaving, parse
from fedward.training.results import Predictions
from fedward.validation.cohort_statistics import statistics_layout, statistics_length
from fedward.validation.curves import curves
from fedward.validation.pooled import histogram_layout, names_of, score_histogram
from tests.conftest import tiny_job_content

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
    leaving: Leaving
    truth: np.ndarray
    """0 or 1 of each label or class, (patients, labels)."""
    tenths: np.ndarray
    """Of each score, (patients, labels)."""
    trained: int
    trained_yes: dict[str, int]
    drawn: int = 0
    """Patients of a round; all of those in training, or fewer."""

    @property
    def patients(self) -> int:
        return len(self.truth)

    def yes(self, name: str) -> np.ndarray:
        return self.truth[:, names_of(self.job).index(name)] == 1

    def counted(self, name: str, *, first: int, last: int, yes: bool) -> int:
        """Patients with yes, or without, whose score is in these tenths."""
        place = self.tenths[:, names_of(self.job).index(name)]
        return int(np.sum((self.yes(name) == yes) & (place >= first) & (place <= last)))

    def metrics(self) -> Metrics:
        """Counts as the hospital's own code makes them; the scores beside them are of no matter here."""
        found, names = self.predictions(), names_of(self.job)
        labels = {name: self.yes(name).astype(np.int64) for name in names}
        scores = {name: found.scores[:, k] for k, name in enumerate(names)}
        each = {name: {"auc": 0.5, "patients": self.patients, "positives": int(self.yes(name).sum())} for name in names}
        anyone = int(np.sum(found.labels != 0 if self.job.exclusive else found.labels.any(axis=1)))
        top = {"auc": 0.5, "patients": self.patients, "images": self.patients, "positives": anyone}
        return {
            "scores": top | ({"labels": each} if len(names) > 1 else {}),
            "curves": curves(labels, scores, found.patients),
            "support": self.support().plain(),
            "patients": self.drawn or self.trained,
        }

    def told(self, metrics: Metrics) -> Metrics:
        given = release(metrics, self.leaving, private=False, names=self.job.names, exclusive=self.job.exclusive)
        faults = refused(given, self.leaving, private=False, names=self.job.names, exclusive=self.job.exclusive)
        assert not faults, "the gate lets it pass"
        return given

    def counts(self) -> dict[str, np.ndarray]:
        trainer: Any = SimpleNamespace(
            score_histogram=lambda: score_histogram(self.job, self.predictions()),
            cohort_statistics=self._cohort,
            support=self.support(),
        )
        policy: Any = SimpleNamespace(leaving=self.leaving)
        return site_counts(self.job, policy, trainer, told=self.told(self.metrics()), private=False)

    def support(self) -> Support:
        own = {name: int(self.yes(name).sum()) for name in names_of(self.job)}
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
            "positives": [mine.train_positives[n] + mine.validation_positives[n] for n in names_of(self.job)],
            "intensity": [1000 * everyone] + [0] * 31,
        }
        counts = np.array([value for part in found.values() for value in part], dtype=np.int64)
        assert len(counts) == statistics_length(self.job)
        return counts


def drawn(kind: str, rng: np.random.Generator) -> list[Site]:
    job, sites = job_of(kind), []
    names = names_of(job)
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
        leaving = Leaving(metrics=LISTS[0] if same else asked, decimals=6, min_count=5 if same else floor)
        parts = rng.multinomial(trained, np.full(len(names), 1 / len(names)))
        yes = dict(zip(names, map(int, parts), strict=True))
        sites.append(Site(job, leaving, truth, tenths, trained, yes, drawn=int(rng.choice([trained, trained // 2]))))
    return sites


def of_all(sites: Sequence[Site], purpose: str) -> list[Metrics]:
    """What each hospital tells of the sum."""
    counts = sum(site.counts()[purpose] for site in sites)
    job = sites[0].job
    return [site.told(told_of_all(job, purpose, counts, leaving=site.leaving, private=False)) for site in sites]


class Reader:
    """Whole numbers that are not known, and sums of them that are."""

    def __init__(self, unknowns: int) -> None:
        self._unknowns, self._known = unknowns, [np.zeros(unknowns)]

    def learns(self, of: Sequence[int]) -> None:
        self._known.append(self._row(of))

    def determines(self, of: Sequence[int]) -> bool:
        """Whether the sum of these unknowns follows from what is known."""
        known, row = np.array(self._known), self._row(of)
        found, *_ = np.linalg.lstsq(known.T, row, rcond=None)
        return bool(np.abs(known.T @ found - row).max() < 1e-9)

    def _row(self, of: Sequence[int]) -> np.ndarray:
        row = np.zeros(self._unknowns)
        row[list(of)] = 1
        return row


def edges_of(table: Any) -> list[tuple[int, int]]:
    """First and last tenth of each bin that is told."""
    if not isinstance(table, dict):
        return []
    low = [RELIABILITY_BINS.index(edge) for edge, cell in table.items() if cell["patients"] is not None]
    return [(first, after - 1) for first, after in pairwise([*low, 10])] if low else []


def label_of(told: Metrics, name: str) -> Any:
    """A label's counts among scores."""
    inner = told.get("labels", told if "labels" not in told else {})
    return inner.get(name, {}) if "labels" in told else inner


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(15))
def test_no_hidden_count_of_a_hospital_is_determined_by_all_that_was_told(kind: str, seed: int) -> None:
    sites = drawn(kind, np.random.default_rng(seed))
    told, together = [site.told(site.metrics()) for site in sites], of_all(sites, "scores")
    everyone = len(sites)
    for name in names_of(sites[0].job):
        # one reader for patients with yes, another for those without: both are told where one is
        reader = Reader(everyone * 10)

        def tenths(site: int, first: int, last: int) -> list[int]:
            return [site * 10 + k for k in range(first, last + 1)]

        open_ones = set()
        for k, own in enumerate(told):
            support = own.get("support", {}).get("validation_positives", {})
            found = {label_of(own.get("scores", {}), name).get("positives"), support.get(name)} - {None}
            if found:
                assert found == {int(sites[k].yes(name).sum())}
                reader.learns(tenths(k, 0, 9))
                open_ones.add(k)
            for first, last in edges_of(own.get("curves", {}).get(name, {}).get("reliability")):
                reader.learns(tenths(k, first, last))
        for told_of_it in together:
            pooled = told_of_it.get("pooled", {})
            if label_of(pooled, name).get("positives") is not None:
                assert label_of(pooled, name)["positives"] == sum(site.yes(name).sum() for site in sites)
                reader.learns(range(everyone * 10))
            for first, last in edges_of(pooled.get("curves", {}).get(name, {}).get("reliability")):
                reader.learns([k for site in range(everyone) for k in tenths(site, first, last)])
        for k, site in enumerate(sites):
            whole = reader.determines(tenths(k, 0, 9))
            assert whole == (k in open_ones), "what a hospital hides does not follow"
            for first, last in ((a, b) for a in range(10) for b in range(a, 10)):
                if reader.determines(tenths(k, first, last)):
                    fewest = min(site.counted(name, first=first, last=last, yes=yes) for yes in (True, False))
                    assert fewest >= site.leaving.min_count, (name, first, last)


@pytest.mark.parametrize("seed", range(30))
def test_no_hidden_number_of_patients_follows_from_that_of_all(seed: int) -> None:
    sites = drawn("multilabel", np.random.default_rng(seed))
    reader, open_ones = Reader(len(sites)), set()
    for k, site in enumerate(sites):
        own = site.told(site.metrics())
        places = own.get("scores", {}).get("patients"), own.get("support", {}).get("validation_patients")
        if set(places) - {None}:
            reader.learns([k])
            open_ones.add(k)
    for one in of_all(sites, "scores"):
        pooled = one.get("pooled", {})
        if {pooled.get("patients"), pooled.get("images"), *(p["patients"] for p in pooled["labels"].values())} - {None}:
            reader.learns(range(len(sites)))
    for k in range(len(sites)):
        assert reader.determines([k]) == (k in open_ones)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(15))
def test_no_hidden_count_of_patients_follows_from_the_cohort_statistics(kind: str, seed: int) -> None:
    sites = drawn(kind, np.random.default_rng(1000 + seed))
    told, together = [site.told(site.metrics()) for site in sites], of_all(sites, "cohort")
    for name in (None, *names_of(sites[0].job)):
        reader, open_ones = Reader(2 * len(sites)), set()
        for k, own in enumerate(told):
            for split, train in enumerate(("train", "validation")):
                support, scores = own.get("support", {}), own.get("scores", {}) if split else {}
                if name is None:
                    worked = own.get("patients") if not split and sites[k].drawn == sites[k].trained else None
                    found = [support.get(f"{train}_patients"), scores.get("patients"), worked]
                else:
                    found = [support.get(f"{train}_positives", {}).get(name), label_of(scores, name).get("positives")]
                if any(value is not None for value in found):
                    reader.learns([2 * k + split])
                    open_ones.add(2 * k + split)
        for told_of_it in together:
            pooled = told_of_it.get("cohort_statistics", {})
            count = pooled.get("patients") if name is None else pooled.get("positives", {}).get(name)
            if count is not None:
                reader.learns(range(2 * len(sites)))
        for unknown in range(2 * len(sites)):
            assert reader.determines([unknown]) == (unknown in open_ones), (name, unknown)


def test_what_every_hospital_tells_is_told_of_all_and_hidden_parts_of_several_too() -> None:
    """The last hospital tells no table; the one before it neither, so that theirs add up."""
    rng = np.random.default_rng(1)
    for lists, bins in (((0, 0, 0, 0), 3), ((1, 1, 1, 1), 6), ((0, 0, 1, 1), 3), ((0, 0, 0, 1), 0)):
        sites = three(20, 30, 12, 40, lists=lists, floors=(5, 5, 5, 5))
        for site in sites:
            site.truth, site.tenths = (rng.random((900, 1)) < 0.5).astype(np.int64), rng.integers(0, 10, (900, 1))
        for one in of_all(sites, "scores"):
            assert one["pooled"]["positives"] is not None and one["pooled"]["auc"] is not None
            assert len(edges_of(one["pooled"]["curves"]["a"]["reliability"])) >= bins
            assert bins or not edges_of(one["pooled"]["curves"]["a"]["reliability"])


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
        sites.append(Site(job, Leaving(metrics=LISTS[asked], decimals=6, min_count=floor), truth, tenths, 40, {"a": 9}))
    return sites


@pytest.mark.parametrize(
    ("sites", "told"),
    [
        (three(20, 30, 12), 62),
        (three(20, 30, 3), None),
        (three(20, 30, 0), None),
        (three(20, 3, 4), 27),
        (three(20, 1, 2), None),
        (three(3, 3, 3), 9),
        (three(20, 30, 12, lists=(0, 0, 4)), None),
        (three(20, 30, 12, lists=(0, 4, 4)), 62),
        (three(20, 30, 12, floors=(5, 5, 25)), None),
        (three(20, 30, 58), None),
    ],
)
def test_a_count_of_all_is_told_where_no_hospitals_own_follows(sites: list[Site], told: int | None) -> None:
    for one in of_all(sites, "scores"):
        assert one["pooled"]["positives"] == told
        assert (one["pooled"]["auc"] is None) == (told is None)
        assert one["pooled"].get("suppressed", False) == (told is None)


def test_hospitals_put_bins_together_by_the_largest_floor_among_them() -> None:
    """Two answers over one sum, in other bins, would tell what is in one and not in the other."""
    rng = np.random.default_rng(0)
    sites = three(60, 60, 60, floors=(1, 7, 20), lists=(1, 1, 1))
    for site in sites:
        site.truth, site.tenths = (rng.random((60, 1)) < 0.5).astype(np.int64), rng.integers(0, 10, (60, 1))
    tables = [edges_of(one["pooled"]["curves"]["a"]["reliability"]) for one in of_all(sites, "scores")]
    assert tables[0] == tables[1] == tables[2] and 1 <= len(tables[0]) <= 3


def test_a_floor_between_two_counts_as_the_higher() -> None:
    own = Own(patients=None, positives={})
    for floor in [*range(1, 1100), 10**9, 10**12]:
        counts = untold_counts((), [own], min_count=floor, tables=False)
        least = Untold((), counts, tables=False, min_count=1).least
        assert least == min(at for at in FLOORS if at >= min(floor, FLOORS[-1]))
        assert Untold((), counts, tables=False, min_count=floor).least >= floor


def test_vectors_of_another_version_are_not_added() -> None:
    for kind in KINDS:
        job = job_of(kind)
        assert counts_layout(job, "scores") != histogram_layout(job)
        assert counts_layout(job, "cohort") != statistics_layout(job)
        for purpose in ("scores", "cohort"):
            assert counts_length(job, purpose) == len(three(20, 30, 9)[0].counts()[purpose]) or kind != "binary"


def test_numbers_that_no_hospitals_hide_are_refused() -> None:
    names = ("a", "b")
    own = Own(
        patients=None,
        positives={ANY: (30, 8), "b": (30, 4)},
        by_tenth={name: np.array([[3] * 10, [1] * 10]) for name in names},
        edges={"a": RELIABILITY_BINS[:4]},
    )
    good = 3 * untold_counts(names, [own], min_count=5, tables=True)
    assert Untold(names, good, tables=True, min_count=1).least == 5
    assert len(good) == untold_length(names, tables=True)
    wrong = {
        "length": good[:-1],
        "type": good.astype(np.float64),
        "negative": np.where(np.arange(len(good)) == len(good) - 1, -1, good),
        "nobody": np.where(np.arange(len(good)) < len(FLOORS), 0, good),
        "floors": np.where(np.arange(len(good)) == 20, 9, good),
        "more hospitals than there are": np.where(np.arange(len(good)) == len(FLOORS), 4, good),
        "more yes than patients": np.where(np.arange(len(good)) == len(FLOORS) + 2, 4, good),
        "more tables than hospitals": np.where(np.arange(len(good)) == len(FLOORS) + 12, 4, good),
    }
    for what, counts in wrong.items():
        with pytest.raises(EncryptionError):
            Untold(names, counts, tables=True, min_count=1)
            pytest.fail(what)
