"""Check the released numbers: only those on the list, rounded, above the floor; any input gives a safe answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.privacy.disclosure.categories import AGES, INTENSITIES, SEXES
from fedward.privacy.disclosure.metric_registry import FLAT, GROUPS, TABLES
from fedward.privacy.disclosure.release import unknown_names
from fedward.privacy.disclosure.suppression import suppress_parts
from fedward.settings import Disclosure
from fedward.validation.scores import score_classes, score_labels
from tests.support.disclosure import refused, release

EVERYTHING = ("scores", "support", "work", "cohort", "privacy")
TOGETHER = ("pooled", "cohort_statistics")
LABELS = ("effusion", "nodule", "other")


def disclosure(*metrics: str, decimals: int = 3, min_count: int = 5) -> Disclosure:
    return Disclosure(metrics=metrics or EVERYTHING, decimals=decimals, min_count=min_count)


def label_scores(patients: int = 40, positives: int = 12, **more: Any) -> dict[str, Any]:
    return {
        "auc": 0.81234,
        "auc_low": 0.7,
        "average_precision": 0.5,
        "patients": patients,
        "positives": positives,
        **more,
    }


def all_scores(**more: Any) -> dict[str, Any]:
    """Of all patients, with their images."""
    return label_scores(images=90) | more


def round_metrics() -> dict[str, Any]:
    return {
        "scores": all_scores(loss=0.43219),
        "loss": 0.54321,
        "patients": 60,
        "images": 80,
        "steps": 10,
        "train_s": 1.23456,
        "validate_s": 0.1,
    }


def test_rounds_and_keeps_what_is_listed() -> None:
    assert release(round_metrics(), disclosure(), private=False) == {
        "scores": all_scores(loss=0.432) | {"auc": 0.812},
        "loss": 0.543,
        "patients": 60,
        "images": 80,
        "steps": 10,
        "train_s": 1.235,
        "validate_s": 0.1,
    }


def test_nothing_listed_nothing_leaves() -> None:
    nothing = Disclosure(metrics=(), decimals=3, min_count=1)
    assert release(round_metrics(), nothing, private=False) == {}
    faults = refused(round_metrics(), nothing, private=False)
    assert "metric auc is not on the site's list" in faults
    assert "metric train_s is not on the site's list" in faults


def test_a_single_metric_brings_the_counts_it_rests_on_and_no_more() -> None:
    found = release(round_metrics(), disclosure("scores.auc", "train_s"), private=False)
    assert found == {"scores": {"auc": 0.812, "images": 90, "positives": 12, "patients": 40}, "train_s": 1.235}


@pytest.mark.parametrize("count", ["images", "positives", "patients"])
def test_a_count_below_the_floor_is_null_and_so_is_what_rests_on_it(count: str) -> None:
    scores = all_scores(loss=0.4) | {count: 4}
    found = release({"scores": scores}, disclosure(), private=False)["scores"]
    assert found["suppressed"] is True
    assert found[count] is None
    assert found["auc"] is None and found["average_precision"] is None
    assert (found["loss"] is None) == (count == "patients")
    assert 0 not in [value for value in found.values() if value is not True]


def test_a_count_that_nothing_rests_on_is_told_as_suppressed_too() -> None:
    found = release({"scores": {"patients": 4}}, disclosure(), private=False)
    assert found == {"scores": {"patients": None, "suppressed": True}}


def test_too_few_who_are_not_positive_hide_the_positives_too() -> None:
    found = release({"scores": all_scores(positives=37)}, disclosure(), private=False)["scores"]
    assert found["positives"] is None and found["auc"] is None and found["patients"] == 40


def test_a_score_without_its_count_is_null() -> None:
    found = release({"scores": {"auc": 0.8, "images": 90, "patients": 40}}, disclosure(), private=False)["scores"]
    assert found["auc"] is None and found["suppressed"] is True


def test_one_suppressed_label_takes_the_next_smallest_with_it() -> None:
    labels = {name: label_scores(positives=k) for name, k in (("effusion", 2), ("nodule", 15), ("other", 23))}
    scores = {**all_scores(), "labels": labels}
    found = release({"scores": scores}, disclosure(), private=False)["scores"]["labels"]
    assert found["effusion"]["auc"] is None and found["effusion"]["suppressed"]
    assert found["nodule"] == {**dict.fromkeys(label_scores()), "suppressed": True}
    assert found["other"]["positives"] == 23 and "suppressed" not in found["other"]


def test_too_few_patients_hide_every_label() -> None:
    scores = {**all_scores(patients=3), "labels": {name: label_scores() for name in LABELS}}
    found = release({"scores": scores}, disclosure(), private=False)["scores"]["labels"]
    assert all(value in (None, True) for entry in found.values() for value in entry.values())


def structure(patients: int, hd95_patients: int) -> dict[str, Any]:
    measures = {"dice": 0.9, "dice_low": 0.8, "dice_high": 1.0, "hd95_mm": 3.21987}
    return measures | {"patients": patients, "hd95_patients": hd95_patients}


def test_a_structure_that_few_patients_have_is_hidden_and_its_distance_rests_on_its_own_patients() -> None:
    structures = {"1": structure(30, 3), "2": structure(20, 20), "3": structure(2, 2), "4": structure(25, 25)}
    whole = {"dice": 0.8, "hd95_mm": 2.0, "patients": 30, "images": 90, "dice_patients": 30, "hd95_patients": 30}
    scores = whole | {"loss": 0.1, "structures": structures}
    found = release({"scores": scores}, disclosure(), private=False)["scores"]
    one = found["structures"]
    assert one["1"]["dice"] == 0.9 and one["1"]["hd95_mm"] is None and one["1"]["hd95_patients"] is None
    assert "suppressed" not in one["2"] and "suppressed" not in one["4"]
    assert one["3"]["dice"] is None and one["3"]["patients"] is None
    assert found["dice"] is None and found["dice_patients"] is None, "the mean over structures holds the hidden one"
    assert found["loss"] == 0.1 and found["patients"] == 30


@pytest.mark.parametrize(("has", "told"), [(30, True), (27, False), (25, True), (4, False)])
def test_of_those_without_a_structure_or_a_distance_there_are_none_or_the_floor(has: int, told: bool) -> None:
    whole = {"dice": 0.8, "hd95_mm": 2.0, "patients": 30, "images": 90, "dice_patients": has, "hd95_patients": has}
    found = release({"scores": whole}, disclosure(), private=False)["scores"]
    assert (found["dice"] is not None) == (found["hd95_mm"] is not None) == told
    far = release({"scores": whole | {"dice_patients": 30}}, disclosure(), private=False)["scores"]
    assert far["dice"] == 0.8 and (far["hd95_mm"] is not None) == told


def support(**positives: int) -> dict[str, Any]:
    return {
        "train_patients": 30,
        "train_images": 40,
        "validation_patients": 3,
        "validation_images": 9,
        "left_out": 2,
        "train_positives": positives,
        "validation_positives": {"effusion": 3},
    }


def test_support() -> None:
    found = release({"support": support(effusion=2, nodule=12, other=24)}, disclosure(), private=False)["support"]
    assert found["train_positives"] == {"effusion": None, "nodule": None, "other": 24}
    assert (found["train_patients"], found["left_out"]) == (30, None)
    assert found["validation_patients"] is None and found["validation_images"] is None
    assert found["validation_positives"] == {"effusion": None}


def test_labels_that_the_job_has_not_stay() -> None:
    scores = {**all_scores(), "labels": {"DOE^JANE": label_scores(), "nodule": label_scores()}}
    metrics = {"scores": scores, "support": support(**{"DOE^JANE": 20, "nodule": 20})}
    found = release(metrics, disclosure(), private=False, names=LABELS)
    assert "DOE" not in json.dumps(found)
    faults = refused(metrics, disclosure(), private=False, names=LABELS)
    assert len(faults) == 2 and not any("DOE" in fault for fault in faults)


def test_under_privacy_what_training_data_made_without_noise_stays() -> None:
    found = release(round_metrics(), disclosure(), private=True)
    assert not {"loss", "images", "train_s"} & set(found) and found["scores"]["loss"] == 0.432
    faults = refused(round_metrics(), disclosure(), private=True)
    assert "metric loss is computed from training data without noise" in faults
    alone = release(round_metrics(), disclosure(), private=True, alone=True)
    assert set(alone) == {"patients", "steps", "validate_s"}
    assert "scores" in release(round_metrics(), disclosure(), private=False, alone=True)
    assert refused({"scores": found["scores"]}, disclosure(), private=True, alone=True)


def test_words_and_parameters() -> None:
    privacy = {"mechanism": "dp-sgd", "unit": "patient", "epsilon": 7.9911, "spent": 8.0, "delta": 1e-5}
    privacy |= {"noise_multiplier": 1.2345678, "epsilon_cap": None, "steps": 0}
    found = release({"privacy": privacy, "cohort_hash": "ab" * 32, "fedward": "0.1.0"}, disclosure(), private=True)
    assert found["privacy"] == privacy | {"epsilon": 7.992}
    assert found["cohort_hash"] == "ab" * 32 and found["fedward"] == "0.1.0"
    bad = release(
        {"privacy": {"mechanism": "DOE JANE"}, "cohort_hash": "DOE", "fedward": "0.1.0 DOE"}, disclosure(), private=True
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
        ({"scores": {"auc": 1.5, "images": 90, "positives": 12, "patients": 40}}, "metric scores.auc"),
        (
            {"scores": {"auc": 0.8, "images": 90, "positives": 12, "patients": 40, "suppressed": True}},
            "scores.suppressed",
        ),
        ({1: 2}, "metric (of a name that is not shown) is unknown"),
    ],
)
def test_each_fault_is_named(metrics: Any, says: str) -> None:
    faults = refused(metrics, disclosure(), private=False)
    assert any(says in fault for fault in faults), faults
    assert all("\n" not in fault and "DOE" not in fault for fault in faults)


def test_metrics_that_are_no_table() -> None:
    assert refused([1], disclosure(), private=False) == ["metrics are not a table"]  # type: ignore[arg-type]


def test_unknown_names_of_a_policy() -> None:
    assert unknown_names(disclosure("scores", "auc", "scores.loss", "acc", "work.auc")) == ["acc", "work.auc"]


NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.integers(),
    st.floats(0, 1),
    st.floats(),
    st.sampled_from(["dp-sgd", "patient", "ab" * 8, "DOE^JANE", "0.1.0"]),
)
LEAVES = sorted({name for group in GROUPS.values() for name in group} | {"suppressed", "gossip"})
ENTRIES = st.dictionaries(st.sampled_from(LEAVES), NUMBERS, max_size=9)
NAMED = st.dictionaries(st.sampled_from([*LABELS, "DOE^JANE", "x\n"]), st.one_of(ENTRIES, NUMBERS), max_size=4)
SCORES = st.builds(
    lambda plain, named: plain | named, ENTRIES, st.dictionaries(st.sampled_from(sorted(TABLES["scores"])), NAMED)
)
SUPPORT = st.builds(
    lambda plain, named: plain | named,
    ENTRIES,
    st.dictionaries(
        st.sampled_from(["train_positives", "validation_positives"]),
        st.dictionaries(st.sampled_from([*LABELS, "DOE^JANE"]), NUMBERS, max_size=4),
    ),
)
COUNTS = st.integers(0, 40)
PATIENTS = st.builds(
    lambda plain, sexes, ages, more: (
        {"patients": sum(sexes.values()), "images": 60, "sex": sexes, "age": ages} | plain | more
    ),
    st.one_of(ENTRIES, st.just({})),
    st.dictionaries(st.sampled_from(SEXES), COUNTS),
    st.dictionaries(st.sampled_from([*AGES, "DOE^JANE"]), st.one_of(COUNTS, NUMBERS)),
    st.fixed_dictionaries(
        {
            "positives": st.dictionaries(st.sampled_from([*LABELS, "DOE^JANE"]), st.one_of(COUNTS, NUMBERS)),
            "intensity": st.dictionaries(st.sampled_from([*INTENSITIES, "DOE^JANE"]), NUMBERS, max_size=5),
        }
    ),
)
METRICS = st.builds(
    lambda *parts: {name: value for part in parts for name, value in part.items()},
    ENTRIES,
    st.fixed_dictionaries(
        {},
        optional={
            "scores": SCORES,
            "support": SUPPORT,
            "privacy": ENTRIES,
            "pooled": SCORES,
            "cohort_statistics": st.one_of(PATIENTS, ENTRIES),
        },
    ),
    st.dictionaries(st.sampled_from(["scores", "privacy", *TOGETHER, "DOE^JANE"]), NUMBERS, max_size=1),
)
LISTS = st.lists(
    st.sampled_from([*EVERYTHING, *TOGETHER, *LEAVES, "scores.loss", "pooled.auc", "cohort_statistics.sex"]),
    max_size=5,
    unique=True,
)


@settings(max_examples=400, deadline=None)
@given(METRICS, LISTS, st.integers(0, 6), st.integers(1, 9), st.booleans(), st.booleans())
def test_whatever_comes_in_what_goes_out_is_allowed_and_stays_as_it_is(
    metrics: dict[str, Any], listed: list[str], decimals: int, least: int, private: bool, alone: bool
) -> None:
    rule = Disclosure(metrics=tuple(listed), decimals=decimals, min_count=least)
    how = {"private": private, "alone": alone, "names": LABELS}
    before = repr(metrics)
    found = release(metrics, rule, **how)
    assert repr(metrics) == before
    assert release(found, rule, **how) == found
    assert refused(found, rule, **how) == []
    text = json.dumps(found, allow_nan=False)
    assert "DOE" not in text and "gossip" not in text
    for count in _counts(found):
        assert count is None or count >= least


@settings(max_examples=200, deadline=None)
@given(METRICS, st.integers(1, 9))
def test_refused_says_nothing_only_for_what_release_would_leave_as_it_is(metrics: dict[str, Any], least: int) -> None:
    rule = disclosure(decimals=3, min_count=least)
    if not refused(metrics, rule, private=True, names=LABELS):
        again = release(metrics, rule, private=True, names=LABELS)
        assert json.dumps(again) == json.dumps(metrics)


def test_real_scores_pass() -> None:
    rng = np.random.default_rng(3)
    patients = [f"p{i // 2}" for i in range(120)]
    labels, values = np.repeat(rng.integers(0, 2, (60, 3)), 2, axis=0), rng.random((120, 3))
    for scores in (
        score_labels(labels, values, names=LABELS, patients=patients, loss=0.3),
        score_labels(labels[:, :1], values[:, :1], names=LABELS[:1], patients=patients, loss=0.3),
        score_classes(np.repeat(rng.integers(0, 3, 60), 2), values, names=LABELS, patients=patients, loss=None),
    ):
        found = release({"scores": scores.plain()}, disclosure(), private=True, names=LABELS)
        assert set(found["scores"]) == set(scores.plain())
        assert refused(found, disclosure(), private=True, names=LABELS) == []
        assert found["scores"]["auc"] == round(scores.auc, 3)


# ---------------------------------------------------------------- over all hospitals together


def pooled(**changes: Any) -> dict[str, Any]:
    return {"auc": 0.81234, "auc_low": 0.7, "auc_high": 0.9, "images": 90, "positives": 30, "patients": 80} | changes


def statistics(**changes: Any) -> dict[str, Any]:
    return {
        "patients": 60,
        "images": 80,
        "age": {"40-49": 20, "50-59": 30, "60-69": 10},
        "sex": {"F": 30, "M": 28, "O": 2, "unknown": 0},
        "positives": {"effusion": 30, "nodule": 44, "other": 57},
        "intensity": {"-0.25": 0.25, "+0.00": 0.12345},
    } | changes


def test_figures_of_all_hospitals_leave_only_where_they_are_named_as_such() -> None:
    metrics = {"pooled": pooled(), "cohort_statistics": statistics()}
    every = {name for group in GROUPS.values() for name in group} | set(EVERYTHING)
    assert release(metrics, disclosure(*sorted(every)), private=False) == {}
    assert "metric auc is not on the site's list" in refused(metrics, disclosure(*sorted(every)), private=False)
    assert set(release(metrics, disclosure("pooled"), private=False)) == {"pooled"}
    assert set(release(metrics, disclosure("cohort_statistics"), private=False)) == {"cohort_statistics"}
    counts = {name: pooled()[name] for name in ("images", "positives", "patients")}
    assert release(metrics, disclosure("pooled.auc"), private=False) == {"pooled": {"auc": 0.812} | counts}
    sexes = release(metrics, disclosure("cohort_statistics.sex"), private=False)["cohort_statistics"]
    assert set(sexes) == {"patients", "sex"}
    assert release({"scores": all_scores()}, disclosure(*TOGETHER), private=False) == {}


def test_a_policy_cannot_name_a_figure_of_all_hospitals_alone() -> None:
    assert unknown_names(disclosure("intensity", "sex", *TOGETHER, "pooled.auc")) == ["intensity", "sex"]


def test_pooled_scores_are_rounded_and_hold_the_floor_label_by_label() -> None:
    labels = {"effusion": pooled(positives=3), "nodule": pooled(positives=40), "other": pooled(positives=50)}
    for label in labels.values():
        del label["images"]
    found = release({"pooled": pooled(labels=labels)}, disclosure(*TOGETHER), private=True, names=LABELS)["pooled"]
    assert found["auc"] is None and found["positives"] is None and found["suppressed"], "no mean gives a label away"
    assert found["images"] == 90 and found["patients"] == 80
    assert found["labels"]["effusion"]["suppressed"] and found["labels"]["nodule"]["suppressed"]
    assert found["labels"]["other"]["auc"] == 0.812
    few = release({"pooled": pooled(patients=4)}, disclosure(*TOGETHER), private=False)["pooled"]
    assert few["auc"] is None and few["suppressed"]


def test_cohort_statistics_hide_small_cells_and_what_would_give_them_away() -> None:
    found = release({"cohort_statistics": statistics()}, disclosure(*TOGETHER), private=False, names=LABELS)
    assert found["cohort_statistics"] == {
        "patients": 60,
        "images": 80,
        "age": {"40-49": 20, "50-59": 30, "60-69": None},
        "sex": {"F": 30, "M": None, "O": None, "unknown": None},
        "positives": {"effusion": None, "nodule": 44, "other": None},
        "intensity": {"-0.25": 0.25, "+0.00": 0.123},
    }
    few = release({"cohort_statistics": statistics(patients=4)}, disclosure(*TOGETHER), private=False)
    cells = few["cohort_statistics"]
    assert cells["patients"] is None and cells["images"] is None
    assert {value for name in ("age", "sex", "positives", "intensity") for value in cells[name].values()} == {None}


def test_under_privacy_cohort_statistics_stay_and_pooled_scores_go_as_scores_do() -> None:
    metrics = {"pooled": pooled(), "cohort_statistics": statistics()}
    assert set(release(metrics, disclosure(*TOGETHER), private=True)) == {"pooled"}
    faults = refused(metrics, disclosure(*TOGETHER), private=True)
    assert "metric patients is computed from training data without noise" in faults
    assert release(metrics, disclosure(*TOGETHER), private=True, alone=True) == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"age": {"about 40": 20}}, "metric age has an entry that is not of its table"),
        ({"sex": {"F": 30, "M": 28, "O": 2, "unknown": 0}}, "cohort_statistics.sex.M"),
        ({"intensity": {"-0.25": 0.12345}}, "metric cohort_statistics.intensity"),
        ({"positives": {"DOE^JANE": 20}}, "metric positives has an entry that is no label or class of the job"),
        ({"sex": 5}, "metric cohort_statistics.sex is not rounded"),
        ({"ethnicity": {"a": 9}}, "metric ethnicity is unknown"),
    ],
)
def test_each_fault_of_cohort_statistics_is_named(changes: dict[str, Any], says: str) -> None:
    rule = disclosure(*TOGETHER)
    good = release({"cohort_statistics": statistics()}, rule, private=False, names=LABELS)["cohort_statistics"]
    faults = refused({"cohort_statistics": good | changes}, rule, private=False, names=LABELS)
    assert any(says in fault for fault in faults), faults
    assert not any("DOE" in fault for fault in faults)


PARTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 30), min_size=1)


@settings(max_examples=300)
@given(PARTS, st.integers(1, 12))
def test_hidden_parts_are_two_or_more_and_stand_for_the_floor_together(parts: dict[str, int], least: int) -> None:
    total = sum(parts.values())
    found = suppress_parts(parts, total=total, least=least)
    hidden = [parts[name] for name, value in found.items() if value is None]
    assert all(value is None or (value == parts[name] and value >= least) for name, value in found.items())
    if hidden and any(value is not None for value in found.values()):
        assert len(hidden) > 1 and sum(hidden) >= least
    if min(parts.values()) >= least:
        assert not hidden
    assert suppress_parts(found, total=total, least=least) == found


def test_no_more_is_hidden_than_it_needs() -> None:
    assert suppress_parts({"a": 2, "b": 4, "c": 9, "d": 7}, total=22, least=5) == {"a": None, "b": None, "c": 9, "d": 7}
    assert suppress_parts({"a": 0, "b": 2, "c": 9, "d": 7}, total=18, least=5) == {
        "a": None,
        "b": None,
        "c": 9,
        "d": None,
    }


@pytest.mark.parametrize("total", [None, 59, 61])
def test_parts_that_are_not_the_whole_are_all_hidden(total: int | None) -> None:
    assert suppress_parts({"a": 30, "b": 30}, total=total, least=5) == {"a": None, "b": None}


def _counts(content: dict[str, Any], group: str | None = None) -> list[int | None]:
    found: list[int | None] = []
    for name, value in content.items():
        inner = group or next((one for one in FLAT if name in GROUPS[one]), None)
        if isinstance(value, dict):
            if group is not None and name in TABLES.get(group, {}):
                found += [count for entry in value.values() for count in _counts(entry, TABLES[group][name])]
            elif group is not None and GROUPS[group][name].kind != "shares":
                found += value.values()
            elif group is None:
                found += _counts(value, name)
        elif inner is not None and name in GROUPS[inner] and GROUPS[inner][name].kind == "count":
            found.append(value)
    return found
