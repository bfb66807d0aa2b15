"""Check the description of a job, and of its changes since another job with the meaning of each change."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fedward.privacy.budget_plan import plan_site
from fedward.privacy.policy.approvals import Origin
from fedward.privacy.policy.job_diff import Change, changes
from fedward.privacy.policy.job_summary import Here, describe, metrics_that_leave
from fedward.settings import Disclosure, JobSpec, parse
from fedward.visible import visible
from tests.conftest import tiny_job_content
from tests.support.disclosure import release

DP_SGD = {"noise_multiplier": 2.0, "delta": 1e-4, "clip_norm_l2": 1.0, "patients_per_step": 8}
WANTED = {"epsilon": 8.0, "delta": 1e-4, "clip_norm_l2": 1.0, "patients_per_step": 8}
ALL = ("scores", "support", "work", "cohort", "privacy", "pooled", "cohort_statistics")


def a_job(content: dict[str, Any] | None = None, **tables: Any) -> JobSpec:
    made = copy.deepcopy(content if content is not None else tiny_job_content())
    for name, values in tables.items():
        made[name] = values if values is None or name in ("privacy", "encryption") else made.get(name, {}) | values
    return parse(JobSpec, made, where="test")


def private(**values: Any) -> dict[str, Any]:
    return {"mechanism": "dp-sgd", "dp_sgd": {**DP_SGD, **values}}


def wanted(**values: Any) -> dict[str, Any]:
    return {"mechanism": "dp-sgd", "dp_sgd": {**WANTED, **values}}


def clipped(**values: Any) -> dict[str, Any]:
    return {"mechanism": "none", "update": {"clip_norm_l2": 1.0, **values}}


def noised(**values: Any) -> dict[str, Any]:
    return {
        "mechanism": "update-noise",
        "update": {"clip_norm_l2": 1.0, "noise_multiplier": 2.0, "delta": 1e-4} | values,
    }


def disclosure(*metrics: str) -> Disclosure:
    return Disclosure(metrics=metrics, decimals=3, min_count=10)


def only(before: JobSpec, after: JobSpec) -> Change:
    (change,) = changes(before, after)
    return change


def test_equal_jobs_have_no_change() -> None:
    assert changes(a_job(), a_job()) == []
    here = Here(disclosure=disclosure(*ALL))
    assert changes(a_job(), a_job(), here=here, earlier=here) == []


ONE_WAY = [
    # a job, a change, its field, and what the change is one way and the other
    ({}, {"privacy": private()}, {"privacy": private(noise_multiplier=1.0)}, "noise_multiplier", "less private"),
    ({}, {"privacy": wanted()}, {"privacy": wanted(epsilon=9.0)}, "epsilon", "less private"),
    ({}, {"privacy": wanted()}, {"privacy": wanted(delta=1e-3)}, "delta", "less private"),
    ({}, {"privacy": private()}, {"privacy": private(patients_per_step=16)}, "patients_per_step", "less private"),
    ({}, {"privacy": wanted()}, {"privacy": wanted(patients_per_step=16)}, "patients_per_step", "more"),
    ({}, {"privacy": private()}, {"privacy": private(clip_norm_l2=2.0)}, "clip_norm_l2", "more"),
    ({}, {"privacy": private()}, {"privacy": private(images_per_patient=2)}, "images_per_patient", "more"),
    ({}, {"privacy": clipped()}, {"privacy": clipped(clip_norm_l2=2.0)}, "clip_norm_l2", "less private"),
    ({}, {"privacy": noised()}, {"privacy": noised(noise_multiplier=1.0)}, "noise_multiplier", "less private"),
    ({}, {"privacy": clipped()}, {"privacy": {"mechanism": "none"}}, "privacy.update", "less private"),
    ({}, {"federation": {"rounds": 2}}, {"federation": {"rounds": 3}}, "federation.rounds", "less private"),
    (
        {"privacy": private()},
        {"federation": {"rounds": 2}},
        {"federation": {"rounds": 3}},
        "federation.rounds",
        "less private",
    ),
    ({"privacy": wanted()}, {"federation": {"rounds": 2}}, {"federation": {"rounds": 3}}, "federation.rounds", "more"),
    ({}, {"federation": {"min_sites": 3}}, {"federation": {"min_sites": 2}}, "min_sites", "less private"),
    ({}, {"federation": {"min_patients": 300}}, {"federation": {"min_patients": 200}}, "min_patients", "less private"),
    ({}, {"federation": {"min_patients": 300}}, {}, "min_patients", "less private"),
    ({}, {"federation": {"local_baseline": False}}, {"federation": {"local_baseline": True}}, "local_baseline", "more"),
    ({}, {"encryption": {}}, {"encryption": None}, "encryption", "less private"),
    ({}, {"encryption": {"open_final": False}}, {"encryption": {}}, "open_final", "less private"),
    ({}, {"encryption": {"statistics": False}}, {"encryption": {}}, "statistics", "less private"),
    ({}, {"training": {"local_epochs": 1}}, {"training": {"local_epochs": 2}}, "local_epochs", "more"),
    ({}, {"model": {"batch_norm": "local"}}, {"model": {"batch_norm": "average"}}, "batch_norm", "less private"),
]
BACK = {"less private": "more private", "more": "fewer"}


@pytest.mark.parametrize(("both", "less", "more", "field", "verdict"), ONE_WAY)
def test_a_change_that_means_one_thing(
    both: dict[str, Any], less: dict[str, Any], more: dict[str, Any], field: str, verdict: str
) -> None:
    before, after = a_job(**both, **less), a_job(**both, **more)
    there, back = only(before, after), only(after, before)
    assert there.field.endswith(field) and back.field == there.field
    assert (there.before, there.after) == (back.after, back.before)
    assert (there.verdict, back.verdict) == (verdict, BACK[verdict])
    assert there.meaning and back.meaning


OTHER = [
    ("data", {"cohort": "abdomen"}, "data.cohort"),
    ("data", {"labels": ["fracture"]}, "data.labels"),
    ("data", {"size": [48, 48]}, "data.size"),
    ("model", {"network": "ResNet"}, "model.network"),
    ("training", {"lr": 1.0}, "training.lr"),
    ("job", {"seed": 8}, "job.seed"),
]


@pytest.mark.parametrize(("table", "values", "field"), OTHER)
def test_any_other_setting_is_told_too(table: str, values: dict[str, Any], field: str) -> None:
    change = only(a_job(), a_job(**{table: values}))
    assert (change.field, change.verdict) == (field, "other")


def test_arguments_are_told_whole() -> None:
    content = tiny_job_content()
    content["model"]["args"] = {"init_features": 16}
    change = only(a_job(), a_job(content))
    assert change.field == "model.args"
    assert '"growth_rate": 4' in change.before and change.after == '{"init_features": 16}'


def test_every_setting_that_can_differ_is_in_the_difference() -> None:
    """A job whose every leaf is another one: no field is passed over."""
    before = a_job(privacy=private(), encryption={})
    after = a_job(privacy=clipped(), encryption=None, job={"description": "x", "seed": 1}, data={"cache": False})
    fields = {change.field for change in changes(before, after)}
    expected = {"job.description", "job.seed", "data.cache", "privacy.mechanism", "privacy.dp_sgd", "privacy.update"}
    assert fields == expected | {"encryption"}
    dropped = {change.field: change for change in changes(before, after)}["privacy.mechanism"]
    assert dropped.verdict == "less private" and "dropped" in dropped.meaning


def test_epsilon_and_metrics_at_this_hospital() -> None:
    before, after = a_job(privacy=private()), a_job(privacy=private(noise_multiplier=1.0))
    plans = [plan_site(job, site="north", patients=100) for job in (before, after)]
    earlier, here = (Here(disclosure=disclosure(*ALL), plan=plan) for plan in plans)
    found = {change.field: change for change in changes(before, after, here=here, earlier=earlier)}
    assert found["ε here"].verdict == "less private"
    assert found["ε here"].before == f"{plans[0].epsilon:.2f} at δ 0.0001"
    back = {change.field: change for change in changes(after, before, here=earlier, earlier=here)}
    assert back["ε here"].verdict == "more private"
    open_job = a_job()
    gone = {c.field: c for c in changes(before, open_job, here=Here(disclosure=disclosure(*ALL)), earlier=earlier)}
    assert gone["metrics that leave"].verdict == "less private"
    assert "work.loss" in gone["metrics that leave"].after, "the training loss leaves where nothing protects it"


CONTENT: dict[str, Any] = {
    "scores": {"auc": 0.9, "auc_low": 0.8, "auc_high": 1.0, "average_precision": 0.9, "loss": 0.1, "images": 60}
    | {"positives": 20, "patients": 40, "sensitivity": 0.9, "specificity": 0.95, "ece": 0.1},
    "support": {"train_patients": 40, "train_images": 60, "validation_patients": 20, "validation_images": 30}
    | {"left_out": 10},
    "loss": 0.3,
    "images": 60,
    "patients": 40,
    "steps": 9,
    "train_s": 1.0,
    "validate_s": 1.0,
    "quarantined": 10,
}


@pytest.mark.parametrize(
    "listed", [(), ("scores",), ("auc",), ("scores.auc", "support"), ("work",), ("loss",), ("train_images",), ALL]
)
@pytest.mark.parametrize("privacy", [{"mechanism": "none"}, private()])
def test_the_words_name_what_release_lets_out(listed: tuple[str, ...], privacy: dict[str, Any]) -> None:
    """Against the one that decides: no metric leaves that the words did not name."""
    job, rule = a_job(privacy=privacy), disclosure(*listed)
    told = set(metrics_that_leave(job, rule))
    left = release(CONTENT, rule, private=privacy["mechanism"] != "none", names=job.names)
    names = set()
    for name, value in left.items():
        if isinstance(value, dict):
            names |= {f"{name}.{inner}" for inner, one in value.items() if one is not None and inner != "suppressed"}
        elif value is not None:
            names.add(f"{'cohort' if name == 'quarantined' else 'work'}.{name}")
    assert names <= told
    tried = {f"scores.{name}" for name in CONTENT["scores"]} | {f"support.{name}" for name in CONTENT["support"]}
    assert told & tried == names & tried, "and what the words name does leave"


def test_sums_leave_from_encrypted_jobs_alone() -> None:
    assert not [
        name for name in metrics_that_leave(a_job(), disclosure(*ALL)) if "pooled" in name or "cohort_s" in name
    ]
    assert "pooled.auc" in metrics_that_leave(a_job(encryption={}), disclosure(*ALL))
    assert "cohort_statistics.age" in metrics_that_leave(a_job(encryption={}), disclosure(*ALL))
    assert "pooled.auc" not in metrics_that_leave(a_job(encryption={"statistics": False}), disclosure(*ALL))
    assert "cohort_statistics.age" not in metrics_that_leave(a_job(encryption={}, privacy=private()), disclosure(*ALL))


def test_the_words_of_a_job() -> None:
    job = a_job(privacy=private(), encryption={"scheme": "bfv"})
    plan = plan_site(job, site="north", patients=100)
    origin = Origin(submitter="lead@uni.org", organisation="uni", study="chest")
    words = describe(job, Here(disclosure=disclosure("scores"), parameters=4473, plan=plan, origin=origin))
    assert "lead@uni.org of uni, for study chest" in words["from"]
    assert "4,473 values" in words["network"] and "DenseNet" in words["network"]
    assert "cohort chest" in words["data"] and "24 x 24" in words["data"]
    assert "2 rounds" in words["rounds"] and "at least 2 hospitals" in words["rounds"]
    assert "noise 2 at δ 0.0001" in words["privacy"] and f"ε {plan.epsilon:.2f}" in words["privacy"]
    assert "by scheme bfv: a hospital that sides with the server reads every one" in words["updates"]
    assert "scores: auc" in words["metrics that leave"] and "fewer than 10 patients" in words["metrics that leave"]
    assert words["final model"] == "goes to who submitted the job"


def test_the_words_say_whom_a_round_needs_and_what_a_result_is_held_to() -> None:
    federation = {"must_include": ["north", "city"], "min_patients": 200}
    words = describe(a_job(federation=federation, acceptance={"threshold": 0.8}), Here())
    assert "at least 2 hospitals make one, north, city among them, 200 patients together;" in words["rounds"]
    assert words["final model"] == "goes to who submitted the job; at each hospital its AUC is held to 0.8"


@pytest.mark.parametrize(
    ("before", "after", "field", "meaning"),
    [
        ({"federation": {"must_include": ["north"]}}, {"federation": {}}, "federation.must_include", "without which"),
        ({"acceptance": {"threshold": 0.8}}, {"acceptance": {"threshold": 0.7}}, "acceptance.threshold", "held to"),
        ({"acceptance": {"threshold": 0.8}}, {}, "acceptance", "held to"),
    ],
)
def test_a_change_of_whom_a_round_needs_says_what_it_is_about(
    before: dict[str, Any], after: dict[str, Any], field: str, meaning: str
) -> None:
    change = only(a_job(**before), a_job(**after))
    assert change.field == field and change.verdict == "other" and meaning in change.meaning


def test_the_words_of_a_job_that_is_not_private() -> None:
    words = describe(a_job(), Here())
    assert words["from"].startswith("unknown")
    assert "no differential privacy" in words["privacy"]
    assert "in the clear" in words["updates"]


@pytest.mark.parametrize("sneaky", ["\x1b[2K\rprivate", "a\nprivacy: dp-sgd", "\x9b1A", "a\u202eb", "\u200b", "\x07"])
def test_no_word_of_a_job_steers_the_terminal(sneaky: str) -> None:
    content = tiny_job_content()
    content["job"]["description"] = sneaky
    content["data"]["labels"] = [f"lesion{sneaky}"]
    content["model"]["args"] = {sneaky: sneaky}
    content["transforms"] = {"prepare": [{"name": "Spacing", "args": {"key": sneaky}}]}
    job = a_job(content)
    texts = [*describe(job, Here()).values()]
    texts += [text for change in changes(a_job(), job) for text in (change.field, change.before, change.after)]
    assert all(text.isprintable() for text in texts)
    assert visible("Füße, ε 8") == "Füße, ε 8"
