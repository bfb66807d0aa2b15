"""The floor counts patients of a segmentation too: those who have a structure, and those of whom a distance is known.

Masks are drawn, the hospital's own code scores them, and all that leaves is recounted from them and attacked.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.dataset.manifest import Row
from fedward.dataset.selection import Example
from fedward.privacy.disclosure.categories import AGES, DIMENSIONS
from fedward.privacy.disclosure.metric_registry import SUPPRESSED
from fedward.privacy.disclosure.profile import DECADES
from fedward.settings import Disclosure, JobSpec, parse
from fedward.training.scores.details import details
from fedward.validation.segmentation import MaskScorer
from tests.conftest import tiny_job_content
from tests.support.disclosure import refused, release
from tests.support.validation_rows import validation_row
from tests.unit.privacy.disclosure.test_floor import Reader

pytestmark = pytest.mark.slow

NAMES = ("left", "right")
Metrics = dict[str, Any]


def masked_job() -> JobSpec:
    content = tiny_job_content()
    content["job"]["task"] = "segmentation"
    content["data"] = {"cohort": "chest", "structures": list(NAMES), "size": [24, 24]}
    content["model"] = {
        "network": "UNet",
        "args": {"channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "INSTANCE"},
    }
    content["training"]["loss"] = {"name": "DiceLoss"}
    return parse(JobSpec, content, where="test")


class Scans(NamedTuple):
    """A hospital's validation images: whose each is, its structures, (n, 2), those predicted, and its spacing."""

    rows: tuple[Row, ...]
    owner: np.ndarray
    has: np.ndarray
    predicted: np.ndarray
    spaced: np.ndarray

    def people(self, chosen: np.ndarray) -> int:
        return len(set(self.owner[chosen].tolist()))

    @property
    def patients(self) -> int:
        return len(set(self.owner.tolist()))

    @property
    def apart(self) -> np.ndarray:
        """True where an image has a distance of a structure, (n, 2)."""
        return self.has & self.predicted & self.spaced[:, np.newaxis]

    def value_of(self, dimension: str) -> np.ndarray:
        if dimension == "sex":
            return np.array([row.sex for row in self.rows])
        if dimension == "age":
            ages = [AGES[row.age_decade // 10] for row in self.rows]
            return np.array([next(band for band, decades in DECADES.items() if age in decades) for age in ages])
        return np.array([row.manufacturer for row in self.rows])

    def metrics(self) -> Metrics:
        scorer = MaskScorer(NAMES)
        scorer.add(
            _masks(self.predicted),
            _masks(self.has),
            spacing_mm=[(1.0, 1.0) if known else None for known in self.spaced],
            patients=[row.patient for row in self.rows],
            loss=0.5 * len(self.rows),
        )
        where = Path("images")
        examples = [Example(row=row, images_root=where, masks_root=where, truth=()) for row in self.rows]
        grey = [np.zeros((1, 2, 2), np.float32)] * len(examples)
        return {
            "scores": scorer.scores().plain(),
            **details(masked_job(), examples, found=scorer.overlaps, images=lambda: grey),
        }


def _masks(there: np.ndarray) -> np.ndarray:
    masks = np.zeros((len(there), 6, 6), np.uint8)
    masks[there[:, 0], :2, :2] = 1
    masks[there[:, 1], 4:, 4:] = 2
    return masks


@st.composite
def cohorts(draw: st.DrawFn) -> Scans:
    """1 to 4 images a patient; a patient has a structure in some images and not in others."""
    rng, patients = np.random.default_rng(draw(st.integers(0, 2**31))), draw(st.integers(3, 40))
    owner = np.repeat(np.arange(patients), rng.integers(1, draw(st.integers(1, 4)) + 1, patients))
    skew, alike = draw(st.floats(0.3, 2.5)), draw(st.sampled_from([0.0, 0.9, 1.0]))

    def drawn(shares: np.ndarray) -> np.ndarray:
        theirs, each = (rng.random((count, len(shares))) < shares for count in (patients, len(owner)))
        return np.where(rng.random((len(owner), 1)) < alike, theirs[owner], each)

    def pick(values: tuple[Any, ...]) -> list[Any]:
        return [values[i] for i in np.minimum(rng.exponential(skew, patients).astype(int), len(values) - 1)]

    shares = np.where(rng.random(2) < 0.4, 1.0, 1 - rng.random(2) ** 2)  # 1.0: all patients have it
    has = drawn(shares)
    predicted, spaced = has & drawn(1 - rng.random(2) ** 4), drawn(1 - rng.random(1) ** 4)[:, 0]
    sex, age, maker = pick(("F", "M", "O")), pick((40, 60, 50, 30, 80)), pick(("GE", "Philips", "Canon"))
    rows = tuple(
        validation_row(
            number,
            f"{one:016x}",
            maker=maker[one],
            sex=sex[one],
            age=age[one],
            spacing_mm=(1.0, 1.0) if spaced[number] else None,
        )
        for number, one in enumerate(owner.tolist())
    )
    return Scans(rows, owner, has, predicted, spaced)


def given_out(cohort: Scans, least: int) -> Metrics:
    rule = Disclosure(metrics=("scores", "subgroups", "profile"), decimals=3, min_count=least)
    how: Metrics = {"private": False, "names": NAMES, "exclusive": False}
    found = release(cohort.metrics(), rule, **how)
    assert release(found, rule, **how) == found and refused(found, rule, **how) == []
    return found


def _shown(told: Metrics, prefix: str) -> bool:
    return any(value is not None for name, value in told.items() if name.startswith(prefix))


@settings(max_examples=40, deadline=None)
@given(cohorts(), st.integers(2, 7))
def test_nothing_shown_of_a_structure_rests_on_fewer_patients_than_the_floor(cohort: Scans, least: int) -> None:
    found = given_out(cohort, least)
    for name, (has, apart) in {
        "": (cohort.has.any(axis=1), cohort.apart.any(axis=1)),
        **{name: (cohort.has[:, i], cohort.apart[:, i]) for i, name in enumerate(NAMES)},
    }.items():
        told = found["scores"]["structures"][name] if name else found["scores"]
        if _shown(told, "dice"):
            assert cohort.people(has) >= least
            assert cohort.patients - cohort.people(has) == 0 or cohort.patients - cohort.people(has) >= least
        if _shown(told, "false_positive"):
            assert cohort.patients - cohort.people(has) >= least
        if _shown(told, "hd95"):
            assert cohort.people(apart) >= least
            assert cohort.people(has) - cohort.people(apart) == 0 or cohort.people(has) - cohort.people(apart) >= least
    for i, name in enumerate(NAMES):
        for dimension, table in found["subgroups"].get(name, {}).items():
            for value, cell in table.items():
                owners = cohort.people(cohort.has[:, i] & (cohort.value_of(dimension) == value))
                assert (cell["patients"] is None and not _shown(cell, "dice")) or cell["patients"] == owners >= least
    if found["profile"]["spacing_mm"] is not None:
        assert cohort.people(cohort.spaced) >= least


def reader_of(found: Metrics) -> Reader:
    reader, scores, profile = Reader(), found["scores"], found["profile"]
    everyone = ("patients",)
    for told in (scores, profile):
        reader.tell(everyone, told["patients"])
    reader.tell(("any",), scores["dice_patients"])
    reader.tell(("apart",), scores["hd95_patients"])
    reader.tell(("spaced",), profile["spacing_patients"])
    reader.equal(everyone, [("any",), ("none",)])
    reader.equal(everyone, [("spaced",), ("unspaced",)])
    reader.equal(("any",), [("apart",), ("not apart",)])
    reader.most([("apart",)], [("spaced",)])
    reader.most([("any",)], [(name,) for name in NAMES])
    for name in NAMES:
        told = scores["structures"][name]
        reader.tell((name,), told["patients"])
        reader.tell(("apart", name), told["hd95_patients"])
        reader.most([(name,)], [("any",)])
        reader.most([("apart", name)], [("apart",)])
        reader.equal(everyone, [(name,), ("without", name)])
        reader.equal((name,), [("apart", name), ("not apart", name)])
    for dimension, values in DIMENSIONS.items():
        reader.equal(everyone, [(dimension, value) for value in values])
        for value in values:
            if dimension != "age":
                reader.tell((dimension, value), profile[dimension].get(value))
            for name in NAMES:
                cell = found["subgroups"].get(name, {}).get(dimension, {}).get(value, {"patients": 0})
                reader.tell((dimension, value, name), cell["patients"])
                reader.equal((dimension, value), [(dimension, value, name), ("without", dimension, value, name)])
        for name in NAMES:
            reader.equal((name,), [(dimension, value, name) for value in values])
    for age in AGES:
        reader.tell(("decade", age), profile["age"].get(age))
    for band, ages in DECADES.items():
        reader.equal(("age", band), [("decade", age) for age in ages])
    return reader


def truth_of(cohort: Scans) -> dict[Any, int]:
    apart, some = cohort.apart, cohort.people(cohort.has.any(axis=1))
    truth: dict[Any, int] = {
        ("any",): some,
        ("none",): cohort.patients - some,
        ("apart",): (measured := cohort.people(apart.any(axis=1))),
        ("not apart",): some - measured,
        ("spaced",): (spaced := cohort.people(cohort.spaced)),
        ("unspaced",): cohort.patients - spaced,
    }
    first = {row.patient: row for row in cohort.rows}
    decades = Counter(AGES[row.age_decade // 10] for row in first.values())
    truth |= {("decade", age): decades[age] for age in AGES}
    for i, name in enumerate(NAMES):
        has = cohort.has[:, i]
        truth[name,], truth["without", name] = cohort.people(has), cohort.patients - cohort.people(has)
        truth["apart", name] = cohort.people(apart[:, i])
        truth["not apart", name] = cohort.people(has) - cohort.people(apart[:, i])
        for dimension, values in DIMENSIONS.items():
            column = cohort.value_of(dimension)
            for value in values:
                here = column == value
                truth[dimension, value] = everyone = cohort.people(here)
                truth[dimension, value, name] = owners = cohort.people(here & has)
                truth["without", dimension, value, name] = everyone - owners
    return truth


@settings(max_examples=40, deadline=None)
@given(cohorts(), st.integers(2, 7))
def test_no_hidden_count_of_a_structures_patients_is_determined_by_all_that_left(cohort: Scans, least: int) -> None:
    found = given_out(cohort, least)
    if found["scores"]["patients"] is None:
        return
    reader, truth = reader_of(found), truth_of(cohort)
    for key in [key for key, count in truth.items() if 0 < count < least]:
        low, high = reader.range(key)
        assert low <= truth[key] <= high, (key, low, truth[key], high)
        assert low < high, (key, truth[key])


def test_five_images_of_one_patient_with_a_structure_tell_nothing_of_it() -> None:
    owner = np.concatenate([np.zeros(5, int), np.arange(1, 41)])
    has = np.stack([owner == 0, np.ones(45, bool)], axis=1)
    rows = tuple(
        validation_row(number, f"{one:016x}", maker="GE", sex="FM"[one % 2], spacing_mm=(1.0, 1.0) if one < 3 else None)
        for number, one in enumerate(owner.tolist())
    )
    cohort = Scans(rows, owner, has, has, owner < 3)
    made = cohort.metrics()
    assert made["scores"]["structures"]["left"]["dice"] == 1.0 and made["scores"]["hd95_mm"] is not None
    found = given_out(cohort, 5)
    left, right = (found["scores"]["structures"][name] for name in NAMES)
    assert {name for name, value in left.items() if value is not None} == {SUPPRESSED}
    assert right["patients"] == 41 and right["dice"] == 1.0, "which all have"
    assert right["hd95_mm"] is right["hd95_patients"] is None, "of three patients"
    told = {name: value for name, value in found["scores"].items() if value is not None and name != "structures"}
    assert told == {"patients": 41, "images": 45, "loss": 0.5, SUPPRESSED: True}
    assert found["profile"]["spacing_mm"] is None, "three patients"
    for table in found["subgroups"]["left"].values():
        assert all(cell["patients"] is cell["dice"] is None for cell in table.values())
