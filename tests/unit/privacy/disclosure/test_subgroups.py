"""Check subgroups and curves at the gate: for any input, hidden values do not follow from all released values."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.privacy.disclosure.categories import AGES, DIMENSIONS, FALSE_POSITIVE_RATES, MAKERS, RELIABILITY_BINS
from fedward.privacy.disclosure.metric_registry import GROUPS, SUPPRESSED
from fedward.privacy.disclosure.profile import DECADES
from fedward.privacy.disclosure.release import unknown_names
from fedward.privacy.disclosure.suppression import suppress_cells, suppress_labels
from fedward.settings import Disclosure
from fedward.validation.calibration import reliability
from fedward.validation.curves import curves
from fedward.validation.scores import score_labels
from tests.support.disclosure import refused, release

LABELS = ("a", "b", "c")
ALL = ("scores", "support", "subgroups", "curves", "profile")
Metrics = dict[str, Any]


def disclosure(*metrics: str, decimals: int = 3, min_count: int = 5) -> Disclosure:
    return Disclosure(metrics=metrics or ALL, decimals=decimals, min_count=min_count)


def cell(patients: int, positives: int) -> Metrics:
    return {"auc": 0.81234, "auc_low": 0.7, "auc_high": 0.9, "patients": patients, "positives": positives}


def whole(patients: int, positives: int, images: int | None = None) -> Metrics:
    return {"auc": 0.8, "patients": patients, "images": images or patients, "positives": positives}


def one_label(**sexes: Metrics) -> Metrics:
    """A binary job's metrics, its patients parted by sex."""
    totals = {key: sum(part[key] for part in sexes.values()) for key in ("patients", "positives")}
    return {"scores": {"auc": 0.8, "images": 3 * totals["patients"]} | totals, "subgroups": {"a": {"sex": sexes}}}


def sexes_of(metrics: Metrics, **options: Any) -> Metrics:
    return release(metrics, disclosure(**options), private=False, names=LABELS)["subgroups"]["a"]["sex"]


BLANK = {**dict.fromkeys(cell(1, 1)), SUPPRESSED: True}


def test_parts_above_the_floor_leave_rounded() -> None:
    found = sexes_of(one_label(F=cell(40, 12), M=cell(30, 20)))
    assert found == {"F": cell(40, 12) | {"auc": 0.812}, "M": cell(30, 20) | {"auc": 0.812}}


def test_three_positives_take_the_next_part_with_them_and_are_null_and_never_zero() -> None:
    found = sexes_of(one_label(F=cell(40, 3), M=cell(30, 12), O=cell(50, 20)))
    hidden = {"auc": None, "auc_low": None, "auc_high": None, "positives": None, SUPPRESSED: True}
    assert found["F"] == {"patients": 40} | hidden
    assert found["M"] == {"patients": 30} | hidden, "or 3 would follow from the whole of 35"
    assert found["O"]["positives"] == 20 and SUPPRESSED not in found["O"]


def test_few_patients_hide_a_part_and_the_empty_values_are_named_with_it() -> None:
    found = sexes_of(one_label(F=cell(40, 20), M=cell(30, 15), O=cell(2, 1)))
    assert found["O"] == found["M"] == found["unknown"] == BLANK
    assert found["F"]["patients"] == 40


def test_hidden_parts_stand_for_the_floor_together() -> None:
    two = sexes_of(one_label(F=cell(60, 30), M=cell(30, 15), O=cell(2, 1), unknown=cell(2, 1)))
    assert [value for value in two if SUPPRESSED in two[value]] == ["M", "O", "unknown"], "2 and 2 are 4 together"


def test_negatives_have_the_floor_too() -> None:
    found = sexes_of(one_label(F=cell(40, 38), M=cell(30, 12), O=cell(50, 20)))
    assert found["F"]["positives"] is None and found["M"]["positives"] is None and found["O"]["positives"] == 20


def test_a_site_of_three_positives_tells_no_subgroup_and_no_curve() -> None:
    rng = np.random.default_rng(0)
    labels, values = np.array([1] * 3 + [0] * 57), rng.random(60)
    scores = score_labels(labels[:, None], values[:, None], names=("a",), patients=list(map(str, range(60)))).plain()
    assert scores["auc"] is not None, "the hospital itself sees it"
    metrics = {"scores": scores, "curves": curves({"a": labels}, {"a": values}, list(range(60)))}
    metrics["subgroups"] = {"a": {"sex": {"F": cell(30, 2), "M": cell(30, 1)}}}
    found = release(metrics, disclosure(), private=False, names=LABELS)
    counts = {"images", "patients", "loss"}
    assert all(value is None for name, value in found["scores"].items() if name not in {*counts, SUPPRESSED})
    assert found["scores"][SUPPRESSED] is True and found["scores"]["patients"] == 60
    leaves = _leaves({name: found[name] for name in ("subgroups", "curves")})
    assert leaves and set(leaves) <= {None, True}
    assert refused(found, disclosure(), private=False, names=LABELS) == []
    assert refused(metrics, disclosure(), private=False, names=LABELS)


def test_counts_come_with_what_rests_on_them_and_nothing_else_of_the_scores() -> None:
    metrics = one_label(F=cell(40, 12), M=cell(30, 20))
    found = release(metrics, disclosure("subgroups"), private=False, names=LABELS)
    assert found["scores"] == {"patients": 70, "images": 210, "positives": 32}
    assert found["subgroups"]["a"]["sex"]["F"]["auc"] == 0.812
    without = release({"subgroups": metrics["subgroups"]}, disclosure(), private=False, names=LABELS)
    assert set(_leaves(without)) == {None, True}, "without the whole nothing can be checked"


def test_each_group_is_listed_by_its_own_name_alone() -> None:
    metrics = one_label(F=cell(40, 12), M=cell(30, 20)) | {"profile": profile()}
    every = sorted({name for group in GROUPS.values() for name in group} | {"scores", "support"})
    assert set(release(metrics, disclosure(*every), private=False)) == {"scores"}
    assert "metric subgroups is not on the site's list" in refused(metrics, disclosure(*every), private=False)
    assert unknown_names(disclosure(*ALL, "profile.age", "subgroups.auc", "maker")) == ["subgroups.auc", "maker"]


def test_a_private_job_keeps_to_validation_patients_and_a_model_trained_alone_stays() -> None:
    metrics = one_label(F=cell(40, 12), M=cell(30, 20)) | {"profile": profile()}
    assert set(release(metrics, disclosure(), private=True, names=LABELS)) == {"scores", "subgroups", "profile"}
    assert release(metrics, disclosure(), private=True, alone=True, names=LABELS) == {}
    faults = refused(metrics, disclosure(), private=True, alone=True, names=LABELS)
    assert "metric subgroups is computed from training data without noise" in faults


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"subgroups": {"a": {"maker": {"Dr. DOE's own": cell(40, 20)}}}}, "not of its table"),
        ({"subgroups": {"a": {"ward": {"F": cell(40, 20)}}}}, "not of its table"),
        ({"subgroups": {"DOE": {"sex": {"F": cell(40, 20)}}}}, "no label, class or structure"),
        ({"subgroups": {"a": {"sex": {"F": {"DOE": 40}}}}}, "not of its table"),
        ({"subgroups": [1]}, "metric subgroups is not a table"),
        ({"curves": {"a": {"roc": {"0.051": 0.4}}}}, "not of its table"),
        ({"curves": {"a": {"reliability": {"0.05": {"patients": 40}}}}}, "not of its table"),
        ({"curves": {"a": {"thresholds": {"0.05": 0.4}}}}, "not of its table"),
        ({"profile": {"maker": {"DOE": 30}}}, "not of its table"),
        ({"profile": {"ward": 3}}, "metric ward is unknown"),
    ],
)
def test_nothing_outside_the_tables_is_a_name(content: Metrics, says: str) -> None:
    metrics = {"scores": whole(70, 32)} | content
    faults = refused(metrics, disclosure(), private=False, names=LABELS)
    assert any(says in fault for fault in faults), faults
    assert "DOE" not in "".join(faults)
    assert "DOE" not in json.dumps(release(metrics, disclosure(), private=False, names=LABELS))


def part(patients: int) -> Metrics:
    return {"dice": 0.91234, "dice_low": 0.8, "dice_high": 0.95, "patients": patients}


def test_a_structures_subgroups_have_the_floor_of_patients_who_have_it() -> None:
    sexes = {"F": part(20), "M": part(15), "O": part(2), "unknown": part(10)}
    whole_ = {"dice": 0.9, "patients": 47, "images": 100, "dice_patients": 47}
    found = sexes_of({"scores": whole_, "subgroups": {"a": {"sex": sexes}}})
    assert [value for value in found if SUPPRESSED in found[value]] == ["O", "unknown"]
    assert found["F"] == part(20) | {"dice": 0.912}
    assert set(_leaves({"unknown": found["unknown"]})) == {None, True}


def test_two_women_without_a_structure_do_not_follow_from_the_profile_beside_it() -> None:
    sexes = {"F": part(20), "M": part(25)}
    metrics: Metrics = {
        "scores": {"dice": 0.9, "patients": 52, "images": 99, "dice_patients": 45},
        "subgroups": {"a": {"sex": sexes}},
        "profile": {"patients": 52, "sex": {"F": 22, "M": 30}},
    }
    found = release(metrics, disclosure(), private=False, names=LABELS)
    assert found["subgroups"]["a"]["sex"]["F"]["patients"] == 20
    assert found["profile"]["sex"] == {"F": None, "M": None}


def test_classes_of_a_whole_are_hidden_at_the_same_values() -> None:
    """One class hidden among women would follow from their images less the other classes'."""
    table = {"a": {"F": 20, "M": 24, "O": 26}, "b": {"F": 3, "M": 21, "O": 20}, "c": {"F": 37, "M": 15, "O": 24}}
    n = {value: sum(row[value] for row in table.values()) for value in "FMO"}
    metrics = {
        "scores": whole(sum(n.values()), 120)
        | {
            "labels": {
                name: {"auc": 0.8, "patients": 190, "positives": sum(row.values())} for name, row in table.items()
            }
        },
        "subgroups": {name: {"sex": {v: cell(n[v], row[v]) for v in row}} for name, row in table.items()},
    }
    found = release(metrics, disclosure(), private=False, names=LABELS)["subgroups"]
    hidden = {name: [v for v in "FMO" if found[name]["sex"][v]["positives"] is None] for name in LABELS}
    assert hidden["a"] == hidden["b"] == hidden["c"] and "F" in hidden["a"] and len(hidden["a"]) > 1


def test_one_patient_of_two_classes_does_not_give_a_hidden_class_away() -> None:
    """All wholes say that one patient has two classes; where that one is shown, the other values add up again."""
    table = {"a": {"F": 20, "M": 24, "O": 26}, "b": {"F": 20, "M": 21, "O": 21}, "c": {"F": 3, "M": 8, "O": 20}}
    n = {"F": 43, "M": 53, "O": 66}
    assert sum(sum(row.values()) for row in table.values()) == sum(n.values()) + 1
    labels = {name: {"auc": 0.8, "patients": 162, "positives": sum(row.values())} for name, row in table.items()}
    metrics = {
        "scores": whole(162, 100, 163) | {"labels": labels},
        "subgroups": {name: {"sex": {v: cell(n[v], row[v]) for v in row}} for name, row in table.items()},
    }
    found = release(metrics, disclosure(), private=False, names=LABELS)["subgroups"]
    hidden = {name: [v for v in "FMO" if found[name]["sex"][v]["positives"] is None] for name in LABELS}
    assert hidden["a"] == hidden["b"] == hidden["c"] and "F" in hidden["a"] and len(hidden["a"]) > 1


def test_where_all_have_one_structure_two_women_without_another_do_not_follow() -> None:
    """The first structure's table counts all women, 20, and the second's would say that two have it not."""
    both = {"a": {"F": part(20), "M": part(25)}, "b": {"F": part(18), "M": part(17)}}
    structures = {name: part(sum(one["patients"] for one in sexes.values())) for name, sexes in both.items()}
    distance = {"hd95_mm": 2.0, "hd95_patients": 35}
    metrics: Metrics = {
        "scores": {"dice": 0.9, "patients": 45, "images": 99, "dice_patients": 45}
        | {"structures": {name: one | distance for name, one in structures.items()}},
        "subgroups": {name: {"sex": sexes} for name, sexes in both.items()},
    }
    found = release(metrics, disclosure(), private=False, names=LABELS)
    assert [found["scores"]["structures"][name]["patients"] for name in ("a", "b")] == [45, 35]
    assert set(_leaves(found["subgroups"])) == {None, True}
    assert refused(metrics, disclosure(), private=False, names=LABELS)
    metrics["subgroups"]["b"]["sex"] = {"F": part(20), "M": part(15)}
    enough = release(metrics, disclosure(), private=False, names=LABELS)["subgroups"]
    assert [enough[name]["sex"]["F"]["patients"] for name in ("a", "b")] == [20, 20], "all women have both"
    assert enough["b"]["sex"]["M"]["patients"] == 15, "of the men ten have it not"


# ---------------------------------------------------------------- scores and support beside each other


def test_classes_of_hardly_a_patient_do_not_follow_from_how_many_images_there_are() -> None:
    """Patients of all classes are at most the images: of 42, those of the first two leave one for the others."""
    counts = {"validation_patients": 40, "validation_images": 42}
    counts["validation_positives"] = {"a": 21, "b": 20, "c": 1, "d": 0}
    found = release({"support": counts}, disclosure(), private=False)["support"]
    assert found["validation_positives"] == {"a": 21, "b": None, "c": None, "d": None}
    assert refused({"support": counts}, disclosure(), private=False)
    enough = release({"support": counts | {"validation_images": 46}}, disclosure(), private=False)["support"]
    assert enough["validation_positives"] == {"a": 21, "b": 20, "c": None, "d": None}


def test_a_hidden_class_does_not_follow_from_the_others_nor_from_all_that_are_not_the_first() -> None:
    positives = {"a": 15, "b": 2, "c": 43}
    labels = {name: {"auc": 0.8, "patients": 60, "positives": count} for name, count in positives.items()}
    metrics = {
        "scores": whole(60, 45) | {"labels": labels},
        "support": {"validation_images": 60, "validation_patients": 60, "validation_positives": positives},
    }
    found = release(metrics, disclosure(), private=False, names=LABELS)
    told = {name: one["positives"] for name, one in found["scores"]["labels"].items()}
    assert told == found["support"]["validation_positives"] == {"a": None, "b": None, "c": 43}
    assert found["scores"]["positives"] is None, "60 - 45 would be a's, and b's the rest"
    assert found["scores"]["auc"] is None and found["scores"]["patients"] == 60


COUNTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 40), min_size=1)


@settings(max_examples=200, deadline=None)
@given(COUNTS, st.integers(1, 9), st.integers(0, 60), st.integers(0, 40))
def test_labels_hidden_together_stand_for_the_floor(
    counts: dict[str, int], least: int, more: int, several: int
) -> None:
    """Of patients, whether each has one label or several, and of images, each of which has one."""
    patients = max(max(counts.values()), sum(counts.values()) - several) if more > 30 else max(counts.values()) + more
    images = max(patients, sum(counts.values()))
    found = suppress_labels(counts, patients=patients, images=images, least=least)
    hidden = [name for name, value in found.items() if value is None]
    seen = sum(value for value in found.values() if value is not None)
    for name, value in found.items():
        assert value is None or (value == counts[name] and least <= value <= patients - least)
    if hidden and len(hidden) < len(found):
        assert len(hidden) > 1 and not 0 <= patients - seen < least and not 0 <= images - seen < least
    assert suppress_labels(found, patients=patients, images=images, least=least) == found


# ---------------------------------------------------------------- whatever a hospital's patients are

KINDS = st.sampled_from(["binary", "multilabel", "multiclass"])


@st.composite
def hospitals(draw: st.DrawFn) -> Metrics:
    """Metrics as a hospital makes them: every patient has a sex, an age, a maker and images, and each image a truth."""
    kind, rng = draw(KINDS), np.random.default_rng(draw(st.integers(0, 2**31)))
    names = LABELS[:1] if kind == "binary" else LABELS
    patients, skew, most = draw(st.integers(3, 120)), draw(st.floats(0.2, 3.0)), draw(st.integers(1, 4))

    def pick(values: tuple[str, ...], count: int) -> list[str]:
        return [values[i] for i in np.minimum(rng.exponential(skew, count).astype(int), len(values) - 1)]

    owner = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    n = len(owner)
    decades = [AGES[(AGES.index(age) + 3) % len(AGES)] for age in pick(AGES, patients)]
    values = {
        "sex": pick(DIMENSIONS["sex"], patients),
        "age": [next(band for band, ages in DECADES.items() if age in ages) for age in decades],
        "maker": pick(MAKERS, patients),
    }
    if kind == "multiclass":
        truth = (np.minimum(rng.exponential(skew, n).astype(int), 2)[:, None] == np.arange(3)).astype(int)
    else:
        truth = (rng.random((n, len(names))) < rng.random(len(names)) ** 2).astype(int)
    score = rng.random((n, len(names)))
    sick = np.array([truth[owner == one].any(0) for one in range(patients)])
    any_yes = sick[:, 1:].any(1) if kind == "multiclass" else sick.any(1)
    each = {
        name: {"auc": 0.7, "patients": patients, "positives": int(sick[:, i].sum())} for i, name in enumerate(names)
    }
    columns = [{name: column[:, i] for i, name in enumerate(names)} for column in (truth, score)]
    metrics: Metrics = {
        "scores": {"auc": 0.7, "patients": patients, "images": n, "positives": int(any_yes.sum())},
        "support": {
            "validation_images": n,
            "validation_patients": patients,
            "validation_positives": {name: one["positives"] for name, one in each.items()},
        },
        "subgroups": {},
        "curves": curves(*columns, owner.tolist()),
    }
    metrics["profile"] = {"patients": patients, "sex": dict(Counter(values["sex"])), "age": dict(Counter(decades))}
    if len(names) > 1:
        metrics["scores"]["labels"] = each
    for i, name in enumerate(names):
        metrics["subgroups"][name] = {
            dimension: {
                value: cell(int((chosen := np.array(column) == value).sum()), int(sick[chosen, i].sum()))
                for value in dict.fromkeys(column)
            }
            for dimension, column in values.items()
        }
    once = {"owner": owner, "truth": truth, "score": score, "sick": sick}
    return {"kind": kind, "names": names, "metrics": metrics, "alone": n == patients, **once}


@settings(max_examples=200, deadline=None)
@given(hospitals(), st.integers(2, 9), st.integers(0, 5))
def test_no_hidden_count_follows_from_what_left(hospital: Metrics, least: int, decimals: int) -> None:
    rule, truth, names = disclosure(decimals=decimals, min_count=least), hospital["metrics"], hospital["names"]
    found = release(truth, rule, private=False, names=LABELS)
    assert release(found, rule, private=False, names=LABELS) == found
    assert refused(found, rule, private=False, names=LABELS) == []
    one_class_each = hospital["kind"] == "multiclass" and hospital["alone"]
    hidden, determined = _attack(found, names, multiclass=one_class_each)
    tables, ages = truth["subgroups"][names[0]], truth["profile"]["age"]
    for key in determined:  # an empty part may be disclosed, and an age band of which the profile shows every decade
        small = ages.get(key[1], 0) if key[0] == "decade" else tables.get(key[0], {}).get(key[1], {}).get("patients", 0)
        if key[0] == "decade" or key[-1] == "patients":
            assert small == 0 or small >= least, key
        else:
            assert key[0] in tables and key[1] not in tables[key[0]], key
    for i, name in enumerate(names):
        _holds_the_floor(found, truth, name, least)
        table = found["curves"][name].get("reliability", {})
        for low, high, row in _wide_bins(table):
            owner, score, yes = hospital["owner"], hospital["score"][:, i], hospital["truth"][:, i] == 1
            here = {one for one in set(owner.tolist()) if low <= score[owner == one].max() < high}
            assert (row["patients"], row["positives"]) == (len(here), len(here & set(owner[yes].tolist())))
            assert least <= row["positives"] <= row["patients"] - least
        if table and None not in [row["patients"] for row in table.values()]:
            assert sum(row["patients"] for row in table.values()) == truth["scores"]["patients"]
            assert sum(row["positives"] for row in table.values()) == hospital["sick"][:, i].sum()
    if not hidden:
        assert all(SUPPRESSED not in part for table in found["subgroups"].values() for part in table.values())


def _wide_bins(table: Metrics) -> list[tuple[float, float, Metrics]]:
    """Each bin that is shown, from its lower edge up to the next one's."""
    edges = [edge for edge in table if SUPPRESSED not in table[edge]]
    lows = [0.0, *map(float, edges[1:])]  # nothing lies below the first
    return [(low, high, table[edge]) for edge, low, high in zip(edges, lows, [*lows[1:], 1.1], strict=False)]


def _holds_the_floor(found: Metrics, truth: Metrics, name: str, least: int) -> None:
    whole_of = found["scores"].get("labels", {}).get(name, found["scores"])
    for dimension, table in found["subgroups"][name].items():
        true = truth["subgroups"][name][dimension]
        seen = [value for value, part in table.items() if part["positives"] is not None]
        for value in seen:
            part = table[value]
            for key in ("patients", "positives"):
                assert part[key] == true[value][key]
            assert min(part["positives"], part["patients"] - part["positives"]) >= least
        rest = {key: whole_of[key] - sum(table[one][key] for one in seen) for key in ("patients", "positives") if seen}
        hidden = [value for value in true if value not in seen]
        if seen and hidden:
            assert len(hidden) > 1
            assert min(rest["positives"], rest["patients"] - rest["positives"]) >= least
        people = [value for value, part in table.items() if part["patients"] is not None]
        others = [true[value] for value in true if value not in people]
        if people and others:
            assert len(others) > 1 and sum(part["patients"] for part in others) >= least


def _attack(found: Metrics, names: tuple[str, ...], *, multiclass: bool) -> tuple[list[Any], list[Any]]:
    """Counts that are hidden, and those of them that linear algebra finds from all that left."""
    known: dict[Any, int] = {}
    scores, support = found["scores"], found["support"]

    def tell(key: Any, value: int | None) -> None:
        if value is not None:
            assert known.setdefault(key, value) == value
        everything.setdefault(key, len(everything))

    everything: dict[Any, int] = {}
    sums: list[tuple[Any, list[Any]]] = []
    tell("n", scores["patients"])
    tell("n", support["validation_patients"])
    assert scores["images"] == support["validation_images"]
    for name in names:
        part = scores.get("labels", {}).get(name, scores)
        tell(("positives", name), part["positives"])
        tell(("positives", name), support["validation_positives"][name])
        for dimension, table in found["subgroups"][name].items():
            for value in DIMENSIONS[dimension]:
                cell_ = table.get(
                    value, {"patients": 0, "positives": 0}
                )  # an unnamed value is empty, and that may be disclosed
                tell((dimension, value), cell_["patients"])
                tell((dimension, value, name), cell_["positives"])
            sums.append((("positives", name), [(dimension, value, name) for value in DIMENSIONS[dimension]]))
            sums.append(("n", [(dimension, value) for value in DIMENSIONS[dimension]]))
            if multiclass and name == names[0]:
                for value in DIMENSIONS[dimension]:
                    sums.append(((dimension, value), [(dimension, value, one) for one in names]))
    sums += _attack_patients(found, names, tell)
    if multiclass:
        sums.append(("n", [("positives", one) for one in names]))
        tell("any", scores["positives"])
        sums.append(("n", ["any", ("positives", names[0])]))
    for one in [key for _, keys in sums for key in keys]:
        everything.setdefault(one, len(everything))
    unknown = [key for key in everything if key not in known]
    if not unknown:
        return [], []
    place = {key: i for i, key in enumerate(unknown)}
    matrix = np.zeros((len(sums), len(unknown)))
    for k, (total, keys) in enumerate(sums):
        for key, sign in [(total, -1.0), *((key, 1.0) for key in keys)]:
            if key in place:
                matrix[k, place[key]] += sign
    _, values, rows = np.linalg.svd(matrix)
    free = rows[int((values > 1e-9).sum()) :]
    determined = [key for key in unknown if np.abs(free[:, place[key]]).max(initial=0.0) < 1e-9]
    return unknown, [key for key in determined if key != "any"]


def _attack_patients(found: Metrics, names: tuple[str, ...], tell: Any) -> list[tuple[Any, list[Any]]]:
    """Collect what subgroups and profile disclose of the same patients."""
    tell("patients", found["scores"]["patients"])
    tell("patients", found["profile"]["patients"])
    for dimension in ("sex", "age"):
        for name in names:
            table = found["subgroups"][name][dimension]
            for value in DIMENSIONS[dimension]:
                tell((dimension, value, "patients"), table.get(value, {"patients": 0})["patients"])
    for value in DIMENSIONS["sex"]:
        tell(("sex", value, "patients"), found["profile"]["sex"].get(value))
    for age in AGES:
        tell(("decade", age), found["profile"]["age"].get(age))
    sums = [
        ("patients", [(dimension, value, "patients") for value in DIMENSIONS[dimension]])
        for dimension in ("sex", "age")
    ]
    return sums + [(("age", band, "patients"), [("decade", age) for age in ages]) for band, ages in DECADES.items()]


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(-3, 60), st.integers(), st.floats(), st.just("DOE^JANE"))
CELL = st.one_of(
    NUMBERS,
    st.builds(
        lambda more, n, part: cell(n, int(n * part)) | more,
        st.dictionaries(
            st.sampled_from(["auc", "dice", "images", "positives", "patients", "gossip", SUPPRESSED]),
            NUMBERS,
            max_size=2,
        ),
        st.integers(0, 60),
        st.floats(0, 1),
    ),
)
WILD = st.fixed_dictionaries(
    {
        "scores": st.builds(
            lambda patients, positives, images, more, labels: (
                whole(patients, positives, images) | more | ({"labels": labels} if labels else {})
            ),
            st.integers(0, 100),
            st.integers(0, 100),
            st.integers(1, 200),
            st.sampled_from([{}, {"dice": 0.9, "dice_patients": 40, "hd95_mm": 2.0, "hd95_patients": 30}]),
            st.dictionaries(
                st.sampled_from(LABELS), st.builds(whole, st.integers(0, 200), st.integers(0, 90)), max_size=3
            ),
        ),
        "subgroups": st.one_of(
            NUMBERS,
            st.dictionaries(
                st.sampled_from([*LABELS, "DOE^JANE"]),
                st.dictionaries(
                    st.sampled_from([*DIMENSIONS, "ward"]),
                    st.one_of(
                        NUMBERS,
                        st.dictionaries(
                            st.sampled_from(["F", "M", "0-19", "80 and above", "GE", "DOE", "unknown"]), CELL
                        ),
                    ),
                    max_size=3,
                ),
                max_size=3,
            ),
        ),
        "profile": st.fixed_dictionaries(
            {"patients": st.integers(0, 60)},
            optional={
                "sex": st.dictionaries(st.sampled_from(["F", "M", "DOE"]), st.integers(0, 30)),
                "age": st.dictionaries(
                    st.sampled_from(["0-9", "10-19", "80-89", "DOE", "unknown"]), st.integers(0, 30)
                ),
                "maker": st.one_of(NUMBERS, st.dictionaries(st.sampled_from(MAKERS), NUMBERS, max_size=3)),
            },
        ),
        "curves": st.dictionaries(
            st.sampled_from([*LABELS, "DOE^JANE"]),
            st.fixed_dictionaries(
                {},
                optional={
                    "roc": st.dictionaries(st.sampled_from([*FALSE_POSITIVE_RATES, "0.123"]), NUMBERS, max_size=4),
                    "reliability": st.dictionaries(
                        st.sampled_from([*RELIABILITY_BINS, "DOE"]),
                        st.one_of(
                            NUMBERS,
                            st.fixed_dictionaries(
                                {
                                    "patients": st.integers(-1, 60),
                                    "positives": st.integers(-1, 30),
                                    "score": NUMBERS,
                                },
                                optional={"images": st.integers(-1, 90), "observed": st.floats(0, 1)},
                            ),
                        ),
                    ),
                },
            ),
            max_size=3,
        ),
    }
)


@settings(max_examples=300, deadline=None)
@given(WILD, st.integers(1, 9), st.integers(0, 6), st.booleans(), st.sampled_from([None, LABELS]))
def test_whatever_comes_in_what_goes_out_is_allowed_and_stays_as_it_is(
    metrics: Metrics, least: int, decimals: int, private: bool, names: tuple[str, ...] | None
) -> None:
    rule, before = disclosure(decimals=decimals, min_count=least), repr(metrics)
    found = release(metrics, rule, private=private, names=names)
    assert repr(metrics) == before
    assert release(found, rule, private=private, names=names) == found
    assert refused(found, rule, private=private, names=names) == []
    assert "gossip" not in json.dumps(found, allow_nan=False)
    if names:
        assert "DOE" not in json.dumps(found)
    if not refused(metrics, rule, private=private, names=names):
        assert json.dumps(found) == json.dumps(metrics)


# ---------------------------------------------------------------- curves and profile


def test_curves_leave_with_their_labels_floor() -> None:
    rng = np.random.default_rng(0)
    labels, values = np.repeat([0, 1], 300), np.clip(rng.normal(np.repeat([0.4, 0.6], 300), 0.2), 0, 1)
    made = curves({"a": labels}, {"a": values}, list(range(600)))["a"]
    found = release({"scores": whole(600, 300), "curves": {"a": made}}, disclosure(), private=False, names=LABELS)[
        "curves"
    ]["a"]
    assert found["roc"] == {rate: round(value, 3) for rate, value in made["roc"].items()}
    truth, told = reliability(labels, values, list(range(600))), found["reliability"]
    assert len(told) >= 5, "most bins have both"
    assert sum(row["patients"] for row in told.values()) == 600
    for low, high, row in _wide_bins(told):
        here = (values >= low) & (values < high)
        assert (row["patients"], row["positives"]) == (here.sum(), labels[here].sum())
        assert row["score"] == pytest.approx(values[here].mean(), abs=0.0005 + 1e-9)
    exact = {edge: row for edge, row in told.items() if row["patients"] == truth[edge]["patients"]}
    assert exact and all(row["score"] == round(truth[edge]["score"], 3) for edge, row in exact.items())


def bins(**cells: tuple[int, int, float]) -> Metrics:
    """Edge -> patients, positives and mean score."""
    return {
        edge[1:].replace("_", "."): {"patients": n, "positives": p, "score": s} for edge, (n, p, s) in cells.items()
    }


@pytest.mark.parametrize(
    ("table", "told"),
    [
        # a sure model: few positives low, few negatives high, hardly anyone between
        (
            bins(b0_0=(60, 3, 0.02), b0_4=(4, 2, 0.5), b0_9=(36, 27, 0.97)),
            {"0.0": (64, 5, 0.05), "0.9": (36, 27, 0.97)},
        ),
        # what is left at the end goes to the last that has enough
        (bins(b0_0=(50, 25, 0.1), b0_9=(50, 49, 0.9)), {"0.0": (100, 74, 0.5)}),
        (bins(b0_0=(50, 1, 0.1), b0_9=(50, 2, 0.9)), None),
        (bins(b0_0=(99, 50, 0.1)), None),
        # one patient with yes, however many images show it
        (bins(b0_0=(50, 1, 0.1), b0_9=(50, 49, 0.9)), {"0.0": (100, 50, 0.5)}),
    ],
)
def test_neighbouring_bins_are_put_together_up_to_the_floor(
    table: Metrics, told: dict[str, tuple[int, int, float]] | None
) -> None:
    positives = sum(cell["positives"] for cell in table.values())
    metrics = {"scores": whole(100, positives, 200), "curves": {"a": {"reliability": table}}}
    found = release(metrics, disclosure(), private=False, names=LABELS)["curves"]["a"]["reliability"]
    if told is None:
        assert set(_leaves(found)) == {None, True}
        assert set(found) == set(RELIABILITY_BINS)
    else:
        expected = bins(**{"b" + edge.replace(".", "_"): cell for edge, cell in told.items()})
        assert found == expected


def test_pooled_curves_leave_with_the_pooled_scores_alone() -> None:
    made = curves({"a": np.array([0, 1] * 40)}, {"a": np.linspace(0, 1, 80)}, list(range(80)))
    metrics = {"pooled": whole(80, 40) | {"curves": made}}
    found = release(metrics, disclosure("pooled"), private=True, names=LABELS)
    assert found["pooled"]["curves"]["a"]["roc"]["1.00"] == 1.0
    assert refused(found, disclosure("pooled"), private=True, names=LABELS) == []
    assert "curves" not in release(metrics, disclosure("pooled.auc"), private=True, names=LABELS)["pooled"]
    few = release({"pooled": whole(80, 3) | {"curves": made}}, disclosure("pooled"), private=True, names=LABELS)
    assert set(_leaves(few["pooled"]["curves"])) <= {None, True}
    assert refused(
        {"pooled": whole(80, 40) | {"curves": {"DOE": {}}}}, disclosure("pooled"), private=True, names=LABELS
    )


def profile(**changes: Any) -> Metrics:
    return {
        "patients": 60,
        "images": 80,
        "positives": {"a": 30},
        "sex": {"F": 31, "M": 29},
        "age": {"40-49": 20, "50-59": 30, "60-69": 10},
        "maker": {"GE": 57, "Siemens": 3},
        "intensity": {"-0.25": 0.25, "+0.00": 0.12345},
        "spacing_patients": 60,
        "spacing_mm": 0.14333,
        "label_noise": 0.05111,
    } | changes


def test_a_profile_is_suppressed_like_counts_of_patients() -> None:
    found = release({"profile": profile()}, disclosure("profile"), private=True, names=LABELS)["profile"]
    assert found["sex"] == {"F": 31, "M": 29}, "that nobody is O or unknown may follow"
    assert found["age"] == {"40-49": 20, "50-59": 30, "60-69": 10}
    assert found["maker"] == {"GE": None, "Siemens": None}
    assert (found["spacing_mm"], found["label_noise"]) == (0.143, 0.051)
    few = release({"profile": profile(patients=4)}, disclosure("profile"), private=True, names=LABELS)["profile"]
    assert set(_leaves(few)) == {None}


def test_a_profile_does_not_tell_what_the_subgroups_hide() -> None:
    """Of 12 patients of 40 to 59 years the profile alone may say that 9 are below 50; beside the 12, 3 would follow."""
    ages = {"40-49": 9, "50-59": 3, "60-69": 20, "70-79": 8, "0-9": 2}
    bands = {"40-59": cell(12, 6), "60-79": cell(28, 14), "0-19": cell(2, 1)}
    metrics: Metrics = {"profile": {"patients": 42, "age": ages}}
    alone = release(metrics, disclosure(), private=False, names=LABELS)["profile"]["age"]
    assert alone == ages | {"50-59": None, "0-9": None}
    metrics |= {"scores": whole(42, 21, 84), "subgroups": {"a": {"age": bands}}}
    found = release(metrics, disclosure(), private=False, names=LABELS)
    assert [band for band, part in found["subgroups"]["a"]["age"].items() if part["patients"]] == ["60-79"]
    assert found["profile"]["age"] == dict.fromkeys(ages) | {"60-69": 20, "70-79": 8}
    assert refused(found, disclosure(), private=False, names=LABELS) == []


def test_cells_by_hand() -> None:
    cells = {name: (n,) for name, n in Counter(a=2, b=9, c=30).items()}
    assert suppress_cells({"": cells}, wholes={"": (41,)}, least=5) == {"c"}
    assert suppress_cells({"": cells}, wholes={"": (42,)}, least=5) == {"c"}
    assert suppress_cells({"": cells}, wholes={"": (29,)}, least=5) == frozenset(), "more than the whole"
    empty = {"a": (0,), "b": (9,)}
    assert suppress_cells({"": empty}, wholes={"": (9,)}, least=5) == {"b"}
    assert suppress_cells({"": {"b": (9,)}}, wholes={"": (10,)}, least=5) == frozenset(), "one is missing"


def _leaves(content: Metrics) -> list[Any]:
    found = []
    for value in content.values():
        found += _leaves(value) if isinstance(value, dict) else [value]
    return found
