"""The floor counts patients: five positive films of one patient are one, whatever a number is of and wherever it goes.

Cohorts are drawn, the hospital's own code scores them, and everything that leaves is recounted here from the films.
What is hidden is attacked as a reader of all that left would: whole numbers that fit it, by linear programming.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fedward.dataset.manifest import Row
from fedward.dataset.selection import Example
from fedward.privacy.disclosure.categories import AGES, DIMENSIONS
from fedward.privacy.disclosure.metric_registry import SUPPRESSED
from fedward.privacy.disclosure.profile import DECADES
from fedward.settings import Disclosure, JobSpec, parse
from fedward.training.scores.details import details
from fedward.training.scores.scoring import scores_of
from fedward.validation.pooling.cohort_statistics import cohort_statistics, pooled_statistics
from fedward.validation.pooling.pooled import pooled_scores, score_histogram
from fedward.validation.predictions import Predictions
from tests.conftest import tiny_job_content
from tests.support.disclosure import refused, release
from tests.support.validation_rows import validation_row

pytestmark = pytest.mark.slow

ALL = ("scores", "support", "subgroups", "curves", "profile", "pooled", "cohort_statistics")
KINDS: dict[str, dict[str, Any]] = {
    "binary": {"labels": ["a"]},
    "multilabel": {"target": "multilabel", "labels": ["a", "b", "c"]},
    "multiclass": {"target": "multiclass", "labels": ["finding"], "classes": ["a", "b", "c"]},
}
MAKERS = ("SIEMENS", "GE", "Philips", "AGFA", "")
Metrics = dict[str, Any]


def job_of(kind: str) -> JobSpec:
    content = tiny_job_content()
    content["data"] |= KINDS[kind]
    return parse(JobSpec, content, where="test")


class Films(NamedTuple):
    """A hospital's validation films: whose each is, what it shows of each label, (n, labels), and its scores."""

    job: JobSpec
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    owner: np.ndarray
    truth: np.ndarray
    scores: np.ndarray

    @property
    def patients(self) -> int:
        return len(set(self.owner.tolist()))

    def people(self, chosen: np.ndarray) -> int:
        return len(set(self.owner[chosen].tolist()))

    def kinds(self, label: str, here: np.ndarray | None = None) -> tuple[int, int]:
        """Patients with a film with a label, and with one without it, among some films."""
        column = self.truth[:, self.names.index(label)] == 1
        chosen = np.ones(len(column), bool) if here is None else here
        return self.people(chosen & column), self.people(chosen & ~column)

    def value_of(self, dimension: str) -> np.ndarray:
        """Each film's sex or age band, in which all films of a patient agree, or maker."""
        if dimension == "sex":
            return np.array([row.sex for row in self.rows])
        if dimension == "age":
            ages = [AGES[row.age_decade // 10] for row in self.rows]
            return np.array([next(band for band, decades in DECADES.items() if age in decades) for age in ages])
        makers = {
            p: {row.manufacturer for row in self.rows if row.patient == p} for p in {r.patient for r in self.rows}
        }
        words = {"SIEMENS": "Siemens", "AGFA": "Agfa", "": "unknown"}
        one = {p: words.get(m := next(iter(found)), m) if len(found) == 1 else "several" for p, found in makers.items()}
        return np.array([one[row.patient] for row in self.rows])

    def decades(self) -> Counter[str]:
        """Patients by age, in which all films of a patient agree."""
        return Counter(AGES[row.age_decade // 10] for row in {row.patient: row for row in self.rows}.values())

    @property
    def predictions(self) -> Predictions:
        labels = self.truth.argmax(axis=1) if self.job.exclusive else self.truth
        images = tuple(map(str, range(len(labels))))
        owners = tuple(row.patient for row in self.rows)
        return Predictions(patients=owners, images=images, scores=self.scores, labels=labels, loss=0.5)

    def metrics(self) -> Metrics:
        """Return their metrics by the hospital's own code, before suppression."""
        where, found, job = Path("images"), self.predictions, self.job
        truths = [(int(one.argmax()),) if job.exclusive else tuple(map(int, one)) for one in self.truth]
        examples = [
            Example(row=row, images_root=where, masks_root=None, truth=truth)
            for row, truth in zip(self.rows, truths, strict=True)
        ]
        grey = [np.zeros((1, 2, 2), np.float32)] * len(examples)
        positives = {name: self.kinds(name)[0] for name in self.names}
        support = {"validation_patients": self.patients, "validation_images": len(self.rows)}
        return {
            "scores": scores_of(job, found).plain(),
            "support": support | {"validation_positives": positives},
            "pooled": pooled_scores(job, score_histogram(job, found)),
            "cohort_statistics": pooled_statistics(job, cohort_statistics(job, examples, grey), min_count=0),
            **details(job, examples, found=found, images=lambda: grey),
        }


def films(
    kind: str, owner: np.ndarray, truth: np.ndarray, rng: np.random.Generator, *, mixed: float = 0.1, skew: float = 1.0
) -> Films:
    people = sorted(set(owner.tolist()))

    def pick(values: Any) -> dict[int, Any]:
        drawn = np.minimum(rng.exponential(skew, len(people)).astype(int), len(values) - 1)
        return dict(zip(people, (values[i] for i in drawn), strict=True))

    sex, age, maker = pick(("F", "M", "O")), pick((40, 60, 50, 30, 80, 70)), pick(MAKERS)
    rows = tuple(
        validation_row(
            number,
            f"{one:016x}",
            maker=MAKERS[rng.integers(len(MAKERS))] if rng.random() < mixed else maker[one],
            sex=sex[one],
            age=age[one],
            spacing_mm=None if rng.random() < 0.2 else (1.0, 1.0),
        )
        for number, one in enumerate(owner.tolist())
    )
    spec = job_of(kind)
    scores = np.clip(0.3 * truth + 0.7 * rng.random(truth.shape), 0, 1)
    if spec.exclusive:
        scores = scores / scores.sum(axis=1, keepdims=True)
    names = ("a",) if kind == "binary" else ("a", "b", "c")
    return Films(spec, names, rows, owner, truth, scores)


@st.composite
def cohorts(draw: st.DrawFn) -> Films:
    """1 to 6 films a patient; of a patient's films some have a label and some have not."""
    kind, rng = draw(st.sampled_from(sorted(KINDS))), np.random.default_rng(draw(st.integers(0, 2**31)))
    patients, most = draw(st.integers(3, 45)), draw(st.integers(1, 6))
    alike, skew = draw(st.sampled_from([0.0, 0.5, 0.95, 1.0])), draw(st.floats(0.3, 2.5))
    owner = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    columns = 1 if kind == "binary" else 3
    if kind == "multiclass":
        theirs, other = (np.minimum(rng.exponential(skew, size).astype(int), 2) for size in (patients, len(owner)))
        drawn = np.where(rng.random(len(owner)) < alike, theirs[owner], other)
        truth = (drawn[:, np.newaxis] == np.arange(3)).astype(np.int64)
    else:
        share = rng.random(columns) ** 2
        sick = rng.random((patients, columns)) < share
        each = rng.random((len(owner), columns)) < share
        truth = np.where(rng.random((len(owner), 1)) < alike, sick[owner], each).astype(np.int64)
    return films(kind, owner, truth, rng, mixed=draw(st.sampled_from([0.0, 0.1, 0.6])), skew=skew)


def given_out(cohort: Films, least: int, decimals: int = 3) -> Metrics:
    rule = Disclosure(metrics=ALL, decimals=decimals, min_count=least)
    how: Metrics = {"private": False, "names": cohort.job.names, "exclusive": cohort.job.exclusive}
    found = release(cohort.metrics(), rule, **how)
    assert release(found, rule, **how) == found and refused(found, rule, **how) == []
    return found


@settings(max_examples=50, deadline=None)
@given(cohorts(), st.integers(2, 9))
def test_nothing_shown_rests_on_fewer_patients_than_the_floor(cohort: Films, least: int) -> None:
    found = given_out(cohort, least)
    for scores in (found["scores"], found["pooled"]):
        if any(scores[name] is not None for name in ("patients", "images", "loss") if name in scores):
            assert cohort.patients >= least
        for name in cohort.names:
            _of_a_label(cohort, name, scores.get("labels", {}).get(name, scores), least)
        if len(cohort.names) > 1 and scores["auc"] is not None:
            assert min(min(cohort.kinds(name)) for name in cohort.names) >= least
    for curves in (found["curves"], found["pooled"]["curves"]):
        for name, tables in curves.items():
            _of_curves(cohort, name, tables, least)
    for name, table in found["subgroups"].items():
        for dimension, cells in table.items():
            for value, cell in cells.items():
                _of_a_label(cohort, name, cell, least, cohort.value_of(dimension) == value)
    for told in (
        found["support"]["validation_positives"],
        *(found[g]["positives"] for g in ("profile", "cohort_statistics")),
    ):
        for name, count in told.items():
            assert count is None or (count == cohort.kinds(name)[0] >= least and cohort.patients - count >= least)
    _of_a_profile(cohort, found["profile"], least)


def _of_a_label(cohort: Films, name: str, told: Metrics, least: int, here: np.ndarray | None = None) -> None:
    """A label's numbers, of all patients or of those ``here``."""
    chosen = np.ones(len(cohort.owner), bool) if here is None else here
    with_it, without_it = cohort.kinds(name, chosen)
    if told["patients"] is not None:
        assert told["patients"] == cohort.people(chosen) >= least
    measured = [key for key, value in told.items() if value is not None and key not in _WHOLE]
    if measured:
        assert min(with_it, without_it) >= least, measured
    if told["positives"] is not None and (here is not None or len(cohort.names) == 1 or "images" not in told):
        assert told["positives"] == with_it >= least and cohort.people(chosen) - with_it >= least


_WHOLE = ("patients", "images", "positives", "loss", "labels", "curves", SUPPRESSED)


def _of_curves(cohort: Films, name: str, tables: Metrics, least: int) -> None:
    if any(value is not None for value in tables.get("roc", {}).values()):
        assert min(cohort.kinds(name)) >= least
    edges = [edge for edge, row in tables.get("reliability", {}).items() if row["patients"] is not None]
    if edges:
        rows = [tables["reliability"][edge] for edge in edges]
        assert sum(row["patients"] for row in rows) == cohort.patients, "each patient once"
        assert sum(row["positives"] for row in rows) == cohort.kinds(name)[0]
    lows = [0.0, *map(float, edges[1:])] if edges else []
    column = cohort.names.index(name)
    highest = {one: cohort.scores[cohort.owner == one, column].max() for one in set(cohort.owner.tolist())}
    with_yes = set(cohort.owner[cohort.truth[:, column] == 1].tolist())
    for edge, low, high in zip(edges, lows, [*lows[1:], 1.1], strict=False):
        row = tables["reliability"][edge]
        near = 0.002 if low else 0.0  # a sum has the score to the middle of one of 500 bins
        here = {one for one, best in highest.items() if low - near <= best < high + 0.002}
        sick = len(here & with_yes)
        assert least <= row["positives"] <= sick and least <= row["patients"] - row["positives"] <= len(here) - sick


def _of_a_profile(cohort: Films, profile: Metrics, least: int) -> None:
    first = {row.patient: row for row in cohort.rows}
    one_maker = dict(zip((row.patient for row in cohort.rows), cohort.value_of("maker").tolist(), strict=True))
    counted = {
        "sex": Counter(row.sex for row in first.values()),
        "age": cohort.decades(),
        "maker": Counter(one_maker.values()),
    }
    for name, table in counted.items():
        for value, count in profile[name].items():
            assert count is None or count == table[value] >= least
    if profile["spacing_mm"] is not None:
        assert cohort.people(np.array([row.spacing_mm is not None for row in cohort.rows])) >= least
    if profile["label_noise"] is not None:
        assert min(min(cohort.kinds(name)) for name in cohort.names) >= least
    if any(value is not None for value in profile["intensity"].values()):
        assert cohort.patients >= least


# ---------------------------------------------------------------- what a reader works out


class Reader:
    """All whole numbers that fit what left: how low and how high a hidden one can be."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}
        self.known: dict[Any, float] = {}
        self.rows: list[tuple[dict[Any, float], float, bool]] = []

    def tell(self, key: Any, value: int | None) -> None:
        self.places.setdefault(key, len(self.places))
        if value is not None:
            assert self.known.setdefault(key, value) == value, key

    def equal(self, whole: Any, parts: list[Any]) -> None:
        self.rows.append(({whole: -1.0, **dict.fromkeys(parts, 1.0)}, 0.0, True))

    def most(self, less: list[Any], more: list[Any]) -> None:
        """The sum of one is at most that of the other."""
        self.rows.append(({**dict.fromkeys(less, 1.0), **dict.fromkeys(more, -1.0)}, 0.0, False))

    def range(self, key: Any) -> tuple[int, int]:
        for row, _, _ in self.rows:
            for one in row:
                self.places.setdefault(one, len(self.places))
        matrix = {exact: [] for exact in (True, False)}
        for row, _, exact in self.rows:
            line = np.zeros(len(self.places))
            for one, sign in row.items():
                line[self.places[one]] += sign
            matrix[exact].append(line)
        bounds = [(self.known.get(one, 0), self.known.get(one)) for one in self.places]
        ends = []
        for sign in (1.0, -1.0):
            cost = np.zeros(len(self.places))
            cost[self.places[key]] = sign
            kind = {"A_eq": np.array(matrix[True]), "b_eq": np.zeros(len(matrix[True]))}
            if matrix[False]:
                kind |= {"A_ub": np.array(matrix[False]), "b_ub": np.zeros(len(matrix[False]))}
            solved = linprog(cost, bounds=bounds, **kind)
            assert solved.status in (0, 3), solved.message
            ends.append(np.inf if solved.status == 3 else sign * solved.fun)
        low, high = ends
        return int(np.ceil(low - 1e-6)), 10**9 if high == np.inf else int(np.floor(high + 1e-6))


def reader_of(found: Metrics, cohort: Films) -> Reader:
    reader, names, scores = Reader(), cohort.names, found["scores"]
    pooled, support, profile = found["pooled"], found["support"], found["profile"]
    for told in (scores["patients"], pooled["patients"], support["validation_patients"], profile["patients"]):
        reader.tell("patients", told)
    for told in (scores["images"], pooled["images"], support["validation_images"]):
        reader.tell("images", told)
    reader.most(["patients"], ["images"])
    for name in names:
        for one in (scores, pooled):
            reader.tell(name, one.get("labels", {}).get(name, one)["positives"])
        reader.tell(name, support["validation_positives"][name])
        reader.tell(name, profile["positives"][name])
        reader.equal("patients", [name, ("without", name)])
    if len(names) > 1:
        reader.tell("any", scores["positives"])
        reader.tell("any", pooled["positives"])
        rest = names[1:] if cohort.job.exclusive else names
        reader.most(["any"], list(rest))
        reader.equal("patients", ["any", "none"])
        for name in rest:
            reader.most([name], ["any"])
        if cohort.job.exclusive:
            reader.most(["patients"], list(names))
            reader.most(list(names), ["images"])
            reader.most(["none"], [names[0]])
    for dimension, values in DIMENSIONS.items():
        reader.equal("patients", [(dimension, value) for value in values])
        for value in values:
            place = (dimension, value)
            if dimension != "age":
                reader.tell(place, profile[dimension].get(value))
            for name in names:
                cell = found["subgroups"][name][dimension].get(value, {"patients": 0, "positives": 0})
                reader.tell(place, cell["patients"])
                reader.tell((*place, name), cell["positives"])
                reader.equal(place, [(*place, name), ("without", *place, name)])
            if cohort.job.exclusive:
                reader.most([place], [(*place, name) for name in names])
        for name in names:
            reader.equal(name, [(dimension, value, name) for value in values])
    for age in AGES:
        reader.tell(("decade", age), profile["age"].get(age))
    for band, ages in DECADES.items():
        reader.equal(("age", band), [("decade", age) for age in ages])
    return reader


@settings(max_examples=25, deadline=None)
@given(cohorts(), st.integers(2, 7))
def test_no_hidden_count_of_patients_is_determined_by_all_that_left(cohort: Films, least: int) -> None:
    found = given_out(cohort, least)
    if found["scores"]["patients"] is None:
        return
    reader = reader_of(found, cohort)
    truth: dict[Any, int] = {("decade", age): count for age, count in cohort.decades().items()}
    if len(cohort.names) > 1:
        truth["any"] = cohort.people((cohort.truth[:, int(cohort.job.exclusive) :] == 1).any(axis=1))
        truth["none"] = cohort.patients - truth["any"]
    for name in cohort.names:
        truth[name], truth["without", name] = (count := cohort.kinds(name)[0]), cohort.patients - count
        for dimension, values in DIMENSIONS.items():
            column = cohort.value_of(dimension)
            for value in values:
                here = column == value
                truth[dimension, value] = everyone = cohort.people(here)
                count = cohort.kinds(name, here)[0]
                truth[dimension, value, name] = count
                truth["without", dimension, value, name] = everyone - count
    at_risk = [key for key, count in truth.items() if 0 < count < least]
    for key in at_risk[:30]:
        low, high = reader.range(key)
        assert low <= truth[key] <= high, (key, low, truth[key], high)
        assert low < high, (key, truth[key])


# ---------------------------------------------------------------- five films of one patient


def one_patient_apart(*, sick: bool) -> Films:
    """Five films of one patient with the finding, or without, among sixty of the other kind with one film each."""
    owner = np.concatenate([np.zeros(5, int), np.arange(1, 61)])
    truth = ((owner == 0) == sick).astype(np.int64)[:, np.newaxis]
    return films("binary", owner, truth, np.random.default_rng(4))


@pytest.mark.parametrize("sick", [True, False])
def test_five_films_of_one_patient_let_no_score_and_no_curve_out(sick: bool) -> None:
    cohort = one_patient_apart(sick=sick)
    made = cohort.metrics()
    assert made["scores"]["auc"] is not None and made["curves"]["a"]["roc"], "the hospital itself sees it"
    found = given_out(cohort, 5)
    told = {"patients": 61, "images": 65}
    for group in ("scores", "pooled"):
        shown = {name: value for name, value in found[group].items() if value is not None and name != "curves"}
        assert shown == told | {SUPPRESSED: True} | ({"loss": 0.5} if group == "scores" else {})
    for table in (found["curves"], found["pooled"]["curves"], {"": {"": found["support"]["validation_positives"]}}):
        assert set(_leaves(table)) <= {None, True}
    assert found["profile"]["label_noise"] is None and set(found["profile"]["positives"].values()) == {None}
    for table in found["subgroups"]["a"].values():
        for cell in table.values():
            assert cell["auc"] is cell["positives"] is None


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_a_mean_leaves_where_each_label_does_though_few_patients_have_none(kind: str) -> None:
    """Of 60 patients two have no label, or the first class alone; each label has both kinds."""
    owner = np.repeat(np.arange(60), 2)
    truth = np.zeros((120, 3), np.int64)
    first = np.arange(0, 120, 2)
    if kind == "multilabel":
        truth[first, owner[first] % 3] = 1
        truth[:4] = 0
    else:
        truth[first, 0] = truth[first + 1, 1 + owner[first] % 2] = 1
        truth[:4] = (1, 0, 0)
        truth[80:100] = (0, 1, 0)
    found = given_out(films(kind, owner, truth, np.random.default_rng(2)), 5)
    for scores in (found["scores"], found["pooled"]):
        assert scores["positives"] is None and scores[SUPPRESSED] is True, "58 of 60"
        assert all(label["auc"] is not None for label in scores["labels"].values())
        assert scores["auc"] is not None and scores["auc_low"] is not None


def test_a_hundred_films_of_four_patients_are_four() -> None:
    owner = np.arange(100) % 4
    cohort = films("binary", owner, (np.arange(100) < 50).astype(np.int64)[:, np.newaxis], np.random.default_rng(0))
    assert set(_leaves(given_out(cohort, 5))) <= {None, True}
    assert given_out(cohort, 4)["scores"]["patients"] == 4


@pytest.mark.parametrize("sick", [4, 5])
def test_the_floor_is_on_patients_however_many_films_they_have(sick: int) -> None:
    owner = np.concatenate([np.arange(60) % sick, np.arange(sick, sick + 30)])
    truth = (np.arange(90) < 60).astype(np.int64)[:, np.newaxis]
    found = given_out(films("binary", owner, truth, np.random.default_rng(1)), 5)
    assert (found["scores"]["auc"] is not None) == (sick >= 5) == (found["scores"]["positives"] == 5)


def _leaves(content: Metrics) -> list[Any]:
    found = []
    for value in content.values():
        found += _leaves(value) if isinstance(value, dict) else [value]
    return found
