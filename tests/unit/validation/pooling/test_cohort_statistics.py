"""Check cohort statistics: each patient counted once, each image with the same weight, small numbers suppressed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedward.dataset.selection import Example, select
from fedward.errors import EncryptionError, JobError
from fedward.privacy.disclosure.categories import AGES, INTENSITIES, SEXES
from fedward.settings import Disclosure, JobSpec, parse, plain
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trainer
from fedward.validation.pooling.cohort_statistics import (
    SHARES,
    cohort_statistics,
    intensity_shares,
    pooled_statistics,
    statistics_layout,
    statistics_length,
)
from fedward.validation.pooling.pooled import score_histogram
from tests.support.disclosure import refused, release

Made = Callable[..., list[Example]]


@pytest.fixture
def examples(make_cohort, tiny_job: JobSpec) -> Made:
    """``examples(patients=16, images=2, people=[("F", 40), …])``: images whose patients have that sex and age."""

    def make(patients: int = 16, *, images: int = 1, people: Any = (), **more: Any) -> list[Example]:
        chosen = select(tiny_job, [make_cohort(patients, images=images, **more)], site="north")
        found = [*chosen.train, *chosen.validation]
        names = sorted({example.row.patient for example in found})
        said = {name: people[i % len(people)] if people else ("", None) for i, name in enumerate(names)}
        return [
            replace(e, row=replace(e.row, sex=said[e.row.patient][0], age_decade=said[e.row.patient][1])) for e in found
        ]

    return make


def flat(count: int) -> list[np.ndarray]:
    return [np.zeros((1, 4, 4), dtype=np.float32)] * count


def test_patients_count_once_and_images_each_in_their_number_alone(examples: Made, tiny_job: JobSpec) -> None:
    made = examples(16, images=3, people=[("F", 40), ("M", 90), ("", None), ("O", 0)])
    counts = cohort_statistics(tiny_job, made, flat(48))
    assert counts.dtype == np.int64 and counts.shape == (statistics_length(tiny_job),)
    found = pooled_statistics(tiny_job, counts, min_count=1)
    assert (found["patients"], found["images"]) == (16, 48)
    assert found["sex"] == dict.fromkeys(SEXES, 4)
    ages = dict(zip(AGES, counts[2 : 2 + len(AGES)].tolist(), strict=True))
    assert {name: n for name, n in ages.items() if n} == {"0-9": 4, "40-49": 4, "90 and above": 4, "unknown": 4}
    assert found["positives"] == {"lesion": 8}, "patients"


def test_the_sum_over_hospitals_is_the_count_of_all(examples: Made, tiny_job: JobSpec) -> None:
    sites = [examples(16, site=name, people=[("F", 40), ("M", 50)]) for name in ("north", "south", "east")]
    parts = [cohort_statistics(tiny_job, made, flat(16)) for made in sites]
    whole = cohort_statistics(tiny_job, [one for made in sites for one in made], flat(48))
    assert np.array_equal(sum(parts), whole)


def test_a_patient_whose_images_do_not_agree(examples: Made, tiny_job: JobSpec) -> None:
    made = examples(16, images=2, people=[("F", 60)])
    first = made[0].row.patient
    number = next(i for i, one in enumerate(made) if one.row.patient == first)
    made[number] = replace(made[number], row=replace(made[number].row, sex="M", age_decade=50))
    counts = cohort_statistics(tiny_job, made, flat(32)).tolist()
    ages, sexes = counts[2 : 2 + len(AGES)], counts[2 + len(AGES) : 2 + len(AGES) + len(SEXES)]
    assert (ages[AGES.index("50-59")], ages[AGES.index("60-69")]) == (1, 15)
    assert dict(zip(SEXES, sexes, strict=True)) == {"F": 15, "M": 0, "O": 0, "unknown": 1}


def test_small_cells_are_hidden_and_so_is_what_would_give_them_away(examples: Made, tiny_job: JobSpec) -> None:
    made = examples(16, people=[("F", 40)] * 8 + [("M", 50)] * 7 + [("O", 60)])
    found = pooled_statistics(tiny_job, cohort_statistics(tiny_job, made, flat(16)), min_count=5)
    assert found["sex"] == {"F": 8, "M": None, "O": None, "unknown": None}
    assert {name: n for name, n in found["age"].items() if n is not None} == {"40-49": 8}
    few = pooled_statistics(tiny_job, cohort_statistics(tiny_job, made, flat(16)), min_count=17)
    assert few["patients"] is None and few["images"] is None
    tables = [few[name] for name in ("age", "sex", "positives", "intensity")]
    assert {value for table in tables for value in table.values()} == {None}


def test_what_a_hospital_made_of_the_sum_passes_its_door(examples: Made, tiny_job: JobSpec) -> None:
    made = examples(40, people=[("F", 40), ("M", 50), ("M", 60), ("F", None)])
    found = pooled_statistics(tiny_job, cohort_statistics(tiny_job, made, flat(40)), min_count=5)
    rule = Disclosure(metrics=("cohort_statistics",), decimals=3, min_count=5)
    metrics = {"cohort_statistics": found}
    assert release(metrics, rule, private=False, names=tiny_job.names) == metrics
    assert refused(metrics, rule, private=False, names=tiny_job.names) == []
    assert json.loads(json.dumps(found, allow_nan=False)) == found


GREYS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=3, max_side=9),
    elements=st.floats(-9, 9, width=32),
)


@given(GREYS)
def test_an_image_is_parted_into_a_thousand_as_its_grey_values_are(image: np.ndarray) -> None:
    shares = intensity_shares(image)
    assert shares.sum() == SHARES and shares.min() >= 0 and shares.shape == (len(INTENSITIES),)
    edges = np.array([-np.inf, *map(float, INTENSITIES[1:]), np.inf])
    exact = np.array([np.mean((image >= low) & (image < high)) for low, high in pairwise(edges)])
    assert np.all(np.abs(shares - SHARES * exact) < 1)


def test_what_is_left_goes_to_the_largest_remainders() -> None:
    third = intensity_shares(np.array([-1.0, 0.0, 1.0], dtype=np.float32))
    assert sorted(third[third > 0].tolist()) == [333, 333, 334]
    assert third[INTENSITIES.index("-1.00")] == 334, "equal remainders: the lowest bin first"
    uneven = intensity_shares(np.array([0.0] * 5 + [1.0] * 2, dtype=np.float32))  # 714.29 and 285.71
    assert (uneven[INTENSITIES.index("+0.00")], uneven[INTENSITIES.index("+1.00")]) == (714, 286)


def test_the_outer_bins_are_open() -> None:
    shares = intensity_shares(np.array([-50.0, -4.0, 3.75, 50.0], dtype=np.float32))
    assert shares[0] == shares[-1] == 500


def test_intensity_is_the_mean_over_images(examples: Made, tiny_job: JobSpec) -> None:
    dark, bright = np.full(64, -1, dtype=np.float32), np.full(9, 1, dtype=np.float32)
    counts = cohort_statistics(tiny_job, examples(16), [dark] * 12 + [bright] * 4)
    found = pooled_statistics(tiny_job, counts, min_count=1)["intensity"]
    assert (found["-1.00"], found["+1.00"]) == (0.75, 0.25)
    assert sum(found.values()) == pytest.approx(1)


def test_an_image_too_few_is_refused(examples: Made, tiny_job: JobSpec) -> None:
    with pytest.raises(ValueError, match="shorter"):
        cohort_statistics(tiny_job, examples(16), flat(15))


@pytest.mark.parametrize("change", ["length", "type", "negative", "ages", "intensity", "patients", "positives"])
def test_numbers_that_no_cohort_has_are_refused(examples: Made, tiny_job: JobSpec, change: str) -> None:
    counts = cohort_statistics(tiny_job, examples(16), flat(16))
    if change == "length":
        counts = counts[:-1]
    elif change == "type":
        counts = counts.astype(np.float64)
    elif change == "positives":
        counts[2 + len(AGES) + len(SEXES)] = 17
    elif change == "patients":
        counts[:2] = 17, 16
    else:
        place, by = {"negative": (0, -99), "ages": (2, 1), "intensity": (-1, 1)}[change]
        counts[place] += by
    with pytest.raises(EncryptionError, match="not cohort statistics"):
        pooled_statistics(tiny_job, counts, min_count=1)


def _job(tiny_job: JobSpec, **data: Any) -> JobSpec:
    content = plain(tiny_job)
    content["data"] |= data
    return parse(JobSpec, content, where="test")


def test_classes_are_counted_by_name(make_cohort, tiny_job: JobSpec) -> None:
    spec = _job(tiny_job, target="multiclass", labels=["kind"], classes=["none", "solid", "part"])
    cohort = make_cohort(18, labels={"kind": ["none", "solid", "none"] * 6})
    chosen = select(spec, [cohort], site="north")
    counts = cohort_statistics(spec, [*chosen.train, *chosen.validation], flat(18))
    assert pooled_statistics(spec, counts, min_count=1)["positives"] == {"none": 12, "solid": None, "part": None}
    assert counts[2 + len(AGES) + len(SEXES) :][:3].tolist() == [12, 6, 0]


def test_a_layout_is_that_of_what_is_counted(tiny_job: JobSpec) -> None:
    other, larger = _job(tiny_job, labels=["other"]), _job(tiny_job, size=[48, 48])
    layouts = {statistics_layout(one) for one in (tiny_job, other, larger)}
    assert len(layouts) == 3 and all(len(layout) == 64 for layout in layouts)


# ---------------------------------------------------------------- a trainer's


def test_a_trainer_counts_its_cohort_as_the_network_sees_it(make_cohort, tiny_job: JobSpec) -> None:
    content = plain(tiny_job)
    content["transforms"]["augment"] = [{"name": "RandGaussianNoised", "args": {"prob": 1.0, "std": 3.0}}]
    noisy = parse(JobSpec, content, where="test")
    cohort = make_cohort(16, images=2)
    counts = Trainer(tiny_job, [cohort], site="north").cohort_statistics()
    assert np.array_equal(Trainer(noisy, [cohort], site="north").cohort_statistics(), counts), "without augmentation"
    found = pooled_statistics(tiny_job, counts, min_count=1)
    assert (found["patients"], found["images"], found["positives"]) == (16, 32, {"lesion": 8})
    middle = np.array([float(name) + 0.125 for name in INTENSITIES])
    shares = np.array(list(found["intensity"].values()))
    assert shares @ middle == pytest.approx(0, abs=0.02) and shares @ middle**2 == pytest.approx(1, abs=0.2)


def test_a_segmentation_has_statistics_without_labels(make_cohort, tiny_job: JobSpec) -> None:
    content = plain(tiny_job)
    content["job"]["task"] = "segmentation"
    content["data"] |= {"labels": [], "structures": ["1", "2"]}
    content["model"] = {"network": "UNet", "args": {"channels": [4, 8], "strides": [2]}}
    content["training"]["loss"] = {"name": "DiceLoss"}
    spec = parse(JobSpec, content, where="test")
    trainer = Trainer(spec, [make_cohort(16, masks_too=True)], site="north")
    found = pooled_statistics(spec, trainer.cohort_statistics(), min_count=1)
    assert found["images"] == 16 and "positives" not in found
    with pytest.raises(JobError, match="no scores to count"):
        trainer.score_histogram()


def test_a_score_histogram_is_that_of_the_model_validated_last(make_cohort, tiny_job: JobSpec) -> None:
    trainer = Trainer(tiny_job, [make_cohort(16)], site="north")
    with pytest.raises(JobError, match="validate"):
        trainer.score_histogram()
    weights = initial_weights(tiny_job)
    trainer.validate(weights)
    first = trainer.score_histogram()
    assert np.array_equal(first, score_histogram(tiny_job, trainer.predict(weights)))
    trained = trainer.train(weights, round_number=0).weights
    assert np.array_equal(trainer.score_histogram(), first), "training is no validation"
    trainer.validate(trained)
    assert np.array_equal(trainer.score_histogram(), score_histogram(tiny_job, trainer.predict(trained)))
