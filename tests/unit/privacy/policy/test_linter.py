"""Check the linter's findings on settings that promise more than they keep."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.privacy.policy.linter import CohortFacts, faults, remarks
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

DP_SGD = {"noise_multiplier": 1.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 8}
UPDATE = {"clip_norm_l2": 1.0, "noise_multiplier": 2.0, "delta": 1e-3}
HUNDRED = CohortFacts(patients=100, images=100)


THREE = {"min_sites": 3}


def a_job(mechanism: str, *, dp_sgd: Any = None, update: Any = None, **tables: Any) -> JobSpec:
    content = tiny_job_content()
    for table, changes in tables.items():
        content[table] = {**content.get(table, {}), **changes}
    if mechanism == "dp-sgd":
        dp_sgd = {**DP_SGD, **(dp_sgd or {})}
    if mechanism == "update-noise" or update is not None:
        update = {**UPDATE, **(update or {})}
    privacy = {"mechanism": mechanism, "dp_sgd": dp_sgd, "update": update}
    return parse(JobSpec, {**content, "privacy": privacy}, where="test")


SIXTEEN = {"local_epochs": None, "local_steps": 16}
SOUND = [
    a_job("none"),
    a_job("none", update={"noise_multiplier": 0.0}),
    a_job("none", federation={"select": "best"}, model={"batch_norm": "local"}),
    a_job("none", update={"noise_multiplier": 0.0, "filters": ["SVTPrivacy"]}),
    a_job("dp-sgd", training={"keep_optimizer": True, "local_epochs": 3}),
    a_job("dp-sgd", training={"loss": {"name": "BCEWithLogitsLoss", "args": {"pos_weight": 3.0}}}),
    a_job("dp-sgd", dp_sgd={"images_per_patient": 4, "augmentations": 4, "ema_decay": 0.99}),
    a_job("dp-sgd", dp_sgd={"noise_multiplier": None, "epsilon": 8.0, "patients_per_step": 100}),
    a_job("dp-sgd", update={"noise_multiplier": 0.0, "filters": ["PercentilePrivacy"]}),
    a_job("update-noise", update={"filters": ["SVTPrivacy"]}),
    a_job("update-noise", model={"batch_norm": "local"}),
    a_job("none", federation={"aggregation": "median"}),
    a_job("none", federation={"stragglers": "fewer_steps"}, model={"batch_norm": "local"}, training=SIXTEEN),
    a_job("dp-sgd", federation={"stragglers": "fewer_steps", "aggregation": "fedadam"}, training=SIXTEEN),
    a_job("none", federation={**THREE, "stragglers": "wait"}, encryption={}),
    a_job("dp-sgd", federation={"aggregation": "fedadam", "server_lr": 0.1}),
    a_job("none", federation=THREE, encryption={}),
    a_job("none", federation=THREE, encryption={"max_sites": 3, "open_final": False}),
    a_job("none", federation={**THREE, "select": "best"}, encryption={}, model={"batch_norm": "average"}),
    a_job("dp-sgd", federation=THREE, encryption={}, update={"noise_multiplier": 0.0, "filters": ["SVTPrivacy"]}),
    a_job("update-noise", federation=THREE, encryption={"precision": "precise"}),
    a_job("update-noise", federation=THREE, encryption={}, update={}),
    a_job("update-noise", update={}),
]


@pytest.mark.parametrize("job", SOUND)
def test_a_job_that_keeps_what_it_says_has_no_fault(job: JobSpec) -> None:
    assert faults(job) == []
    assert faults(job, cohort=HUNDRED) == []


@pytest.mark.parametrize(
    ("job", "setting", "words"),
    [
        (
            a_job("update-noise", update={"noise_multiplier": 0.0}),
            "update.noise_multiplier",
            "a clip is not differential",
        ),
        (
            a_job("update-noise", update={"noise_multiplier": 0.0, "filters": ["SVTPrivacy"]}),
            "update.noise_multiplier",
            "SVTPrivacy is not differential privacy",
        ),
        (
            a_job("update-noise", update={"noise_multiplier": 0.0, "filters": ["SVTPrivacy", "PercentilePrivacy"]}),
            "update.noise_multiplier",
            "SVTPrivacy and PercentilePrivacy are not differential privacy",
        ),
        (a_job("none", update={}), "update.noise_multiplier", "neither added nor counted"),
        (a_job("dp-sgd", update={}), "update.noise_multiplier", "neither added nor counted"),
        (a_job("update-noise", update={"delta": None}), "update.delta", "noise without δ has no ε"),
        (a_job("dp-sgd", federation={"select": "best"}), "federation.select", "whom ε does not cover"),
        (a_job("update-noise", federation={"select": "best"}), "federation.select", "whom ε does not cover"),
        (a_job("dp-sgd", model={"batch_norm": "local"}), "model.batch_norm", "mixes the patients"),
        (a_job("dp-sgd", model={"batch_norm": "average"}), "model.batch_norm", "InstanceNorm may be chosen"),
        (
            a_job("none", federation={**THREE, "aggregation": "median"}, encryption={}),
            "federation.aggregation",
            "compare values that it cannot read: 'median'; give 'mean'",
        ),
        (
            a_job("none", federation={**THREE, "aggregation": "fedadam"}, encryption={}),
            "federation.aggregation",
            "square a mean that it cannot read: 'fedadam'; give 'mean'",
        ),
        (
            a_job("none", federation={**THREE, "stragglers": "fewer_steps"}, encryption={}, training=SIXTEEN),
            "federation.stragglers",
            "an encrypted job cannot weigh updates by their steps",
        ),
        (
            a_job("none", federation={"stragglers": "fewer_steps", "aggregation": "median"}, training=SIXTEEN),
            "federation.stragglers",
            "a median has no weights",
        ),
        (
            a_job("none", federation={"stragglers": "fewer_steps"}, model={"batch_norm": "average"}, training=SIXTEEN),
            "federation.stragglers",
            "may fall below 0",
        ),
        (
            a_job("none", federation={"stragglers": "fewer_steps"}),
            "federation.stragglers",
            "a hospital could claim any number of steps",
        ),
        (a_job("none", encryption={}), "federation.min_sites", "fewer than 3 sites tells one hospital about"),
        (
            a_job("none", federation={"min_sites": 5}, encryption={"max_sites": 4}),
            "federation.min_sites",
            "encryption.max_sites, 4: 5; give fewer",
        ),
        (
            a_job("none", federation={**THREE, "must_include": list("abcd")}, encryption={"max_sites": 3}),
            "federation.must_include",
            "encryption.max_sites, 3: 'a, b, c, d'; name fewer",
        ),
    ],
)
def test_one_fault_is_one_line_with_its_setting(job: JobSpec, setting: str, words: str) -> None:
    [fault] = faults(job)
    assert setting in fault.split(":")[0]
    assert words in fault
    assert "; " in fault
    assert "\n" not in fault


def test_delta_against_the_patients() -> None:
    job = a_job("dp-sgd")
    assert faults(job, cohort=CohortFacts(patients=100, images=300)) == []
    [fault] = faults(job, cohort=CohortFacts(patients=101, images=101))
    assert fault.startswith("privacy.dp_sgd.delta: δ above 1/(10 · 101 training patients)")
    assert fault.endswith("0.001; give at most 0.00099")
    [fault] = faults(a_job("update-noise"), cohort=CohortFacts(patients=101, images=101))
    assert fault.startswith("privacy.update.delta: ")


def test_more_patients_a_step_than_there_are() -> None:
    [fault] = faults(a_job("dp-sgd", dp_sgd={"patients_per_step": 101}), cohort=HUNDRED)
    assert fault.startswith("privacy.dp_sgd.patients_per_step: more patients expected in a step than the 100")


def test_every_fault_is_found_in_one_pass() -> None:
    job = a_job(
        "dp-sgd",
        dp_sgd={"patients_per_step": 200, "delta": 0.01},
        update={"noise_multiplier": 0.5},
        federation={"select": "best"},
        model={"batch_norm": "average"},
    )
    assert len(faults(job, cohort=HUNDRED)) == 5


CLEAR = "encryption: none, so every update leaves in the clear for the server to read"


@pytest.mark.parametrize(
    ("job", "starts"),
    [
        (a_job("none"), []),
        (
            a_job("none", update={"noise_multiplier": 0.0, "filters": ["SVTPrivacy"]}),
            ["privacy.update.filters: SVTPrivacy is not differential privacy"],
        ),
        (a_job("dp-sgd", federation={"weighting": "equal"}), []),
        (a_job("dp-sgd"), ["federation.weighting: 'patients' sends each site's exact number of training patients"]),
    ],
)
def test_a_job_in_the_clear_is_told_so_after_the_rest(job: JobSpec, starts: list[str]) -> None:
    *others, last = remarks(job)
    assert last == CLEAR
    assert len(others) == len(starts)
    assert all(remark.startswith(start) for remark, start in zip(others, starts, strict=True))


@pytest.mark.parametrize(
    ("mechanism", "tables", "starts"),
    [
        ("none", {}, ["encryption.open_final: the final model leaves in the clear: it was trained without"]),
        ("none", {"encryption": {"open_final": False}}, []),
        ("dp-sgd", {"federation": {**THREE, "weighting": "equal"}}, []),
        ("dp-sgd", {}, ["federation.weighting: 'patients' tells hospitals the exact number of training patients"]),
        (
            "none",
            {"encryption": {"open_final": False, "clipping_range": 4.0}, "model": {"batch_norm": "average"}},
            ["model.batch_norm: 'average' also sums BatchNorm's variances, and one above encryption.clipping_range, 4"],
        ),
    ],
)
def test_what_an_encrypted_job_still_tells(mechanism: str, tables: dict[str, Any], starts: list[str]) -> None:
    found = remarks(a_job(mechanism, **{"federation": THREE, "encryption": {}, **tables}))
    assert len(found) == len(starts)
    assert all(remark.startswith(start) for remark, start in zip(found, starts, strict=True))
