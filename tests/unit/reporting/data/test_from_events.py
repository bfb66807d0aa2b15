"""Events -> report: what a hospital keeps stays unmeasured, what it says of ε and of all patients is the report's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from fedward.reporting.data.from_events import ENCRYPTIONS, report_of
from fedward.reporting.data.report import Population, Score
from fedward.reporting.data.summary import summary
from fedward.reporting.page import render
from fedward.settings import JobEncryption, JobSpec, Scheme, parse
from tests.conftest import tiny_job_content


@pytest.fixture
def private_job() -> JobSpec:
    content = tiny_job_content()
    content["federation"]["rounds"] = 1
    private = {"epsilon": 8.0, "delta": 1e-3, "clip_norm_l2": 1.0, "patients_per_step": 4.0}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": private}
    return parse(JobSpec, content, where="private")


def events(**final: Any) -> list[dict[str, Any]]:
    """A site that lets out next to nothing."""
    charged = {"mechanism": "dp-sgd", "epsilon": 7.9, "delta": 1e-3}
    lines: list[dict[str, Any]] = [
        {"event": "started", "sites": ["north"]},
        {"event": "admitted", "site": "north", "privacy": charged},
        {"event": "answered", "site": "north", "task": "round", "round": 0, "metrics": {}},
        {"event": "round", "round": 0, "sites": ["north"], "wall_s": 2.0},
        {"event": "answered", "site": "north", "task": "final", "round": -1, "metrics": final},
        {"event": "answered", "site": "north", "task": "alone", "round": -1, "metrics": {}},
    ]
    return [{"at": float(number), **line} for number, line in enumerate(lines)]


def test_what_does_not_leave_is_not_measured_and_never_zero(private_job: JobSpec) -> None:
    done = report_of(private_job, events(scores={"auc": None, "patients": None, "suppressed": True}))
    (north,) = done.sites
    assert (north.federated.value, north.federated.suppressed) == (None, True)
    assert north.local_only.value is None
    assert "stay at the hospital" in north.local_only.why
    assert north.cohort is not None
    assert north.cohort.patients is None
    assert done.time.rounds[0].train_s is None
    assert done.time.overhead_s is None
    assert set(done.hashes) == {"job"}


def test_the_last_word_on_epsilon_holds_and_else_the_first(private_job: JobSpec) -> None:
    spent = {"mechanism": "dp-sgd", "epsilon": 6.0, "delta": 1e-3, "spent": 7.0, "epsilon_cap": 8.0, "steps": 5}
    for final, epsilon in (({"scores": {}, "privacy": spent}, 6.0), ({"scores": {}}, None)):
        (north,) = report_of(private_job, events(**final)).sites
        assert (None if north.privacy is None else north.privacy.epsilon) == epsilon
    (north,) = report_of(private_job, events()[:-2]).sites
    assert north.privacy is not None
    assert north.privacy.epsilon == 7.9


def test_a_job_without_privacy_says_none(tiny_job: JobSpec) -> None:
    done = report_of(tiny_job, [{"at": 0.0, "event": "started", "sites": []}])
    assert done.privacy == "none"


# ---------------------------------------------------------------- from encrypted sums


def encrypted(*more: dict[str, Any]) -> list[dict[str, Any]]:
    facts = {"event": "encrypted", "scheme": "aes-ctr", "precision": "compact", "key": "1f3a" + "0" * 28}
    return [*events()[:1], {"at": 0.5, **facts}, *({"at": 9.0, **line} for line in more)]


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("aes-ctr", "AES-256-CTR additive cipher, precise (key 1f3a…)"),
        ("bfv", "BFV homomorphic encryption, precise (key 1f3a…)"),
        ("ckks", "CKKS homomorphic encryption, precise (key 1f3a…)"),
    ],
)
def test_the_scheme_is_named_and_the_key_by_its_first_digits(tiny_job: JobSpec, scheme: str, words: str) -> None:
    lines = encrypted()
    lines[1] |= {"scheme": scheme, "precision": "precise"}
    assert report_of(tiny_job, lines).encryption == words


def test_each_scheme_that_a_job_can_have_has_its_words() -> None:
    assert set(ENCRYPTIONS) == set(get_args(Scheme))


def test_masks_are_told_with_the_bound_on_collusion(tiny_job: JobSpec) -> None:
    lines = encrypted()
    lines[1] |= {"scheme": "masked", "hospitals": 4, "max_colluding": 1, "needed": 3}
    assert report_of(tiny_job, lines).encryption == (
        "pairwise masks, compact: the server and up to 1 of 4 hospitals together learn only the sum of the others, of "
        "2 or more; 3 hospitals must send and help, so 1 may be lost in a round"
    )


ROBUST: dict[str, dict[str, Any]] = {
    "grouped-median": {"federation": {"aggregation": "grouped-median", "min_sites": 9}},
    "byzsecagg": {"federation": {"aggregation": "byzsecagg", "min_sites": 9, "max_malicious": 2, "weighting": "equal"}},
}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "grouped-median",
            "the server and up to 1 of 9 hospitals together learn only sums of 2 or more of the others' in "
            "each of 3 groups; 6 hospitals must help, and 3 of each group send",
        ),
        (
            "byzsecagg",
            "the server and up to 1 of 9 hospitals together learn only the sum of the others, of 5 or more, how far "
            "models are from each other, and one more number of each model, such as its length; the 2 farthest are "
            "left out; 6 hospitals must send and help, so 3 may be lost in a round",
        ),
    ],
)
def test_what_is_learnt_besides_one_sum_is_told(kind: str, words: str) -> None:
    content = tiny_job_content()
    content["federation"] |= ROBUST[kind]["federation"]
    content["encryption"] = {"scheme": "masked", "max_colluding": 1}
    lines = encrypted()
    lines[1] |= {"scheme": "masked", "hospitals": 9, "max_colluding": 1, "needed": 6}
    assert report_of(parse(JobSpec, content, where=kind), lines).encryption == f"pairwise masks, compact: {words}"


def test_a_masked_report_names_no_federation_key(tiny_job: JobSpec) -> None:
    content = tiny_job_content()
    for scheme, named in (("masked", False), ("aes-ctr", True)):
        content["encryption"] = {"scheme": scheme}
        begun = {"scheme": scheme, "precision": "compact", "key": "0" * 32, "hospitals": 4, "max_colluding": 1}
        lines = [{"at": 0.0, "event": "encrypted", **begun}, *events()]
        assert ("federation’s key" in render(report_of(parse(JobSpec, content, where=scheme), lines))) is named


def test_without_encryption_there_are_no_figures_of_all_hospitals(tiny_job: JobSpec) -> None:
    done = report_of(tiny_job, events())
    assert done.encryption == "none"
    assert (done.pooled.value, done.pooled_sites, done.pooled_labels, done.population) == (None, (), {}, None)
    assert done.pooled.why.startswith("no sum over hospitals was opened")


def test_pooled_scores_are_those_of_the_last_sum(tiny_job: JobSpec) -> None:
    scores = {"auc": 0.81, "auc_low": 0.7, "auc_high": 0.9, "images": 90, "positives": 30, "patients": 80}
    sites = ["west", "north", "east"]
    first = {"event": "pooled", "sites": sites, "pooled": scores | {"auc": 0.5}}
    done = report_of(tiny_job, encrypted(first, {"event": "pooled", "sites": sites, "pooled": scores}))
    assert done.pooled == Score(value=0.81, low=0.7, high=0.9, n=80, images=90, positives=30)
    assert done.pooled_sites == ("east", "north", "west")
    assert summary(done)["pooled_auc"] == 0.81 and summary(done)["pooled_auc_low"] == 0.7


def test_pooled_scores_below_the_floor_are_insufficient_and_not_absent(tiny_job: JobSpec) -> None:
    few = {
        "auc": None,
        "images": 90,
        "positives": None,
        "patients": 80,
        "suppressed": True,
        "labels": {"a": {"auc": 0.5}},
    }
    done = report_of(tiny_job, encrypted({"event": "pooled", "sites": ["a", "b", "c"], "pooled": few}))
    assert done.pooled.value is None and done.pooled.suppressed and done.pooled_sites
    assert done.pooled_labels == {"a": Score(value=0.5)}


def test_who_the_patients_are_comes_from_the_sum_as_it_left(tiny_job: JobSpec) -> None:
    found = {"patients": 60, "images": 80, "age": {"40-49": 50, "50-59": None}, "sex": {"F": 60}, "intensity": {}}
    done = report_of(tiny_job, encrypted({"event": "cohort", "sites": ["b", "a", "c"], "cohort_statistics": found}))
    assert done.population == Population(
        sites=("a", "b", "c"), patients=60, images=80, age={"40-49": 50, "50-59": None}, sex={"F": 60}
    )
    bare = report_of(tiny_job, encrypted({"event": "cohort", "sites": ["a", "b", "c"], "cohort_statistics": {}}))
    assert bare.population == Population(sites=("a", "b", "c"), patients=None, images=None)


def begun(job: JobSpec, *lines: dict[str, Any]) -> str:
    """The page of a job that ended soon after its sites had admitted it."""
    failed = {"event": "failed", "reason": "aborted by a person, or the server was stopped"}
    return render(report_of(job, [*events()[:2], *({"at": 2.0, **line} for line in (*lines, failed))]))


def test_of_a_job_in_which_no_round_ran_nothing_is_said_that_did_not_happen(private_job: JobSpec) -> None:
    page = " ".join(begun(private_job).split())
    assert "Failed after 0 of 1 rounds: aborted by a person, or the server was stopped" in page
    assert "No update of a site came to the server." in page and "could read every" not in page
    assert "did not come to its end at north: what stands below is its plan" in page
    assert "It was charged" not in page
    assert "no site validated a final model" in page and "lets its subgroups out" not in page


@pytest.mark.parametrize(
    ("lines", "heading", "words"),
    [
        ((), "asked for, and not begun", "its sites came to no key for them: a site sends none then"),
        (
            ({"event": "encrypted", "scheme": "bfv", "precision": "compact", "key": "1f3a"},),
            "BFV homomorphic encryption",
            "No update of a site came to the server.",
        ),
    ],
)
def test_an_encrypted_job_that_ended_before_its_first_round_is_not_called_plain(
    private_job: JobSpec, lines: tuple[dict[str, Any], ...], heading: str, words: str
) -> None:
    page = begun(private_job.model_copy(update={"encryption": JobEncryption()}), *lines)
    assert f"Encryption of the updates: {heading}" in page and words in page
    assert "could read every" not in page


def test_the_models_beside_the_federated_one_are_drawn_as_the_table_names_them(private_job: JobSpec) -> None:
    done = report_of(private_job, events(scores={"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "patients": 40}))
    (north,) = done.sites
    north = replace(north, private_alone=Score(value=0.6), local_only=Score(value=0.7), centralised=Score(value=0.9))
    page = render(replace(done, sites=(north,)))
    for words in ("Alone, same ε", "Alone, no noise", "Centralised, no noise"):
        assert f"<title>{words}: " in page and f'<th scope="col" class="num">{words}</th>' in page
