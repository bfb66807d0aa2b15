"""What numbers leave: only those on the list, rounded, above the floor; and whatever comes in, the answer is safe."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.privacy.metric_table import FLAT, GROUPS, TABLES
from fedward.privacy.release import refused, release, unknown_names
from fedward.settings import Leaving
from fedward.validation.scores import score_classes, score_labels

EVERYTHING = ("scores", "support", "work", "cohort", "privacy")
LABELS = ("effusion", "nodule", "other")


def leaving(*metrics: str, decimals: int = 3, min_count: int = 5) -> Leaving:
    return Leaving(metrics=metrics or EVERYTHING, decimals=decimals, min_count=min_count)


def label_scores(n: int = 40, positives: int = 12, **more: Any) -> dict[str, Any]:
    return {"auc": 0.81234, "auc_low": 0.7, "average_precision": 0.5, "n": n, "positives": positives, **more}


def round_metrics() -> dict[str, Any]:
    return {
        "scores": label_scores(patients=30, loss=0.43219),
        "loss": 0.54321,
        "patients": 60,
        "images": 80,
        "steps": 10,
        "train_s": 1.23456,
        "validate_s": 0.1,
    }


def test_rounds_and_keeps_what_is_listed() -> None:
    assert release(round_metrics(), leaving(), private=False) == {
        "scores": label_scores(patients=30, loss=0.432) | {"auc": 0.812},
        "loss": 0.543,
        "patients": 60,
        "images": 80,
        "steps": 10,
        "train_s": 1.235,
        "validate_s": 0.1,
    }


def test_nothing_listed_nothing_leaves() -> None:
    nothing = Leaving(metrics=(), decimals=3, min_count=1)
    assert release(round_metrics(), nothing, private=False) == {}
    faults = refused(round_metrics(), nothing, private=False)
    assert "metric auc is not on the site's list" in faults
    assert "metric train_s is not on the site's list" in faults


def test_a_single_metric_brings_the_counts_it_rests_on_and_no_more() -> None:
    found = release(round_metrics(), leaving("scores.auc", "train_s"), private=False)
    assert found == {"scores": {"auc": 0.812, "n": 40, "positives": 12, "patients": 30}, "train_s": 1.235}


@pytest.mark.parametrize("count", ["n", "positives", "patients"])
def test_a_count_below_the_floor_is_null_and_so_is_what_rests_on_it(count: str) -> None:
    scores = label_scores(patients=30, loss=0.4) | {count: 4}
    found = release({"scores": scores}, leaving(), private=False)["scores"]
    assert found["suppressed"] is True
    assert found[count] is None
    assert found["auc"] is None and found["average_precision"] is None
    assert (found["loss"] is None) == (count != "positives")
    assert 0 not in [value for value in found.values() if value is not True]


def test_a_count_that_nothing_rests_on_is_told_as_suppressed_too() -> None:
    found = release({"scores": {"patients": 4}}, leaving(), private=False)
    assert found == {"scores": {"patients": None, "suppressed": True}}


def test_too_few_who_are_not_positive_hide_the_positives_too() -> None:
    found = release({"scores": label_scores(n=40, positives=37, patients=30)}, leaving(), private=False)["scores"]
    assert found["positives"] is None and found["auc"] is None and found["n"] == 40


def test_a_score_without_its_count_is_null() -> None:
    found = release({"scores": {"auc": 0.8, "n": 40, "patients": 30}}, leaving(), private=False)["scores"]
    assert found["auc"] is None and found["suppressed"] is True


def test_one_suppressed_label_takes_the_next_smallest_with_it() -> None:
    labels = {name: label_scores(positives=k) for name, k in (("effusion", 2), ("nodule", 15), ("other", 23))}
    scores = {**label_scores(patients=30), "labels": labels}
    found = release({"scores": scores}, leaving(), private=False)["scores"]["labels"]
    assert found["effusion"]["auc"] is None and found["effusion"]["suppressed"]
    assert found["nodule"] == {**dict.fromkeys(label_scores()), "suppressed": True}
    assert found["other"]["positives"] == 23 and "suppressed" not in found["other"]


def test_too_few_patients_hide_every_label() -> None:
    scores = {**label_scores(patients=3), "labels": {name: label_scores() for name in LABELS}}
    found = release({"scores": scores}, leaving(), private=False)["scores"]["labels"]
    assert all(value in (None, True) for entry in found.values() for value in entry.values())


def test_a_structure_in_few_images_is_hidden_and_its_distance_rests_on_its_own_count() -> None:
    structures = {
        "1": {"dice": 0.9, "dice_low": 0.8, "dice_high": 1.0, "hd95_mm": 3.21987, "hd95_n": 3, "n": 30},
        "2": {"dice": 0.7, "dice_low": 0.6, "dice_high": 0.8, "hd95_mm": 4.0, "hd95_n": 20, "n": 20},
        "3": {"dice": 0.7, "dice_low": 0.6, "dice_high": 0.8, "hd95_mm": 4.0, "hd95_n": 2, "n": 2},
    }
    scores = {"dice": 0.8, "hd95_mm": 2.0, "n": 30, "patients": 20, "loss": 0.1, "structures": structures}
    found = release({"scores": scores}, leaving(), private=False)["scores"]["structures"]
    assert found["1"]["dice"] == 0.9 and found["1"]["hd95_mm"] is None and found["1"]["hd95_n"] is None
    assert "suppressed" not in found["2"]
    assert found["3"]["dice"] is None and found["3"]["n"] is None


def support(**positives: int) -> dict[str, Any]:
    return {
        "train_patients": 30,
        "train_images": 40,
        "validation_patients": 3,
        "validation_images": 9,
        "left_out": 2,
        "train_positives": positives,
        "validation_positives": {"effusion": 6},
    }


def test_support() -> None:
    found = release({"support": support(effusion=2, nodule=12, other=26)}, leaving(), private=False)["support"]
    assert found["train_positives"] == {"effusion": None, "nodule": None, "other": 26}
    assert (found["train_patients"], found["left_out"]) == (30, None)
    assert found["validation_patients"] is None and found["validation_images"] is None
    assert found["validation_positives"] == {"effusion": None}


def test_labels_that_the_job_has_not_stay() -> None:
    scores = {**label_scores(patients=30), "labels": {"DOE^JANE": label_scores(), "nodule": label_scores()}}
    metrics = {"scores": scores, "support": support(**{"DOE^JANE": 20, "nodule": 20})}
    found = release(metrics, leaving(), private=False, names=LABELS)
    assert "DOE" not in json.dumps(found)
    faults = refused(metrics, leaving(), private=False, names=LABELS)
    assert len(faults) == 2 and not any("DOE" in fault for fault in faults)


def test_under_privacy_what_training_data_made_without_noise_stays() -> None:
    found = release(round_metrics(), leaving(), private=True)
    assert "loss" not in found and "images" not in found and found["scores"]["loss"] == 0.432
    faults = refused(round_metrics(), leaving(), private=True)
    assert "metric loss is computed from training data without noise" in faults
    alone = release(round_metrics(), leaving(), private=True, alone=True)
    assert set(alone) == {"patients", "steps", "train_s", "validate_s"}
    assert "scores" in release(round_metrics(), leaving(), private=False, alone=True)
    assert refused({"scores": found["scores"]}, leaving(), private=True, alone=True)


def test_words_and_parameters() -> None:
    privacy = {"mechanism": "dp-sgd", "unit": "patient", "epsilon": 7.9911, "spent": 8.0, "delta": 1e-5}
    privacy |= {"noise_multiplier": 1.2345678, "epsilon_cap": None, "steps": 0}
    found = release({"privacy": privacy, "cohort_hash": "ab" * 32, "fedward": "0.1.0"}, leaving(), private=True)
    assert found["privacy"] == privacy | {"epsilon": 7.992}
    assert found["cohort_hash"] == "ab" * 32 and found["fedward"] == "0.1.0"
    bad = release(
        {"privacy": {"mechanism": "DOE JANE"}, "cohort_hash": "DOE", "fedward": "0.1.0 DOE"}, leaving(), private=True
    )
    assert bad == {"privacy": {"mechanism": None}, "cohort_hash": None, "fedward": None}


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"patient": "DOE"}, "metric patient is unknown"),
        ({"DOE, JANE": 1}, "metric (of a name that is not shown) is unknown"),
        ({"scores": {"auc": 0.8, "roc": [0.1]}}, "metric roc is unknown"),
        ({"scores": [0.8]}, "metric scores is not a table"),
        ({"scores": {"labels": {"a": {"thresholds": 1}}}}, "metric thresholds is unknown"),
        ({"loss": 0.12345}, "metric loss is not rounded"),
        ({"patients": 4}, "metric patients is not rounded, not above the floor"),
        ({"patients": np.int64(40)}, "metric patients"),
        ({"steps": True}, "metric steps"),
        ({"train_s": float("nan")}, "metric train_s"),
        ({"train_s": float("inf")}, "metric train_s"),
        ({"train_s": np.float64(0.5)}, "metric train_s"),
        ({"fedward": "anything"}, "metric fedward"),
        ({"scores": {"auc": 1.5, "n": 40, "positives": 12, "patients": 30}}, "metric scores.auc"),
        ({"scores": {"auc": 0.8, "n": 40, "positives": 12, "patients": 30, "suppressed": True}}, "scores.suppressed"),
        ({1: 2}, "metric (of a name that is not shown) is unknown"),
    ],
)
def test_each_fault_is_named(metrics: Any, says: str) -> None:
    faults = refused(metrics, leaving(), private=False)
    assert any(says in fault for fault in faults), faults
    assert all("\n" not in fault and "DOE" not in fault for fault in faults)


def test_metrics_that_are_no_table() -> None:
    assert refused([1], leaving(), private=False) == ["metrics are not a table"]  # type: ignore[arg-type]


def test_unknown_names_of_a_policy() -> None:
    assert unknown_names(leaving("scores", "auc", "scores.loss", "acc", "work.auc")) == ["acc", "work.auc"]


NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.integers(),
    st.floats(0, 1),
    st.floats(),
    st.sampled_from(["dp-sgd", "patient", "ab" * 8, "DOE^JANE", "0.1.0"]),
)
LEAVES = sorted({name for group in GROUPS.values() for name in group} | {"suppressed", "unknown"})
ENTRIES = st.dictionaries(st.sampled_from(LEAVES), NUMBERS, max_size=9)
NAMED = st.dictionaries(st.sampled_from([*LABELS, "DOE^JANE", "x\n"]), st.one_of(ENTRIES, NUMBERS), max_size=4)
SCORES = st.builds(lambda plain, named: plain | named, ENTRIES, st.dictionaries(st.sampled_from(sorted(TABLES)), NAMED))
SUPPORT = st.builds(
    lambda plain, named: plain | named,
    ENTRIES,
    st.dictionaries(
        st.sampled_from(["train_positives", "validation_positives"]),
        st.dictionaries(st.sampled_from([*LABELS, "DOE^JANE"]), NUMBERS, max_size=4),
    ),
)
METRICS = st.builds(
    lambda *parts: {name: value for part in parts for name, value in part.items()},
    ENTRIES,
    st.fixed_dictionaries({}, optional={"scores": SCORES, "support": SUPPORT, "privacy": ENTRIES}),
    st.dictionaries(st.sampled_from(["scores", "privacy", "DOE^JANE"]), NUMBERS, max_size=1),
)
LISTS = st.lists(st.sampled_from([*EVERYTHING, *LEAVES, "scores.loss"]), max_size=5, unique=True)


@settings(max_examples=400, deadline=None)
@given(METRICS, LISTS, st.integers(0, 6), st.integers(1, 9), st.booleans(), st.booleans())
def test_whatever_comes_in_what_goes_out_is_allowed_and_stays_as_it_is(
    metrics: dict[str, Any], listed: list[str], decimals: int, least: int, private: bool, alone: bool
) -> None:
    rule = Leaving(metrics=tuple(listed), decimals=decimals, min_count=least)
    how = {"private": private, "alone": alone, "names": LABELS}
    before = repr(metrics)
    found = release(metrics, rule, **how)
    assert repr(metrics) == before
    assert release(found, rule, **how) == found
    assert refused(found, rule, **how) == []
    text = json.dumps(found, allow_nan=False)
    assert "DOE" not in text and "unknown" not in text
    for count in _counts(found):
        assert count is None or count >= least


@settings(max_examples=200, deadline=None)
@given(METRICS, st.integers(1, 9))
def test_refused_says_nothing_only_for_what_release_would_leave_as_it_is(metrics: dict[str, Any], least: int) -> None:
    rule = leaving(decimals=3, min_count=least)
    if not refused(metrics, rule, private=True, names=LABELS):
        again = release(metrics, rule, private=True, names=LABELS)
        assert json.dumps(again) == json.dumps(metrics)


def test_real_scores_pass() -> None:
    rng = np.random.default_rng(3)
    labels, values = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    patients = [f"p{i // 2}" for i in range(60)]
    for scores in (
        score_labels(labels, values, names=LABELS, patients=patients, loss=0.3),
        score_labels(labels[:, :1], values[:, :1], names=LABELS[:1], patients=patients, loss=0.3),
        score_classes(rng.integers(0, 3, 60), values, names=LABELS, patients=patients, loss=None),
    ):
        found = release({"scores": scores.plain()}, leaving(), private=True, names=LABELS)
        assert set(found["scores"]) == set(scores.plain())
        assert refused(found, leaving(), private=True, names=LABELS) == []
        assert found["scores"]["auc"] == round(scores.auc, 3)


def _counts(content: dict[str, Any], group: str | None = None) -> list[int | None]:
    found: list[int | None] = []
    for name, value in content.items():
        inner = group or next((one for one in FLAT if name in GROUPS[one]), None)
        if isinstance(value, dict):
            if name.endswith("_positives"):
                found += value.values()
            elif name in TABLES:
                found += [count for entry in value.values() for count in _counts(entry, TABLES[name])]
            else:
                found += _counts(value, name)
        elif inner is not None and name in GROUPS[inner] and GROUPS[inner][name].kind == "count":
            found.append(value)
    return found
