"""Events -> report: what a hospital keeps stays unmeasured, what it says of ε is the report's."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.reporting.from_events import report_of
from fedward.settings import JobSpec, parse
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
    done = report_of(private_job, events(scores={"auc": None, "n": None, "suppressed": True}))
    (north,) = done.sites
    assert (north.federated.value, north.federated.suppressed) == (None, True)
    assert north.local_only.value is None
    assert "stay at the hospital" in north.local_only.why
    assert north.cohort is not None
    assert north.cohort.patients is None
    assert done.time.rounds[0].train_s is None
    assert done.time.overhead_s is None
    assert done.hashes == {}


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
