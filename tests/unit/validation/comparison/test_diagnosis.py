"""Four causes from what sites tell: each found first where it is, none where nothing is, and nothing told is said."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fedward.privacy.disclosure.categories import AGES, INTENSITIES, MAKERS, SEXES
from fedward.validation.comparison.diagnosis import NOTABLE, PossibleCause, diagnose

CAUSES = {"population-shift", "few-patients", "covariate-shift", "label-noise"}
SITES = tuple("abcde")


def profile(
    site: str,
    *,
    patients: int = 100,
    positive: float = 0.4,
    women: float = 0.5,
    age: float = 55.0,
    skew: float = 0.0,
    maker: str = "Siemens",
    spacing_mm: float = 0.15,
    noise: float = 0.02,
) -> dict[str, Any]:
    """Return the profile of a site of so many patients, with the random variation of so many."""
    rng = np.random.default_rng([ord(site), patients])
    decades = np.clip(rng.normal(age, 15, patients) // 10, 0, 9).astype(int)
    female = int(rng.binomial(patients, women))
    grey = rng.normal(size=(patients, 2000)) + rng.normal(0, 0.1, (patients, 1))
    grey = grey + skew * (grey**2 - 1)
    edges = [-np.inf, *(float(low) for low in INTENSITIES[1:]), np.inf]
    return {
        "patients": patients,
        "images": patients,
        "positives": {"lesion": int(rng.binomial(patients, positive))},
        "sex": dict.fromkeys(SEXES, 0) | {"F": female, "M": patients - female},
        "age": {name: int(np.sum(decades == i)) for i, name in enumerate(AGES)},
        "maker": dict.fromkeys(MAKERS, 0) | {maker: patients},
        "intensity": dict(zip(INTENSITIES, (np.histogram(grey, edges)[0] / grey.size).tolist(), strict=True)),
        "spacing_mm": spacing_mm,
        "label_noise": max(0.0, noise + rng.normal(0, 0.2 / np.sqrt(patients))),
    }


def support(patients: int = 100) -> dict[str, Any]:
    return {"train_patients": 2 * patients, "validation_patients": patients, "validation_images": patients}


def federation(**planted: Any) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Five hospitals alike, but the first as ``planted`` says."""
    profiles = {site: profile(site) for site in SITES[1:]} | {"a": profile("a", **planted)}
    return profiles, {site: support(profiles[site]["patients"]) for site in SITES}


def first(findings: tuple[PossibleCause, ...]) -> str:
    assert {one.cause for one in findings} == CAUSES and len(findings) == 4
    assert [one.strength for one in findings] == sorted((one.strength for one in findings), reverse=True)
    assert all(one.evidence and one.remedy and 0 <= one.strength <= 1 for one in findings)
    return findings[0].cause


PLANTED = [
    ("population-shift", {"positive": 0.85}),
    ("population-shift", {"age": 25.0}),
    ("population-shift", {"women": 0.98}),
    ("few-patients", {"patients": 10}),
    ("covariate-shift", {"skew": 0.15}),
    ("covariate-shift", {"maker": "Canon"}),
    ("covariate-shift", {"spacing_mm": 0.6}),
    ("label-noise", {"noise": 0.2}),
]


@pytest.mark.parametrize(("cause", "planted"), PLANTED)
def test_a_planted_cause_is_first_and_notable_and_no_other_site_has_one(cause: str, planted: dict[str, Any]) -> None:
    profiles, supports = federation(**planted)
    found = diagnose("a", profiles, supports)
    assert first(found) == cause
    assert found[0].strength >= NOTABLE > found[1].strength
    for site in SITES[1:]:
        assert all(one.strength < NOTABLE / 2 for one in diagnose(site, profiles, supports))


@pytest.mark.parametrize("patients", [6, 12, 25])
def test_a_small_site_is_noisy_in_everything_and_diagnosed_as_small(patients: int) -> None:
    wrong = []
    for site in "stuvwxyz":
        profiles, supports = federation()
        profiles["a"] = profile(site, patients=patients, noise=0.05)
        supports["a"] = support(patients)
        found = diagnose("a", profiles, supports)
        wrong.append(found[0].cause != "few-patients")
    assert not any(wrong)


def test_alike_sites_have_no_finding() -> None:
    profiles, supports = federation()
    assert max(one.strength for site in SITES for one in diagnose(site, profiles, supports)) < NOTABLE / 2


def test_hospitals_that_all_differ_have_no_finding_for_differing() -> None:
    makers = ("Agfa", "Canon", "GE", "Philips", "Siemens")
    profiles = {
        site: profile(site, maker=maker, positive=0.2 + 0.12 * i, spacing_mm=0.1 + 0.05 * i)
        for i, (site, maker) in enumerate(zip(SITES, makers, strict=True))
    }
    found = diagnose("c", profiles, {site: support() for site in SITES})
    assert found[0].strength < NOTABLE


def test_evidence_has_the_numbers() -> None:
    profiles = {
        name: {"patients": 100, "images": 200, "positives": {"lesion": count}, "label_noise": noise}
        for name, count, noise in (("a", 31, 0.21), ("b", 9, 0.02), ("c", 12, 0.03), ("d", 15, 0.04))
    }
    supports = {name: {"train_patients": count} for name, count in (("a", 20), ("b", 60), ("c", 80), ("d", 40))}
    found = {one.cause: one for one in diagnose("a", profiles, supports)}
    assert "31 % of its validation patients are 'lesion' where the others have 12 (9 to 15) %" in (
        found["population-shift"].evidence
    )
    few = found["few-patients"].evidence
    assert "it trains on 20 patients where the others have 60 (40 to 80)" in few
    assert "weighted by patients it counts for 10 % of the model, of 4 sites" in few
    assert "21 % of its validation labels look wrong to the model where the others have 3 (2 to 4) %" in (
        found["label-noise"].evidence
    )
    assert found["label-noise"].remedy.startswith("re-read the 42 images")
    assert "federation.weighting" in found["few-patients"].remedy


def test_the_interval_of_an_area_as_published() -> None:
    # Hanley and McNeil 1982: area 0.85, 50 yes and 50 no: standard error 0.0387 by their equation 1
    profiles = {name: {"patients": 100, "images": 300, "positives": {"lesion": 50}} for name in "ab"}
    few = next(one for one in diagnose("a", profiles, {}) if one.cause == "few-patients")
    assert "with 50 of 100 patients 'lesion' an AUC of 0.85 is known to ±0.08" in few.evidence


def test_what_a_hospital_keeps_is_said_and_counts_for_nothing() -> None:
    profiles, supports = federation()
    for nothing in ({}, dict.fromkeys(profiles["a"]), {"positives": {"lesion": None}, "age": dict.fromkeys(AGES)}):
        found = diagnose("a", {**profiles, "a": nothing}, {**supports, "a": {}})
        assert [one.strength for one in found] == [0.0] * 4
        assert all(any(said.startswith("not disclosed: ") for said in one.evidence) for one in found)
    assert diagnose("a", {}, {}) == diagnose("nobody", {}, {})


def test_others_that_keep_everything_leave_nothing_to_compare() -> None:
    profiles, supports = federation(noise=0.3)
    found = diagnose("a", {"a": profiles["a"], "b": {}, "c": None}, {"a": supports["a"]})  # type: ignore[dict-item]
    assert [one.strength for one in found] == [0.0] * 4
    assert any("no other hospital discloses" in said for one in found for said in one.evidence)


def test_hidden_counts_are_shared_out_and_a_table_mostly_hidden_is_kept() -> None:
    profiles, supports = federation(age=25.0)
    whole = diagnose("a", profiles, supports)
    for one in profiles.values():
        one["age"] = {name: count if count >= 5 else None for name, count in one["age"].items()}
    floored = diagnose("a", profiles, supports)
    assert first(floored) == "population-shift"
    assert floored[0].strength == pytest.approx(whole[0].strength, abs=0.1)
    profiles["a"]["age"] = dict.fromkeys(AGES) | {"20-29": 40}
    found = next(one for one in diagnose("a", profiles, supports) if one.cause == "population-shift")
    assert "not disclosed: the ages of its patients" in found.evidence


@pytest.mark.parametrize("strange", ["text", [1], {"x": 1}, float("nan"), -1, 10**400, True])
def test_strange_values_are_no_values(strange: Any) -> None:
    profiles, supports = federation()
    profiles["a"] = dict.fromkeys(profiles["a"], strange)
    supports["a"] = dict.fromkeys(supports["a"], strange)
    assert all(np.isfinite(one.strength) for one in diagnose("a", profiles, supports))


def test_a_segmentation_has_neither_labels_nor_noise() -> None:
    profiles, supports = federation(skew=0.15)
    for one in profiles.values():
        del one["positives"], one["label_noise"]
    assert first(diagnose("a", profiles, supports)) == "covariate-shift"


def test_the_same_from_json_and_no_torch() -> None:
    profiles, supports = federation(positive=0.85)
    told = json.dumps([profiles, supports])
    assert diagnose("a", *json.loads(told)) == diagnose("a", profiles, supports)
    code = "import sys, fedward.validation.comparison.diagnosis; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
