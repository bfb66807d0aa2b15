"""A job with noise for the sum begins only with as many patients as it is for."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.flare.protocol import Reply
from fedward.flare.server.admission import _too_many
from fedward.flare.server.asking.answers import Answers
from fedward.settings import JobSpec
from tests.support.flare.sum_job import sum_job

SITES = ["city", "coast", "north"]


def judged(job: JobSpec, *patients: Any) -> str | None:
    replies = {
        site: Reply(metrics={} if count is None else {"support": {"train_patients": count}})
        for site, count in zip(SITES, patients, strict=True)
    }
    return _too_many(job, Answers(replies=replies), SITES)


@pytest.mark.parametrize(
    ("patients", "says"),
    [
        ((100, 100, 200), None),
        ((100, 100, 210), None),  # δ bears them
        ((100, 100, 601), "hospitals have 801 training patients, and the job is for 400"),
        ((None, None, None), None),
        ((None, 100, "many"), None),
    ],
)
def test_more_patients_than_the_job_is_for(patients: Any, says: str | None) -> None:
    found = judged(sum_job(delta=1e-4), *patients)
    assert found is None if says is None else found is not None and found.startswith(says)


def test_a_delta_that_is_too_large_for_them() -> None:
    found = judged(sum_job(delta=2.4e-4), 100, 100, 300)
    assert found is not None and "give δ at most 0.0002" in found
    assert judged(sum_job(delta=2.4e-4), 100, 100, 200) is None


def test_noise_for_each_hospital_is_held_against_its_own_patients() -> None:
    assert judged(sum_job(noise="site", sampling_rate=None), 10_000, 10_000, 10_000) is None
