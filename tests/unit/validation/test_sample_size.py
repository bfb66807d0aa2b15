"""Check the number of patients for a wanted width, against published tables and against simulation."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import SettingsError
from fedward.validation.ranking import auroc, auroc_interval
from fedward.validation.sample_size import (
    FEWEST,
    auc_variance,
    auc_width,
    design_effect,
    dice_width,
    patients_for_auc,
    patients_for_dice,
    rule_of_thumb,
)


def test_one_positive_and_one_negative_win_or_lose() -> None:
    """One pair is a coin of chance A: variance A(1 - A)."""
    assert auc_variance(0.8, positives=1, negatives=1) == pytest.approx(0.16)


def test_worked_by_hand() -> None:
    """A = 0.8: Q1 = 2/3, Q2 = 1.28/1.8; with 10 and 20: (0.16 + 9·(2/3 - 0.64) + 19·(0.71111 - 0.64))/200."""
    wanted = (0.16 + 9 * (2 / 3 - 0.64) + 19 * (1.28 / 1.8 - 0.64)) / 200
    assert wanted == pytest.approx(0.0087556, abs=1e-7)
    assert auc_variance(0.8, positives=10, negatives=20) == pytest.approx(wanted)


def test_the_example_that_the_formula_was_published_with() -> None:
    """Hanley and McNeil 1982, their CT images: 51 abnormal, 58 normal, an area of 0.893, a standard error of 0.032.

    Theirs takes Q1 and Q2 from the ratings; from the area alone, as here, it is 0.0325.
    """
    assert math.sqrt(auc_variance(0.893, positives=51, negatives=58)) == pytest.approx(0.032, abs=0.001)


def test_it_is_the_exact_variance_where_scores_are_exponential() -> None:
    """Q1 and Q2 are exact for negatives Exp(1) and positives Exp(rate): the model Hanley and McNeil took them from."""
    auc, positives, negatives = 0.8, 15, 30
    rng, ratio = np.random.default_rng(3), auc / (1 - auc)
    areas = []
    for _ in range(4000):
        labels = np.repeat([1, 0], [positives, negatives])
        scores = np.concatenate([rng.exponential(ratio, positives), rng.exponential(1.0, negatives)])
        areas.append(auroc(labels, scores))
    assert np.mean(areas) == pytest.approx(auc, abs=0.005)
    assert np.var(areas) == pytest.approx(auc_variance(auc, positives=positives, negatives=negatives), rel=0.08)


@given(
    auc=st.floats(0.5, 0.99),
    prevalence=st.floats(0.05, 0.95),
    width=st.floats(0.03, 0.4),
    images=st.floats(1.0, 4.0),
    correlation=st.floats(0.0, 1.0),
)
def test_it_is_the_fewest_that_serve(
    auc: float, prevalence: float, width: float, images: float, correlation: float
) -> None:
    known = {"auc": auc, "prevalence": prevalence, "images_per_patient": images, "correlation": correlation}
    needed = patients_for_auc(width, **known)
    assert needed.patients is not None
    assert auc_width(needed.patients, **known) <= width
    fewer = needed.patients - 1
    assert min(fewer * prevalence, fewer * (1 - prevalence)) < FEWEST or auc_width(fewer, **known) > width


@pytest.mark.parametrize(("auc", "prevalence", "width"), [(0.8, 0.5, 0.1), (0.85, 0.3, 0.15), (0.9, 0.5, 0.1)])
def test_the_promised_width_is_met(auc: float, prevalence: float, width: float) -> None:
    """Normal scores, for which the formula is not exact: the interval drawn by patients is within a fifth of it."""
    needed = patients_for_auc(width, auc=auc, prevalence=prevalence)
    assert needed.patients is not None
    assert needed.positives is not None
    rng, shift = np.random.default_rng(11), math.sqrt(2) * NormalDist().inv_cdf(auc)
    widths = []
    for _ in range(30):
        labels = (np.arange(needed.patients) < needed.positives).astype(int)
        interval = auroc_interval(labels, rng.normal(labels * shift), range(needed.patients), resamples=400)
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert np.mean(widths) == pytest.approx(width, rel=0.2)


def test_several_images_of_one_patient() -> None:
    """With ρ = 1 they count for nothing; with ρ = 0 for as much as so many patients; between, by 1 + (m - 1)·ρ."""
    assert design_effect(3.0, correlation=0.5) == 2.0
    known = {"auc": 0.85, "prevalence": 0.4}
    one = patients_for_auc(0.1, **known).patients
    assert one is not None
    assert patients_for_auc(0.1, **known, images_per_patient=3.0).patients == one
    free = patients_for_auc(0.1, **known, images_per_patient=3.0, correlation=0.0).patients
    assert free == pytest.approx(one / 3, abs=1)


def test_dice_by_its_standard_deviation() -> None:
    """(2 · 1.95996 · 0.15 / 0.1)² = 34.6: 35 patients; at half the width four times as many."""
    assert patients_for_dice(0.1, sd=0.15).patients == 35
    assert patients_for_dice(0.05, sd=0.15).patients == 139
    assert dice_width(35, sd=0.15) <= 0.1 < dice_width(34, sd=0.15)


def test_the_pages_table_is_what_is_reckoned(root: Path) -> None:
    """At an area of 0.85: 100 to 200 patients decide something where half have the finding, little where few have."""
    page = (root / "docs" / "validate.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| one in (\w+) \| ([\d.]+) \| ([\d.]+) \| (\d+) patients \|$", page, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["two", "five", "ten"]
    for (_, hundred, two_hundred, needed), prevalence in zip(rows, (0.5, 0.2, 0.1), strict=True):
        buys = rule_of_thumb(auc=0.85, prevalence=prevalence)
        assert (hundred, two_hundred) == (f"{buys[100]:.2f}", f"{buys[200]:.2f}")
        assert int(needed) == patients_for_auc(0.1, auc=0.85, prevalence=prevalence).patients
    assert "35 patients" in page
    assert patients_for_dice(0.1, sd=0.15).patients == 35


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("width", {"width": 0.0}),
        ("expected AUC", {"auc": 1.0}),
        ("expected AUC", {"auc": float("nan")}),
        ("prevalence", {"prevalence": 0.0}),
    ],
)
def test_what_cannot_be_is_one_line(name: str, values: dict[str, float]) -> None:
    given_values = {"width": 0.1, "auc": 0.8, "prevalence": 0.5} | values
    with pytest.raises(SettingsError, match=name):
        patients_for_auc(given_values.pop("width"), **given_values)


def test_a_width_that_nobody_can_have() -> None:
    needed = patients_for_auc(0.0005, auc=0.7, prevalence=0.01)
    assert needed.patients is None
    assert needed.positives is None
