"""Check the profile of the validation patients: each counted once, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from fedward.dataset.selection import Example, select
from fedward.privacy.disclosure.categories import AGES, INTENSITIES, MAKERS, SEXES
from fedward.privacy.disclosure.metric_registry import GROUPS
from fedward.settings import JobSpec
from fedward.validation.comparison.label_noise import predicted_noise
from fedward.validation.predictions import Predictions
from fedward.validation.profile import site_profile


@pytest.fixture
def examples(make_cohort, tiny_job: JobSpec) -> list[Example]:
    """Four validation patients of two images each; half of the patients are positive."""
    return list(select(tiny_job, [make_cohort(16, images=2)], site="north").validation)


def with_rows(examples: list[Example], **values: list) -> list[Example]:
    """The examples by patient, the k-th image with each column's k-th value."""
    ordered = sorted(examples, key=lambda one: (one.row.patient, one.row.image))
    return [
        replace(one, row=replace(one.row, **{name: column[i] for name, column in values.items()}))
        for i, one in enumerate(ordered)
    ]


def grey(value: float) -> np.ndarray:
    return np.full((1, 4, 4), value, dtype=np.float32)


def test_hand_worked(examples: list[Example], tiny_job: JobSpec) -> None:
    made = with_rows(
        examples,
        sex=["F", "F", "M", "M", "F", "F", "", ""],
        age_decade=[40, 50, 30, 30, 70, 70, None, None],
        manufacturer=["SIEMENS", "Siemens Healthineers", "Philips", "Philips", "AGFA", "AGFA", "", ""],
        spacing_mm=[(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (2.0, 2.0), (3.0, 3.0), (5.0, 1.0), None, None],
    )
    found = site_profile(tiny_job, made, [grey(0.1)] * 4 + [grey(-9.0)] * 4, None)
    assert (found["patients"], found["images"]) == (4, 8)
    assert found["positives"] == {"lesion": len({one.row.patient for one in made if one.truth[0]})} == {"lesion": 2}
    assert found["sex"] == {"F": 2, "M": 1, "O": 0, "unknown": 1}
    assert {age: n for age, n in found["age"].items() if n} == {"30-39": 1, "40-49": 1, "70-79": 1, "unknown": 1}
    assert {maker: n for maker, n in found["maker"].items() if n} == {
        "Siemens": 1,
        "Philips": 1,
        "Agfa": 1,
        "unknown": 1,
    }
    assert {low: share for low, share in found["intensity"].items() if share} == {"+0.00": 0.5, "-4.00": 0.5}
    assert found["spacing_mm"] == 2.0  # of 1, 1, 2, 2, 3, 3
    assert found["spacing_patients"] == 3
    assert found["label_noise"] is None
    assert set(found) <= set(GROUPS["profile"])
    assert (tuple(found["age"]), tuple(found["sex"]), tuple(found["intensity"])) == (AGES, SEXES, INTENSITIES)
    assert tuple(found["maker"]) == MAKERS


def test_a_patient_of_two_makers_counts_once(examples: list[Example], tiny_job: JobSpec) -> None:
    made = with_rows(examples, manufacturer=["Philips", "SIEMENS", *["Philips"] * 6])
    found = site_profile(tiny_job, made, [grey(0.0)] * 8, None)
    assert {maker: n for maker, n in found["maker"].items() if n} == {"Philips": 3, "several": 1}


def test_a_volume_tells_the_spacing_within_a_slice(make_cohort, tiny_job: JobSpec) -> None:
    job = tiny_job.model_copy(update={"data": tiny_job.data.model_copy(update={"size": (8, 8, 8)})})
    made = select(job, [make_cohort(16, shape=(8, 8, 8))], site="north").validation
    assert made[0].row.spacing_mm == (2.0, 1.0, 1.0)
    assert site_profile(job, made, [grey(0.0)] * len(made), None)["spacing_mm"] == 1.0


def test_predictions_give_the_label_noise(examples: list[Example], tiny_job: JobSpec) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([[0], [1]], (40, 1))
    scores = np.clip(0.8 * labels + rng.uniform(0.05, 0.15, labels.shape), 0, 1)
    labels[:10] = 1 - labels[:10]
    names = tuple(map(str, range(80)))
    predictions = Predictions(patients=names, images=names, scores=scores, labels=labels, loss=0.0)
    found = site_profile(tiny_job, examples, [grey(0.0)] * 8, predictions)
    assert found["label_noise"] == predicted_noise(predictions) > 0


def test_no_spacing_and_not_as_many_images(examples: list[Example], tiny_job: JobSpec) -> None:
    made = with_rows(examples, spacing_mm=[None] * 8)
    assert site_profile(tiny_job, made, [grey(0.0)] * 8, None)["spacing_mm"] is None
    with pytest.raises(ValueError):
        site_profile(tiny_job, made, [grey(0.0)] * 7, None)
