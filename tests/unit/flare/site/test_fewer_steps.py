"""Check that a hospital takes and charges the steps of a round that it decides, whatever the server asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nvflare.apis.signal import Signal

from fedward.flare.protocol import STEPS, question
from fedward.flare.site import site_job
from fedward.flare.site.round_answers import RoundAnswers
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

PLANNED = 16


@pytest.mark.parametrize(
    ("asked", "taken"), [(None, PLANNED), (16, 16), (8, 8), (4, 4), (3, 4), (1, 4), (17, 16), (10**9, 16)]
)
def test_the_steps_are_charged_before_they_are_taken(asked: int | None, taken: int) -> None:
    done: list[tuple[str, int]] = []

    def train(weights: Any, *, steps: int, **_: Any) -> SimpleNamespace:
        done.append(("train", steps))
        return SimpleNamespace(weights=weights, loss=0.5, patients=10, images=20, steps=steps)

    def begin(*, round_number: int, steps: int) -> None:
        done.append(("charge", steps))

    site = site_job.SiteJob.__new__(site_job.SiteJob)
    site._job = parse(JobSpec, tiny_job_content(), where="test")
    scores = SimpleNamespace(plain=dict)
    kept = SimpleNamespace(go_back=lambda number: None)
    trainer = SimpleNamespace(steps=PLANNED, validate=lambda weights: scores, train=train, kept=kept)
    site._prepared = site_job.Prepared(trainer=trainer, manifest=None, patients=frozenset(), charge={})
    site._protection = SimpleNamespace(begin=begin, proof=lambda *args, **how: None)
    own = SimpleNamespace(state=lambda kept, run: None)
    site._rounds = RoundAnswers(site._job, site._protection, own, run="run", begin=site._begin)
    task = question({"layer": np.zeros(3, np.float32)}, round_number=0)
    task.set_header(STEPS, asked)
    assert site._round(task, Signal()).metrics["steps"] == taken
    assert done == [("charge", taken), ("train", taken)]
