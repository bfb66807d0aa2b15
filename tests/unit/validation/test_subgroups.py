"""Parts of a hospital's patients: names from the tables alone, one value a patient, and the whole is their sum."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedward.dataset.manifest import Row
from fedward.privacy.disclosure.categories import AGE_BANDS, DIMENSIONS, MAKERS, SEXES
from fedward.validation.bootstrap import mean_interval
from fedward.validation.ranking import auroc_interval
from fedward.validation.subgroups import age_band_of, dimensions, label_subgroups, maker_of, structure_subgroups
from tests.support.validation_rows import validation_row as row


@pytest.mark.parametrize(
    ("header", "maker"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ('"GE Healthcare"', "GE"),
        ("General Electric Medical Systems", "GE"),
        ("General Medical Merate", "other"),
        ("Siemens Healthineers", "Siemens"),
        ("PHILIPS", "Philips"),
        ("Philips Medical Systems", "Philips"),
        ("FUJI PHOTO FILM Co., ltd.", "Fujifilm"),
        ("FUJIFILM Corporation", "Fujifilm"),
        ("Canon Inc.", "Canon"),
        ("TOSHIBA_MEC", "Toshiba"),
        ("EASTMAN KODAK COMPANY", "Carestream"),
        ("KONICA MINOLTA", "Konica Minolta"),
        ("Agfa-Gevaert", "Agfa"),
        ("LORAD, A Hologic Company", "Hologic"),
        ("Kodakara", "other"),
        ("12345", "other"),
        ("", "unknown"),
        ("   ", "unknown"),
        ("Dr. DOE's own", "other"),
    ],
)
def test_makers_as_headers_write_them(header: str, maker: str) -> None:
    assert maker_of(header) == maker


@given(st.text(max_size=30))
def test_no_header_gives_a_name_of_its_own(text: str) -> None:
    assert maker_of(text) in MAKERS


def test_a_patient_has_one_sex_one_age_and_one_maker() -> None:
    rows = [row(0, "a", sex="F", age=50), row(1, "a", sex="", age=40, maker="GE"), row(2, "b", sex="M", age=None)]
    rows += [row(3, "c", sex="F"), row(4, "c", sex="M"), row(5, "d", sex="X", age=110, maker="")]
    found = dimensions(rows)
    assert found["sex"] == ("F", "F", "M", "unknown", "unknown", "unknown")
    assert found["age"] == ("40-59", "40-59", "unknown", "40-59", "40-59", "80 and above")
    assert found["maker"] == ("several", "several", "Siemens", "Siemens", "Siemens", "unknown")
    assert [age_band_of([row(0, "a", age=age)]) for age in (0, 10, 20, 70, 80, 90)] == [
        *("0-19", "0-19", "20-39", "60-79", "80 and above", "80 and above")
    ]


def cohort(n: int = 240) -> tuple[np.ndarray, np.ndarray, list[Row]]:
    rng = np.random.default_rng(0)
    makers = ("SIEMENS", "GE MEDICAL SYSTEMS", "", "Acme")
    rows = [
        row(i, f"p{i // 2:03d}", sex="FM"[i // 2 % 2], age=10 * (i // 2 % 9), maker=makers[rng.integers(4)])
        for i in range(n)
    ]
    labels = rng.integers(0, 2, n)
    return labels, np.clip(labels * 0.3 + rng.random(n), 0, 1), rows


def test_each_part_is_scored_as_if_it_were_alone() -> None:
    labels, scores, rows = cohort()
    found = label_subgroups({"tb": labels}, {"tb": scores}, rows)["tb"]
    women = [i for i, one in enumerate(rows) if one.sex == "F"]
    low, high = auroc_interval(labels[women], scores[women], [rows[i].patient for i in women])
    assert found["sex"]["F"] == {
        "auc": pytest.approx(roc_auc_score(labels[women], scores[women])),
        "auc_low": low,
        "auc_high": high,
        "patients": 60,
        "positives": len({rows[i].patient for i in women if labels[i]}),
    }
    for dimension, values in found.items():
        assert set(values) <= set(DIMENSIONS[dimension])
        assert sum(cell["patients"] for cell in values.values()) == 120
        sick = {one.patient for one, label in zip(rows, labels, strict=True) if label}
        assert sum(cell["positives"] for cell in values.values()) == len(sick)
    assert list(found["sex"]) == ["F", "M"] and list(found["age"]) == list(AGE_BANDS[:-1])
    assert set(found["maker"]) == {"GE", "Siemens", "other", "several", "unknown"} and SEXES[0] == "F"
    json.dumps(found, allow_nan=False)


def test_a_part_of_one_class_has_counts_and_no_area() -> None:
    rows = [row(i, f"p{i}", sex="F" if i < 4 else "M") for i in range(10)]
    labels = np.array([1] * 4 + [0, 1] * 3)
    found = label_subgroups({"tb": labels}, {"tb": np.linspace(0, 1, 10)}, rows)["tb"]["sex"]["F"]
    assert found == {"auc": None, "auc_low": None, "auc_high": None, "patients": 4, "positives": 4}


def test_structures_count_the_patients_who_have_them() -> None:
    rows = [row(i, f"p{i // 2}", sex="F" if i < 6 else "M") for i in range(12)]
    counts = np.zeros((12, 3), np.int64)
    counts[[0, 1, 4]] = [[5, 10, 10], [0, 10, 0], [8, 10, 10]]  # in both, predicted, true
    counts[7] = [0, 9, 0]
    found = structure_subgroups({"lung": counts}, rows)["lung"]["sex"]
    low, high = mean_interval(np.array([10 / 30, 16 / 20]), ["p0", "p2"])
    expected = {"dice": pytest.approx((10 / 30 + 16 / 20) / 2), "dice_low": low, "dice_high": high, "patients": 2}
    assert found["F"] == expected
    assert found["M"] == {"dice": None, "dice_low": None, "dice_high": None, "patients": 0}


def test_a_thousand_images_take_less_than_two_seconds() -> None:
    labels, scores, rows = cohort(1000)
    started = time.process_time()
    label_subgroups({"tb": labels}, {"tb": scores}, rows)
    assert time.process_time() - started < 2.0
